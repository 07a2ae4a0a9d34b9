"""Masking tests: the predicted effect of masking a selection, and its actual effect on the model.

The prediction is a sum of interactions. Running the model with the selection masked shows whether it is
right. Masked tokens and patches are replaced by the reference's before the first block, so that no trace of
them is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from .checks import whole_number
from .errors import ParameterError, named_type
from .methods.side import Side
from .results.interactions import Interactions
from .results.matching import require_same_width
from .results.origin import View
from .results.rows import Grid, Rows, Tokens


@dataclass(frozen=True)
class MaskingTest:
    """The predicted and the actual effect of masking a selection.

    Attributes
    ----------
    tokens, region : tuple of int
        What was masked.
    predicted, actual : float
        Change in cosine similarity according to the interactions, and according to the model. If both tokens
        and patches were masked: the part of the change that neither accounts for alone.
    label : str
        Description of the selection.
    """

    tokens: tuple[int, ...]
    region: tuple[int, ...]
    predicted: float
    actual: float
    label: str


def check_selection(
    interactions: Interactions, tokens: Sequence[int], region: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return both parts of a selection, sorted and without duplicates.

    Raises
    ------
    ParameterError
        If both are empty, one is not a list, or a number is out of range.
    """
    if not isinstance(interactions, Interactions):
        raise ParameterError(f"interactions is {named_type(interactions)}; expected what explain returns")
    count, rows, columns = interactions.values.shape
    found = []
    for name, given, most in (("tokens", tokens, count), ("region", region, rows * columns)):
        if not isinstance(given, Iterable):
            raise ParameterError(f"{name}={given!r:.80} is not a list; give one number as a list of one")
        chosen = sorted({whole_number(name, number, least=0) for number in given})
        if chosen and chosen[-1] >= most:
            raise ParameterError(f"{name} has {chosen[-1]}; expected numbers from 0 to {most - 1}")
        found.append(tuple(chosen))
    if not any(found):
        raise ParameterError("nothing is selected: neither tokens nor patches")
    return found[0], found[1]


def require_same_words(interactions: Interactions, rows: Rows) -> None:
    """Require that a caption has the words now that its interactions were computed for.

    Raises
    ------
    ParameterError
        If the tokenizer gives others.
    """
    assert isinstance(rows, Tokens)
    before, now = _words_by_row(interactions.rows), _words_by_row(rows)
    if before != now:
        raise ParameterError(
            f"interactions are of the tokens {' '.join(before.values())!r:.200}, and the tokenizer now gives "
            f"{' '.join(now.values())!r:.200}; explain the caption again"
        )


def require_same_image(interactions: Interactions, view: View | None) -> None:
    """Require that an image is the one that interactions were computed for, as far as both are known.

    Raises
    ------
    ParameterError
        If it has another size or other pixels.
    """
    there = interactions.view
    if there is not None and view is not None and there.is_of_another_image(view):
        sizes = ["{} x {}".format(*one.size) for one in (there, view)]
        said = f"{sizes[1]} pixels, not {sizes[0]}" if sizes[0] != sizes[1] else "other pixels"
        raise ParameterError(
            f"the image is not the one in which {interactions.caption!r:.80} was explained: it has {said}; "
            "give that image, or explain this one"
        )


def _words_by_row(rows: Tokens) -> dict[int, str]:
    return {
        row: text for row, (text, word) in enumerate(zip(rows.texts, rows.words, strict=True)) if word >= 0
    }


def predicted_change(interactions: Interactions, tokens: Sequence[int], region: Sequence[int]) -> float:
    """Return the change in similarity that the interactions predict for masking a selection.

    Masking tokens removes their interactions with every part of the image, and their own terms. Masking
    patches does the same with the roles swapped. If both are selected, the second difference is the sum of
    their interactions with each other.
    """
    values = interactions.values.reshape(len(interactions.rows), -1).astype(np.float64)
    of_tokens, of_patches = own_terms_or_zeros(interactions)
    if not region:
        others = interactions.cls[list(tokens)].astype(np.float64)
        return -float(values[list(tokens)].sum() + others.sum() + of_tokens[list(tokens)].sum())
    if not tokens:
        return -float(values[:, list(region)].sum() + of_patches[list(region)].sum())
    return float(values[np.ix_(tokens, region)].sum())


def predicted_similarities(
    interactions: Interactions,
    tokens: Bool[np.ndarray, "masks tokens"],
    patches: Bool[np.ndarray, "masks rows columns"],
) -> Float[np.ndarray, " masks"]:
    """Return the similarities that the interactions predict if only some tokens and patches are present.

    Parameters
    ----------
    interactions : Interactions
        Interactions of the whole pair.
    tokens, patches : np.ndarray
        Which rows of the caption, and which patches of the grid of `interactions`, each mask leaves present.
    """
    some, others = tokens.astype(np.float64), patches.reshape(len(patches), -1).astype(np.float64)
    values = interactions.values.reshape(len(interactions.rows), -1).astype(np.float64)
    of_tokens, of_patches = own_terms_or_zeros(interactions)
    by_token = interactions.cls.astype(np.float64) + of_tokens
    left = ((some @ values) * others).sum(1) + some @ by_token + others @ of_patches
    whole = values.sum() + by_token.sum() + of_patches.sum()
    predicted: np.ndarray = interactions.similarity + left - whole
    return predicted


