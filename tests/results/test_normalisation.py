"""The mean derivative of a direction, against a quadrature of autograd's derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.oracle import gauss_legendre

from exclip_widget.results.normalisation import AT_THE_END, NEAR_ZERO, Normalisation


def by_quadrature(start: np.ndarray, end: np.ndarray, cotangents: np.ndarray) -> np.ndarray:
    places, weights = gauss_legendre(2000)
    path = torch.from_numpy(start + (1 + places[:, None]) / 2 * (end - start)).requires_grad_()
    rows = []
    for cotangent in torch.from_numpy(cotangents):
        along = (path @ cotangent / path.norm(dim=1)).sum()
        (gradients,) = torch.autograd.grad(along, path)
        rows.append((torch.from_numpy(weights / 2) @ gradients).numpy())
    return np.stack(rows)


def unit(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = values / np.linalg.norm(values)
    return found


def mean_derivative(start: np.ndarray, end: np.ndarray, given: np.ndarray) -> np.ndarray:
    return Normalisation.between(start, end).of_parts(given)


END, EVERY = unit(np.array([1.0, 2.0, 3.0])), np.eye(3)
ACROSS = EVERY - np.outer(END, END)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [0.05, 1.0, 30.0])
def test_it_is_the_mean_of_the_derivative(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    start, end, given = size * unit(rng.normal(size=6)), unit(rng.normal(size=6)), rng.normal(size=(3, 6))
    expected = by_quadrature(start, end, given)
    np.testing.assert_allclose(mean_derivative(start, end, given), expected, rtol=1e-6, atol=1e-9)
    pairs = Normalisation.between(start, end).of_pairs(given)
    at_the_end = given - np.outer(given @ end, end)
    blended = (1 - AT_THE_END) * expected + AT_THE_END * at_the_end
    np.testing.assert_allclose(pairs, blended, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_it_turns_the_one_direction_into_the_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start, end = 3 * rng.normal(size=8), unit(rng.normal(size=8))
    found = mean_derivative(start, end, (end - start)[None])[0]
    np.testing.assert_allclose(found, end - unit(start), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_parts_are_known_from_their_maps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start, end, parts = 2 * rng.normal(size=8), unit(rng.normal(size=8)), rng.normal(size=(4, 8))
    this = Normalisation.between(start, end)
    np.testing.assert_allclose(this.parts_of(this.of_pairs(parts), parts @ end), parts, atol=1e-12)


def test_a_path_through_zero_has_the_length_of_its_end() -> None:
    for start in (-END, 0 * END, NEAR_ZERO / 2 * unit(np.array([3.0, 0.0, -1.0]))):
        np.testing.assert_allclose(mean_derivative(start, END, EVERY), EVERY, atol=1e-15)


def test_a_straight_continuation_turns_nothing() -> None:
    np.testing.assert_allclose(mean_derivative(2 * END, END, EVERY), np.log(2) * ACROSS, atol=1e-12)
    np.testing.assert_allclose(mean_derivative(END / 4, END, EVERY), np.log(4) / 0.75 * ACROSS, atol=1e-12)


def test_a_path_that_is_a_point_has_the_derivative_there() -> None:
    for start in (END, END + 1e-9, END + np.array([2e-6, 0, 0])):
        np.testing.assert_allclose(mean_derivative(start, END, EVERY), ACROSS, atol=1e-5)


def test_vectors_keep_their_dtype() -> None:
    this = Normalisation.between(2 * END[::-1], END)
    assert this.of_pairs(EVERY.astype(np.float32)).dtype == np.float32
