"""Cutting a tower at a layer: read the tokens that pass there, or run on from other ones.

A tower is run by its library's own call, whole, with a hook at the layer for as long as one pass takes. So
whatever the model does, and whatever its owner has put around it, is what is explained.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .onednn import fast_products


@dataclass(frozen=True)
class Layer:
    """A place where a tower can be cut: the input of `module`, or its output.

    Attributes
    ----------
    name : str
        The module's path in the model; `"output"` for the output of the last layer.
    module : nn.Module
        The module.
    after : bool
        Whether the cut is at the module's output.
    channels_last : bool
        Whether a feature map here is (batch, rows, columns, width) and not (batch, width, rows, columns).
    """

    name: str
    module: nn.Module
    after: bool = False
    channels_last: bool = False


@dataclass(frozen=True)
class Form:
    """How a module holds its tokens; `axes` puts them in order: batch, rows and columns or tokens, width.

    `map` is the rows and columns of a feature map, None for a sequence.
    """

    axes: tuple[int, ...]
    map: tuple[int, int] | None

    @classmethod
    def of(cls, layer: Layer, native: Tensor, batch: int) -> Form:
        """The form of what was found at `layer` while the tower ran on `batch` inputs."""
        if native.ndim == 4 and len(native) == batch:
            axes = (0, 1, 2, 3) if layer.channels_last else (0, 2, 3, 1)
            return cls(axes, (native.shape[axes[1]], native.shape[axes[2]]))
        if native.ndim == 3 and batch in native.shape[:2]:
            return cls((0, 1, 2) if len(native) == batch else (1, 0, 2), None)
        raise ModelError(
            f"layer {layer.name!r} takes a tensor of shape {tuple(native.shape)} for {batch} input"
            f"{'s' * (batch > 1)}; expected (batch, tokens, width) or (batch, width, rows, columns)"
        )

    def tokens(self, native: Tensor) -> Tensor:
        """From the module's own form to (batch, tokens, width)."""
        return native.permute(self.axes).flatten(1, -2)

    def native(self, tokens: Tensor) -> Tensor:
        """From (batch, tokens, width) to the module's own form."""
        ordered = tokens if self.map is None else tokens.reshape(len(tokens), *self.map, -1)
        return ordered.permute(tuple(map(self.axes.index, range(len(self.axes)))))


@dataclass(frozen=True)
class Passing:
    """What passes a layer while a tower runs: `tokens`, (batch, tokens, width), held in `form`."""

    layer: Layer
    tokens: Tensor
    form: Form


def passing(layers: Sequence[Layer], encode: Callable[[Tensor], object], inputs: Tensor) -> list[Passing]:
    """What passes each of `layers` while `encode` runs on `inputs`, (batch, ...): one pass, as far as needed.

    Raises
    ------
    ModelError
        Where a layer is not reached, or holds something else than tokens or a feature map.
    """
    found: dict[Layer, Tensor] = {}

    def read(layer: Layer) -> Callable[[Tensor], None]:
        def note(native: Tensor) -> None:
            found[layer] = native.clone()  # what follows may write into it
            if len(found) == len(set(layers)):
                raise _Reached

        return note

    with _watching({layer: read(layer) for layer in layers}), fast_products(), suppress(_Reached):
        encode(inputs)
    for layer in layers:
        if layer not in found:
            raise ModelError(f"layer {layer.name!r} is never run by the model's encoder")
    return [_passing(layer, found[layer], len(inputs)) for layer in layers]


def _passing(layer: Layer, native: Tensor, batch: int) -> Passing:
    form = Form.of(layer, native, batch)
    tokens = form.tokens(native)
    if not torch.isfinite(tokens).all():
        raise ModelError(f"activations are NaN or infinite at layer {layer.name!r}")
    return Passing(layer, tokens, form)


