"""Baselines to compare every score with: maps that know nothing, little, or the truth.

Each takes an explanation and the mentions of its pair with their cover, and returns a map of the same shape,
which can be scored in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..checks import random_seed
from ..results.interactions import Interactions
from .pairs import Mention
from .plausibility import Baseline, with_values

BLOB_WIDTH = 0.25
"""Standard deviation of the blob, as a fraction of the image's sides."""


def chance(seed: int = 0) -> Baseline:
    """Return a baseline of random maps with both signs: the chance level of signed maps."""
    rng = np.random.default_rng(random_seed(seed))

    def draw(result: Interactions, known: Sequence[tuple[Mention, np.ndarray]]) -> Interactions:
        del known
        return with_values(result, rng.standard_normal(result.values.shape))

    return draw


def blob(result: Interactions, known: Sequence[tuple[Mention, np.ndarray]]) -> Interactions:
    """Return a bell curve in the middle of the image, the same for every word; centred data reward this."""
    del known
    rows, columns = (
        np.exp(-(((np.arange(count) + 0.5) / count - 0.5) ** 2) / (2 * BLOB_WIDTH**2))
        for count in result.values.shape[1:]
    )
    return with_values(result, np.broadcast_to(np.outer(rows, columns), result.values.shape))


def oracle(result: Interactions, known: Sequence[tuple[Mention, np.ndarray]]) -> Interactions:
    """Return maps made from the true masks: the best possible scores on this grid of patches."""
    values = np.zeros(result.values.shape)
    for mention, shares in known:
        tokens = mention.tokens_of(result.rows)
        values[tokens] += shares / max(1, len(tokens))
    return with_values(result, values)


def inverted(result: Interactions, known: Sequence[tuple[Mention, np.ndarray]]) -> Interactions:
    """Return the explanation with its signs flipped, which should score worst."""
    del known
    return with_values(result, -result.values)
