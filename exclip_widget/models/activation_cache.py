"""Cache of image activations, valid for as long as nothing about the model changes.

A reference depends on the model alone, and an image stays while its caption is edited. Neither needs to go
through the tower again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..paths.cut import Activation, Layer, read_activations
from .tower import Tower

MOST_BYTES = 2**26
"""Largest size of the cache of one tower."""

_Key = tuple[bytes, Layer]
_caches: WeakKeyDictionary[nn.Module, tuple[object, OrderedDict[_Key, Activation]]] = WeakKeyDictionary()


def cached_activations(tower: Tower, layers: Sequence[Layer], *inputs: Tensor) -> list[list[Activation]]:
    """Return the activations at `layers` for each of `inputs`, (1, ...), from the cache if possible."""
    weights = fingerprint(tower.root)
    if tower.encoder_code is None or weights is None:
        return [read_activations(layers, tower.encode, one) for one in inputs]
    model = tower.encoder_code, weights
    known, cache = _caches.get(tower.root, (None, OrderedDict()))
    if known != model:
        cache = OrderedDict()
        _caches[tower.root] = model, cache
    result = [_look_up(cache, tower, layers, one) for one in inputs]
    while len(cache) > len(layers) and sum(at.tokens.nbytes for at in cache.values()) > MOST_BYTES:
        cache.popitem(last=False)
    return result


def _look_up(
    cache: OrderedDict[_Key, Activation], tower: Tower, layers: Sequence[Layer], inputs: Tensor
) -> list[Activation]:
    """Return the activations at `layers`, and put those that are missing into `cache`."""
    key = digest(inputs)
    missing = [layer for layer in dict.fromkeys(layers) if (key, layer) not in cache]
    for at in read_activations(missing, tower.encode, inputs) if missing else ():
        cache[key, at.layer] = at
    for layer in layers:
        cache.move_to_end((key, layer))
    return [cache[key, layer] for layer in layers]


def digest(tensor: Tensor) -> bytes:
    """Return a hash of a tensor's values, shape and dtype."""
    whole = tensor.detach().cpu().contiguous()
    numbers = whole.view(torch.uint8).numpy()
    return hashlib.blake2b(f"{whole.shape} {whole.dtype}".encode() + numbers.tobytes()).digest()


def fingerprint(root: nn.Module) -> list[object] | None:
    """Return a fingerprint of a module's weights and settings; None if hooks make changes undetectable."""
    modules = list(root.modules())
    if any(map(_is_hooked, modules)):
        return None
    return [*map(_settings, modules), *map(_checksums, modules)]


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _settings(module: nn.Module) -> tuple[object, ...]:
    """Return a module's class and its plain attributes."""
    plain = {name: value for name, value in vars(module).items() if isinstance(value, _PLAIN)}
    plain.pop("training", None)  # explanations are computed in evaluation mode
    return id(module), type(module), type(module).forward, plain


_PLAIN = (bool, int, float, str, tuple)


def _checksums(module: nn.Module) -> list[float]:
    """Return the address and the sum of each weight: versions miss changes through `.data`."""
    weights = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return [float(part) for weight in weights for part in (weight.data_ptr(), weight.detach().sum())]
