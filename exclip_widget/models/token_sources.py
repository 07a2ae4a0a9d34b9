"""Token sources: which id of a caption each token at a text tower's first layer comes from.

A library's own tower makes one token of each id, in order. Prompt tuning inserts vectors of its own anywhere,
and some towers drop tokens. Which ids are replaced, and which tokens change, shows where each came from.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..paths.cut import FAULTS, Layer, is_out_of_memory, read_activations

NONE = -1
"""Source of a token that comes from no id, such as a learned prompt or a class token."""


def token_sources(
    encode: Callable[[Tensor], object],
    layer: Layer,
    ids: Int[Tensor, " ids"],
    words: Int[Tensor, " words"],
) -> Int[Tensor, " tokens"] | None:
    """Return the index of the id that each token at `layer` comes from; `NONE` if it comes from none.

    Each bit of an index takes two passes that end at the layer: ids whose index has the bit are replaced in
    one, all others in the other. A token changes in the first pass if its source has the bit, in the second
    if not, and in both if it comes from several ids.

    Parameters
    ----------
    encode : callable
        From ids, (1, ids), to an embedding.
    layer : Layer
        The tower's first layer.
    ids : Tensor
        The ids of a caption, (ids,).
    words : Tensor
        The different ids of the caption's words, (words,). Others are replaced with one of them.

    Returns
    -------
    Tensor or None
        The sources, (tokens,), or None if tokens do not come from single ids, or the passes fail.
    """

    def read(changed: Tensor) -> Tensor:
        (at,) = read_activations([layer], encode, changed[None])
        return at.tokens[0]

    word = words[0]
    another = words[1] if len(words) > 1 else word - 1 if word > 0 else word + 1
    others = torch.where(ids == word, another, word)
    found = _decoded(read, ids, others, torch.ones_like(ids, dtype=torch.bool))
    # The tower may look for the end of the caption, and put all words elsewhere if that is replaced.
    return _decoded_apart(read, ids, others, words) if found is None else found


def _decoded(
    read: Callable[[Tensor], Float[Tensor, "tokens width"]],
    ids: Int[Tensor, " ids"],
    others: Int[Tensor, " ids"],
    replaced: Bool[Tensor, " ids"],
) -> Int[Tensor, " tokens"] | None:
    """Return the sources of tokens among the ids to be `replaced`; None if that fails."""
    try:
        return _decoded_by_bits(read, ids, others, replaced)
    except FAULTS as error:
        if is_out_of_memory(error):
            raise
        return None


def _decoded_by_bits(
    read: Callable[[Tensor], Float[Tensor, "tokens width"]],
    ids: Int[Tensor, " ids"],
    others: Int[Tensor, " ids"],
    replaced: Bool[Tensor, " ids"],
) -> Int[Tensor, " tokens"] | None:
    tokens = read(ids)
    sources = torch.zeros(len(tokens), dtype=torch.long, device="cpu")
    comes_from_ids = torch.zeros(len(tokens), dtype=torch.bool, device="cpu")
    numbers = torch.arange(len(ids), device=ids.device)
    for bit in range(max(1, (len(ids) - 1).bit_length())):
        has_bit = (numbers >> bit & 1).bool()
        with_bit, without = (
            _changed(tokens, read(torch.where(chosen & replaced, others, ids)))
            for chosen in (has_bit, ~has_bit)
        )
        if with_bit is None or without is None or bool((with_bit & without).any()):
            return None
        sources += with_bit.long() << bit
        if bit and not torch.equal(comes_from_ids, with_bit | without):
            return None
        comes_from_ids = with_bit | without
    return sources.where(comes_from_ids, NONE)


def _decoded_apart(
    read: Callable[[Tensor], Float[Tensor, "tokens width"]],
    ids: Int[Tensor, " ids"],
    others: Int[Tensor, " ids"],
    words: Int[Tensor, " words"],
) -> Int[Tensor, " tokens"] | None:
    """Return the sources of tokens if ids that are no words decide where the tokens of others are.

    None of these can be replaced. Their tokens are taken to be next to those of the ids around them: that of
    the start is the first that comes from no other id, and that of the end the last one before the padding.
    """
    is_word = torch.isin(ids, words)
    sources = _decoded(read, ids, others, is_word)
    if sources is None:
        return None
    unknown = []
    for special in sorted({*ids[~is_word].tolist()}):
        chosen = ids == special
        found = _decoded(read, ids, others, chosen)
        if found is not None and not bool(((sources >= 0) & (found >= 0)).any()):
            sources = sources.where(found < 0, found)
        else:
            unknown += chosen.nonzero()[:, 0].tolist()
    for place in unknown if len(unknown) <= MOST_UNKNOWN else ():
        known = (sources >= 0).nonzero()[:, 0].tolist()
        begin = max((token + 1 for token in known if sources[token] < place), default=0)
        end = min((token for token in known if sources[token] > place), default=len(sources))
        if begin < end:
            sources[begin if begin == 0 else end - 1] = place
    return sources


MOST_UNKNOWN = 2
"""Number of ids that may decide where others are: that of the start, and that of the end."""


def _changed(
    before: Float[Tensor, "tokens width"], after: Float[Tensor, "others width"]
) -> Bool[Tensor, " tokens"] | None:
    """Return which tokens differ; None if their number does."""
    return (before != after).any(1).cpu() if before.shape == after.shape else None
