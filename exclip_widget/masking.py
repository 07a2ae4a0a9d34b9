"""Masking: what a selection is predicted to change, and what does change when the model is run without it.

A prediction is a sum of interactions; it can be held against the model itself. Masked tokens and patches
are replaced by the reference's before the first block, so nothing of them is left anywhere in the tower.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .errors import ParameterError
from .methods.side import Side
from .options import whole
from .results.interactions import Interactions
from .results.rows import Grid


@dataclass(frozen=True)
class Trial:
    """A selection, masked.

    Attributes
    ----------
    tokens, region : tuple of int
        What was masked.
    predicted, actual : float
        Change of the cosine similarity: what the interactions say, and what the model does. Where both
        tokens and patches are masked, the part of it that neither alone accounts for.
    label : str
        The selection in words.
    """

    tokens: tuple[int, ...]
    region: tuple[int, ...]
    predicted: float
    actual: float
    label: str


def rows_chosen(
    interactions: Interactions, tokens: Sequence[int], region: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Both selections, sorted and without repeats.

    Raises
    ------
    ParameterError
        Where both are empty, or a number is out of range.
    """
    count, rows, columns = interactions.values.shape
    found = []
    for name, given, most in (("tokens", tokens, count), ("region", region, rows * columns)):
        chosen = sorted({whole(name, number, least=0) for number in given})
        if chosen and chosen[-1] >= most:
            raise ParameterError(f"{name} has {chosen[-1]}; expected numbers from 0 to {most - 1}")
        found.append(tuple(chosen))
    if not any(found):
        raise ParameterError("nothing is selected: neither tokens nor patches")
    return found[0], found[1]


def predicted_change(interactions: Interactions, tokens: Sequence[int], region: Sequence[int]) -> float:
    """Change of the similarity by masking, as the interactions have it.

    Without the tokens goes all that they have with any part of the picture, and the other way round. With
    both selected, their second difference is the sum of what they have with each other.
    """
    values = interactions.values.reshape(len(interactions.tokens), -1).astype(np.float64)
    if not region:
        others = interactions.cls[list(tokens)].astype(np.float64)
        return -float(values[list(tokens)].sum() + others.sum())
    if not tokens:
        return -float(values[:, list(region)].sum())
    return float(values[np.ix_(tokens, region)].sum())


def change_by_masking(
    text: Side, image: Side, tokens: Sequence[int], region: Sequence[int], grid: Sequence[int]
) -> float:
    """Change of the similarity when the model is run with what is selected masked.

    Parameters
    ----------
    text, image : Side
        Both at the first layer of their towers.
    tokens, region : sequence of int
        Rows of the caption, and patches of a grid of `grid` = (rows, columns), which covers the picture as
        that of `image` does: whatever has its centre in a selected patch is masked.
    """
    # The sides meet in a product alone: all four combinations are products of two runs of each.
    captions = _runs(text, np.isin(text.owners.numpy(), tokens))
    pictures = _runs(image, _covered(image, region, grid))
    similarity = (captions @ pictures.T).double().tolist()
    whole, without_region = similarity[0]
    without_tokens, without_both = similarity[1]
    if tokens and region:
        return float(whole - without_tokens - without_region + without_both)
    return float(without_both - whole)


def _runs(side: Side, masked: np.ndarray) -> Tensor:
    """Unit embeddings, (2, embed), of the side as it is, and with the reference's tokens where `masked`."""
    present = torch.from_numpy(np.stack([np.zeros_like(masked), masked])).logical_not()
    return side.masked(present)


def _covered(image: Side, region: Sequence[int], grid: Sequence[int]) -> np.ndarray:
    """Which tokens of the side lie in the selected patches of another grid over the same picture."""
    assert isinstance(image.labels, Grid)
    own = (image.labels.rows, image.labels.columns)
    row, column = (
        ((np.arange(count) + 0.5) * wanted / count).astype(int)
        for count, wanted in zip(own, grid, strict=True)
    )
    masked = np.zeros(len(image.tokens), bool)
    masked[image.labels.patches] = np.isin(row[:, None] * grid[1] + column, region).ravel()
    return masked


def described(interactions: Interactions, tokens: Sequence[int], region: Sequence[int]) -> str:
    """A selection in words: the caption's own, then how many patches."""
    parts = [" … ".join(_phrase(interactions, run) for run in _runs_of(tokens))] if tokens else []
    if region:
        parts.append(f"{len(region)} patch{'es' if len(region) > 1 else ''}")
    return " × ".join(parts)


def _phrase(interactions: Interactions, run: Sequence[int]) -> str:
    spans = [interactions.spans[row] for row in run]
    known = [span for span in spans if span is not None]
    if len(known) < len(spans):  # special tokens stand in no caption
        return " ".join(interactions.tokens[row] for row in run)
    return interactions.caption[known[0][0] : known[-1][1]]


def _runs_of(numbers: Iterable[int]) -> list[list[int]]:
    """Sorted numbers in runs without gaps."""
    ordered = sorted(numbers)
    cuts = [at for at, (one, next_) in enumerate(pairwise(ordered), 1) if next_ > one + 1]
    return [ordered[start:end] for start, end in zip([0, *cuts], [*cuts, len(ordered)], strict=True)]
