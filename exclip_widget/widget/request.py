"""Requests: the inputs of one explanation, read and checked, and what of them stays if some change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..errors import CaptionError, ImageError
from ..explainer import Explainer, LayerName
from ..image import open_image
from ..inputs.caption import Caption
from ..inputs.preprocessing import field_of_view
from ..methods import METHODS, Method
from ..models.fingerprint import digest
from ..results.shown import encode_image
from .uploads import UploadedFile, decode

CHANGEABLE = ("image", "caption", "foil", "method", "text_layer", "image_layer")
"""What can be changed, by the names of the widget's traits."""

MOST_CHARACTERS = 20_000
"""Longest caption: far more than any model takes, and tokenised in a moment."""


@dataclass(frozen=True, eq=False)
class ShownImage:
    """An image, what the model sees of it, and how the browser gets it.

    Attributes
    ----------
    image : PIL.Image.Image
        The whole image, RGB.
    pixels : Tensor
        What the model gets.
    crop : (float, float, float, float)
        Left, top, width and height of what the model sees, as fractions of the image.
    encoded : (bytes, str)
        What the browser gets; see `encode_image`.
    digest : bytes
        Hash of `pixels`.
    """

    image: Image.Image
    pixels: Float[Tensor, "1 3 height width"]
    crop: tuple[float, float, float, float]
    encoded: tuple[bytes, str]
    digest: bytes


@dataclass(frozen=True, eq=False)
class Request:
    """The inputs of one explanation, ready to be computed.

    Attributes
    ----------
    explainer : Explainer
        Explains by the method and at the layers that were asked for.
    image : ShownImage
        The image.
    captions : tuple of Caption
        The caption, and the foil if there is one.
    chosen_layers : (layer, layer)
        Text and image layer as they were asked for; None for what suits the method.
    grid : (int, int)
        Rows and columns of patches.
    methods : dict
        Methods that were given as objects, by their names.
    """

    explainer: Explainer
    image: ShownImage
    captions: tuple[Caption, ...]
    chosen_layers: tuple[LayerName | None, LayerName | None]
    grid: tuple[int, int]
    methods: Mapping[str, Method]

    @classmethod
    def read(cls, model: Any, image: Any, caption: Any, options: Mapping[str, Any]) -> Request:
        """Read a widget's first inputs; `caption` may be a list of a caption and its foil.

        Raises
        ------
        ExclipError
            If one of them cannot be used. The message says which, and why.
        """
        explainer = Explainer(model, **options)
        captions = _caption_and_foil(caption)
        shown = _read_image(explainer, image)
        return cls(
            explainer=explainer,
            image=shown,
            captions=tuple(
                _read_caption(explainer, text, name)
                for name, text in zip(("caption", "foil"), captions, strict=False)
            ),
            chosen_layers=(options.get("text_layer"), options.get("image_layer")),
            grid=explainer.grid(shown.pixels),
            methods=_with_method({}, options.get("method")),
        )

    def changed(self, changes: Mapping[str, Any]) -> Request:
        """Return this request with some other inputs, by the names in `CHANGEABLE`; only those are read.

        Raises
        ------
        ExclipError
            If one of them cannot be used.
        """
        methods = _with_method(self.methods, changes.get("method"))
        text_layer, image_layer = (
            changes.get(name, chosen)
            for name, chosen in zip(("text_layer", "image_layer"), self.chosen_layers, strict=True)
        )
        explainer = self.explainer
        if changes.keys() & {"method", "text_layer", "image_layer"}:
            method = changes.get("method", self.method)
            given = methods.get(method, method) if isinstance(method, str) else method
            explainer = explainer.with_method(given, text_layer, image_layer)
        image = _read_image(explainer, changes["image"]) if "image" in changes else self.image
        same_grid = image is self.image and explainer.layers[1] == self.explainer.layers[1]
        return Request(
            explainer=explainer,
            image=image,
            captions=self._read_captions(changes),
            chosen_layers=(text_layer, image_layer),
            grid=self.grid if same_grid else explainer.grid(image.pixels),
            methods=methods,
        )

    def _read_captions(self, changes: Mapping[str, Any]) -> tuple[Caption, ...]:
        caption, *foils = self.captions
        if "caption" in changes:
            caption = _read_caption(self.explainer, changes["caption"], "caption")
        if "foil" in changes:
            foil = changes["foil"]
            foils = [] if foil is None else [_read_caption(self.explainer, foil, "foil")]
        return caption, *foils

    @property
    def caption(self) -> Caption:
        """The caption."""
        return self.captions[0]

    @property
    def foil(self) -> Caption | None:
        """The foil, if there is one."""
        return self.captions[1] if len(self.captions) > 1 else None

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.explainer.method.name

    @property
    def choices(self) -> dict[str, list[str]]:
        """Names of the methods, and of the layers of either tower in order."""
        text, image = self.explainer.layer_names
        return {"methods": list(METHODS), "text_layers": list(text), "image_layers": list(image)}

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for requests with equal results, as long as the model stays the same."""
        texts = tuple(caption.rows.caption for caption in self.captions)
        return self.image.digest, texts, self.explainer.method, self.explainer.layers

    def same_as(self, other: Request) -> bool:
        """Return whether nothing differs from `other`."""
        return self.image is other.image and (self.key, self.chosen_layers) == (
            other.key,
            other.chosen_layers,
        )


def _caption_and_foil(given: Any) -> list[Any]:
    if not isinstance(given, (list, tuple)):
        return [given]
    if len(given) != 2:
        raise CaptionError(
            f"caption is a {type(given).__name__} of {len(given)}; expected a string, or two of "
            "them, a caption and its foil"
        )
    return list(given) if given[1] is not None else [given[0]]


def _with_method(methods: Mapping[str, Method], given: Any) -> Mapping[str, Method]:
    return {**methods, given.name: given} if isinstance(given, Method) else methods


def _read_caption(explainer: Explainer, text: Any, name: str) -> Caption:
    """Read a caption that a browser can show and that cannot keep a tokenizer busy for long."""
    try:
        if isinstance(text, str):
            if len(text) > MOST_CHARACTERS:
                raise CaptionError(f"caption has {len(text)} characters; expected at most {MOST_CHARACTERS}")
            if half := next((char for char in text if "\ud800" <= char <= "\udfff"), None):
                raise CaptionError(f"caption has {half!a}, which is half of a character")
        return explainer.read_caption(text)
    except CaptionError as error:
        if name == "caption":
            raise
        raise CaptionError(f"{name}: {error}") from None


def _read_image(explainer: Explainer, given: Any) -> ShownImage:
    if isinstance(given, torch.Tensor):
        raise ImageError("image is a tensor of pixels; a widget shows the image itself, so give it that")
    image = decode(given) if isinstance(given, UploadedFile) else open_image(given)
    pixels = explainer.read_image(image)
    crop = field_of_view(explainer.preprocess, image.size)
    return ShownImage(image, pixels, crop, encode_image(image), digest(pixels))
