"""Quadrature rules on [0, 1]: known nodes, known degrees of exactness, refused arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exclip_widget import ParameterError
from exclip_widget.paths.quadrature import RULES, probes, quadrature

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
    # The error term of Gauss-Legendre on [0, 1] for the monomial of degree 2 n.
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
    """exclip samples 1, 1 - 1/N, ..., 1/N with equal weights."""
    points = quadrature("right", steps)
    expected = np.arange(1, steps + 1) / steps
    np.testing.assert_allclose(np.sort(points.nodes), expected, atol=1e-15)
    np.testing.assert_allclose(points.weights, 1 / steps)


def test_probes() -> None:
    """Probes include both ends of the path to the last bit, because they are the reference and the input."""
    for rule in RULES:
        where = probes(rule)
        assert (where[0], where[-1]) == (0, 1)
        assert (np.diff(where) > 0).all()
    assert len(probes("gauss-legendre")) == 2


def swing(at: np.ndarray) -> np.ndarray:
    """Return a curve that rests, swings, and rests again."""
    return np.stack([np.tanh(15 * (at - 0.7)), 1 / np.cosh(15 * (at - 0.7)), 0.1 * at], axis=-1)


def lengths_of(curve: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(curve, axis=0), axis=1)


def derivative(at: np.ndarray) -> np.ndarray:
    return (swing(at + 1e-6) - swing(at - 1e-6)) / 2e-6


def left_over(rule: str, steps: int) -> float:
    points = quadrature(rule, steps, lengths_of(swing(probes(rule))))
    change = swing(np.array([0.0, 1.0]))
    return float(np.linalg.norm(points.weights @ derivative(points.nodes) - (change[1] - change[0])))


def test_arc_length_goes_where_the_curve_moves() -> None:
    points = quadrature("arc-length", 10, lengths_of(swing(probes("arc-length"))))
    assert np.median(points.nodes) == pytest.approx(0.7, abs=0.03)
    assert (np.diff(np.sort(points.nodes)) > 0).all()
    assert quadrature(
        "arc-length", 40, lengths_of(swing(probes("arc-length")))
    ).weights.sum() == pytest.approx(1, abs=1e-3)
    for steps in (5, 10, 20):
        assert left_over("arc-length", steps) < left_over("gauss-legendre", steps) / 4
    assert left_over("arc-length", 40) < 1e-3


@pytest.mark.parametrize("lengths", [None, np.zeros(12), np.full(12, 3e-9), np.full(12, np.nan)])
def test_arc_length_of_a_curve_that_tells_nothing(lengths: np.ndarray | None) -> None:
    points, even = quadrature("arc-length", 7, lengths), quadrature("gauss-legendre", 7)
    np.testing.assert_allclose(points.nodes, even.nodes, atol=1e-6)
    np.testing.assert_allclose(points.weights, even.weights, atol=1e-6)


@given(st.lists(st.floats(0, 1e6), min_size=12, max_size=12), st.integers(1, 60))
def test_arc_length_of_any_curve(lengths: list[float], steps: int) -> None:
    """However the curve jumps, the nodes stay on the path, in order, with positive weights."""
    nodes, weights = quadrature("arc-length", steps, np.array(lengths))
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    assert ((nodes > 0) & (nodes < 1)).all()
    assert (np.diff(nodes) > 0).all()


@pytest.mark.parametrize("steps", [0, -1, 1.5, 2.0, True, "10", None, float("nan")])
def test_steps_that_are_refused(steps: object) -> None:
    with pytest.raises(ParameterError) as refusal:
        quadrature("right", steps)
    assert "steps" in str(refusal.value)
    assert repr(steps) in str(refusal.value)


@pytest.mark.parametrize("rule", ["", "left", "Right", "gauss", None, 3])
def test_rules_that_are_refused(rule: object) -> None:
    """The error names the given rule and all known ones."""
    with pytest.raises(ParameterError) as refusal:
        quadrature(rule, 5)
    assert repr(rule) in str(refusal.value)
    for known in RULES:
        assert known in str(refusal.value)


def test_a_rule_cannot_be_changed_for_the_next_caller() -> None:
    """If rules are cached, writing into one must not affect the next caller."""
    points = quadrature("gauss-legendre", 4)
    before = points.nodes.copy()
    try:
        points.nodes[:] = 0
    except ValueError:
        return
    np.testing.assert_array_equal(quadrature("gauss-legendre", 4).nodes, before)
