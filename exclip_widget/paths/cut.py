"""Cutting a tower at a layer: read the activations there, or run on from other ones.

The whole tower runs through its library's own call, with a hook at the layer for a single pass. So what is
explained is whatever the model does, including anything that its owner has wrapped around it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ExclipError, ModelError, named_type
from .interruption import end_if_unwanted
from .onednn import fast_products

Order: TypeAlias = tuple[tuple[int, ...], ...]
"""Index of the token of each patch, by rows and columns."""


@dataclass(frozen=True)
class Layer:
    """A place at which a tower can be cut: the input of a module, or its output.

    Attributes
    ----------
    name : str
        The module's path in the model; `"output"` for the output of the last layer.
    module : nn.Module
        The module.
    after : bool
        Whether the cut is at the module's output.
    channels_last : bool, optional
        Whether a feature map here is (batch, rows, columns, width) rather than (batch, width, rows, columns).
        By default this is inferred from its shape and the image's.
    order : Order or None
        Index of each patch's token, if a sequence here is not in the order of the image.
    """

    name: str
    module: nn.Module
    after: bool = False
    channels_last: bool | None = None
    order: Order | None = None


@dataclass(frozen=True)
class TokenLayout:
    """How a module arranges its tokens in a tensor.

    Attributes
    ----------
    axes : tuple of int
        The tensor's axes in the order batch, tokens (or rows, columns), width.
    map : (int, int) or None
        Rows and columns of a feature map; None for a sequence.
    order : tuple of int or None
        Index of each token in the tensor, if they are not in order there.
    """

    axes: tuple[int, ...]
    map: tuple[int, int] | None
    order: tuple[int, ...] | None = None

    @classmethod
    def of(cls, layer: Layer, native: Tensor, axes: tuple[int, ...]) -> TokenLayout:
        """Return the layout of a tensor at `layer` whose axes are in this order."""
        if native.ndim == 4:
            return cls(axes, (native.shape[axes[1]], native.shape[axes[2]]))
        return cls(axes, None, None if layer.order is None else tuple(chain.from_iterable(layer.order)))

    def tokens(self, native: Tensor) -> Float[Tensor, "batch tokens width"]:
        """Return the tokens of a tensor in the module's own layout."""
        tokens = native.permute(self.axes).flatten(1, -2)
        return tokens if self.order is None else tokens[:, list(self.order)]

    def native(self, tokens: Float[Tensor, "batch tokens width"]) -> Tensor:
        """Return a tensor of tokens in the module's own layout."""
        if self.order is not None:
            tokens = tokens[:, torch.tensor(self.order, device=tokens.device).argsort()]
        ordered = tokens if self.map is None else tokens.reshape(len(tokens), *self.map, -1)
        return ordered.permute(_inverse(self.axes))


@dataclass(frozen=True, eq=False)
class Activation:
    """The tokens at a layer during a pass, their layout there, and the embedding if the pass went on."""

    layer: Layer
    tokens: Float[Tensor, "batch tokens width"]
    layout: TokenLayout
    embedding: Float[Tensor, "batch embed"] | None = None


def read_activations(
    layers: Sequence[Layer], encode: Callable[[Tensor], object], inputs: Tensor, *, to_end: bool = False
) -> list[Activation]:
    """Return the activations at each of `layers` while `encode` runs on `inputs`, (batch, ...).

    Takes one pass, which ends as soon as all layers have been reached, unless it is to run `to_end`.

    Raises
    ------
    ModelError
        If a layer is not reached, or holds anything other than tokens or a feature map.
    """
    found, embedding = _find(layers, encode, inputs, to_end)
    axes = _find_axes(found, encode, inputs)
    ended = embedding if isinstance(embedding, Tensor) and to_end else None
    return [
        _activation(layer, found[layer], TokenLayout.of(layer, found[layer], axes[layer]), ended)
        for layer in layers
    ]