class Cut:
    """The rest of a tower from a layer on, for one input: from tokens there to the embedding.

    Parameters
    ----------
    encode : callable
        From inputs to embeddings, (batch, embed).
    inputs : Tensor
        One input, (1, ...).
    layer, form : Layer and Form
        Where to cut, and how the tokens are held there.
    """

    def __init__(self, encode: Callable[[Tensor], object], inputs: Tensor, layer: Layer, form: Form) -> None:
        self._encode = encode
        self._inputs = inputs
        self._layer = layer
        self._form = form
        self._whole = False

    def __call__(self, tokens: Tensor) -> Tensor:
        """Embeddings, (batch, embed), of `tokens`, (batch, tokens, width).

        Raises
        ------
        ModelError
            Where the tower runs the layer more than once, or does not give an embedding for each.
        """
        batch = len(tokens)
        if not self._whole:
            # Up to the layer one input will do, unless the tower has counted them before.
            try:
                embedding = self._run(self._inputs, tokens)
                if embedding.ndim == 2 and len(embedding) == batch:
                    return embedding
            except (RuntimeError, ValueError, IndexError, AssertionError):
                if batch == 1:
                    raise
            self._whole = True
        embedding = self._run(self._inputs.expand(batch, *self._inputs.shape[1:]), tokens)
        if embedding.ndim != 2 or len(embedding) != batch:
            raise ModelError(
                f"the encoder gave shape {tuple(embedding.shape)} for {batch} inputs; "
                f"expected embeddings, ({batch}, width)"
            )
        return embedding

    def _run(self, inputs: Tensor, tokens: Tensor) -> Tensor:
        runs = 0

        def replace(native: Tensor) -> Tensor:
            nonlocal runs
            runs += 1
            return self._form.native(tokens).to(native.dtype, copy=True)

        with _watching({self._layer: replace}), fast_products():
            embedding = embedding_of(self._encode(inputs))
        if runs != 1:
            raise ModelError(f"layer {self._layer.name!r} is run {runs} times in one pass; expected once")
        return embedding


def embedding_of(output: object) -> Tensor:
    """The embeddings among what an encoder gives: a tensor, the first of several, or a pooled output."""
    while not isinstance(output, Tensor):
        pooled = getattr(output, "pooler_output", None)
        if pooled is None and isinstance(output, (tuple, list)) and output:
            pooled = output[0]
        if pooled is None:
            raise ModelError(
                f"the encoder gave a {type(output).__name__}; expected embeddings, (batch, width)"
            )
        output = pooled
    return output


class _Reached(BaseException):
    """Ends a pass once everything is found; no model's own `except Exception` can catch it."""


@contextmanager
def _watching(hooks: dict[Layer, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
    """Each hook sees what passes its layer in this thread, and may give something else in its place."""
    ours = threading.get_ident()
    handles = []
    try:
        for layer, hook in hooks.items():
            if layer.after:
                handles.append(layer.module.register_forward_hook(_on_output(hook, ours)))
            else:
                handles.append(
                    layer.module.register_forward_pre_hook(_on_input(hook, ours), with_kwargs=True)
                )
        yield
    finally:
        for handle in handles:
            handle.remove()


def _on_input(hook: Callable[[Tensor], Tensor | None], ours: int) -> Callable[..., Any]:
    def pre_hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() != ours:
            return None
        for value in (*args, *kwargs.values()):
            if _holds_tokens(value):
                instead = hook(value)
                if instead is None:
                    return None
                # Attention is given the same tensor as queries, keys and values.
                return (
                    tuple(instead if given is value else given for given in args),
                    {name: instead if given is value else given for name, given in kwargs.items()},
                )
        raise ModelError(f"a {type(module).__name__} takes no tensor to cut at")

    return pre_hook


def _on_output(hook: Callable[[Tensor], Tensor | None], ours: int) -> Callable[..., Any]:
    def forward_hook(module: nn.Module, args: object, output: Any) -> Any:
        del args
        if threading.get_ident() != ours:
            return None
        if isinstance(output, Tensor):
            return hook(output)
        if isinstance(output, tuple) and output and _holds_tokens(output[0]):
            instead = hook(output[0])
            return None if instead is None else (instead, *output[1:])
        raise ModelError(f"a {type(module).__name__} gives a {type(output).__name__}; expected a tensor")

    return forward_hook


def _holds_tokens(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (3, 4)


def grid_of(count: int, height: int, width: int) -> tuple[int, int] | None:
    """Rows and columns of patches, for a picture's shape.

    The largest grid of square patches that `count` tokens have room for, with at most 16 more; None where
    no such grid is.
    """
    divisor = math.gcd(height, width)
    rows, columns = height // divisor, width // divisor
    scale = math.isqrt(count // (rows * columns))
    rest = count - scale * scale * rows * columns
    return (scale * rows, scale * columns) if scale and rest <= 16 else None
