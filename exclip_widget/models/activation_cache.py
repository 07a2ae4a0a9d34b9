"""Cache of image activations, valid as long as nothing about the model changes.

A reference depends only on the model, and an image stays the same while its caption is edited, so neither
needs to go through the tower again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..paths.cut import Activation, Layer, embedding_of, read_activations
from .fingerprint import Fingerprint, digest, fingerprint
from .tower import Tower

MOST_BYTES = 2**26
"""Largest size of one tower's cache, in bytes."""

MOST_EMBEDDINGS = 256
"""Largest number of reference embeddings cached for one tower."""

_Key = tuple[bytes, Layer]


@dataclass(frozen=True, eq=False)
class _Kept:
    """The cache of one tower, valid as long as the tower does not change."""

    model: object
    activations: OrderedDict[_Key, Activation] = field(default_factory=OrderedDict)
    embeddings: dict[bytes, Tensor] = field(default_factory=dict)


_kept: WeakKeyDictionary[nn.Module, _Kept] = WeakKeyDictionary()


def _kept_of(tower: Tower, state: Fingerprint) -> _Kept:
    """Return the cache of a tower in this state, dropping that of any other state."""
    model = tower.encoder_code, state
    kept = _kept.get(tower.root)
    if kept is None or kept.model != model:
        kept = _kept[tower.root] = _Kept(model)
    return kept


def cached_activations(
    tower: Tower, layers: Sequence[Layer], *batches: Sequence[Tensor]
) -> tuple[list[list[list[Activation]]], Fingerprint | None]:
    """Return the activations at `layers` for each input, (1, ...), of each batch, from the cache if possible.

    The inputs of a batch that are not cached take one pass together. If changes to the tower cannot be
    detected, each input takes a pass of its own, because code other than the library's might mix the
    inputs of a batch.

    The second value is the fingerprint of the tower, or None if changes to it cannot be detected.
    """
    state = None if tower.encoder_code is None else fingerprint(tower.modules())
    if state is None:
        # The same pass gives the embedding that a shortcut through the last block is compared with.
        to_end = tower.last_block is not None and tower.layers[-1] in layers
        return [
            [read_activations(layers, tower.encode, one, to_end=to_end) for one in batch] for batch in batches
        ], None
    cache = _kept_of(tower, state).activations
    result = [_look_up(cache, tower, layers, batch) for batch in batches]
    while len(cache) > len(layers) and sum(at.tokens.nbytes for at in cache.values()) > MOST_BYTES:
        cache.popitem(last=False)
    return result, state


def cached_embedding(tower: Tower, state: Fingerprint | None, inputs: Tensor) -> Float[Tensor, " embed"]:
    """Return the embedding that a tower gives to one input, (1, ...), from the cache if `state` is known.

    `state` is the fingerprint that `cached_activations` returned.
    """
    if state is None:
        return embedding_of(tower.encode(inputs))[0]
    embeddings, key = _kept_of(tower, state).embeddings, digest(inputs)
    if key not in embeddings:
        if len(embeddings) >= MOST_EMBEDDINGS:
            embeddings.clear()
        embeddings[key] = embedding_of(tower.encode(inputs))[0].clone()
    return embeddings[key]


def _look_up(
    cache: OrderedDict[_Key, Activation], tower: Tower, layers: Sequence[Layer], batch: Sequence[Tensor]
) -> list[list[Activation]]:
    """Return the activations at `layers` for each input, after adding missing ones to `cache`."""
    keys = [digest(one) for one in batch]
    missing = [layer for layer in dict.fromkeys(layers) if any((key, layer) not in cache for key in keys)]
    new = {
        key: one
        for key, one in zip(keys, batch, strict=True)
        if any((key, layer) not in cache for layer in missing)
    }
    for at in read_activations(missing, tower.encode, torch.cat([*new.values()])) if missing else ():
        for key, tokens in zip(new, torch.split(at.tokens, 1), strict=True):
            # Cloned, because a view would keep the whole batch in memory.
            cache[key, at.layer] = at if len(new) == 1 else replace(at, tokens=tokens.clone())
    for key in keys:
        for layer in layers:
            cache.move_to_end((key, layer))
    return [[cache[key, layer] for layer in layers] for key in keys]