def _find(
    layers: Sequence[Layer], encode: Callable[[Tensor], object], inputs: Tensor, to_end: bool = False
) -> tuple[dict[Layer, Tensor], object]:
    """Return the tensors at `layers` while `encode` runs on `inputs`, and its embeddings if it ran on."""
    found: dict[Layer, Tensor] = {}
    embedding: object = None

    def reader_of(layer: Layer) -> Callable[[Tensor], None]:
        def read(native: Tensor) -> None:
            found[layer] = native.clone()  # later operations may write into it
            if len(found) == len(set(layers)) and not to_end:
                raise _AllFound

        return read

    with (
        _hooked({layer: reader_of(layer) for layer in layers}),
        fast_products(),
        suppress(_AllFound),
        _own_faults("the model's own encoder fails"),
    ):
        embedding = embedding_of(encode(inputs)) if to_end else encode(inputs)
    for layer in layers:
        if layer not in found:
            raise ModelError(
                f"layer {layer.name!r} is never run by the model's encoder; choose another layer, or wrap "
                "the model in DualEncoder with layers that are run"
            )
    return found, embedding


Axes: TypeAlias = tuple[int, ...]

BATCH_FIRST: Axes = (0, 1, 2)
BATCH_SECOND: Axes = (1, 0, 2)
CHANNELS_FIRST: Axes = (0, 2, 3, 1)
CHANNELS_LAST: Axes = (0, 1, 2, 3)


def _find_axes(
    found: dict[Layer, Tensor], encode: Callable[[Tensor], object], inputs: Tensor
) -> dict[Layer, Axes]:
    """Return the order of axes of the tensors at layers, running other inputs if shapes are ambiguous.

    Raises
    ------
    ModelError
        If a feature map stays ambiguous.
    """
    axes = {layer: _axes_of(layer, native, inputs) for layer, native in found.items()}
    sequences = [layer for layer in axes if axes[layer] is None and found[layer].ndim == 3]
    maps = [layer for layer in axes if axes[layer] is None and found[layer].ndim == 4]
    if sequences:  # there are as many tokens as inputs
        axes |= _axes_by(sequences, encode, torch.cat([inputs, inputs[:1]]))
    if maps:  # the width could also be the rows or columns
        axes |= _axes_by(maps, encode, torch.cat([inputs, inputs], -1))
    for layer in maps:
        if axes[layer] is None:
            raise ModelError(
                f"layer {layer.name!r} takes a feature map of shape {tuple(found[layer].shape)}, whose "
                "rows, columns and width cannot be told apart; wrap the model in DualEncoder and pass "
                "channels_last="
            )
    return {layer: order or BATCH_FIRST for layer, order in axes.items()}


def _axes_by(
    layers: Sequence[Layer], encode: Callable[[Tensor], object], inputs: Tensor
) -> dict[Layer, Axes | None]:
    """Return the axis order at layers while `encode` runs on `inputs`; None if it fails or is ambiguous."""
    try:
        found, _ = _find(layers, encode, inputs)
    except FAULTS as error:
        if is_out_of_memory(error):
            raise
        return dict.fromkeys(layers)
    return {layer: _axes_of(layer, native, inputs) for layer, native in found.items()}


def _axes_of(layer: Layer, native: Tensor, inputs: Tensor) -> Axes | None:
    """Return a tensor's axes in the order batch, tokens (or rows, columns), width; None if ambiguous.

    Raises
    ------
    ModelError
        If it is neither a sequence of tokens nor a feature map.
    """
    batch = len(inputs)
    if native.ndim == 4 and len(native) == batch:
        is_last = layer.channels_last
        if is_last is None:
            is_last = _are_channels_last(native.shape[1:], inputs)
        return None if is_last is None else CHANNELS_LAST if is_last else CHANNELS_FIRST
    if native.ndim == 3 and batch in native.shape[:2]:
        if native.shape[0] == native.shape[1]:
            return None
        return BATCH_FIRST if len(native) == batch else BATCH_SECOND
    raise ModelError(
        f"layer {layer.name!r} takes a tensor of shape {tuple(native.shape)} for {batch} input"
        f"{'s' * (batch > 1)}; expected (batch, tokens, width) or (batch, width, rows, columns)"
    )


def _are_channels_last(shape: Sequence[int], inputs: Tensor) -> bool | None:
    """Return whether the last of a feature map's three axes is its width; None if it could also be the first.

    The other two are rows and columns, which have the image's proportions up to rounding.
    """
    if inputs.ndim != 4:
        return False
    height, width = inputs.shape[2:]

    def is_grid(rows: int, columns: int) -> bool:
        return abs(rows * width - columns * height) <= max(height, width)

    first, last = is_grid(shape[1], shape[2]), is_grid(shape[0], shape[1])
    return None if first == last else last


