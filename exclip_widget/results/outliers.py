"""Outlier patches: a few whose activations are far longer than those of the others.

Large towers use them to store information about the whole image rather than about that place (Darcet et al.,
"Vision Transformers Need Registers", ICLR 2024). Such a patch may interact strongly with words that refer to
something else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

if TYPE_CHECKING:
    from .interactions import Interactions

DEVIATIONS = 4
"""An outlier's norm is above the mean of the others by more than this many of their standard deviations."""

TIMES_MEDIAN = 2
"""It is also more than this many times the median of all: a plain background does not deviate at all."""


def find_outliers(norms: Float[np.ndarray, "rows columns"]) -> Bool[np.ndarray, "rows columns"]:
    """Return which patches are outliers, judging by the norms of their activations.

    An outlier's norm is more than four standard deviations above the mean of the patches that are not
    outliers, and more than twice the median of all patches. The search first sets aside all patches above
    twice the median, then puts back those that do not stand out from the rest, until all that are left do.
    So several outliers cannot hide each other.

    Parameters
    ----------
    norms : np.ndarray
        Euclidean norm of each patch's activation at the image layer.

    Examples
    --------
    >>> norms = np.ones((7, 7)) + np.linspace(0, 0.5, 49).reshape(7, 7)
    >>> norms[0, :3] = 9
    >>> find_outliers(norms)[0].tolist()
    [True, True, True, False, False, False, False]
    """
    median = np.median(norms)
    found: np.ndarray = (norms > TIMES_MEDIAN * median) & (median > 0)
    while found.any():
        others = norms[~found].astype(np.float64)
        stays = found & (norms > others.mean() + DEVIATIONS * others.std())
        if (stays == found).all():
            break
        found = stays
    return found


def without_outliers(result: Interactions, *, spread: bool) -> Interactions:
    """Return a result in which no patch is an outlier; see `Interactions.without_outliers`."""
    outliers = result.outliers
    if outliers is None or not outliers.any():
        return result
    values, taken = _moved(result.values, outliers, spread)
    terms, taken_terms = None, 0.0
    if result.patch_terms is not None:
        terms, of_terms = _moved(result.patch_terms, outliers, spread)
        taken_terms = float(of_terms)
    return replace(
        result,
        values=values,
        cls=result.cls if spread else (result.cls + taken).astype(result.cls.dtype),
        # The error of a sum is at most the sum of the errors of its parts.
        error=None if result.error is None else _moved(result.error, outliers, spread)[0],
        patch_terms=terms,
        cls_term=result.cls_term if spread else result.cls_term + taken_terms,
        outliers=np.zeros_like(outliers),
    )


def _moved(
    values: Float[np.ndarray, "... rows columns"], outliers: Bool[np.ndarray, "rows columns"], spread: bool
) -> tuple[Float[np.ndarray, "... rows columns"], Float[np.ndarray, "..."]]:
    """Return values with those of outliers removed or spread over the others, and their sum."""
    taken = np.asarray(values[..., outliers].sum(-1, dtype=np.float64))
    share = taken[..., None, None] / np.count_nonzero(~outliers) if spread else 0
    return np.where(outliers, 0, values + share).astype(values.dtype), taken
