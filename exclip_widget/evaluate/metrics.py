"""Metrics of heat maps, predictions and curves. They work on arrays, and need no model.

Each docstring states where the metric comes from and its value by chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from ..checks import random_seed, whole_number

ON = 0.25
"""A patch lies on an object that covers at least this share of it."""


def hit(heat: Float[np.ndarray, "rows columns"], cover: Float[np.ndarray, "rows columns"]) -> bool:
    """Return whether the strongest patch of a heat map lies on what the words name: the pointing game.

    Zhang et al., "Top-Down Neural Attention by Excitation Backprop", IJCV 2018. By chance, the rate of hits
    is the share of patches that lie on the object, or higher if objects tend to be in the middle; compare
    with the blob baseline.

    Parameters
    ----------
    heat : np.ndarray
        The heat map.
    cover : np.ndarray
        The share of each patch that shows what the words name, 0 to 1.

    Examples
    --------
    >>> hit(np.array([[0.0, 2.0]]), np.array([[0.0, 1.0]]))
    True
    """
    return bool(cover.flat[int(heat.argmax())] >= ON)


def energy(heat: Float[np.ndarray, "rows columns"], cover: Float[np.ndarray, "rows columns"]) -> float:
    """Return the share of a heat map's positive part that lies on what the words name.

    This is the energy-based pointing game of Wang et al., "Score-CAM", CVPR Workshops 2020. By chance, it is
    the share of the image that the object covers. It is 0 if nothing is positive.

    Examples
    --------
    >>> energy(np.array([[3.0, 1.0]]), np.array([[1.0, 0.0]]))
    0.75
    """
    positive = heat.clip(min=0).astype(np.float64)
    total = positive.sum()
    return float((positive * cover).sum() / total) if total else 0.0


def recognition(
    heats: Float[np.ndarray, "words rows columns"], inside: Float[np.ndarray, "words rows columns"]
) -> float:
    """Return the share of several words' heat maps that is right: positive inside, negative outside.

    This is the recognition score of FIxLIP (Baniecki et al., NeurIPS 2025) on collages, where ``inside`` is
    the quadrant of the image that a word names. The words of a collage are pooled before the ratio is taken.
    By chance, it is 1/2 for a map with both signs, and 1/4 for a positive map that ignores which of four
    words it is for. It is NaN if all maps are zero.

    Examples
    --------
    >>> recognition(np.array([[[2.0, -1.0]]]), np.array([[[1.0, 0.0]]]))
    1.0
    """
    maps = heats.astype(np.float64)
    right = (maps.clip(min=0) * inside).sum() + (-maps.clip(max=0) * (1 - inside)).sum()
    total = np.abs(maps).sum()
    return float(right / total) if total else float("nan")


def correlation(predicted: Float[np.ndarray, " cases"], actual: Float[np.ndarray, " cases"]) -> float:
    """Return Pearson's correlation of predicted and actual similarities; NaN if either never varies.

    It is 0 by chance, and ignores a wrong scale or offset.

    Examples
    --------
    >>> round(correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])), 6)
    1.0
    """
    if _is_constant(predicted) or _is_constant(actual):
        return float("nan")
    one, other = (array.astype(np.float64) - array.mean(dtype=np.float64) for array in (predicted, actual))
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / scale if scale > 0 else float("nan")


def explained(predicted: Float[np.ndarray, " cases"], actual: Float[np.ndarray, " cases"]) -> float:
    """Return R2: the share of the variance of the actual similarities that the predictions explain.

    It is 0 for always predicting the mean, and negative for predictions that are worse than that. It is NaN
    if the actual similarities never vary.

    Examples
    --------
    >>> explained(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    1.0
    """
    if _is_constant(actual):
        return float("nan")
    truth = actual.astype(np.float64)
    variance = float(((truth - truth.mean()) ** 2).sum())
    missed = float(((truth - predicted.astype(np.float64)) ** 2).sum())
    return 1 - missed / variance if variance > 0 else float("nan")


def _is_constant(values: Float[np.ndarray, " cases"]) -> bool:
    """Return whether all values are the same: then their distances from their mean are only rounding."""
    return bool((values == values[:1]).all())


def rank_correlation(one: Float[np.ndarray, "..."], other: Float[np.ndarray, "..."]) -> float:
    """Return Spearman's correlation of the entries of two arrays of the same shape; ties share a rank.

    It is NaN if an entry is, or either array is constant.

    Examples
    --------
    >>> round(rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0])), 6)
    1.0
    """
    if np.isnan(one).any() or np.isnan(other).any():
        return float("nan")
    return correlation(_ranks(one.ravel()), _ranks(other.ravel()))


def _ranks(values: Float[np.ndarray, " cases"]) -> Float[np.ndarray, " cases"]:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: np.ndarray = ((ends - counts + ends - 1) / 2)[group]
    return ranks


def area(curve: Sequence[float] | Float[np.ndarray, " points"]) -> float:
    """Return the area under a curve of equally spaced points from 0 to 1, by the trapezoidal rule.

    Examples
    --------
    >>> area([0.0, 1.0])
    0.5
    """
    points = np.asarray(curve, np.float64)
    return float((points[1:] + points[:-1]).mean() / 2)


def interval(
    scores: Float[np.ndarray, " scores"],
    groups: Sequence[int] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return a 95 % bootstrap interval for the mean of scores.

    These are percentiles of the means of samples drawn with replacement (Efron and Tibshirani, "An
    Introduction to the Bootstrap", 1993). NaN scores are left out.

    Parameters
    ----------
    scores : np.ndarray
        The scores.
    groups : sequence of int, optional
        The image that each score belongs to. Scores of the same image are drawn together, since they are not
        independent. By default, each score is its own group.
    resamples : int
        Number of samples to draw.
    seed : int
        Random seed of the draws.

    Raises
    ------
    ParameterError
        If `resamples` is not a whole number of at least 1, or `seed` is out of range.

    Examples
    --------
    >>> interval(np.ones(8))
    (1.0, 1.0)
    """
    resamples = whole_number("resamples", resamples)
    known = ~np.isnan(scores)
    if not known.any():
        return float("nan"), float("nan")
    belongs = np.arange(len(scores)) if groups is None else np.asarray(groups)
    _, group = np.unique(belongs[known], return_inverse=True)
    sums, counts = np.bincount(group, scores[known].astype(np.float64)), np.bincount(group)
    drawn = np.random.default_rng(random_seed(seed)).integers(len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def present_after(order: Sequence[int], count: int, steps: int) -> Bool[np.ndarray, "points players"]:
    """Return which of `count` players remain while those in `order` are deleted in `steps` equal steps.

    The first point has all players, and the last has none of those in `order`.
    """
    deleted = np.linspace(0, len(order), steps + 1).round().astype(int)
    present = np.ones((steps + 1, count), bool)
    for point, number in zip(present, deleted, strict=True):
        point[list(order[:number])] = False
    return present