def _activation(layer: Layer, native: Tensor, layout: TokenLayout, embedding: Tensor | None) -> Activation:
    tokens = layout.tokens(native)
    if not torch.isfinite(tokens).all():
        raise ModelError(f"activations are NaN or infinite at layer {layer.name!r}")
    return Activation(layer, tokens, layout, embedding)


RECORDED_APART = 0.02
"""Largest relative difference that recording may make: bfloat16 rounds by less, other code changes more."""


REPEATED_APART = 1e-3
"""Largest relative difference between two passes on the same input: some kernels on GPUs add in any order."""


DERIVATIVES_APART = 0.02
"""Largest relative difference between autograd's derivative and the embedding's own change: in float32,
rounding makes less than a thousandth."""


_STEP = 3e-3
"""How far each token is moved to see that, as a fraction of its length: a larger step bends, a smaller one
is lost in rounding."""


_LARGER, _SMALLER = (3e-2, 1e-1, 3e-1), 3e-4
"""Steps to try instead if that one is not straight, as it rounds or jumps, or bends in so short a space."""


_STRAIGHT, _JUMPS = 0.1, 0.5
"""How much two opposite steps may differ, in lengths of the change that they make: up to the first, one step
tells enough; beyond the second for all steps, the embedding jumps."""


_DIRECTIONS = 4
"""In how many directions other steps go: what rounding and jumps make in each averages out."""


def _apart(found: Tensor, expected: Tensor) -> float:
    """Return the relative difference of two embeddings."""
    return float((found - expected).norm() / expected.norm())


class _Compared(NamedTuple):
    """What steps of the tokens to either side say about autograd's derivative.

    Attributes
    ----------
    bend : float
        How much the steps to either side differ, in lengths of the change that they make.
    apart : float
        How much more autograd's derivative says that the embedding changes, as a fraction of how it does.
    """

    bend: float
    apart: float


