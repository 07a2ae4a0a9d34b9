"""Quadrature rules on [0, 1]: known nodes, known degrees of exactness, refused arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from exclip_widget import ParameterError
from exclip_widget.quadrature import quadrature

RULES = ("gauss-legendre", "midpoint", "right")
STEPS = (1, 2, 3, 5, 10, 50)


def integral_of_power(rule: str, steps: int, power: int) -> float:
    points = quadrature(rule, steps)
    return float(points.weights @ points.nodes**power)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("rule", RULES)
def test_shape_of_a_rule(rule: str, steps: int) -> None:
    points = quadrature(rule, steps)
    for values in (points.nodes, points.weights):
        assert values.dtype == np.float64
        assert values.shape == (steps,)
    assert (points.weights > 0).all()
    assert points.weights.sum() == pytest.approx(1, abs=1e-14)
    assert (points.nodes > 0).all()
    assert (points.nodes <= 1).all()
    assert len(set(points.nodes.tolist())) == steps


@pytest.mark.parametrize("steps", STEPS)
def test_gauss_legendre_is_exact_to_degree_2n_minus_1(steps: int) -> None:
    for power in range(min(2 * steps, 60)):
        error = abs(integral_of_power("gauss-legendre", steps, power) - 1 / (power + 1))
        assert error < 1e-13, power


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_gauss_legendre_is_not_exact_beyond(steps: int) -> None:
    power = 2 * steps
    # The error term of Gauss-Legendre on [0, 1] at the monomial of degree 2 n.
    error = math.factorial(steps) ** 4 / ((2 * steps + 1) * math.factorial(2 * steps) ** 2)
    found = 1 / (power + 1) - integral_of_power("gauss-legendre", steps, power)
    assert found == pytest.approx(error, rel=1e-6)


def test_gauss_legendre_nodes_as_tabulated() -> None:
    two = quadrature("gauss-legendre", 2)
    order = np.argsort(two.nodes)
    np.testing.assert_allclose(two.nodes[order], [0.5 - 3**-0.5 / 2, 0.5 + 3**-0.5 / 2])
    np.testing.assert_allclose(two.weights, [0.5, 0.5])
    three = quadrature("gauss-legendre", 3)
    order = np.argsort(three.nodes)
    np.testing.assert_allclose(three.nodes[order], [0.5 - 0.15**0.5, 0.5, 0.5 + 0.15**0.5])
    np.testing.assert_allclose(three.weights[order], [5 / 18, 8 / 18, 5 / 18])


@pytest.mark.parametrize("steps", STEPS)
def test_midpoints(steps: int) -> None:
    """Exact for straight lines; the square is missed by 1 / (12 n^2)."""
    assert integral_of_power("midpoint", steps, 1) == pytest.approx(1 / 2, abs=1e-14)
    missed = 1 / 3 - integral_of_power("midpoint", steps, 2)
    assert missed == pytest.approx(1 / (12 * steps**2), rel=1e-9)
    np.testing.assert_allclose(quadrature("midpoint", steps).weights, 1 / steps)


@pytest.mark.parametrize("steps", STEPS)
def test_right_end_points_are_those_of_exclip(steps: int) -> None:
    """exclip samples 1, 1 - 1/N, ..., 1/N, all alike."""
    points = quadrature("right", steps)
    expected = np.arange(1, steps + 1) / steps
    np.testing.assert_allclose(np.sort(points.nodes), expected, atol=1e-15)
    np.testing.assert_allclose(points.weights, 1 / steps)


@pytest.mark.parametrize("steps", [0, -1, 1.5, 2.0, True, "10", None, float("nan")])
def test_steps_that_are_refused(steps: object) -> None:
    with pytest.raises(ParameterError) as refusal:
        quadrature("right", steps)
    assert "steps" in str(refusal.value)
    assert repr(steps) in str(refusal.value)


@pytest.mark.parametrize("rule", ["", "left", "Right", "gauss", None, 3])
def test_rules_that_are_refused(rule: object) -> None:
    """The refusal names what was given and what there is."""
    with pytest.raises(ParameterError) as refusal:
        quadrature(rule, 5)
    assert repr(rule) in str(refusal.value)
    for known in RULES:
        assert known in str(refusal.value)


def test_a_rule_cannot_be_changed_for_the_next_caller() -> None:
    """Should rules be kept, writing into one must not reach another."""
    points = quadrature("gauss-legendre", 4)
    before = points.nodes.copy()
    try:
        points.nodes[:] = 0
    except ValueError:
        return
    np.testing.assert_array_equal(quadrature("gauss-legendre", 4).nodes, before)
