"""Stems: the first part of an image transformer, which makes the grid of patches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..paths.cut import FAULTS, Layer, is_out_of_memory, read_activations
from ..paths.evaluation_mode import evaluation_mode
from .as_written import is_as_written

GridOf = Callable[[int, int], tuple[int, int] | None]
"""From height and width in pixels to rows and columns of patches; None if they are unknown."""


def grid_after(
    model: nn.Module, tower: nn.Module, stem: nn.Module, encode: Callable[[Tensor], object]
) -> GridOf:
    """Return the map from the size of an image to the grid that the stem of a tower makes of it.

    It is computed if the stem is one plain convolution of a tower as its library wrote it, and otherwise read
    from the output of the stem: there may be several convolutions, one after another or side by side.
    """
    if _is_plain_convolution(stem) and is_as_written(tower) and is_as_written(stem):
        return lambda height, width: _after_convolution(stem, (height, width))
    seen: dict[tuple[int, int], tuple[int, int] | None] = {}

    def grid_of(height: int, width: int) -> tuple[int, int] | None:
        size = height, width
        if size not in seen:
            with evaluation_mode(model):
                seen[size] = _measured(stem, encode, torch.zeros(1, 3, *size, device="cpu"))
        return seen[size]

    return grid_of


def _is_plain_convolution(stem: nn.Module) -> bool:
    return type(stem) is nn.Conv2d and not isinstance(stem.padding, str)


def _after_convolution(stem: Any, size: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns that a convolution makes of an image."""
    rows, columns = (
        (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for side, padding, dilation, kernel, stride in zip(
            size, stem.padding, stem.dilation, stem.kernel_size, stem.stride, strict=True
        )
    )
    return rows, columns


def patch_size_of(modules: Iterable[nn.Module]) -> tuple[int, int] | None:
    """Return the height and width in pixels of the patches into which the stem among modules cuts an image.

    The stem is the first convolution that looks at more than one pixel. None if its patches overlap.
    """
    for stem in modules:
        if isinstance(stem, nn.Conv2d) and stem.kernel_size != (1, 1):
            is_padded = stem.padding not in ((0, 0), "valid")
            if is_padded or stem.kernel_size != stem.stride or stem.dilation != (1, 1):
                return None
            height, width = stem.kernel_size
            return height, width
    return None


def _measured(stem: nn.Module, encode: Callable[[Tensor], object], pixels: Tensor) -> tuple[int, int] | None:
    """Return the rows and columns of a stem's output; None if it gives no feature map."""
    try:
        (at,) = read_activations([Layer("stem", stem, after=True)], encode, pixels)
    except FAULTS as error:
        if is_out_of_memory(error):
            raise
        return None  # if the model itself fails, it does so again with the image
    return at.layout.map