class Cut:
    """The rest of a tower from a layer on, for one input: from tokens there to the embedding.

    Parameters
    ----------
    encode : callable
        From inputs to embeddings, (batch, embed).
    inputs : Tensor
        One input, (1, ...).
    layer, layout : Layer and TokenLayout
        The layer, and how its tokens are arranged.
    padding : Tensor, optional
        Tokens that follow the given ones at the layer, (tokens, width), and never change.
    is_own : bool
        Whether the tower is known to run only its library's own code.
    """

    def __init__(
        self,
        encode: Callable[[Tensor], object],
        inputs: Tensor,
        layer: Layer,
        layout: TokenLayout,
        padding: Float[Tensor, "tokens width"] | None = None,
        is_own: bool = True,
    ) -> None:
        self._encode = encode
        self._inputs = inputs
        self._layer = layer
        self._layout = layout
        self._padding = padding
        self._is_own = is_own
        self._needs_whole_batch = False
        self._tokens: Tensor | None = None
        self._runs = 0
        self._is_held = False
        self._keeps_apart = is_own

    @property
    def is_own(self) -> bool:
        """Whether the tower is known to run only its library's own code."""
        return self._is_own

    def given(self, inputs: Tensor) -> Cut:
        """Return this cut for another input, (1, ...)."""
        return Cut(self._encode, inputs, self._layer, self._layout, self._padding, self._is_own)

    def __call__(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch embed"]:
        """Return the embeddings of `tokens`.

        Raises
        ------
        ModelError
            If the tower runs the layer more than once, does not return an embedding for each, or mixes the
            inputs of a batch.
        """
        end_if_unwanted()
        if len(tokens) > 1 and not self._keeps_apart:
            self._keeps_apart = True
            self._require_apart(tokens)
        return self._embed(tokens)

    def _embed(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch embed"]:
        batch = len(tokens)
        if not self._needs_whole_batch:
            # One input is enough up to the layer, unless the tower has read the batch size before it.
            try:
                embedding = self._run(self._inputs, tokens)
                if embedding.ndim == 2 and len(embedding) == batch:
                    return embedding
            except FAULTS as error:
                if is_out_of_memory(error):
                    raise
            self._needs_whole_batch = True
        with _own_faults(f"the model fails on other activations at layer {self._layer.name!r}"):
            whole_batch = self._inputs.expand(batch, *self._inputs.shape[1:])
            return embeddings_of(self._run(whole_batch, tokens), batch)

    def require_same(
        self, tokens: Float[Tensor, "batch tokens width"], recorded: Float[Tensor, "batch embed"]
    ) -> None:
        """Refuse a tower that embeds tokens differently while autograd records it.

        torch's attention, for one, has a fast path if nothing is recorded, which bypasses functions that
        somebody has replaced.

        Raises
        ------
        ModelError
            If the embeddings differ by more than rounding.
        """
        if self._is_own:
            return
        with self._unrecorded():
            embedding = self(tokens.detach())
            apart = _apart(recorded.detach(), embedding)
            if apart > RECORDED_APART:
                self._require_repeatable(tokens.detach(), embedding)
                raise ModelError(
                    f"the model's embedding differs by {apart:.1%} while autograd records it, so its "
                    "derivatives belong to another embedding; torch.backends.mha.set_fastpath_enabled(False) "
                    "makes torch's attention run the same code in both; methods 'similarity' and 'banzhaf' "
                    "do without"
                )

    def require_true_derivatives(
        self, tokens: Float[Tensor, "batch tokens width"], recorded: Float[Tensor, "batch embed"]
    ) -> None:
        """Refuse a tower whose derivatives by autograd are not those of the function that it computes.

        A hook may scale gradients, for one, and a straight-through estimator makes them up. Where the
        embedding bends, the two may differ by that much. If it jumps at any scale, as with activations that
        are rounded to a few values, no derivative says how it changes.

        Raises
        ------
        ModelError
            If a step of the tokens changes the embedding otherwise than autograd's derivative says, or any
            step makes it jump.
        """
        if self._is_own:
            return
        found = self._compare_step(tokens, recorded, _STEP)
        allowed = found.bend
        if not found.bend <= _STRAIGHT:
            found = self._compare_straightest(tokens, recorded)
            allowed = found.bend / math.sqrt(_DIRECTIONS)
        if not found.bend <= _JUMPS:
            raise ModelError(
                f"the embedding jumps as tokens at layer {self._layer.name!r} change: small and large steps "
                "to either side change it by different amounts, so no derivative says what a token adds; "
                "expected activations that are neither rounded, such as by dynamic quantisation, nor chosen "
                "from a few values; methods 'similarity' and 'banzhaf' do without"
            )
        if abs(found.apart) > DERIVATIVES_APART + allowed:
            raise ModelError(
                f"autograd's derivative from layer {self._layer.name!r} on differs by {abs(found.apart):.1%} "
                "from how the embedding changes; expected the same, so remove whatever changes or stops "
                "gradients, such as a tensor's register_hook, a straight-through estimator, detach or "
                "activations that are quantised; methods 'similarity' and 'banzhaf' do without"
            )

    def _compare_straightest(
        self, tokens: Float[Tensor, "batch tokens width"], recorded: Float[Tensor, "batch embed"]
    ) -> _Compared:
        """Compare steps in several directions, of the size for which the embedding bends least.

        Larger steps show a rounded function as it is between its jumps. Between two of its jumps, a smaller
        one sees a constant, so it is the last resort.
        """

        def compare(size: float) -> _Compared:
            each = [self._compare_step(tokens, recorded, size, seed) for seed in range(_DIRECTIONS)]
            bend, apart = (sum(values) / _DIRECTIONS for values in zip(*each, strict=True))
            return _Compared(bend, apart)

        found = min((compare(size) for size in (_STEP, *_LARGER)), key=lambda one: one.bend)
        return found if found.bend <= _JUMPS else compare(_SMALLER)

    def _compare_step(
        self,
        tokens: Float[Tensor, "batch tokens width"],
        recorded: Float[Tensor, "batch embed"],
        size: float,
        seed: int = 0,
    ) -> _Compared:
        """Compare what steps of the tokens to either side change with autograd's derivative."""
        start, embedding = tokens.detach(), recorded.detach()
        step = size * _direction(start, seed)
        with self._unrecorded():
            ahead, behind = self(start + step), self(start - step)
        change = (ahead - behind) / 2
        length, bend = change.norm(), (ahead + behind - 2 * embedding).norm() / 2
        along = change / length if length else embedding
        (pulled,) = torch.autograd.grad(recorded, tokens, along, retain_graph=True)
        if not length:
            # A constant has no derivative, but further steps may show jumps on either side of it.
            return _Compared(math.inf if bend or pulled.any() else _JUMPS, 0.0)
        return _Compared(float(bend / length), float((pulled * step).sum() / length - 1))

    def _require_apart(self, tokens: Float[Tensor, "batch tokens width"]) -> None:
        """Refuse a tower that embeds an input differently next to another one.

        Raises
        ------
        ModelError
            If the embeddings differ by more than rounding.
        """
        first, one = tokens[:1].detach(), tokens[-1:].detach()
        # What mixes them may look at lengths, or at which tokens are alike, perhaps only of the first input.
        others = [0.5 * one.flip(1), first]
        with self._unrecorded():
            alone, together = self._embed(one), self._embed(torch.cat([*others, one]))
            apart = _apart(together[-1:], alone)
            if apart > RECORDED_APART:
                self._require_repeatable(one, alone)
                raise ModelError(
                    f"the model's embedding of an input differs by {apart:.1%} if there is another one in "
                    "the batch; expected a model that treats each input of a batch by itself, such as one "
                    "with normalisation in evaluation mode"
                )

    def _require_repeatable(
        self, tokens: Float[Tensor, "1 tokens width"], embedding: Float[Tensor, "1 embed"]
    ) -> None:
        """Refuse a tower that embeds the same tokens differently from one pass to the next.

        Raises
        ------
        ModelError
            If it does.
        """
        apart = _apart(self._embed(tokens), embedding)
        if apart > REPEATED_APART:
            raise ModelError(
                f"the model is random: its embeddings of the same input differ by {apart:.1%} from one pass "
                "to the next; expected the same from each, so turn off the noise, sampling or dropout in it"
            )

    @contextmanager
    def _unrecorded(self) -> Iterator[None]:
        """Run a block of passes that autograd does not record, in between those that it does."""
        held = self._tokens
        with torch.no_grad():
            yield
        self._tokens = held  # checkpointed blocks that run again still belong to the recorded pass

    def embed_through(
        self, tokens: Float[Tensor, "batch tokens width"], later: Sequence[Cut]
    ) -> tuple[Float[Tensor, "batch embed"], list[Tensor | None]]:
        """Return the embeddings of `tokens`, and the tensors at the layers of later cuts on the way there.

        Those tensors belong to autograd's graph, in the layers' own layout; None if a layer was not reached.
        """
        passed: dict[Layer, Tensor] = {}

        def keeper_of(layer: Layer) -> Callable[[Tensor], Tensor]:
            def keep(native: Tensor) -> Tensor:
                passed[layer] = native
                return native.clone()  # later operations may write into it

            return keep

        with _hooked({cut._layer: keeper_of(cut._layer) for cut in later}):
            embedding = self(tokens)
        return embedding, [passed.get(cut._layer) for cut in later]

    def tokens_of(self, native: Tensor) -> Float[Tensor, "batch tokens width"]:
        """Return the tokens of a tensor at the layer, without the padding that never changes."""
        tokens = self._layout.tokens(native)
        return tokens if self._padding is None else tokens[:, : -len(self._padding)]

    @contextmanager
    def held(self, tokens: Float[Tensor, "batch tokens width"] | None = None) -> Iterator[None]:
        """Run a block in which tokens stay in place at the layer, as checkpointed blocks run again backwards.

        They are first the given ones, and later those of the last run.
        """
        with _hooked({self._layer: self._replace}):
            self._is_held, self._tokens = True, tokens
            try:
                yield
            finally:
                self._is_held, self._tokens = False, None

    def _run(self, inputs: Tensor, tokens: Float[Tensor, "batch tokens width"]) -> Tensor:
        if self._padding is not None:
            following = self._padding.to(tokens).expand(len(tokens), *self._padding.shape)
            tokens = torch.cat([tokens, following], 1)
        self._tokens, self._runs = tokens, 0
        with nullcontext() if self._is_held else _hooked({self._layer: self._replace}), fast_products():
            embedding = embedding_of(self._encode(inputs))
        if self._runs != 1:
            raise ModelError(
                f"layer {self._layer.name!r} is run {self._runs} times in one pass; expected once"
            )
        return embedding

    def _replace(self, native: Tensor) -> Tensor:
        assert self._tokens is not None
        self._runs += 1
        return _laid_out_like(native, self._layout.native(self._tokens).to(native.dtype))


def _direction(tokens: Float[Tensor, "batch tokens width"], seed: int) -> Float[Tensor, "batch tokens width"]:
    """Return a change of tokens as long as they are, partly the same for all: attention averages others out.

    Zeros stay zero, as they may lie in the kink of a ReLU, where there is no derivative.
    """
    generator = torch.Generator().manual_seed(seed)
    shared, own = (
        torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(tokens)
        for shape in (tokens.shape[-1:], tokens.shape)
    )
    unit = nn.functional.normalize((shared + own) * tokens.ne(0), dim=-1)
    direction: Tensor = tokens.norm(dim=-1, keepdim=True) * unit
    return direction


def _laid_out_like(native: Tensor, given: Tensor) -> Tensor:
    """Return a copy of a tensor with its axes in memory as in the model's own, so that `view` works on both.

    Their batches may differ in size.
    """
    axes = tuple(range(native.ndim))
    # The stride of an axis of size one, such as the batch, says nothing, and that of an expanded one is zero.
    if not native.is_contiguous() and 0 not in native.stride():
        axes = tuple(sorted(axes, key=native.stride, reverse=True))
    return given.permute(axes).clone(memory_format=torch.contiguous_format).permute(_inverse(axes))


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(axes.index, range(len(axes))))


def embedding_of(output: object) -> Tensor:
    """Return the embeddings in an encoder's output: a tensor, the first of several, or a pooled output.

    Raises
    ------
    ModelError
        If there are none.
    """
    while not isinstance(output, Tensor):
        pooled = getattr(output, "pooler_output", None)
        if pooled is None and isinstance(output, (tuple, list)) and output:
            pooled = output[0]
        if pooled is None:
            raise ModelError(f"the encoder gave {named_type(output)}; expected embeddings, (batch, width)")
        output = pooled
    return output


def embeddings_of(output: object, count: int) -> Float[Tensor, "count embed"]:
    """Return the embeddings in an encoder's output for `count` inputs.

    Raises
    ------
    ModelError
        If there is not one for each input.
    """
    embeddings = embedding_of(output)
    if embeddings.ndim != 2 or len(embeddings) != count:
        raise ModelError(
            f"the encoder gave shape {tuple(embeddings.shape)} for {count} input{'s' * (count != 1)}; "
            f"expected embeddings, ({count}, width), one row for each input"
        )
    return embeddings


def embed_each(
    encode: Callable[[Tensor], object], inputs: Tensor, *, is_own: bool
) -> Float[Tensor, "batch embed"]:
    """Return the embeddings of `inputs`, (batch, ...), each as if it were the only one.

    They take one pass together, unless the encoder runs code other than its library's (not `is_own`) and
    gives one of them another embedding next to the others than alone.

    Raises
    ------
    ModelError
        If the encoder gives no embeddings.
    """
    if is_own or len(inputs) == 1:
        return embedding_of(encode(inputs))
    (last,) = alone = embedding_of(encode(inputs[-1:]))
    try:
        together = embedding_of(encode(inputs))
    except FAULTS as error:
        if is_out_of_memory(error):
            raise
    else:
        rounding = max(1e-4, 16 * torch.finfo(last.dtype).eps)
        if together.shape == (len(inputs), *last.shape) and _apart(together[-1], last) <= rounding:
            return together
    return torch.cat([*(embedding_of(encode(one)) for one in torch.split(inputs[:-1], 1)), alone])


FAULTS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError)
"""Errors that code raises when given inputs that it was not made for."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether torch, or Python, ran out of memory."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    # On the CPU, and with some backends, torch raises no class of its own.
    told = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in told for part in _OUT_OF_MEMORY)


_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def says_enough(error: BaseException) -> bool:
    """Return whether an error must reach the user as it is: one of this package's, or out of memory."""
    return isinstance(error, ExclipError) or is_out_of_memory(error)


