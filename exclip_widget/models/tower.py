"""Towers: what the engine needs to know about an encoder, whatever library it comes from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import index
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import ModelError, ParameterError
from ..paths.cut import (
    MOST_OTHERS,
    REPEATED_APART,
    Layer,
    Order,
    TokenLayout,
    infer_grid,
    read_activations,
)
from ..paths.evaluation_mode import evaluation_mode
from ..paths.last_block import LastBlock
from .fingerprint import Fingerprint, version_of
from .patch_places import SURE_CORRELATION, Covered, PatchPlaces, with_changed_patches
from .read_pixels import ReadPixels, covered_after, covered_by, divides_evenly, whole_patches
from .stems import GridOf
from .token_sources import token_sources


@dataclass(frozen=True)
class LastBlockSpec:
    """What `LastBlockPath` needs of a tower's last block.

    Attributes
    ----------
    block : callable
        Returns the block's weights in a dtype.
    row : int
        Index of the row that is pooled; -1 for the last one.
    """

    block: Callable[[torch.dtype], LastBlock]
    row: int


@dataclass(frozen=True, kw_only=True)
class Tower:
    """One encoder of a model, and the layers at which it can be cut.

    Attributes
    ----------
    side : {"text", "image"}
        What it encodes.
    root : nn.Module
        The module whose weights and settings determine its embeddings, together with those `beside` it.
    encode : callable
        The library's own call, from inputs (batch, ...) to embeddings (batch, embed).
    layers : tuple of Layer
        Where it can be cut, from the first to the last.
    last_block : LastBlockSpec or None
        Its last block, if all of it is as its library wrote it, so that `LastBlockPath` computes the same.
    own_encode : callable or None
        The library's own call on full-length inputs, if `encode` runs captions at their own length.
    state : tuple or None
        Outline of the modules that `encode` runs, if it was taken along with the tower.
    output_order : tuple or None
        Order of the tokens at the output; see `Layer.order`.
    encoder_code : object
        Identifies the code that `encode` runs. Cached activations are valid while it stays equal; None
        forbids caching.
    beside : tuple of nn.Module
        Modules that `encode` also runs, without their submodules, such as a projection outside `root`.
    is_own : bool
        Whether `encode` is known to run only its library's own code. Such a text tower makes one token of
        each id, in order, before those that it appends, and an image tower keeps the order of the patches.
    is_chain : bool
        Whether everything that its library's own code takes from the input to the embedding is known to go
        through each of the layers.
    """

    side: str
    root: nn.Module
    encode: Callable[[Tensor], object]
    layers: tuple[Layer, ...]
    last_block: LastBlockSpec | None = None
    own_encode: Callable[[Tensor], object] | None = None
    state: Fingerprint | None = None
    output_order: Order | None = None
    encoder_code: object = None
    beside: tuple[nn.Module, ...] = ()
    is_own: bool = False
    is_chain: bool = False

    @property
    def may_go_around(self) -> bool:
        """Whether something that changes with the input may go around a layer."""
        return not (self.is_own and self.is_chain)

    def modules(self) -> Iterator[nn.Module]:
        """Yield all modules that `encode` runs, and no other tower's."""
        yield from self.root.modules()
        yield from self.beside

    def layer(self, which: object) -> Layer:
        """Return a layer by its index (negative counts from the end) or name; `"output"` is the end.

        Raises
        ------
        ParameterError
            If there is no such layer. The message lists those that exist.
        """
        if isinstance(which, str):
            if which == "output":
                return replace(self.layers[-1], name="output", after=True, order=self.output_order)
            for layer in self.layers:
                if layer.name == which:
                    return layer
        elif isinstance(which, SupportsIndex) and not isinstance(which, bool):
            with suppress(TypeError):  # an array of several numbers only looks as if it were an index
                number = index(which)
                if -len(self.layers) <= number < len(self.layers):
                    return self.layers[number]
        count, names = len(self.layers), ", ".join(repr(layer.name) for layer in self.layers)
        raise ParameterError(
            f"{self.side}_layer={which!r} is not a layer of the {self.side} tower: it has {count}, 0 to "
            f"{count - 1} or, from the end, -1 to {-count}; by name, {names} and 'output'"
        )


