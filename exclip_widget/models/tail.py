"""What follows attention in a tower's last block, split into its parts if they are the usual ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..paths.last_block import Norm, Tail
from .tower import module_in, weight_in

_LAYER_NORMS = {
    ("torch.nn.modules.normalization", "LayerNorm"),
    *(("open_clip.transformer", name) for name in ("LayerNorm", "LayerNormFp32")),
    ("clip.model", "LayerNorm"),
}
"""Classes that compute torch's LayerNorm, in at least float32."""

_NOTHING = (nn.Dropout, nn.Identity)
"""Layers that do nothing in evaluation mode."""


def tail_of(
    norm: nn.Module,
    mlp: Sequence[nn.Module],
    scale: Tensor | None,
    final_norm: nn.Module,
    projection: Any,
    dtype: torch.dtype,
) -> Tail | Callable[[Tensor], Tensor]:
    """Return the map from the pooled row after attention to the embedding; a `Tail` if its parts are usual.

    Parameters
    ----------
    norm : nn.Module
        LayerNorm before the perceptron.
    mlp : sequence of nn.Module
        The perceptron's layers, in the order in which they run.
    scale : Tensor, optional
        Factor of the perceptron's output, (width,).
    final_norm : nn.Module
        LayerNorm after the block.
    projection : Tensor, nn.Module or None
        From there to the embedding; a tensor is a matrix, (width, embed).
    dtype : torch.dtype
        The dtype to compute in.
    """
    layers = [layer for layer in (norm, *mlp) if type(layer) not in _NOTHING]
    parts = [module_in(layer, dtype) for layer in layers]
    final = module_in(final_norm, dtype)
    gamma = None if scale is None else weight_in(scale, dtype)
    project, matrix = _projection(projection, dtype)

    def whole(row: Tensor) -> Tensor:
        added = row
        for part in parts:
            added = part(added)
        embedding: Tensor = project(final(row + (added if gamma is None else added * gamma)))
        return embedding

    is_known = projection is None or matrix is not None
    if not is_known or not _are_usual(parts) or not _is_layer_norm(final):
        return whole
    ln, up, activation, down = parts
    weight, bias = weight_in(down.weight, dtype), down.bias
    bias = torch.zeros_like(weight[:, 0]) if bias is None else weight_in(bias, dtype)
    return Tail(
        whole=whole,
        norm_1=_norm(ln, weight),
        inner=nn.Sequential(ln, up),
        up=weight_in(up.weight, dtype),
        activation=activation,
        down=weight if gamma is None else gamma[:, None] * weight,
        down_bias=bias if gamma is None else gamma * bias,
        norm_2=_norm(final, weight),
        projection=matrix,
    )


def _are_usual(parts: Sequence[nn.Module]) -> bool:
    """Return whether these are a LayerNorm and a perceptron of two linear maps."""
    if len(parts) != 4:
        return False
    norm, up, activation, down = parts
    linear = type(up) is nn.Linear and type(down) is nn.Linear
    return (
        linear and _is_layer_norm(norm) and not _is_layer_norm(activation) and not [*activation.parameters()]
    )


def _is_layer_norm(module: nn.Module) -> bool:
    kind = type(module)
    is_known = (kind.__module__, kind.__name__) in _LAYER_NORMS
    return is_known and isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1


def _norm(module: Any, like: Tensor) -> Norm:
    weight = module.weight
    ones = like.new_ones(module.normalized_shape)
    return Norm(ones if weight is None else weight_in(weight, like.dtype), module.eps)


def _projection(projection: Any, dtype: torch.dtype) -> tuple[Callable[[Tensor], Tensor], Tensor | None]:
    """Return a projection as a function, and its matrix, (width, embed), if it is known to be linear."""
    if projection is None:
        return nn.Identity(), None
    if isinstance(projection, nn.Module):
        is_linear = type(projection) is nn.Linear
        module: Any = module_in(projection, dtype)
        return module, weight_in(module.weight, dtype).T if is_linear else None
    matrix = weight_in(projection, dtype)
    return lambda row: row @ matrix, matrix