@contextmanager
def _own_faults(what: str) -> Iterator[None]:
    """Run a block of a model's own code, and attribute errors to it that look as if they were ours.

    Raises
    ------
    ModelError
        If there is one. Others, such as a RuntimeError in which the model says what is wrong, are passed on.
    """
    try:
        yield
    except (TypeError, LookupError, AttributeError, AssertionError, NotImplementedError) as error:
        if isinstance(error, ExclipError):
            raise
        told = next(iter(str(error).strip().splitlines()), "")
        raise ModelError(f"{what} with {type(error).__name__}: {told:.300}") from error
    except RuntimeError as error:
        if "Inference tensors do not track version counter" in str(error):
            raise ModelError(
                f"{what}, because some weights were made in torch's inference mode and converted later, such "
                "as by model.to(...); pass copy.deepcopy(model), made outside of that mode"
            ) from error
        raise


class _AllFound(BaseException):
    """Ends a pass once every layer has been reached. A BaseException, so that no model's code catches it."""


@contextmanager
def _hooked(hooks: dict[Layer, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
    """Run a block in which each hook gets the tensor at its layer, in this thread, and may replace it."""
    # Emptied at the end, because a copy made of the model meanwhile keeps the hooks, and a later thread may
    # have the number of this one.
    ours = {threading.get_ident()}
    handles = []
    try:
        for layer, hook in hooks.items():
            if layer.after:
                handles.append(layer.module.register_forward_hook(_on_output(layer, hook, ours)))
            else:
                handles.append(
                    layer.module.register_forward_pre_hook(_on_input(layer, hook, ours), with_kwargs=True)
                )
        yield
    finally:
        ours.clear()
        for handle in handles:
            handle.remove()


def _on_input(layer: Layer, hook: Callable[[Tensor], Tensor | None], ours: set[int]) -> Callable[..., Any]:
    def pre_hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        del module
        if threading.get_ident() not in ours:
            return None
        given = [*args, *kwargs.values()]
        native = _tokens_in(given)
        if native is None:
            raise _no_tokens(layer, "takes", given)
        instead = hook(native)
        if instead is None:
            return None
        exchanged = _exchanged(given, native, instead)
        return tuple(exchanged[: len(args)]), dict(zip(kwargs, exchanged[len(args) :], strict=True))

    return pre_hook


def _on_output(layer: Layer, hook: Callable[[Tensor], Tensor | None], ours: set[int]) -> Callable[..., Any]:
    def forward_hook(module: nn.Module, args: object, output: Any) -> Any:
        del module, args
        if threading.get_ident() not in ours:
            return None
        if isinstance(output, Tensor):
            return hook(output)
        native = _tokens_in([output])
        if native is None:
            raise _no_tokens(layer, "gives", [output])
        instead = hook(native)
        return None if instead is None else _exchanged(output, native, instead)

    return forward_hook


def _tokens_in(values: Sequence[object]) -> Tensor | None:
    """Return the first tensor of tokens among `values` or, if there is none, in the lists or tuples there."""
    for value in values:
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (3, 4):
            return value
    inside = (_tokens_in(value) for value in values if isinstance(value, (list, tuple)))
    return next((found for found in inside if found is not None), None)


def _exchanged(value: Any, native: Tensor, instead: Tensor) -> Any:
    """Return a list or tuple with another tensor in place of the one that `_tokens_in` finds there.

    A list is changed itself, because a block may change the one that it is given, for its caller to read.
    """
    if any(held is native for held in value):  # attention takes the same as queries, keys and values
        exchanged = [instead if held is native else held for held in value]
    else:
        exchanged = [
            _exchanged(held, native, instead) if isinstance(held, (list, tuple)) else held for held in value
        ]
    if all(held is before for held, before in zip(exchanged, value, strict=True)):
        return value
    if isinstance(value, list):
        value[:] = exchanged
        return value
    return value._make(exchanged) if hasattr(value, "_make") else type(value)(exchanged)


def _no_tokens(layer: Layer, verb: str, values: Sequence[object]) -> ModelError:
    """Return the error for a layer that takes or gives no tokens."""
    found = ", ".join(
        f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else named_type(value)
        for value in values
    )
    return ModelError(
        f"layer {layer.name!r}, {named_type(layer.module)}, {verb} {found or 'nothing'}; expected tokens, "
        "(batch, tokens, width), or a feature map, (batch, width, rows, columns), by itself or in a list or "
        "tuple; choose another layer, or wrap the model in DualEncoder with layers that have them"
    )


MOST_OTHERS = 16
"""Largest number of tokens that may come with a grid of patches whose size is not known beforehand."""


def infer_grid(count: int, height: int, width: int) -> tuple[int, int] | None:
    """Return the rows and columns of patches of an image of this shape that has `count` tokens.

    This is the largest grid of square patches that fits into `count` tokens and leaves few over; None if
    there is none.
    """
    divisor = math.gcd(height, width)
    rows, columns = height // divisor, width // divisor
    scale = math.isqrt(count // (rows * columns))
    rest = count - scale * scale * rows * columns
    return (scale * rows, scale * columns) if scale and rest <= MOST_OTHERS else None
