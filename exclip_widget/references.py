"""References: where the path to an input starts. They belong to the model, so they are computed once.

Exclip's choice: a picture that is all zeros after normalisation, and a caption of a single padding token.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .caption import Tokenizer, token_ids
from .towers import ImageTower, TextTower

_kept: WeakKeyDictionary[nn.Module, tuple[object, Tensor]] = WeakKeyDictionary()


def reference_picture(tower: ImageTower, layer: int) -> Tensor:
    """Tokens of the all-zero picture at the input of block `layer`, (1 + patches, width)."""
    pixels = torch.zeros(1, 3, *tower.size)
    return _keep(tower.visual, (layer,), lambda: tower.tokens(pixels, layer))


def reference_caption(tower: TextTower, tokenizer: Tokenizer, layer: int) -> Tensor:
    """Tokens of `<sot> <pad> <eot>`, padded, at the input of block `layer`, (context length, width).

    exclip follows the path at the caption's own end-of-text position, so all positions are kept.
    """
    start, end, pad = token_ids("", tokenizer, tower)[:3].tolist()
    ids = torch.full((tower.context_length,), pad)
    ids[0], ids[2] = start, end
    return _keep(tower.text, (layer, start, end, pad), lambda: tower.tokens(ids, layer))


def _keep(module: nn.Module, inputs: object, compute: Callable[[], Tensor]) -> Tensor:
    """What `compute` gives, kept for as long as nothing about `module` changes."""
    # The text tower's parts may lie on the model itself, with `visual` beside them.
    modules = [part for name, part in module.named_modules() if name.partition(".")[0] != "visual"]
    state = (inputs, *map(_setting, modules), *map(_checksums, modules))
    kept = _kept.get(module)
    if kept is None or kept[0] != state:
        _kept[module] = kept = (state, compute())
    return kept[1]


def _setting(module: nn.Module) -> tuple[object, ...]:
    """What a module does beside its weights: its class, its hooks and its plain attributes."""
    plain = {name: value for name, value in vars(module).items() if isinstance(value, _PLAIN)}
    del plain["training"]  # explanations are computed in evaluation mode
    hooks = (*module._forward_hooks, *module._forward_pre_hooks)
    return id(module), type(module), "forward" in vars(module), hooks, plain


_PLAIN = (bool, int, float, str, tuple)


def _checksums(module: nn.Module) -> list[float]:
    """A number for each weight: versions would not tell of changes through `.data`."""
    weights = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return [float(part) for weight in weights for part in (weight.data_ptr(), weight.detach().sum())]
