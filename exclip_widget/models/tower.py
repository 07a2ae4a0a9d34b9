"""What the engine needs to know of an encoder, whatever library it comes from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from operator import index
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from ..errors import ModelError, ParameterError
from ..paths.cut import Form, Layer, grid_of
from ..paths.last_block import LastBlock


@dataclass(frozen=True)
class Shortcut:
    """The last block of a tower by hand: what `LastBlockPath` needs.

    `block` gives it in a dtype; `row` is the index of the row that is pooled, -1 for the last one.
    """

    block: Callable[[torch.dtype], LastBlock]
    row: int


@dataclass(frozen=True, kw_only=True)
class Tower:
    """One encoder of a model, and where it can be cut.

    Attributes
    ----------
    side : {"text", "image"}
        What it encodes.
    root : nn.Module
        The module whose weights and settings its embeddings depend on.
    encode : callable
        The library's own call, from inputs (batch, ...) to embeddings (batch, embed).
    layers : tuple of Layer
        Where it can be cut, from the first to the last.
    shortcut : Shortcut or None
        Its last block by hand, where that is known to be the same.
    call : object
        What `encode` runs, as long as it is equal its outputs may be kept; None where they may not.
    """

    side: str
    root: nn.Module
    encode: Callable[[Tensor], object]
    layers: tuple[Layer, ...]
    shortcut: Shortcut | None = None
    call: object = None

    def layer(self, which: object) -> Layer:
        """The layer of an index, from 0 or, negative, from the end, or of a name; `"output"` is the end.

        Raises
        ------
        ParameterError
            Where there is no such layer, with a list of those that are.
        """
        last = self.layers[-1]
        if which == "output":
            return Layer("output", last.module, after=True, channels_last=last.channels_last)
        if isinstance(which, str):
            for layer in self.layers:
                if layer.name == which:
                    return layer
        elif isinstance(which, SupportsIndex) and not isinstance(which, bool):
            number = index(which)
            if -len(self.layers) <= number < len(self.layers):
                return self.layers[number]
        count, names = len(self.layers), ", ".join(repr(layer.name) for layer in self.layers)
        raise ParameterError(
            f"{self.side}_layer={which!r} is not a layer of the {self.side} tower: it has {count}, 0 to "
            f"{count - 1} or, from the end, -1 to {-count}; by name, {names} and 'output'"
        )


@dataclass(frozen=True, kw_only=True)
class ImageTower(Tower):
    """An image encoder, from pixels (batch, 3, height, width).

    Attributes
    ----------
    size : (int, int) or None
        Height and width it takes in pixels; None where it takes any.
    patch : (int, int) or None
        Height and width of a patch in pixels, None where that is not known.
    grid : (int, int) or None
        Rows and columns of patches, where they cannot be told from the patches' size.
    extra : int or None
        How many tokens stand before the patches; None where whatever is left over does.
    """

    size: tuple[int, int] | None
    patch: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None
    extra: int | None = None

    def known_grid(self, pixels: Tensor) -> tuple[int, int] | None:
        """Rows and columns of patches of `pixels`, (1, 3, height, width), where all layers have the same."""
        if self.grid or not self.patch:
            return self.grid
        height, width = pixels.shape[-2:]
        return height // self.patch[0], width // self.patch[1]

    def patches(self, layer: Layer, form: Form, count: int, pixels: Tensor) -> tuple[int, int, int]:
        """Rows and columns of the patches among `count` tokens, and the number of the first one.

        Raises
        ------
        ModelError
            Where the tokens are no grid.
        """
        if form.map:
            return (*form.map, 0)
        height, width = pixels.shape[-2:]
        grid = self.known_grid(pixels) or grid_of(count, height, width)
        if grid is None:
            raise ModelError(
                f"the {count} tokens at layer {layer.name!r} are no grid of patches of a picture of "
                f"{height} x {width} pixels; name a layer that holds one, or its grid by DualEncoder(grid=)"
            )
        rows, columns = grid
        first = count - rows * columns if self.extra is None else self.extra
        if first < 0 or first + rows * columns > count:
            raise ModelError(
                f"layer {layer.name!r} holds {count} tokens; expected a grid of {rows} x {columns}"
            )
        return rows, columns, first


@dataclass(frozen=True, kw_only=True)
class TextTower(Tower):
    """A text encoder, from token ids (batch, tokens).

    Attributes
    ----------
    context_length : int
        Most tokens a caption can have.
    vocabulary : int
        Number of token ids.
    padded : bool
        Whether it must be given captions padded to its context, and reads the padding.
    appended : int
        How many tokens of its own, such as a class token, it puts behind a caption's.
    end_of : callable
        From ids, (tokens,), to the index of the last one that counts, where it is not padded.
    """

    context_length: int
    vocabulary: int
    padded: bool
    appended: int = 0
    end_of: Callable[[Tensor], int]


def call_of(model: nn.Module, method: str) -> object:
    """The function that a method of the model runs; None where one was put in its place."""
    return None if method in vars(model) else getattr(type(model), method)


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The longest chain of modules of one kind inside a tower: the layers of any transformer."""
    chains = [
        list(part)
        for part in module.modules()
        if isinstance(part, (nn.ModuleList, nn.Sequential)) and len({type(member) for member in part}) == 1
    ]
    return max(chains, key=len, default=[])


def named_layers(model: nn.Module, modules: Any, *, channels_last: bool = False) -> tuple[Layer, ...]:
    """Layers at the inputs of `modules`, by their names in the model."""
    names = {id(module): name for name, module in model.named_modules()}
    return tuple(Layer(names[id(module)], module, channels_last=channels_last) for module in modules)


def is_as_written(module: nn.Module, method: str = "forward") -> bool:
    """Whether a module runs its library's own code: no hooks, nothing patched, no class of its owner's."""
    function = getattr(type(module), method, None)
    library = getattr(function, "__module__", "").partition(".")[0]
    hooks = module._forward_hooks or module._forward_pre_hooks
    return not hooks and method not in vars(module) and library in LIBRARIES


LIBRARIES = ("torch", "open_clip", "clip", "timm", "transformers")


def exactly(module: nn.Module, dtype: torch.dtype) -> Any:
    """`module` itself where it computes in `dtype`, a copy that does where it does not."""
    if computes_in(module, dtype):
        return module
    return copy.deepcopy(module).to(dtype)


def computes_in(module: nn.Module, dtype: torch.dtype) -> bool:
    """Whether autograd can go through the module in `dtype` as it is."""
    weights = [weight for weight in module.parameters() if weight.is_floating_point()]
    return all(weight.dtype == dtype and not weight.is_inference() for weight in weights)


def exact(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """`weight` without its history, in `dtype`; a copy where autograd could not use it."""
    return (weight.clone() if weight.is_inference() else weight.detach()).to(dtype)
