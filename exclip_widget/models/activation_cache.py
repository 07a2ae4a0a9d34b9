"""What a picture becomes at a layer, kept for as long as nothing about the model changes.

A reference belongs to the model, and a picture stays while its caption is edited: neither need go through
the tower again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..paths.cut import Layer, Passing, passing
from .tower import Tower

LARGEST = 2**26
"""Most bytes kept for a tower."""

_Key = tuple[bytes, Layer]
_kept: WeakKeyDictionary[nn.Module, tuple[object, OrderedDict[_Key, Passing]]] = WeakKeyDictionary()


def passing_kept(tower: Tower, layers: Sequence[Layer], *inputs: Tensor) -> list[list[Passing]]:
    """What passes each of `layers` for each of `inputs`, (1, ...): from before, or from one pass."""
    settings = state_of(tower.root)
    if tower.call is None or settings is None:
        return [passing(layers, tower.encode, one) for one in inputs]
    state = tower.call, settings
    known, found = _kept.get(tower.root, (None, OrderedDict()))
    if known != state:
        found = OrderedDict()
        _kept[tower.root] = state, found
    result = [_found(found, tower, layers, one) for one in inputs]
    while len(found) > len(layers) and sum(at.tokens.nbytes for at in found.values()) > LARGEST:
        found.popitem(last=False)
    return result


def _found(
    found: OrderedDict[_Key, Passing], tower: Tower, layers: Sequence[Layer], inputs: Tensor
) -> list[Passing]:
    """What passes each of `layers`, which `found` holds from now on, as the newest of all."""
    digest = digest_of(inputs)
    missing = [layer for layer in dict.fromkeys(layers) if (digest, layer) not in found]
    for at in passing(missing, tower.encode, inputs) if missing else ():
        found[digest, at.layer] = at
    for layer in layers:
        found.move_to_end((digest, layer))
    return [found[digest, layer] for layer in layers]


def digest_of(tensor: Tensor) -> bytes:
    """Equal for equal tensors."""
    whole = tensor.detach().cpu().contiguous()
    numbers = whole.view(torch.uint8).numpy()
    return hashlib.blake2b(f"{whole.shape} {whole.dtype}".encode() + numbers.tobytes()).digest()


def state_of(root: nn.Module) -> list[object] | None:
    """Equal for as long as nothing about a module changes; None where it may do so without a trace."""
    modules = list(root.modules())
    if any(map(_is_watched, modules)):
        return None
    return [*map(_setting, modules), *map(_checksums, modules)]


def _is_watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _setting(module: nn.Module) -> tuple[object, ...]:
    """What a module does beside its weights: its class and its plain attributes."""
    plain = {name: value for name, value in vars(module).items() if isinstance(value, _PLAIN)}
    plain.pop("training", None)  # explanations are computed in evaluation mode
    return id(module), type(module), type(module).forward, plain


_PLAIN = (bool, int, float, str, tuple)


def _checksums(module: nn.Module) -> list[float]:
    """A number for each weight: versions would not tell of changes through `.data`."""
    weights = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return [float(part) for weight in weights for part in (weight.data_ptr(), weight.detach().sum())]