MOST_TEST_RUNS = 32
"""Number of test runs that a described tower remembers, each with an image and its tokens at a layer."""


@dataclass(frozen=True, eq=False)
class TestRun:
    """What a test run has shown of a layer, and one of its images, to see whether that still holds.

    Attributes
    ----------
    count : int
        Number of tokens at the layer.
    places : PatchPlaces
        Their places.
    pixels, tokens : Tensor
        The image with all patches changed, so that no two are alike, and its tokens.
    """

    count: int
    places: PatchPlaces
    pixels: Float[Tensor, "1 3 height width"]
    tokens: Float[Tensor, "1 tokens channels"]

    def holds(self, layer: Layer, encode: Callable[[Tensor], object]) -> bool:
        """Return whether the tower still makes the same tokens of the image, up to rounding."""
        tokens = read_activations([layer], encode, self.pixels)[0].tokens
        if tokens.shape != self.tokens.shape:
            return False
        return bool((tokens - self.tokens).norm() <= REPEATED_APART * self.tokens.norm())


@dataclass(frozen=True, kw_only=True)
class ImageTower(Tower):
    """An image encoder, from pixels (batch, 3, height, width).

    Attributes
    ----------
    size : (int, int) or None
        Height and width in pixels that it takes; None if it takes any.
    size_from : str
        The attribute of the model that says so.
    grid_of : callable or None
        From height and width in pixels to rows and columns of patches, if all layers have the same; None
        if unknown.
    extra_tokens : int or None
        Number of tokens that the tower itself puts before the patches; None if it is all those that are not
        patches.
    patch : (int, int) or None
        Height and width of the stem's patches in pixels; None if unknown, or if they overlap.
    is_described : bool
        Whether a user described the tower. Then it may be the code of anybody, and what the user says of its
        tokens is believed unless a test run contradicts it.
    test_runs : dict
        What test runs have shown, by layer, grid and size. A described tower may have changed since.
    """

    size: tuple[int, int] | None
    size_from: str = ""
    grid_of: GridOf | None = None
    extra_tokens: int | None = None
    patch: tuple[int, int] | None = None
    is_described: bool = False
    test_runs: dict[object, TestRun] = field(default_factory=dict, repr=False, compare=False)

    def known_grid(self, pixels: Float[Tensor, "1 3 height width"]) -> tuple[int, int] | None:
        """Return the rows and columns of patches of `pixels`, if known and the same at all layers."""
        height, width = pixels.shape[-2:]
        return None if self.grid_of is None else self.grid_of(height, width)

    def covered(
        self, pixels: Float[Tensor, "1 3 height width"], grids: Sequence[tuple[Layer, tuple[int, int]]]
    ) -> list[Covered]:
        """Return how much of the height and of the width of `pixels` grids of patches at layers cover.

        It is less than 1 if the patches do not divide an image, whose last pixels then go unseen, and more
        than 1 if the tower pads the image at its end. A later stage, which merges patches, may leave out or
        pad more. Code other than the library's may resize the pixels before it cuts them into patches, so a
        test run must not contradict it.

        Raises
        ------
        ModelError
            If such code crops the pixels.
        """
        if self.patch is None:
            return [(1.0, 1.0)] * len(grids)
        first = self.known_grid(pixels) or whole_patches(pixels, self.patch)
        covered = covered_by(first, self.patch, pixels)
        is_whole = covered == (1.0, 1.0)
        is_merged = any(grid != first for _, grid in grids)
        if (is_whole and all(divides_evenly(first, grid) for _, grid in grids)) or (
            self.is_own and not is_merged
        ):
            return [covered] * len(grids)
        places = [self._place_of(layer) for layer, _ in grids]
        with evaluation_mode(self.root):
            reached = read_activations(
                self.layers[: max(places) + 1 if is_merged else 1], self.encode, pixels
            )
            passed = [at.layout.map or self._grid_of(at.tokens.shape[1], pixels) for at in reached]
            known = [size for size in passed if size is not None]
            if not known:  # it is refused when the patches are looked for
                return [covered] * len(grids)
            if self.is_own:
                covered = covered_by(known[0], self.patch, pixels)
            else:
                covered = ReadPixels(self.encode, pixels, reached[0], known[0]).covered(self.patch)
        return [
            covered_after(covered, [*known[: max(place, 1)], grid])
            for place, (_, grid) in zip(places, grids, strict=True)
        ]

    def _place_of(self, layer: Layer) -> int:
        """Return the index of a layer; that of the output is the number of layers."""
        return self.layers.index(layer) if layer in self.layers else len(self.layers)

    def locate_patches(
        self, layer: Layer, layout: TokenLayout, count: int, pixels: Float[Tensor, "1 3 height width"]
    ) -> tuple[int, int, int]:
        """Return the rows and columns of the patches among `count` tokens, and the index of the first patch.

        Raises
        ------
        ModelError
            If the tokens do not form a grid, or it is unclear which of them are the patches.
        """
        if layer.order:
            return len(layer.order), len(layer.order[0]), 0
        if layout.map:
            return (*layout.map, 0)
        grid = self._grid_of(count, pixels)
        if grid is None or 0 in grid:
            height, width = pixels.shape[-2:]
            raise ModelError(
                f"the {count} tokens at layer {layer.name!r} do not form a grid of patches of an image of "
                f"{height} x {width} pixels; choose a layer where they do, or give the grid with "
                "DualEncoder(grid=)"
            )
        return (*grid, self._first_patch(layer, count, grid, pixels))

    def _grid_of(self, count: int, pixels: Float[Tensor, "1 3 height width"]) -> tuple[int, int] | None:
        """Return the grid of `count` tokens: the known one, that of the whole patches, or a likely one."""
        known = self.known_grid(pixels)
        if known is not None:
            return known
        if self.patch is not None:
            rows, columns = whole_patches(pixels, self.patch)
            if 0 <= count - rows * columns <= MOST_OTHERS:
                return rows, columns
        height, width = pixels.shape[-2:]
        return infer_grid(count, height, width)

    def _first_patch(
        self, layer: Layer, count: int, grid: tuple[int, int], pixels: Float[Tensor, "1 3 height width"]
    ) -> int:
        """Return the index of the first of the patches, which follow each other in the order of the image.

        Code other than the library's may add, drop or move tokens, so a test run must not contradict it.
        """
        if not self.is_own and self.patch is not None and grid != whole_patches(pixels, self.patch):
            (first,) = read_activations(self.layers[:1], self.encode, pixels)
            ReadPixels(self.encode, pixels, first, grid).require_edges()
        rows, columns = grid
        others = count - rows * columns
        extra = self.extra_tokens if others else 0  # some towers add a class token only later
        if others < 0 or (extra is not None and extra > others):
            raise ModelError(
                f"layer {layer.name!r} holds {count} tokens; expected a grid of {rows} x {columns}"
                + (f" after {extra} other tokens" if extra else "")
            )
        declared = others if extra is None else extra
        is_known = declared == others or self.is_described
        if is_known and self.is_own:
            return declared
        places = self._places_of(layer, count, grid, pixels)
        if self.grid_of is None and count < self._places_at(self.layers[0], grid, pixels)[0]:
            self._require_merged(layer, count, grid, pixels, declared)
            return declared
        if is_known and not places.contradict(declared):
            return declared
        found = [first for first in range(others + 1) if places.confirm(first)]
        if len(found) != 1:
            raise ModelError(
                f"layer {layer.name!r} holds {count} tokens, and it is unclear which of them are the "
                f"{rows} x {columns} patches in the order of the image; choose a layer where it is clear, or "
                "give the right numbers with DualEncoder(grid=, extra_tokens=)"
            )
        return found[0]

    def _places_of(
        self, layer: Layer, count: int, grid: tuple[int, int], pixels: Float[Tensor, "1 3 height width"]
    ) -> PatchPlaces:
        """Find which patches each token at `layer` depends on, at the first layer if that has as many."""
        for at in (self.layers[0], layer):
            found, places = self._places_at(at, grid, pixels)
            if found == count:
                break
        return places

    def _places_at(
        self,
        layer: Layer,
        grid: tuple[int, int],
        pixels: Float[Tensor, "1 3 height width"],
        flipped: tuple[int, ...] = (),
    ) -> tuple[int, PatchPlaces]:
        """Return the number of tokens at `layer` and their places, for an image `flipped` along some axes."""
        key = layer, grid, pixels.shape[-2:], flipped
        known = self.test_runs.get(key)
        # One pass tells, of the dozen or more that a test run takes.
        if known is None or (self.is_described and not known.holds(layer, self.encode)):
            known = self._test_run(layer, grid, pixels.flip(flipped))
            self.test_runs.pop(key, None)
            while len(self.test_runs) >= MOST_TEST_RUNS:
                del self.test_runs[next(iter(self.test_runs))]
            self.test_runs[key] = known
        return known.count, known.places

    def _test_run(
        self, layer: Layer, grid: tuple[int, int], pixels: Float[Tensor, "1 3 height width"]
    ) -> TestRun:
        (covered,) = self.covered(pixels, [(layer, grid)])
        changed = with_changed_patches(pixels, grid, covered)
        # What a user's code does before the layer need not know of batches.
        batches = torch.split(changed, 1) if self.is_described else [changed]
        tokens = torch.cat([read_activations([layer], self.encode, batch)[0].tokens for batch in batches])
        return TestRun(
            tokens.shape[1], PatchPlaces.of(tokens, grid), changed[1:2].clone(), tokens[1:2].detach().clone()
        )

    def _require_merged(
        self,
        layer: Layer,
        count: int,
        grid: tuple[int, int],
        pixels: Float[Tensor, "1 3 height width"],
        first: int,
    ) -> None:
        """Require that fewer tokens than at the first layer are a coarser grid, whatever the image shows.

        A tower may also drop tokens by what they hold. Those that are left may be as many as a grid has.

        Raises
        ------
        ModelError
            If the image and its mirror images do not all show that grid. It is looked for at the first layer
            with as many tokens, as later ones mix them.
        """
        reached = read_activations([*self.layers[: self._place_of(layer)], layer], self.encode, pixels)
        earliest = next(at.layer for at in reached if at.tokens.shape[1] == count)
        found = [
            self._places_at(earliest, grid, pixels, flipped)[1].correlation(first)
            for flipped in ((), (-1,), (-2,), (-2, -1))
        ]
        if sum(found) < SURE_CORRELATION * len(found):
            rows, columns = grid
            raise ModelError(
                f"layer {layer.name!r} holds {count} tokens, fewer than the first layer, and they are not a "
                f"grid of {rows} x {columns} patches: the model may drop or merge tokens by what the image "
                "shows; choose an earlier layer"
            )


