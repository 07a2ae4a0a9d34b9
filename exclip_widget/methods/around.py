"""What goes around the layer: how an embedding changes with the input, while the tokens at the layer do not.

A path holds all that is not in the tokens at the layer as it is for the input. So the change along it lacks
what goes around the layer, such as a skip connection from before it or a second model.
"""

from __future__ import annotations

from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..paths.cut import Cut

SAME = 1e-4
"""Largest relative difference that rounding makes, in float32."""


def change_around(
    cut: Cut,
    reference: Float[Tensor, "tokens width"],
    reference_inputs: Tensor,
    others: Tensor | None = None,
) -> Float[Tensor, " embed"] | None:
    """Return how the embedding of the reference's tokens changes from the reference to the input.

    Takes a pass for each of the inputs that are compared.

    Parameters
    ----------
    cut : Cut
        The rest of the tower, for the input.
    reference : Tensor
        The reference's tokens at the layer.
    reference_inputs : Tensor
        What the tower receives for the reference.
    others : Tensor, optional
        Inputs that differ from the given one only in what must not go around the layer. A caption's length
        and its end may: the tower pools there all along the path.

    Returns
    -------
    Tensor or None
        None if it does not change.
    """
    tokens = reference[None]
    (held,) = cut(tokens)
    if others is not None and _are_same(cut.given(others)(tokens)[0], held):
        return None
    (own,) = cut.given(reference_inputs)(tokens)
    return None if _are_same(own, held) else held - own


def _are_same(one: Float[Tensor, " embed"], other: Float[Tensor, " embed"]) -> bool:
    least = max(SAME, torch.finfo(other.dtype).eps)
    return bool((one - other).norm() <= least * other.norm())


def with_other_words(
    ids: Int[Tensor, " ids"], words: Int[Tensor, " words"], reference: Int[Tensor, " others"], vocabulary: int
) -> Int[Tensor, " ids"]:
    """Return the ids of a caption of as many words that are all the same one.

    If the caption's own are, they become one that it does not have.

    Parameters
    ----------
    ids, words, reference : Tensor
        Ids of the caption, the different ids of its words, and ids of the reference caption.
    vocabulary : int
        Number of ids.
    """
    word = int(words[0])
    if len(words) == 1:
        taken = {*ids.tolist(), *reference.tolist()}
        free = chain(range(word - 1, -1, -1), range(word + 1, vocabulary))
        word = next((one for one in free if one not in taken), word)
    return torch.where(torch.isin(ids, words.to(ids.device)), word, ids)
