"""The mean derivative of a direction, against quadrature of autograd's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exclip_widget.results.normalisation import NEAR_ZERO, along_the_path


def by_quadrature(start: np.ndarray, end: np.ndarray, cotangents: np.ndarray) -> np.ndarray:
    places, weights = np.polynomial.legendre.leggauss(2000)
    start, end = torch.from_numpy(start), torch.from_numpy(end)
    path = torch.stack([start + (1 + place) / 2 * (end - start) for place in places]).requires_grad_()
    rows = []
    for cotangent in torch.from_numpy(cotangents):
        along = (path @ cotangent / path.norm(dim=1)).sum()
        (gradients,) = torch.autograd.grad(along, path)
        rows.append((torch.from_numpy(weights / 2) @ gradients).numpy())
    return np.stack(rows)


def unit(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = values / np.linalg.norm(values)
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [0.05, 1.0, 30.0])
def test_it_is_the_mean_of_the_derivative(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    start, end, given = size * unit(rng.normal(size=6)), unit(rng.normal(size=6)), rng.normal(size=(3, 6))
    np.testing.assert_allclose(
        along_the_path(start, end, given), by_quadrature(start, end, given), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("seed", range(5))
def test_it_turns_the_one_direction_into_the_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start, end = 3 * rng.normal(size=8), unit(rng.normal(size=8))
    found = along_the_path(start, end, np.eye(8)) @ (end - start)
    np.testing.assert_allclose(found, end - unit(start), atol=1e-12)


def test_a_path_through_zero_has_no_direction_there() -> None:
    end, given = unit(np.array([1.0, 2.0, 3.0])), np.eye(3)
    for start in (-end, 0 * end, NEAR_ZERO / 2 * unit(np.array([3.0, 0.0, -1.0]))):
        np.testing.assert_array_equal(along_the_path(start, end, given), given)


def test_a_straight_continuation_turns_nothing() -> None:
    end, given = unit(np.array([1.0, 2.0, 3.0])), np.eye(3)
    across = np.eye(3) - np.outer(end, end)
    np.testing.assert_allclose(along_the_path(2 * end, end, given), np.log(2) * across, atol=1e-12)
    np.testing.assert_allclose(along_the_path(end / 4, end, given), np.log(4) / 0.75 * across, atol=1e-12)


def test_a_path_that_is_a_point_has_the_derivative_there() -> None:
    end, given = unit(np.array([1.0, 2.0, 3.0])), np.eye(3)
    across = np.eye(3) - np.outer(end, end)
    for start in (end, end + 1e-9, end + np.array([2e-6, 0, 0])):
        np.testing.assert_allclose(along_the_path(start, end, given), across, atol=1e-5)