ANY_VOCABULARY = 2**31
"""Number of token ids of a text tower whose embedding does not say how many it takes."""


@dataclass(frozen=True, kw_only=True)
class TextTower(Tower):
    """A text encoder, from token ids (batch, tokens).

    Attributes
    ----------
    context_length : int
        Largest number of tokens in a caption.
    vocabulary : int
        Number of token ids; `ANY_VOCABULARY` if unknown.
    padded : bool
        Whether captions must be padded to the context, and the tower reads the padding.
    trimmed : bool
        Whether the tower runs on padding that it does not read. Its layers then hold more tokens than the
        caption, and those after the caption's have no effect.
    appended : int
        Number of tokens that the tower itself appends to a caption, such as a class token.
    end_of : callable
        From ids, (ids,), to the index of the last one that counts. For towers that are not padded.
    settle : callable or None
        Returns this tower with the cheapest valid way to run captions, found by a test run; see `settled`.
    """

    context_length: int
    vocabulary: int
    padded: bool
    trimmed: bool = False
    appended: int = 0
    end_of: Callable[[Int[Tensor, " ids"]], int]
    settle: Callable[[], TextTower] | None = None

    def sources(
        self, ids: Int[Tensor, " ids"], words: Int[Tensor, " words"]
    ) -> Int[Tensor, " tokens"] | None:
        """Return which id each token at the first layer comes from; see `token_sources`.

        None if tokens are known to be in order, or do not come from single ids.
        """
        return None if self.is_own else token_sources(self.encode, self.layers[0], ids, words)

    def settled(self) -> TextTower:
        """Return the tower as it runs captions: padded in full, or at their own length if that is the same.

        Runs the model once for each of its states.
        """
        return self if self.settle is None else self.settle()


