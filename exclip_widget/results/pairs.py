"""The strongest pairs of a phrase and a region, found as one would by eye. The widget lists the same.

1. A word's region starts at the patch where the word is strongest. It contains the patches connected to it
   that have the same sign and at least half its value (full width at half maximum). While a patch outside
   still has half the word's strongest value, it starts another region.
2. The word's neighbours join it in a phrase while each has, over the same region, the same sign and enough
   of the word's sum: half of it before the word, and a tenth after it, where the noun is in English.
   Function words and punctuation marks join no phrase (`phrases`), so it ends where a noun phrase does.
3. Pairs are ranked by the magnitude of their interaction. A pair that shares a word and a patch with a
   stronger one of the same sign is the same finding and is left out. So are pairs with less than a tenth of
   the strongest interaction, and function words with less than half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from .phrases import stand_alone
from .regions import Size, grow
from .rows import Tokens
from .selection import Rows, rows_of_words

HALF = 0.5
"""Least share of the strongest value for a patch to belong to a region, of a word's sum for a word before it
to join, and of the strongest pair for a function word to be listed."""

LEAST = 0.1
"""Least share of the strongest pair for a pair to be listed, and of a word's sum for a word after it to
join."""

MOST = 4
"""Largest number of regions to look for, per word and sign."""


class Found(NamedTuple):
    """A phrase and a region: rows of the caption, patches of the grid, and their interaction.

    `alone` is True if the phrase is a function word or a punctuation mark.
    """

    rows: Rows
    patches: tuple[int, ...]
    value: float
    alone: bool


def strongest_pairs(
    values: Float[np.ndarray, "tokens rows columns"], tokens: Tokens, count: int
) -> tuple[list[Found], list[Found]]:
    """Return at most `count` pairs of each sign, positive and negative ones, strongest first.

    Parameters
    ----------
    values : np.ndarray
        Interactions.
    tokens : Tokens
        What the rows are.
    count : int
        How many pairs of each sign to return at most.
    """
    size = values.shape[1], values.shape[2]
    words = rows_of_words(tokens)
    alone = np.array(stand_alone(tokens), bool)[[rows[0] for rows in words]]
    heats = np.zeros((len(words), size[0] * size[1]))
    for word, rows in enumerate(words):
        heats[word] = values[list(rows)].sum(0, dtype=np.float64).ravel()
    positive, negative = (_pairs_of_sign(sign * heats, words, alone, size) for sign in (1, -1))
    most = max((pair.value for pair in (*positive, *negative)), default=0.0)
    return (
        _best(positive, count, most),
        [pair._replace(value=-pair.value) for pair in _best(negative, count, most)],
    )


def _pairs_of_sign(
    heats: Float[np.ndarray, "words patches"],
    words: Sequence[Rows],
    alone: Bool[np.ndarray, " words"],
    size: Size,
) -> list[Found]:
    """Return every word with each of its regions and the neighbours that join it; positive pairs only."""
    found = []
    for word, heat in enumerate(heats):
        for region in _regions_of(heat, size):
            sums = heats[:, region].sum(1)
            joining = np.where(alone | alone[word], 0, sums)
            first, end = word, word + 1
            while first > 0 and joining[first - 1] >= HALF * sums[word]:
                first -= 1
            while end < len(words) and joining[end] >= LEAST * sums[word]:
                end += 1
            rows = sorted(row for rows in words[first:end] for row in rows)
            value = float(sums[first:end].sum())
            found.append(Found(tuple(rows), tuple(region), value, bool(alone[word])))
    return found


def _regions_of(heat: Float[np.ndarray, " patches"], size: Size) -> list[list[int]]:
    regions: list[list[int]] = []
    left = heat.copy()  # what is in no region yet
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


def _best(pairs: list[Found], count: int, most: float) -> list[Found]:
    kept: list[Found] = []
    for pair in sorted(pairs, key=lambda pair: -pair.value):
        least = (HALF if pair.alone else LEAST) * most
        found = any(_overlap(pair.rows, one.rows) and _overlap(pair.patches, one.patches) for one in kept)
        if len(kept) < count and pair.value >= least and not found:
            kept.append(pair)
    return kept


def _overlap(some: tuple[int, ...], others: tuple[int, ...]) -> bool:
    return not set(some).isdisjoint(others)
