"""Explain similarities: from a model, images and captions to their token-patch interactions."""

from __future__ import annotations

import copy
import os
import pickle
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, TypeGuard, TypeVar, Unpack, overload

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from .checks import callable_or_none, random_seed, whole_number
from .errors import CaptionError, ModelError, ParameterError, named_type
from .image import ImageLike, open_image
from .inputs.caption import Caption, has_same_ids, read_caption
from .inputs.preprocessing import Preprocess, check_pixels, preprocess_image
from .inputs.references import KINDS, fit_reference, reference_ids, reference_pixels
from .inputs.seen import SeenPart
from .inputs.tokenizers import Tokenizer
from .masking import (
    MaskingTest,
    actual_change,
    check_selection,
    describe_selection,
    patches_as_tokens,
    predicted_change,
    read_masks,
    require_same_image,
    require_same_words,
)
from .methods import DEFAULT_METHOD, METHODS, Method, as_method, options_of
from .methods.base import as_array, masked_embeddings, norm_of
from .methods.batches import BYTES_OF_A_PASS, MOST_TOGETHER, naming, sides_together
from .methods.side import Side, image_sides, text_sides
from .models.dual_encoder import DualEncoder
from .models.fingerprint import digest, fingerprint, known_weights
from .models.tower import Tower
from .models.towers import find_towers
from .models.transformers_family import from_processor
from .paths.cut import Layer, embeddings_of, says_enough
from .paths.evaluation_mode import evaluation_mode
from .results.classification import Classification, Logits
from .results.factors import Factors
from .results.interactions import Estimate, Interactions, label_estimate
from .results.matching import as_texts, require_made_by, require_same_width
from .results.origin import Option, Origin, View, references_of
from .results.outliers import find_outliers
from .results.rows import Grid
from .version import __version__

LayerName: TypeAlias = int | str
"""Index of a layer (negative counts from the end) or its name; `"output"` is the output of the last one."""

_Seen: TypeAlias = tuple[Tensor, View | None]
"""The pixels that the model sees of an image, and which part of the image they show, if known."""

T = TypeVar("T")

DEFAULT_MEMORY = 2**27
"""Default limit on intermediate results, in bytes: 128 MiB."""

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
"""Form of a model's name on the Hugging Face Hub; any other name is the path of a folder."""


class MethodOptions(TypedDict, total=False):
    """Options for a method given by name; documented on each method."""

    steps: int
    rule: str
    tolerance: float
    rank: int
    samples: int
    p: float
    masks: str
    length: bool


class CommonOptions(MethodOptions, total=False):
    """Options of `Explainer` besides the layers; documented there."""

    preprocess: Preprocess | None
    tokenizer: Tokenizer | None
    processor: Any
    method: str | Method
    text_reference: str | None
    image_reference: str | ImageLike
    seed: int
    memory: int


class ExplainerOptions(CommonOptions, total=False):
    """All options of `Explainer`; documented there."""

    text_layer: LayerName | None
    image_layer: LayerName | None