def rows_of(modules: Iterable[nn.Module]) -> int | None:
    """Return the number of rows of the first embedding among `modules`; None if there is none.

    A module of another class counts as one if it has a table named `weight` itself.
    """
    found = list(modules)
    tables = (getattr(part, "weight", None) for part in found[:1])
    rows = [part.num_embeddings for part in found if isinstance(part, nn.Embedding)]
    rows += [len(table) for table in tables if isinstance(table, Tensor) and table.ndim == 2]
    return rows[0] if rows else None


def layers_at(
    model: nn.Module,
    modules: Sequence[nn.Module],
    *,
    channels_last: bool | None = None,
    orders: Sequence[Order | None] | None = None,
) -> tuple[Layer, ...]:
    """Return layers at the inputs of `modules`, named by their paths in the model; see `Layer`."""
    names = {id(module): name for name, module in model.named_modules()}
    return tuple(
        Layer(names[id(module)], module, channels_last=channels_last, order=order)
        for module, order in zip(modules, orders or [None] * len(modules), strict=True)
    )


def is_pointwise(module: nn.Module) -> bool:
    """Return whether a module is known to treat every token separately, and as handwritten code expects."""
    return all(map(is_pointwise_itself, module.modules()))


def is_pointwise_itself(module: nn.Module) -> bool:
    """Return whether a module treats every token separately, provided that its submodules do."""
    kind = type(module)
    return kind in _POINTWISE or (kind.__module__, kind.__name__) in _POINTWISE_BY_NAME


