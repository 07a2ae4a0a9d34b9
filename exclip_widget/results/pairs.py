"""The strongest pairs of a phrase and a region, found as one would by eye. The widget lists the same.

1. A word's region starts at the patch where the word is strongest. It holds what is connected with it, has
   its sign, and at least half its value (full width at half maximum). While another patch outside still has
   half the word's strongest value, it starts a region of its own.
2. The word's neighbours join it to a phrase while each has, over the same region, the same sign and at least
   half of the word's sum.
3. Pairs are ranked by the magnitude of their interaction. One that shares a word and a patch with a stronger
   one of its sign is the same finding, and left out. So is what has less than a tenth of the strongest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .regions import Size, grow
from .selection import Rows

HALF = 0.5
"""Share of the strongest value from which a patch belongs to a region, and a word to a phrase."""

LEAST = 0.1
"""Share of the strongest pair below which a pair is left out."""

MOST = 4
"""Regions looked for per word and sign."""


class Found(NamedTuple):
    """A phrase and a region: rows of the caption, patches of the grid, and their interaction."""

    rows: Rows
    patches: tuple[int, ...]
    value: float


def strongest_pairs(
    values: Float[np.ndarray, "tokens rows columns"], words: Sequence[Rows], count: int
) -> tuple[list[Found], list[Found]]:
    """Return at most `count` pairs of each sign, positive and negative ones, strongest first.

    Parameters
    ----------
    values : np.ndarray
        Interactions.
    words : sequence of tuple of int
        Rows of each word, in reading order.
    count : int
        How many pairs of each sign to return at most.
    """
    size = values.shape[1], values.shape[2]
    heats = np.zeros((len(words), size[0] * size[1]))
    for word, rows in enumerate(words):
        heats[word] = values[list(rows)].sum(0, dtype=np.float64).ravel()
    positive, negative = _pairs_of_sign(heats, words, size), _pairs_of_sign(-heats, words, size)
    most = max((pair.value for pair in (*positive, *negative)), default=0.0)
    return (
        _best(positive, count, LEAST * most),
        [pair._replace(value=-pair.value) for pair in _best(negative, count, LEAST * most)],
    )


def _pairs_of_sign(
    heats: Float[np.ndarray, "words patches"], words: Sequence[Rows], size: Size
) -> list[Found]:
    """Return every word with each of its regions, and its neighbours that join it; positive ones only."""
    found = []
    for word, heat in enumerate(heats):
        for region in _regions_of(heat, size):
            sums = heats[:, region].sum(1)
            first = last = word
            while first > 0 and sums[first - 1] >= HALF * sums[word]:
                first -= 1
            while last + 1 < len(words) and sums[last + 1] >= HALF * sums[word]:
                last += 1
            rows = sorted(row for rows in words[first : last + 1] for row in rows)
            found.append(Found(tuple(rows), tuple(region), float(sums[first : last + 1].sum())))
    return found


def _regions_of(heat: Float[np.ndarray, " patches"], size: Size) -> list[list[int]]:
    regions: list[list[int]] = []
    left = heat.copy()  # what no region has taken
    strongest = heat.max(initial=0.0)
    while len(regions) < MOST:
        peak = int(left.argmax())
        if left[peak] <= 0 or left[peak] < HALF * strongest:
            break
        least = HALF * left[peak]
        region = grow(peak, size, lambda patch, least=least: left[patch] >= least)  # type: ignore[misc]
        left[region] = -np.inf
        regions.append(region)
    return regions


def _best(pairs: list[Found], count: int, least: float) -> list[Found]:
    kept: list[Found] = []
    for pair in sorted(pairs, key=lambda pair: -pair.value):
        if len(kept) == count or pair.value < least:
            break
        if not any(_overlap(pair.rows, one.rows) and _overlap(pair.patches, one.patches) for one in kept):
            kept.append(pair)
    return kept


def _overlap(some: tuple[int, ...], others: tuple[int, ...]) -> bool:
    return not set(some).isdisjoint(others)