class Explainer:
    """Explains a model, for any number of captions and images.

    Parameters
    ----------
    model : torch.nn.Module or DualEncoder
        A model from open_clip, OpenAI's `clip` or Hugging Face transformers, or any other wrapped in a
        `DualEncoder`. It is left unchanged.
    preprocess, tokenizer : callable, optional
        Those provided by the model's library. Needed only if they cannot be inferred from the model.
    processor : optional
        A Hugging Face processor, which provides both.
    method : str or Method
        A method from `exclip_widget.methods` with its options, such as ``Banzhaf(samples=1024)``, or the name
        of one with its default options: `"frozen"`, `"exclip"`, `"similarity"`, `"gradient"` or `"banzhaf"`.
        The default was chosen by its scores: on held-out scenes with exact masks, the strongest patch lies
        on what the word names in .93 of cases with `"frozen"`, and in .52 with `"exclip"`
        (docs/evaluation.md).
    text_layer, image_layer : int or str, optional
        Layer at whose input a tower is cut: its index (negative counts from the end) or its name;
        `"output"` is the output of the last one. The default depends on the method: the first text block and
        the second image block for `"frozen"`; the last blocks for `"exclip"`, which cost less than a forward
        pass.
    text_reference : str, optional
        Caption at which paths start. By default exclip's own, a single padding token.
    image_reference : {"zeros", "mean", "blur", "noise"} or image
        Image at which paths start. By default zeros after preprocessing, as in exclip.
    seed : int
        Seed for everything random: the reference `"noise"`, and a method given by name.
    memory : int
        Approximate limit on the memory for intermediate results, in bytes. A lower limit costs time, but not
        correctness.
    **method_options
        Options for a method given by name, such as ``steps=20`` for `"exclip"`.

    Raises
    ------
    ModelError, ParameterError
        If an argument cannot be used. The message names it and says what was expected.

    Examples
    --------
    >>> from exclip_widget import demo
    >>> book = demo.load()
    >>> explainer = Explainer(book.model, tokenizer=book.tokenizer)
    >>> explainer.explain(book.pages[0].image, "a red boat")
    Interactions('a red boat': 5 tokens x 12 x 12 patches, similarity ..., residual ...)
    """

    def __init__(
        self,
        model: Any,
        *,
        preprocess: Preprocess | None = None,
        tokenizer: Tokenizer | None = None,
        processor: Any = None,
        method: str | Method = DEFAULT_METHOD,
        text_layer: LayerName | None = None,
        image_layer: LayerName | None = None,
        text_reference: str | None = None,
        image_reference: str | ImageLike = "zeros",
        seed: int = 0,
        memory: int = DEFAULT_MEMORY,
        **method_options: Unpack[MethodOptions],
    ) -> None:
        self._seed = random_seed(seed)
        self._method_options = method_options
        self._towers = find_towers(model)
        if processor is not None:
            of_processor = from_processor(processor)
            preprocess, tokenizer = preprocess or of_processor[0], tokenizer or of_processor[1]
        self.preprocess = callable_or_none("preprocess", preprocess) or self._towers.preprocess()
        self._tokenizer = callable_or_none("tokenizer", tokenizer) or self._towers.tokenizer()
        self._text_reference = text_reference
        self._image_reference = image_reference
        self._memory = whole_number("memory", memory)
        self._set_method(method, text_layer, image_layer, method_options)

    def _set_method(
        self,
        method: str | Method,
        text_layer: LayerName | None,
        image_layer: LayerName | None,
        options: Mapping[str, Any],
    ) -> None:
        own = {name: value for name, value in options.items() if value is not None}
        if isinstance(method, str) and method in METHODS and "seed" in options_of(METHODS[method]):
            own["seed"] = self._seed
        self.method = as_method(method, **own)
        if self.method.needs_gradients:
            self._towers.require_gradients()
        self._given_layers = text_layer, image_layer
        self._find_layers()

    def _find_layers(self) -> None:
        (text, image), (text_default, image_default) = self._given_layers, self.method.default_layers
        self._text_layer = _layer_of(self._towers.text, text, text_default)
        self._image_layer = _layer_of(self._towers.image, image, image_default)

    def _look_again(self) -> None:
        """Find the towers again: hooks, adapters and patches may have been added since."""
        self._towers = self._towers.found_again()
        self._find_layers()

    def with_method(
        self,
        method: str | Method,
        text_layer: LayerName | None = None,
        image_layer: LayerName | None = None,
    ) -> Explainer:
        """Return an explainer with the same model, inputs and references, but another method and layers.

        Raises
        ------
        ModelError, ParameterError
            If this method cannot explain the model, or a tower has no such layer.
        """
        other = object.__new__(Explainer)
        vars(other).update(vars(self))
        # Options given for one method are kept until that method is used again.
        known = options_of(METHODS[method]) if isinstance(method, str) and method in METHODS else set()
        options = {name: value for name, value in self._method_options.items() if name in known}
        other._set_method(method, text_layer, image_layer, options)
        return other

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments that make an explainer like this one."""
        text_layer, image_layer = self._given_layers
        return {
            "model": self._towers.source,
            "preprocess": self.preprocess,
            "tokenizer": self._tokenizer,
            "method": self.method,
            "text_layer": text_layer,
            "image_layer": image_layer,
            "text_reference": self._text_reference,
            "image_reference": self._image_reference,
            "seed": self._seed,
            "memory": self._memory,
        }

    def __copy__(self) -> Explainer:
        """Return an explainer of the same model."""
        return _rebuild(self._arguments(), self._method_options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Explainer:
        """Return an explainer of a copy of the model.

        Raises
        ------
        ModelError, ParameterError
            If the model or another argument cannot be copied.
        """
        copied = {name: _copied(name, value, memo) for name, value in self._arguments().items()}
        return _rebuild(copied, copy.deepcopy(self._method_options, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what rebuilds this explainer in another process: the model, its inputs and the options.

        Raises
        ------
        ParameterError
            If a user-supplied function cannot be pickled.
        """
        arguments = self._arguments()
        functions: dict[str, Callable[..., Any]] = {
            name: arguments[name] for name in ("preprocess", "tokenizer")
        }
        if isinstance(self._towers.source, DualEncoder):
            functions |= self._towers.source.functions
        for name, function in functions.items():
            try:
                pickle.dumps(function)
            except Exception as error:
                raise ParameterError(
                    f"{name} cannot be sent to another process ({error!s:.200}); expected something that "
                    "pickle accepts, such as a module's function rather than a lambda"
                ) from error
        return _rebuild, (arguments, self._method_options)

    # ------------------------------------------------------------------------------------ reading inputs

    def read_caption(self, caption: str) -> Caption:
        """Tokenise a caption.

        Raises
        ------
        CaptionError
            If the caption cannot be read.
        """
        self._look_again()
        return self._read_caption(caption)

    def read_captions(self, captions: Iterable[str | Caption]) -> list[Caption]:
        """Tokenise several captions for the text tower in its current state.

        Raises
        ------
        CaptionError
            If there are none, or one of them cannot be read. The message gives its index.
        """
        self._look_again()
        self._towers = self._towers.settled()
        if not _are_several(captions, (str, Caption)):
            raise CaptionError(
                f"captions is {named_type(captions)} ({captions!r:.80}); expected a list of strings"
            )
        read = self._read_all(captions)
        if not read:
            raise CaptionError("captions is empty; expected at least one string")
        return read

    def read_captions_again(self, captions: Iterable[Caption]) -> list[Caption]:
        """Return captions as the tokenizer reads them now: the same objects unless their ids have changed.

        Raises
        ------
        CaptionError
            If one of them cannot be read any more.
        """
        self._look_again()
        self._towers = self._towers.settled()
        return [
            caption
            if has_same_ids(caption, self._tokenizer, self._towers.text)
            else self._read_caption(caption.rows.caption)
            for caption in captions
        ]

    def _read_all(self, captions: Iterable[object]) -> list[Caption]:
        read = []
        for index, caption in enumerate(captions):
            with naming("captions", index):
                read.append(self._read_again(caption))
        return read

    def _read_caption(self, caption: str) -> Caption:
        self._towers = self._towers.settled()
        return read_caption(caption, self._tokenizer, self._towers.text)

    def read_image(self, image: ImageLike | Tensor) -> Float[Tensor, "1 3 height width"]:
        """Return the pixels that the model sees of an image; a tensor is taken as already preprocessed.

        Raises
        ------
        ImageError
            If the image cannot be read.
        """
        return self._open_image(image)[0]

    def read_view(self, image: ImageLike) -> tuple[Float[Tensor, "1 3 height width"], View]:
        """Return the pixels that the model sees of an image, and which part of the image they show.

        The patches of some models cover less of it, or reach beyond it; see `view_of_patches`.

        Raises
        ------
        ImageError
            If the image cannot be read.
        """
        pixels, opened = self._open_image(image)
        assert opened is not None
        return pixels, View.of(opened, SeenPart(self.preprocess, opened, pixels))

    def _read_image(self, image: ImageLike | Tensor) -> _Seen:
        """Return the pixels that the model sees of an image, and which part of it they show, if known."""
        return (self.read_image(image), None) if isinstance(image, Tensor) else self.read_view(image)

    def _open_image(
        self, image: ImageLike | Tensor
    ) -> tuple[Float[Tensor, "1 3 height width"], Image.Image | None]:
        """Return the pixels that the model sees of an image, and the image unless it was a tensor."""
        size, size_from = self._towers.image.size, self._towers.image.size_from
        if isinstance(image, Tensor):
            return check_pixels(image, size, size_from=size_from), None
        opened = open_image(image)
        return preprocess_image(opened, self.preprocess, size, size_from), opened

    def grid(self, image: ImageLike | Tensor) -> tuple[int, int]:
        """Return the rows and columns of an image's patches at the image layer.

        Takes a pass through the tower if the grid is not known beforehand.

        Raises
        ------
        ImageError
            If the image cannot be read.
        """
        self._look_again()
        pixels = self.read_image(image)
        known = self._towers.image.known_grid(pixels)
        if known is not None:
            return known
        with evaluation_mode(self._towers.model):
            ((side,),) = self._image_sides([pixels], [self._image_layer])
        grid = _grid_of(side)
        return grid.rows, grid.columns

    def view_of_patches(
        self, view: View, pixels: Float[Tensor, "1 3 height width"], grid: tuple[int, int]
    ) -> View:
        """Return which part of an image a grid of patches at the image layer covers.

        Patches that do not divide the image leave some of its pixels out, or reach beyond its end.

        Parameters
        ----------
        view, pixels
            As `read_view` returns them.
        grid : (int, int)
            Rows and columns of patches; see `grid`.

        Raises
        ------
        ModelError
            If code other than the library's crops the pixels before it cuts them into patches.
        """
        (covered,) = self._towers.image.covered(pixels, [(self._image_layer, grid)])
        return view.covered_by(covered)

    # --------------------------------------------------------------------------------------- explaining

    @overload
    def text_factors(self, captions: str | Caption) -> Factors: ...  # type: ignore[overload-overlap]

    @overload
    def text_factors(self, captions: Iterable[str | Caption], *, progress: bool = False) -> list[Factors]: ...

    def text_factors(
        self, captions: str | Caption | Iterable[str | Caption], *, progress: bool = False
    ) -> Factors | list[Factors]:
        """Return the factors of a caption, (tokens, embed), or of each of several.

        Their products with an image's factors are interactions; see `interactions_of`.

        Parameters
        ----------
        captions : str, or iterable of str
            A caption, or several. Captions of equal length go through the tower together, as many at a time
            as `memory` allows. The results are the same as one by one, up to rounding.
        progress : bool
            Whether to show a progress bar for several captions.

        Raises
        ------
        CaptionError
            If a caption cannot be read. For several, the message gives its index, and nothing is computed.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> book = demo.load()
        >>> explainer = Explainer(book.model, tokenizer=book.tokenizer)
        >>> explainer.text_factors(["a red boat", "two fish"])
        [Factors('a red boat': 5 tokens x ...), Factors('two fish': 4 tokens x ...)]
        """
        self._look_again()
        self._towers = self._towers.settled()
        if not _are_several(captions, (str, Caption)):
            return self._text_factors(self._read_again(captions))
        # Sorted so that captions of one length are adjacent.
        read = sorted(enumerate(self._read_all(captions)), key=lambda one: len(one[1].ids))

        def sides_of(batch: Sequence[Caption]) -> list[Side]:
            return [side for (side,) in self._text_sides(batch, [self._text_layer])]

        with tqdm(total=len(read), unit="caption", disable=not progress, dynamic_ncols=True) as bar:
            found = self._factors_of(read, sides_of, lambda one: len(one.ids), "captions", bar)
            return [factors for _, _, factors in sorted(found, key=itemgetter(0))]

    def _read_again(self, caption: object) -> Caption:
        """Return a caption tokenised as the tower takes it in its current state."""
        tower = self._towers.text
        if not isinstance(caption, Caption):
            return read_caption(caption, self._tokenizer, tower)
        if tower.padded and len(caption.ids) < tower.context_length:
            # It was tokenised before something that may read the padding was added to the model.
            return read_caption(caption.rows.caption, self._tokenizer, tower)
        return caption

    @overload
    def image_factors(self, images: ImageLike | Tensor) -> Factors: ...  # type: ignore[overload-overlap]

    @overload
    def image_factors(
        self, images: Iterable[ImageLike | Tensor], *, progress: bool = False
    ) -> list[Factors]: ...

    def image_factors(
        self, images: ImageLike | Tensor | Iterable[ImageLike | Tensor], *, progress: bool = False
    ) -> Factors | list[Factors]:
        """Return the factors of an image, (tokens of its tower, embed), or of each of several.

        Parameters
        ----------
        images : image or tensor, or iterable of them
            An image, as `explain` takes it, or several, which are read only as they are needed. Several go
            through the tower together, as many at a time as `memory` allows. The results are the same as one
            by one, up to rounding.
        progress : bool
            Whether to show a progress bar for several images.

        Raises
        ------
        ImageError
            If an image cannot be read. For several, the message gives its index.

        Notes
        -----
        With `"exclip"` at the last block, factors cost about one pass through the tower. With `"frozen"`, and
        at earlier layers, they cost one for each patch, whereas `explain` needs only one for each direction
        of a caption.
        """
        self._look_again()
        if not _are_several(images, (Tensor, np.ndarray, Image.Image, str, os.PathLike)):
            pixels, view = self._read_image(images)  # type: ignore[arg-type]
            with evaluation_mode(self._towers.model):
                ((side,),) = self._image_sides([pixels], [self._image_layer])
                return self._factors(side, self._origin("image"), view)

        def read() -> Iterator[tuple[int, _Seen]]:
            for index, image in enumerate(images):
                with naming("images", index):
                    seen = self._read_image(image)
                yield index, seen

        def sides_of(batch: Sequence[_Seen]) -> list[Side]:
            sides = self._image_sides([pixels for pixels, _ in batch], [self._image_layer])
            return [side for (side,) in sides]

        total = len(images) if isinstance(images, Sized) else None
        with tqdm(total=total, unit="image", disable=not progress, dynamic_ncols=True) as bar:
            found = self._factors_of(
                read(), sides_of, lambda one: one[0].shape, "images", bar, view_of=itemgetter(1)
            )
            return [factors for *_, factors in found]

    def _factors_of(
        self,
        inputs: Iterable[tuple[int, T]],
        sides_of: Callable[[Sequence[T]], Sequence[Side]],
        like: Callable[[T], Hashable],
        name: str,
        bar: Any,
        *,
        view_of: Callable[[T], View | None] = lambda _: None,
    ) -> list[tuple[int, T, Factors]]:
        """Return the factors of inputs, running those that are alike through the tower together.

        `inputs`, `sides_of`, `like` and `name` are as `sides_together` takes them. `view_of` returns the view
        of an image.
        """

        def sides_in_mode(batch: Sequence[T]) -> Sequence[Side]:
            with evaluation_mode(self._towers.model):  # but not while the caller's images are read
                return sides_of(batch)

        found = []
        most = self._most_together
        for batch in sides_together(inputs, sides_in_mode, like, name=name, memory=self._memory, most=most):
            origin = self._origin(batch[0][2].name)
            for index, one, side in batch:
                with naming(name, index), evaluation_mode(self._towers.model):
                    factors = self._factors(side, origin, view_of(one))
                found.append((index, one, factors))
                bar.update()
        return found

    def refine(
        self,
        texts: Sequence[Factors],
        image: ImageLike | Tensor,
        estimates: int = 1,
        *,
        view: View | None = None,
    ) -> Iterator[list[Interactions]]:
        """Yield progressively better interactions of captions with one image.

        What the captions have in common, the image's pass through its tower, is computed only once.

        Parameters
        ----------
        texts : sequence of Factors
            Factors of the captions, as this explainer's `text_factors` returns them.
        image : image or tensor
            As `explain` takes it.
        estimates : int
            Approximate number of estimates to yield. Each builds on the one before, and the last is the
            result.
        view : View, optional
            Size of the image and the part of it that the model sees, if `image` is a tensor; as `read_view`
            returns it.

        Raises
        ------
        ImageError
            If the image cannot be read.
        ParameterError
            If the factors are not those of this explainer, or `estimates` is not a whole number of at least
            1.
        """
        estimates = whole_number("estimates", estimates)
        self._look_again()
        texts = self._checked(texts)
        pixels, found = self._read_image(image)
        return self._refine(texts, pixels, view or found, estimates)

    def _checked(self, given: Sequence[Factors]) -> list[Factors]:
        """Return the factors of captions as a list, if this explainer made them, or one like it."""
        texts = as_texts(given)
        require_made_by(texts, self.method.name, self._text_layer.name, self._origin("text"))
        return texts

    def _refine(
        self,
        texts: Sequence[Factors],
        pixels: Float[Tensor, "1 3 height width"],
        view: View | None,
        estimates: int,
    ) -> Iterator[list[Interactions]]:
        def work() -> Iterator[list[Interactions]]:
            ((side,),) = self._image_sides([pixels], [self._image_layer])
            yield from self._refine_side(texts, side, view, estimates)

        return self._in_evaluation_mode(work())

    def refine_layers(
        self,
        texts: Sequence[Factors],
        image: ImageLike | Tensor,
        image_layers: Iterable[LayerName] | None = None,
        *,
        view: View | None = None,
    ) -> Iterator[dict[LayerName, list[Interactions]] | None]:
        """Yield the interactions of captions with one image at several of its layers, as the last item.

        The items before it are None, each at a point where the caller may do something else for a while.

        Parameters
        ----------
        texts, image, view
            As `refine` takes them.
        image_layers : iterable of int or str, optional
            The layers; by default all layers of the tower.

        Raises
        ------
        ImageError, ParameterError
            If the image cannot be read, its tower has no such layer, or the factors are not those of this
            explainer.
        """
        self._look_again()
        texts = self._checked(texts)
        by_layer = _layers_of(self._towers.image, image_layers)
        pixels, found = self._read_image(image)
        return self._refine_layers(texts, pixels, view or found, by_layer)

    def _refine_layers(
        self,
        texts: Sequence[Factors],
        pixels: Float[Tensor, "1 3 height width"],
        view: View | None,
        by_layer: Mapping[LayerName, Layer],
    ) -> Iterator[dict[LayerName, list[Interactions]] | None]:
        """Yield the items of `refine_layers`."""
        names = _in_order(self._towers.image, by_layer)

        def work() -> Iterator[dict[LayerName, list[Interactions]] | None]:
            (sides,) = self._image_sides([pixels], [by_layer[which] for which in names])
            references = self._references("image")
            yield None
            for found in self.method.refine_layers(texts, sides, self._memory):
                if found is None:
                    yield None
                    continue
                yield {
                    which: _labelled(estimates, texts, side, view, references)
                    for which, side, estimates in zip(names, sides, found, strict=True)
                }

        return self._in_evaluation_mode(work())

    def explain(self, image: ImageLike | Tensor, caption: str) -> Interactions:
        """Return the interactions of a caption and an image; see the function `explain`."""
        self._look_again()
        return self._explain(image, caption)

    def _explain(self, image: ImageLike | Tensor, caption: str) -> Interactions:
        read, (pixels, view) = self._read_caption(caption), self._read_image(image)
        with evaluation_mode(self._towers.model):
            *_, (result,) = self._refine([self._text_factors(read)], pixels, view, 1)
        return result

    def explain_layers(
        self,
        image: ImageLike | Tensor,
        caption: str,
        *,
        text_layers: Iterable[LayerName] | None = None,
        image_layers: Iterable[LayerName] | None = None,
    ) -> dict[tuple[LayerName, LayerName], Interactions]:
        """Return the interactions at every pair of layers; see the function `explain_layers`."""
        self._look_again()
        by_text = _layers_of(self._towers.text, text_layers)
        by_image = _layers_of(self._towers.image, image_layers)
        read, (pixels, view) = self._read_caption(caption), self._read_image(image)
        found: dict[tuple[LayerName, LayerName], Interactions] = {}
        with evaluation_mode(self._towers.model):
            text_layers = _in_order(self._towers.text, by_text)
            (text_sides,) = self._text_sides([read], [by_text[which] for which in text_layers])
            factors = self.method.factors_at_layers(text_sides, self._memory)
            origin = self._origin("text")
            texts = [replace(one, origin=origin) for one in factors]
            *_, by_layer = self._refine_layers(texts, pixels, view, by_image)
        assert by_layer is not None
        for image_layer, results in by_layer.items():
            found |= {(text, image_layer): one for text, one in zip(text_layers, results, strict=True)}
        return {(text, image): found[text, image] for text in by_text for image in by_image}

    def test(
        self,
        interactions: Interactions,
        image: ImageLike | Tensor,
        tokens: Sequence[int] = (),
        region: Sequence[int] = (),
    ) -> MaskingTest:
        """Mask a selection, run the model, and compare the change with the prediction.

        Masked tokens are replaced by the reference's before the first block, as in `"banzhaf"`. If both
        tokens and patches are selected, their interaction is tested: the change from masking both, beyond the
        changes from masking each alone.

        Parameters
        ----------
        interactions : Interactions
            The interactions of the caption and the image, which make the prediction.
        image : image or tensor
            The image that `interactions` are of.
        tokens, region : sequence of int
            Rows of the caption, and patches of the grid of `interactions` as ``row * columns + column``.

        Raises
        ------
        ParameterError
            If both are empty, a number is out of range, the image is another one, or the tokenizer now gives
            the caption other words.
        """
        tokens, region = check_selection(interactions, tokens, region)
        caption, (pixels, view) = self.read_caption(interactions.caption), self._read_image(image)
        require_same_image(interactions, view)
        _, rows, columns = interactions.values.shape
        with evaluation_mode(self._towers.model):
            text, side = self._first_sides(caption, pixels)
            require_same_words(interactions, text.rows)
            actual = actual_change(text, side, tokens, region, (rows, columns))
        return MaskingTest(
            tokens=tokens,
            region=region,
            predicted=predicted_change(interactions, tokens, region),
            actual=actual,
            label=describe_selection(interactions, tokens, region),
        )

    def masked_embeddings(
        self,
        image: ImageLike | Tensor,
        caption: str,
        tokens: ArrayLike,
        patches: ArrayLike,
    ) -> tuple[Float[np.ndarray, "masks embed"], Float[np.ndarray, "others embed"]]:
        """Return unit embeddings of a caption and of an image with only some tokens and patches present.

        All others are replaced by the reference's before the first block. Products of the two are the
        similarities of the masked pair.

        Parameters
        ----------
        image : image or tensor
            The image.
        caption : str
            The caption.
        tokens : array
            Boolean masks of the caption's rows, True for those that stay, (masks, rows).
        patches : array
            Boolean masks of patches, True for those that stay, on any grid over what the model sees, (masks,
            rows, columns).

        Raises
        ------
        ParameterError
            If the masks are not boolean or have other axes, or `tokens` does not have one column for each
            row of the caption.
        """
        of_tokens = read_masks("tokens", tokens, ("masks", "rows of the caption"))
        of_patches = read_masks("patches", patches, ("masks", "rows", "columns"))
        read, pixels = self.read_caption(caption), self.read_image(image)
        with evaluation_mode(self._towers.model):
            text, side = self._first_sides(read, pixels)
            if of_tokens.shape[1] != len(text.rows):
                raise ParameterError(
                    f"tokens has {of_tokens.shape[1]} columns; expected {len(text.rows)}, one for each row "
                    f"of {caption!r}"
                )
            captions = masked_embeddings(text, torch.from_numpy(of_tokens)[:, text.row_index], self._memory)
            present = torch.from_numpy(patches_as_tokens(side, of_patches))
            images = masked_embeddings(side, present, self._memory)
        require_same_width(captions.shape[1], images.shape[1])
        return as_array(captions), as_array(images)

    def origin_of_masked(self) -> Origin:
        """Return what `masked_embeddings` depend on besides their inputs: the model and both references.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> book = demo.load()
        >>> Explainer(book.model, tokenizer=book.tokenizer).origin_of_masked().references
        {'text_reference': None, 'image_reference': 'zeros'}
        """
        model = self._towers.model
        references = self._all_references("text") | self._all_references("image")
        return Origin(_name_of(model), {}, __version__, known_weights(model), references)

    # --------------------------------------------------------------------------------------- classifying

    def text_embeddings(self, captions: Iterable[str | Caption]) -> Float[np.ndarray, "captions embed"]:
        """Return the unit embedding of each of several captions, from the model's forward pass alone.

        Parameters
        ----------
        captions : iterable of str
            The captions. Those of equal length go through the tower together, as many at a time as `memory`
            allows.

        Raises
        ------
        CaptionError
            If there are none, or one of them cannot be read. The message gives its index.
        ModelError
            If the model gives anything other than an embedding for each caption, or one that is zero or not
            finite.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> book = demo.load()
        >>> explainer = Explainer(book.model, tokenizer=book.tokenizer)
        >>> texts = explainer.text_embeddings(["a red boat", "two fish"])
        >>> similarities = texts @ explainer.image_embedding(book.pages[0].image)
        >>> similarities.shape
        (2,)
        """
        read = sorted(enumerate(self.read_captions(captions)), key=lambda one: len(one[1].ids))
        found: dict[int, np.ndarray] = {}
        fits = 1
        while len(found) < len(read):
            waiting = read[len(found) : len(found) + fits]
            length = len(waiting[0][1].ids)
            batch = {index: caption for index, caption in waiting if len(caption.ids) == length}
            units = self._text_units(list(batch.values()))
            found |= zip(batch, units, strict=True)
            # The first caption goes alone and shows how many fit: towers are about as wide as embeddings.
            each = BYTES_OF_A_PASS * length * units[0].nbytes
            fits = max(1, min(self._most_together, self._memory // each))
        return np.stack([found[index] for index in range(len(read))])

    def _text_units(self, batch: Sequence[Caption]) -> Float[np.ndarray, "captions embed"]:
        """Return the unit embeddings of captions of one length."""
        ids = torch.stack([caption.ids for caption in batch])
        with evaluation_mode(self._towers.model):
            embeddings = as_array(embeddings_of(self._towers.text.encode(ids), len(batch)))
        norms: np.ndarray = np.linalg.norm(embeddings, axis=1, keepdims=True)
        for caption, norm in zip(batch, norms[:, 0], strict=True):
            if not (np.isfinite(norm) and norm > 0):
                raise ModelError(
                    f"the embedding of {caption.rows.caption!r:.80} has norm {norm:g}, so there is no cosine "
                    "similarity; expected finite weights and an embedding other than zero"
                )
        units: np.ndarray = embeddings / norms
        return units

    def image_embedding(self, image: ImageLike | Tensor) -> Float[np.ndarray, " embed"]:
        """Return the unit embedding of an image, from the model's forward pass alone.

        Raises
        ------
        ImageError
            If the image cannot be read.
        ModelError
            If the model gives anything other than one embedding, or one that is zero or not finite.
        """
        self._look_again()
        pixels = self.read_image(image)
        with evaluation_mode(self._towers.model):
            (embedding,) = embeddings_of(self._towers.image.encode(pixels), 1).detach()
            embedding = embedding.to(torch.promote_types(embedding.dtype, torch.float32))
            return as_array(embedding / norm_of(embedding, "image"))

    def classify(self, image: ImageLike | Tensor, captions: Iterable[str | Caption]) -> Classification:
        """Return the similarities and probabilities of an image's captions; see the function `classify`."""
        read = self.read_captions(captions)
        image_embedding, text_embeddings = self.image_embedding(image), self.text_embeddings(read)
        require_same_width(text_embeddings.shape[1], len(image_embedding))
        return Classification(
            captions=tuple(caption.rows.caption for caption in read),
            similarities=text_embeddings @ image_embedding,
            logits=self.logits(),
        )

    def logits(self) -> Logits | None:
        """Return how the model turns similarities into logits and probabilities; None if it does not say.

        Raises
        ------
        ModelError
            If its scale or bias is not finite.
        """
        return self._towers.logits()

    # ------------------------------------------------------------------------------------ about the model

    @property
    def model(self) -> nn.Module:
        """The model that is explained."""
        return self._towers.model

    @property
    def layers(self) -> tuple[LayerName, LayerName]:
        """The text layer and the image layer, each as an index or `"output"`."""
        towers = self._towers
        return _index_of(towers.text, self._text_layer), _index_of(towers.image, self._image_layer)

    @property
    def layer_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the layers of the text tower and of the image tower, from first to last."""
        text, image = (
            tuple(layer.name for layer in tower.layers) for tower in (self._towers.text, self._towers.image)
        )
        return text, image

    def recipe(self) -> dict[str, Option]:
        """Return everything that factors depend on besides their inputs, as a store records it.

        This is the model's class and a hash of its weights, the method and its options
        (``"method.steps"``), the layers, the references if the method reads them, and the version of the
        package. The code of the preprocessing, of the tokenizer and of hooks is not included.

        Raises
        ------
        ModelError
            If the weights cannot be hashed.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> book = demo.load()
        >>> recipe = Explainer(book.model, tokenizer=book.tokenizer, method="exclip").recipe()
        >>> recipe["method"], recipe["method.steps"], recipe["image_layer"]
        ('exclip', 10, 'visual.transformer.resblocks.5')
        """
        self._look_again()
        weights = known_weights(self._towers.model, again=True)
        if weights is None:
            raise ModelError(
                f"the weights of {_name_of(self._towers.model)} cannot be hashed, so it is unknown which "
                "factors are of the same weights; expected weights in torch's own types, such as before they "
                "were quantised"
            )
        options = asdict(self.method)  # type: ignore[call-overload]  # every method is a dataclass
        origin = Origin.of(_name_of(self._towers.model), options, __version__)
        return {
            "model": origin.model,
            "weights": weights,
            "method": self.method.name,
            **{f"method.{name}": value for name, value in origin.options.items()},
            "text_layer": self._text_layer.name,
            "image_layer": self._image_layer.name,
            **(self._references("text") | self._references("image")),
            "seed": self._seed,
            "package": origin.version,
        }

    def fingerprint(self) -> object | None:
        """Return a fingerprint of the model's weights and settings, and of the references.

        None if changes of the model cannot be detected.

        Raises
        ------
        CaptionError, ImageError
            If a reference cannot be read.
        """
        with evaluation_mode(self._towers.model):
            found = fingerprint(self._towers.model.modules())
        return None if found is None else (found, self._reference_ids().tolist(), self._reference_digest())

    def _reference_digest(self) -> bytes | None:
        """Return a hash of the user's own reference image, as the model sees it; None if it is of a kind."""
        given = self._image_reference
        if isinstance(given, str) and given in KINDS:
            return None
        return digest(preprocess_image(open_image(given), self.preprocess))

    def __repr__(self) -> str:
        return (
            f"Explainer({type(self._towers.model).__name__}: {self.method.name!r} at "
            f"{self._text_layer.name!r} and {self._image_layer.name!r})"
        )

    # --------------------------------------------------------------------------------------------- inside

    @property
    def _most_together(self) -> int:
        """How many inputs may go through a tower together, memory permitting."""
        # Only a library's own code is known to treat an input the same whatever else is in the batch.
        is_known = self._towers.state is not None and self._towers.source is self._towers.model
        return MOST_TOGETHER if is_known else 1

    def _factors(self, side: Side, origin: Origin, view: View | None = None) -> Factors:
        """Return the method's factors of a side; `view` is the part of an image that its pixels show."""
        outliers = _outliers_of(side) if isinstance(side.rows, Grid) else None
        factors = self.method.factors(side, self._memory)
        return replace(factors, outliers=outliers, origin=origin, view=_covered(view, side))

    def _origin(self, side: str) -> Origin:
        """Return what makes the factors of one side, `"text"` or `"image"`."""
        options = asdict(self.method)  # type: ignore[call-overload]  # every method is a dataclass
        model = self._towers.model
        return Origin.of(_name_of(model), options, __version__, known_weights(model), self._references(side))

    def _references(self, side: str) -> dict[str, Option]:
        """Return the reference of one side, if the method depends on it."""
        return self._all_references(side) if self.method.needs_references else {}

    def _all_references(self, side: str) -> dict[str, Option]:
        """Return the reference of one side, which masking needs with any method."""
        if side == "text":
            return references_of(side, {"text_reference": self._text_reference})
        return references_of(side, {"image_reference": self._image_reference_name(), "seed": self._seed})

    def _image_reference_name(self) -> str:
        """Return the kind of the reference image, or a hash of the user's own, the same in every process."""
        given = self._image_reference
        if isinstance(given, str) and given in KINDS:
            return given
        return f"image {digest(torch.from_numpy(np.array(open_image(given)))).hex()}"

    def _refine_side(
        self, texts: Sequence[Factors], side: Side, view: View | None, estimates: int
    ) -> Iterator[list[Interactions]]:
        references = self._references("image")
        for found in self.method.refine(texts, side, estimates, self._memory):
            yield _labelled(found, texts, side, view, references)

    def _in_evaluation_mode(self, work: Iterator[T]) -> Iterator[T]:
        """Yield from `work`, with the caller's modes restored between its steps."""
        while True:
            with evaluation_mode(self._towers.model):
                try:
                    found = next(work)
                except StopIteration:
                    return
            yield found

    def _first_sides(self, caption: Caption, pixels: Float[Tensor, "1 3 height width"]) -> tuple[Side, Side]:
        """Return both sides at the first layers of their towers, where tokens are masked."""
        ((text,),) = self._text_sides([caption], self._towers.text.layers[:1])
        ((image,),) = self._image_sides([pixels], self._towers.image.layers[:1])
        return text, image

    def _text_factors(self, read: Caption) -> Factors:
        with evaluation_mode(self._towers.model):
            ((side,),) = self._text_sides([read], [self._text_layer])
            return self._factors(side, self._origin("text"))

    def _text_sides(self, captions: Sequence[Caption], layers: Sequence[Layer]) -> list[list[Side]]:
        """Return the side of each caption at each of `layers`; all captions must have one length."""
        reference = fit_reference(self._reference_ids(), self._towers.text, len(captions[0].ids))
        return text_sides(self._towers, layers, captions, reference)

    def _reference_ids(self) -> Int[Tensor, " ids"]:
        """Return the ids of the reference caption, tokenised anew: the tokenizer may have been changed."""
        return reference_ids(self._text_reference, self._tokenizer, self._towers.text)

    def _image_sides(
        self, batch: Sequence[Float[Tensor, "1 3 height width"]], layers: Sequence[Layer]
    ) -> list[list[Side]]:
        """Return the side of each image at each of `layers`; all images must have one size."""
        references = [
            reference_pixels(self._image_reference, pixels, self.preprocess, self._seed) for pixels in batch
        ]
        return image_sides(self._towers, layers, batch, references)


def _rebuild(arguments: dict[str, Any], method_options: MethodOptions) -> Explainer:
    """Return an explainer with these arguments that remembers options for when a method is chosen again."""
    explainer = Explainer(**arguments)
    explainer._method_options = method_options
    return explainer


def _copied(name: str, argument: T, memo: dict[int, Any]) -> T:
    """Return a copy of an argument, which shares with `memo` what is copied already."""
    try:
        return copy.deepcopy(argument, memo)
    except Exception as error:
        if says_enough(error):
            raise
        kind = ModelError if name == "model" else ParameterError
        raise kind(
            f"{name} cannot be copied ({type(error).__name__}: {error!s:.200}); expected something that "
            "copy.deepcopy accepts"
        ) from error


def _are_several(given: object, single: tuple[type, ...]) -> TypeGuard[Iterable[Any]]:
    """Return whether these are several captions or images: an iterable that is not itself one of them."""
    if isinstance(given, (*single, bytes, bytearray, Mapping)) or hasattr(given, "read"):
        return False
    return isinstance(given, Iterable)


def _layer_of(tower: Tower, given: LayerName | None, default: LayerName) -> Layer:
    if isinstance(given, (list, tuple, range)):
        raise ParameterError(
            f"{tower.side}_layer={given!r} is several layers; give one, or call explain_layers"
        )
    if given is None:
        count = len(tower.layers)  # in a tower with few layers, the nearest one
        given = min(max(default, -count), count - 1) if isinstance(default, int) else default
    return tower.layer(given)


def _layers_of(tower: Tower, given: Iterable[LayerName] | None) -> dict[LayerName, Layer]:
    name = f"{tower.side}_layers"
    if given is None:
        return dict(enumerate(tower.layers))
    try:
        wanted = None if isinstance(given, (str, bytes)) else list(given)
    except TypeError:
        wanted = None
    if wanted is None:
        raise ParameterError(f"{name}={given!r:.80} is not a list of layers; give one layer as a list of one")
    if not wanted:
        raise ParameterError(f"{name}={given!r:.80} names no layer")
    layers = [tower.layer(which) for which in wanted]
    # An index of any library becomes an int, because not all of them can be keys.
    names = [which if isinstance(which, str) else int(which) for which in wanted]
    return dict(zip(names, layers, strict=True))


def _in_order(tower: Tower, by_layer: Mapping[LayerName, Layer]) -> list[LayerName]:
    """Return the names of layers in the order in which their tower runs them."""
    places = {
        which: len(tower.layers) if layer.after else tower.layers.index(layer)
        for which, layer in by_layer.items()
    }
    return sorted(by_layer, key=places.__getitem__)


def _index_of(tower: Tower, layer: Layer) -> LayerName:
    return layer.name if layer.after else tower.layers.index(layer)


def _name_of(model: object) -> str:
    """Return the class of a model, followed by its name in transformers if it has one.

    If that is the path of a folder, only its last part is used: whoever receives a file with the result
    need not see the rest.
    """
    name = getattr(getattr(model, "config", None), "name_or_path", None)
    if not isinstance(name, str):
        return type(model).__name__
    if not HUB_NAME.fullmatch(name) or Path(name).is_dir():
        name = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return f"{type(model).__name__} {name}".rstrip()


def _labelled(
    estimates: Sequence[Estimate],
    texts: Sequence[Factors],
    side: Side,
    view: View | None,
    references: Mapping[str, Option],
) -> list[Interactions]:
    outliers, view = _outliers_of(side), _covered(view, side)
    return [
        label_estimate(estimate, text, _grid_of(side), side.layer.name, view, outliers, references=references)
        for estimate, text in zip(estimates, texts, strict=True)
    ]


def _covered(view: View | None, side: Side) -> View | None:
    """Return which part of an image the patches of a side cover, from the part that its pixels show."""
    return None if view is None else view.covered_by(side.covered)


def _outliers_of(side: Side) -> Bool[np.ndarray, "rows columns"]:
    """Return which patches of an image are outliers at its layer."""
    grid = _grid_of(side)
    norms = as_array(side.tokens[grid.patches].norm(dim=-1))
    return find_outliers(norms.reshape(grid.rows, grid.columns))


def _grid_of(side: Side) -> Grid:
    assert isinstance(side.rows, Grid)
    return side.rows


def explain(
    model: Any, image: ImageLike | Tensor, caption: str, **options: Unpack[ExplainerOptions]
) -> Interactions:
    """Explain how each token of `caption` and each patch of `image` contribute to their similarity.

    Parameters
    ----------
    model : torch.nn.Module or DualEncoder
        A model from open_clip, OpenAI's `clip` or Hugging Face transformers, or any other wrapped in a
        `DualEncoder`. It is left unchanged.
    image : PIL image, numpy array, path or tensor
        The image; see `open_image` for the arrays it accepts. A tensor is taken as already preprocessed,
        (3, height, width).
    caption : str
        The caption.
    **options
        Options of `Explainer`.

    Returns
    -------
    Interactions
        Token-patch interactions in units of cosine similarity, with their completeness residual.

    Raises
    ------
    ModelError, ImageError, CaptionError, ParameterError
        If an input cannot be used. The message names it and says what was expected.

    Examples
    --------
    >>> from exclip_widget import demo
    >>> book = demo.load()
    >>> result = explain(book.model, book.pages[0].image, "a red boat", tokenizer=book.tokenizer)
    >>> result.tokens
    ('<sot>', 'a', 'red', 'boat', '<eot>')
    >>> result.values.shape
    (5, 12, 12)
    """
    return Explainer(model, **options)._explain(image, caption)


def explain_layers(
    model: Any,
    image: ImageLike | Tensor,
    caption: str,
    *,
    text_layers: Iterable[LayerName] | None = None,
    image_layers: Iterable[LayerName] | None = None,
    **options: Unpack[CommonOptions],
) -> dict[tuple[LayerName, LayerName], Interactions]:
    """Explain a pair at several layers of both towers, with one pass through each tower up to its layers.

    Parameters
    ----------
    model, image, caption
        As `explain` takes them.
    text_layers, image_layers : list of int or str, optional
        Layers of each tower, in the form that `Explainer` takes. By default all layers of the tower.
    **options
        Options of `Explainer`.

    Returns
    -------
    dict
        ``result[text_layer, image_layer]`` is an `Interactions`, with layers as they were given, or by index
        if none were given.

    Raises
    ------
    ModelError, ImageError, CaptionError, ParameterError
        If an input cannot be used. The message names it and says what was expected.

    Examples
    --------
    >>> from exclip_widget import demo
    >>> book = demo.load()
    >>> result = explain_layers(
    ...     book.model, book.pages[0].image, "a red boat", text_layers=[-1], image_layers=[2, -1],
    ...     tokenizer=book.tokenizer,
    ... )
    >>> list(result)
    [(-1, 2), (-1, -1)]
    """
    explainer = Explainer(model, **options)
    return explainer.explain_layers(image, caption, text_layers=text_layers, image_layers=image_layers)


def classify(
    model: Any,
    image: ImageLike | Tensor,
    captions: Iterable[str],
    **options: Unpack[CommonOptions],
) -> Classification:
    """Rank captions by their similarity to an image, as zero-shot classification does.

    Nothing is explained: each caption and the image go through the model once.

    Parameters
    ----------
    model, image
        As `explain` takes them.
    captions : iterable of str
        Complete captions: for a class *boat*, a filled-in template such as *a photo of a boat*.
    **options
        Options of `Explainer`.

    Returns
    -------
    Classification
        The cosine similarity of each caption, and its probability from the model's own logit scale.

    Raises
    ------
    ModelError, ImageError, CaptionError, ParameterError
        If an input cannot be used. For a caption, the message gives its index.

    Examples
    --------
    >>> from exclip_widget import demo
    >>> book = demo.load()
    >>> captions = [f"a red {name}" for name in ("boat", "car", "fish")]
    >>> found = classify(book.model, book.pages[0].image, captions, tokenizer=book.tokenizer)
    >>> found.best
    'a red boat'
    >>> found.probabilities.round(2)
    array([...])
    """
    return Explainer(model, **options).classify(image, captions)