_POINTWISE = {
    *(nn.Linear, nn.LayerNorm, nn.Identity, nn.Dropout, nn.Sequential),
    *(nn.GELU, nn.SiLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.Mish, nn.Softplus),
    *(nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softsign, nn.LogSigmoid),
}

_POINTWISE_BY_NAME = {
    *(("open_clip.transformer", name) for name in ("LayerNorm", "LayerNormFp32", "QuickGELU", "LayerScale")),
    *(("clip.model", name) for name in ("LayerNorm", "QuickGELU")),
    ("transformers.models.clip.modeling_clip", "CLIPMLP"),
    *(
        ("transformers.activations", name)
        for name in (
            "QuickGELUActivation",
            "GELUActivation",
            "NewGELUActivation",
            "FastGELUActivation",
            "PytorchGELUTanh",
            "GELUTanh",
            "SiLUActivation",
        )
    ),
}


def module_in(module: nn.Module, dtype: torch.dtype) -> Any:
    """Return `module` itself if it computes in `dtype`, else a copy that does."""
    if computes_in(module, dtype):
        return module
    return copy.deepcopy(module).to(dtype)


def computes_in(module: nn.Module, dtype: torch.dtype) -> bool:
    """Return whether autograd can differentiate the module in `dtype` without a copy."""
    weights = [weight for weight in module.parameters() if weight.is_floating_point()]
    return all(weight.dtype == dtype and version_of(weight) >= 0 for weight in weights)


def weight_in(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `weight` detached and in `dtype`; a copy if autograd could not use it."""
    return (weight.clone() if version_of(weight) < 0 else weight.detach()).to(dtype)
