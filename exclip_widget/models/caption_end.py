"""The end of a caption: the last of its ids that a text tower reads, confirmed by running the model.

A library pools at a token that its settings name. A user's own code may pool at any other one, such as the
last that is not padding, and nothing but its embeddings shows which.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ..paths.cut import embedding_of
from ..paths.evaluation_mode import evaluation_mode
from .shortcuts import agrees


def confirmed_end(
    model: nn.Module,
    encode: Callable[[Tensor], object],
    end_of: Callable[[Int[Tensor, " ids"]], int],
    *,
    trimmed: bool,
) -> Callable[[Int[Tensor, " ids"]], int]:
    """Return a function from a caption's ids to the index of the last one that the model reads.

    Its answer is that of `end_of` if the model confirms it, else the last id before the padding, or the first
    of the padding if that is also the end. If the model reads more, it is the last of all ids.

    Parameters
    ----------
    model : nn.Module
        The model that `encode` runs.
    encode : callable
        From ids, (1, ids), to an embedding. Any number of ids up to the context is accepted.
    end_of : callable
        From ids, (ids,), to the index of the one where the library would pool.
    trimmed : bool
        Whether `encode` pads ids to the context. Then the model must not read what comes after the end,
        whatever that is.
    """

    def embedding_of_ids(ids: Tensor) -> Tensor:
        with evaluation_mode(model):
            return embedding_of(encode(ids[None]))

    def end(ids: Tensor) -> int:
        whole = cache(lambda: embedding_of_ids(ids))
        different = (ids != ids[-1]).nonzero()
        before = int(different.max()) if len(different) else 0
        for last in dict.fromkeys((end_of(ids), before, before + 1)):
            if last + 1 >= len(ids) or ends_at(last, ids, whole):
                return min(last, len(ids) - 1)
        return len(ids) - 1

    def ends_at(last: int, ids: Tensor, whole: Callable[[], Tensor]) -> bool:
        read = ids[: last + 1]
        same = [read, _followed_by_words(read, len(ids))] if trimmed else [read]
        # Passes of another length round in another way.
        tolerance = 1e-6 if trimmed else 1e-4
        return all(
            agrees(model, "end of caption", None, lambda one=one: embedding_of_ids(one), whole, tolerance)  # type: ignore[misc]
            for one in same
        )

    return end


def _followed_by_words(read: Int[Tensor, " read"], length: int) -> Int[Tensor, " length"]:
    """Return ids followed by others of them, up to `length`: words in place of padding, and no other end."""
    end = read[-1]
    words = read[read != end]
    if not len(words):
        words = (end - 1 if end > 0 else end + 1)[None]
    count = torch.arange(length - len(read), device="cpu")
    return torch.cat([read, words[count % len(words)]])
