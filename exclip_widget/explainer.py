"""Explain similarities: from a model, pictures and captions to their token-patch interactions."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, TypeVar, overload

from PIL import Image
from torch import Tensor

from .errors import ParameterError
from .inputs.caption import Caption, read_caption
from .inputs.image import Picture, open_picture
from .inputs.preprocessing import Preprocess, checked_pixels, preprocessed
from .inputs.references import reference_ids, reference_pixels
from .inputs.tokenizers import Tokenizer
from .masking import Trial, change_by_masking, described, predicted_change, rows_chosen
from .methods.side import Side, image_sides, labelled, text_sides
from .models.activation_cache import state_of
from .models.defaults import find_preprocess, find_tokenizer, from_processor
from .models.family import find_towers
from .options import callable_or_none, layers_named, method_named, whole
from .paths.cut import Layer
from .paths.evaluation_mode import computing
from .results.factors import Factors
from .results.interactions import Interactions, interactions_from
from .results.rows import Grid

LayerName: TypeAlias = int | str
Layers: TypeAlias = "LayerName | Sequence[LayerName] | None"
T = TypeVar("T")
Pair: TypeAlias = tuple[LayerName, LayerName]

MEMORY = 2**27
"""Bytes that intermediate results may take at a time, unless the user says otherwise: 128 MiB."""


class Explainer:
    """A model made ready to be explained, for any number of captions and pictures.

    Parameters
    ----------
    model : torch.nn.Module or DualEncoder
        A model of open_clip, OpenAI's `clip` or Hugging Face transformers, or any other in a
        `DualEncoder`. It stays exactly as it is.
    preprocess, tokenizer : callable, optional
        As the model's library gives them; needed where they cannot be told from the model.
    processor : optional
        A Hugging Face processor, which is both.
    text_layer, image_layer : int, str, or a list of them, optional
        Layer at whose input a tower is cut: its index from 0, or negative from the end, or its name;
        `"output"` is the output of the last one. By default what suits the method: the last block for
        `"exclip"`, which costs less than a forward pass.
    method : {"exclip", "similarity", "gradient", "banzhaf"}
        What is computed; each is documented in `exclip_widget.methods`.
    steps : int, optional
        For `"exclip"`: nodes of the quadrature along the path from reference to input, 10 by default.
    rule : {"arc-length", "gauss-legendre", "midpoint", "right"}, optional
        For `"exclip"`: the quadrature's rule. `"arc-length"`, the default, spreads its nodes evenly along
        the curve of embeddings; `"right"` is that of exclip and of the paper.
    tolerance : float, optional
        For `"exclip"`: instead of `steps`, as many as the completeness residual needs to be no larger.
    samples : int, optional
        For `"banzhaf"`: masks of each side, 512 by default.
    seed : int
        Of everything random: the masks of `"banzhaf"`, and the reference `"noise"`.
    text_reference : str, optional
        Caption where the paths start; exclip's own by default, a single padding token.
    image_reference : {"zeros", "mean", "blur", "noise"} or picture
        Picture where the paths start; zeros after preprocessing, as in exclip, by default.
    memory : int
        About how many bytes intermediate results may take at a time. Less is slower, never wrong.

    Attributes
    ----------
    many : bool
        Whether a layer was given as a list, so that there are explanations of many pairs of layers.

    Raises
    ------
    ModelError, ParameterError
        Where something cannot be used: the message names it and says what was expected.
    """

    def __init__(
        self,
        model: Any,
        *,
        preprocess: Preprocess | None = None,
        tokenizer: Tokenizer | None = None,
        processor: Any = None,
        text_layer: Layers = None,
        image_layer: Layers = None,
        method: str = "exclip",
        steps: int | None = None,
        rule: str | None = None,
        tolerance: float | None = None,
        samples: int | None = None,
        seed: int = 0,
        text_reference: str | None = None,
        image_reference: str | Picture = "zeros",
        memory: int = MEMORY,
    ) -> None:
        self._method = method_named(
            method, {"steps": steps, "rule": rule, "tolerance": tolerance, "samples": samples}, seed
        )
        self._towers = find_towers(model)
        if self._method.differentiates:
            self._towers.require_gradients()
        self._text_layers = layers_named(self._towers.text, text_layer, self._method.layers[0])
        self._image_layers = layers_named(self._towers.image, image_layer, self._method.layers[1])
        self.many = any(isinstance(given, (list, tuple, range)) for given in (text_layer, image_layer))
        if processor is not None:
            by_processor = from_processor(processor)
            preprocess, tokenizer = preprocess or by_processor[0], tokenizer or by_processor[1]
        self.preprocess = callable_or_none("preprocess", preprocess) or find_preprocess(self._towers.image)
        self._tokenizer = callable_or_none("tokenizer", tokenizer) or find_tokenizer(self._towers.text)
        self._text_reference = text_reference
        self._image_reference = image_reference
        self._seed = seed
        self._memory = whole("memory", memory)

    def text(self, caption: str) -> Factors:
        """Factors of a caption, (tokens, embed): meet them with those of pictures by `interactions_of`.

        Raises
        ------
        CaptionError
            Where the caption cannot be read.
        ParameterError
            Where this explainer has more than one text layer.
        """
        (layer,) = self._one(self._text_layers)
        read = read_caption(caption, self._tokenizer, self._towers.text)
        with computing(self._towers.model):
            (side,) = self._text_sides(read, [layer])
            return self._method.factors(side, self._memory)

    def image(self, image: Picture | Tensor) -> Factors:
        """Factors of a picture, (tokens of its tower, embed).

        Raises
        ------
        PictureError
            Where the picture cannot be read.
        ParameterError
            Where this explainer has more than one image layer.
        """
        (layer,) = self._one(self._image_layers)
        pixels = self._pixels(image)
        with computing(self._towers.model):
            (side,) = self._image_sides(pixels, [layer])
            return self._method.factors(side, self._memory)

    def meet(
        self, texts: Sequence[Factors], image: Picture | Tensor, frames: int = 1
    ) -> Iterator[list[Interactions]]:
        """Yield estimates for captions whose factors are known, each better than the last.

        What all captions have in common is computed once: the picture's whole way through its tower.

        Parameters
        ----------
        texts : sequence of Factors
            Of captions, as `text` gives them.
        image : picture or tensor
            As `explain` takes it.
        frames : int
            About how many estimates to give on the way to the result, which is the last of them.

        Raises
        ------
        PictureError
            Where the picture cannot be read.
        ParameterError
            Where this explainer has more than one image layer.
        """
        (layer,) = self._one(self._image_layers)
        pixels = self._pixels(image)

        def work() -> Iterator[list[Interactions]]:
            (side,) = self._image_sides(pixels, [layer])
            yield from self._met(texts, side, frames)

        return self._in_turns(work())

    def _met(self, texts: Sequence[Factors], side: Side, frames: int) -> Iterator[list[Interactions]]:
        """Estimates for each of `texts` with a picture's side."""
        assert isinstance(side.labels, Grid)
        for estimates in self._method.meet(texts, side, frames, self._memory):
            yield [
                interactions_from(estimate, text, (side.labels, side.layer.name))
                for estimate, text in zip(estimates, texts, strict=True)
            ]

    def state(self) -> object | None:
        """Equal for as long as nothing about the model changes; None where that cannot be told."""
        with computing(self._towers.model):
            return state_of(self._towers.model)

    @property
    def cut_at(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the layers at which the text and the image tower are cut."""
        both = (self._text_layers, self._image_layers)
        text, image = (tuple(layer.name for layer in layers.values()) for layers in both)
        return text, image

    def _in_turns(self, work: Iterator[T]) -> Iterator[T]:
        """What `work` yields, computed in our state and left in the caller's: between two, it is theirs."""
        while True:
            with computing(self._towers.model):
                found = next(work, None)
            if found is None:
                return
            yield found

    def prepare(self, image: Picture | Tensor, caption: str) -> Explanation:
        """A pair read and checked, with nothing computed yet.

        Raises
        ------
        PictureError, CaptionError
            Where one of them cannot be read.
        """
        return Explanation(self, image, caption)

    def explain(self, image: Picture | Tensor, caption: str) -> Interactions | dict[Pair, Interactions]:
        """Interactions of a caption and a picture; see `explain`."""
        *_, found = self.prepare(image, caption).refine_all()
        return found if self.many else next(iter(found.values()))

    def _one(self, layers: dict[LayerName, Layer]) -> list[Layer]:
        if len(layers) > 1:
            raise ParameterError(
                f"factors are of one layer, but there are {list(layers)!r}; make an Explainer for each"
            )
        return list(layers.values())

    def _pixels(self, image: Picture | Tensor) -> Tensor:
        """What the model sees of a picture, (1, 3, height, width)."""
        size = self._towers.image.size
        if isinstance(image, Tensor):
            return checked_pixels(image, size)
        return preprocessed(open_picture(image), self.preprocess, size)

    def _text_sides(self, caption: Caption, layers: Sequence[Layer]) -> list[Side]:
        tower = self._towers.text
        reference = reference_ids(self._text_reference, self._tokenizer, tower, len(caption.ids))
        return text_sides(self._towers, layers, caption, reference)

    def _image_sides(self, pixels: Tensor, layers: Sequence[Layer]) -> list[Side]:
        pixels = pixels.clone()  # made in a mode of the caller's, which autograd may not take
        reference = reference_pixels(
            self._image_reference, pixels, self.preprocess, self._towers.image, self._seed
        )
        return image_sides(self._towers, layers, pixels, reference)


class Explanation:
    """One pair made ready: everything read and checked, nothing computed yet.

    Attributes
    ----------
    tokens : Tokens
        The caption as its tokens, the rows of the explanation.
    image : PIL.Image.Image or None
        The picture, RGB, as a whole; None where pixels were given.
    preprocess : callable
        From the picture to what the model sees of it.
    """

    def __init__(self, explainer: Explainer, image: Picture | Tensor, caption: str) -> None:
        self._explainer = explainer
        self.preprocess = explainer.preprocess
        self.image: Image.Image | None = None if isinstance(image, Tensor) else open_picture(image)
        text = explainer._towers.text
        self._caption = read_caption(caption, explainer._tokenizer, text)
        self.tokens = labelled(self._caption, text.appended)[0]
        self._pixels = explainer._pixels(image if self.image is None else self.image)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Tokens, rows and columns of the interactions, at the first image layer.

        Needs a pass through the image tower where its grid of patches is not known before; that pass is
        kept for `refine`.
        """
        tower, layer = self._explainer._towers.image, next(iter(self._explainer._image_layers.values()))
        grid = tower.known_grid(self._pixels)
        if grid is None:
            with computing(self._explainer._towers.model):
                labels = self._explainer._image_sides(self._pixels, [layer])[0].labels
            assert isinstance(labels, Grid)
            grid = labels.rows, labels.columns
        return (len(self.tokens.tokens), *grid)

    def refine(self, frames: int = 1) -> Iterator[Interactions]:
        """Yield estimates at the one pair of layers, each better than the last; the last is the result.

        There are about `frames` of them, or as many as memory makes necessary. Each adds to the one before
        it, so all of them cost no more than the last alone.
        """
        for found in self.refine_all(frames):
            yield from found.values()

    def refine_all(self, frames: int = 1) -> Iterator[dict[Pair, Interactions]]:
        """Yield estimates at every pair of layers as they come; in the last of them all are complete."""
        return self._explainer._in_turns(self._work(frames))

    def test(
        self, interactions: Interactions, tokens: Sequence[int] = (), region: Sequence[int] = ()
    ) -> Trial:
        """Mask a selection at the input of the towers, run the model, and compare with what was predicted.

        What is masked is replaced by the reference's token before the first block, as in `"banzhaf"`. With
        both tokens and patches it is their interaction that is tested: what masking both changes beyond
        what masking either does.

        Parameters
        ----------
        interactions : Interactions
            Of this pair: what predicts.
        tokens, region : sequence of int
            Rows of the caption, and patches, ``row * columns + column``, of the grid of `interactions`.

        Raises
        ------
        ParameterError
            Where both are empty, or a number is out of range.
        """
        tokens, region = rows_chosen(interactions, tokens, region)
        explainer = self._explainer
        with computing(explainer._towers.model):
            (text,) = explainer._text_sides(self._caption, explainer._towers.text.layers[:1])
            (image,) = explainer._image_sides(self._pixels, explainer._towers.image.layers[:1])
            actual = change_by_masking(text, image, tokens, region, interactions.values.shape[1:])
        return Trial(
            tokens=tokens,
            region=region,
            predicted=predicted_change(interactions, tokens, region),
            actual=actual,
            label=described(interactions, tokens, region),
        )

    def _work(self, frames: int) -> Iterator[dict[Pair, Interactions]]:
        explainer = self._explainer
        text_layers, image_layers = explainer._text_layers, explainer._image_layers
        texts = [
            explainer._method.factors(side, explainer._memory)
            for side in explainer._text_sides(self._caption, list(text_layers.values()))
        ]
        images = explainer._image_sides(self._pixels, list(image_layers.values()))
        found: dict[Pair, Interactions] = {}
        for image_layer, side in zip(image_layers, images, strict=True):
            pairs = [(text_layer, image_layer) for text_layer in text_layers]
            for met in explainer._met(texts, side, frames):
                found = {**found, **dict(zip(pairs, met, strict=True))}
                yield found


@overload
def explain(
    model: Any,
    image: Picture | Tensor,
    caption: str,
    *,
    text_layer: LayerName | None = ...,
    image_layer: LayerName | None = ...,
    **options: Any,
) -> Interactions: ...


@overload
def explain(
    model: Any, image: Picture | Tensor, caption: str, *, text_layer: Layers = ..., **options: Any
) -> dict[Pair, Interactions]: ...


def explain(model: Any, image: Picture | Tensor, caption: str, **options: Any) -> Any:
    """Which tokens of `caption` speak to which patches of `image`, and how strongly.

    Parameters
    ----------
    model : torch.nn.Module or DualEncoder
        A model of open_clip, OpenAI's `clip` or Hugging Face transformers, or any other in a
        `DualEncoder`. It stays exactly as it is.
    image : PIL image, numpy array, path or tensor
        The picture; `open_picture` says what arrays may hold. A tensor is taken as preprocessed already,
        (3, height, width).
    caption : str
        The caption.
    **options
        All that `Explainer` takes.

    Returns
    -------
    Interactions
        Token-patch interactions in units of cosine similarity, with their completeness residual. Where
        a layer is a list: a dict of them, by the pair of text and image layer as they were given, from
        one pass through either tower up to the layers.

    Raises
    ------
    ModelError, PictureError, CaptionError, ParameterError
        Where an input cannot be used: the message names it and says what was expected.
    """
    return Explainer(model, **options).explain(image, caption)


def _signature() -> inspect.Signature:
    """`explain`'s own arguments, then all of `Explainer`'s."""
    own = list(inspect.signature(explain).parameters.values())[:-1]
    _, _, *options = inspect.signature(Explainer.__init__).parameters.values()
    return inspect.Signature([*own, *options], return_annotation="Interactions")


explain.__signature__ = _signature()  # type: ignore[attr-defined]