def own_terms_or_zeros(
    interactions: Interactions,
) -> tuple[Float[np.ndarray, " tokens"], Float[np.ndarray, " patches"]]:
    """Return the own terms of tokens and patches; zeros if the method does not compute them."""
    tokens, patches = interactions.token_terms, interactions.patch_terms
    if tokens is None or patches is None:
        return np.zeros(len(interactions.rows)), np.zeros(len(interactions.grid))
    return tokens.astype(np.float64), patches.ravel().astype(np.float64)


def read_masks(name: str, given: ArrayLike, axes: Sequence[str]) -> Bool[np.ndarray, "..."]:
    """Return masks as an array of their own.

    Raises
    ------
    ParameterError
        If they are not booleans, or do not have these axes.
    """
    try:
        masks = np.array(np.asarray(given), order="C")  # torch takes no negative strides
    except (TypeError, ValueError):  # such as lists of different lengths
        masks = np.array(None)
    if masks.dtype != bool or masks.ndim != len(axes):
        shape = getattr(given, "shape", None)
        said = f"of {masks.dtype} {masks.shape}" if shape is not None else named_type(given)
        raise ParameterError(f"{name} is {said}; expected an array of booleans, ({', '.join(axes)})")
    return masks


def patches_as_tokens(
    image: Side, patches: Bool[np.ndarray, "masks rows columns"]
) -> Bool[np.ndarray, "masks tokens"]:
    """Return which tokens of a side are present, given the patches of another grid over the same image.

    A token belongs to the patch that contains its centre. Tokens that are not patches are always present.
    """
    assert isinstance(image.rows, Grid)
    present = np.ones((len(patches), len(image.tokens)), bool)
    there = on_grid(patches, image.rows.rows, image.rows.columns)
    present[:, image.rows.patches] = there.reshape(len(patches), -1)
    return present


def on_grid(
    patches: Bool[np.ndarray, "masks have_rows have_columns"], rows: int, columns: int
) -> Bool[np.ndarray, "masks rows columns"]:
    """Return masks of patches resampled to another grid over the same image, at its patches' centres."""
    down, across = (
        ((np.arange(count) + 0.5) * have / count).astype(int)
        for count, have in zip((rows, columns), patches.shape[1:], strict=True)
    )
    return patches[:, down[:, None], across]


def actual_change(
    text: Side, image: Side, tokens: Sequence[int], region: Sequence[int], grid: tuple[int, int]
) -> float:
    """Return the change in similarity when the model runs with a selection masked.

    Parameters
    ----------
    text, image : Side
        Both sides, at the first layer of their towers.
    tokens, region : sequence of int
        Rows of the caption, and patches of `grid`.
    grid : (int, int)
        Rows and columns of a grid over the same image as the grid of `image`. A patch of `image` is masked if
        its centre lies in a selected patch.
    """
    # The similarity is a product of the two sides, so two runs of each give all four combinations.
    without_region = np.ones((2, *grid), bool)
    without_region[1].flat[list(region)] = False
    without_tokens = np.ones((2, len(text.tokens)), bool)
    without_tokens[1] = ~np.isin(text.row_index.numpy(), tokens)
    captions = text.embed_masked(torch.from_numpy(without_tokens))
    images = image.embed_masked(torch.from_numpy(patches_as_tokens(image, without_region)))
    require_same_width(captions.shape[1], images.shape[1])
    similarity = (captions @ images.T).double().tolist()
    whole, region_gone = similarity[0]
    tokens_gone, both_gone = similarity[1]
    if tokens and region:
        return float(whole - tokens_gone - region_gone + both_gone)
    return float(both_gone - whole)


def describe_selection(interactions: Interactions, tokens: Sequence[int], region: Sequence[int]) -> str:
    """Describe a selection: the selected words of the caption, then the number of patches."""
    parts = [" … ".join(_phrase(interactions, run) for run in _runs(tokens))] if tokens else []
    if region:
        parts.append(f"{len(region)} patch{'es' if len(region) > 1 else ''}")
    return " × ".join(parts)


def _phrase(interactions: Interactions, run: Sequence[int]) -> str:
    spans = [interactions.spans[row] for row in run]
    known = [span for span in spans if span is not None]
    if len(known) < len(spans):  # special tokens are not in the caption
        return " ".join(interactions.tokens[row] for row in run)
    return interactions.caption[known[0][0] : known[-1][1]]


def _runs(numbers: Iterable[int]) -> list[list[int]]:
    """Sort numbers and split them into runs without gaps."""
    ordered = sorted(numbers)
    cuts = [at for at, (one, following) in enumerate(pairwise(ordered), 1) if following > one + 1]
    return [ordered[start:end] for start, end in zip([0, *cuts], [*cuts, len(ordered)], strict=True)]
