"""Requests: the inputs of one explanation, read and validated, and reused if only some of them change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..errors import CaptionError, ImageError, named_type
from ..explainer import Explainer, LayerName
from ..image import open_image
from ..inputs.caption import Caption
from ..methods import METHODS, Method
from ..methods.batches import naming
from ..models.fingerprint import digest
from ..results.origin import View
from ..results.shown import encode_image
from .uploads import UploadedFile, decode

Layers: TypeAlias = tuple[LayerName, LayerName]
"""A text layer and an image layer."""

CHANGEABLE = ("image", "captions", "caption", "foil", "method", "text_layer", "image_layer")
"""The inputs that can be changed, named like the widget's traits."""

MOST_CHARACTERS = 20_000
"""Longest caption: far more than any model takes, yet quick to tokenise."""

MOST_LISTED = 10_000
"""Longest list of captions: ten times the classes of ImageNet, yet quick to lay out."""


@dataclass(frozen=True, eq=False)
class ShownImage:
    """An image, what the model sees of it, and its encoding for the browser.

    Attributes
    ----------
    image : PIL.Image.Image
        The whole image, RGB.
    pixels : Tensor
        The model's input.
    view : View
        The image's size and hash, and the part that the model sees.
    encoded : (bytes, str)
        What the browser receives; see `encode_image`.
    digest : bytes
        Hash of `pixels`.
    """

    image: Image.Image
    pixels: Float[Tensor, "1 3 height width"]
    view: View
    encoded: tuple[bytes, str]
    digest: bytes


@dataclass(frozen=True, eq=False)
class Request:
    """The inputs of one explanation, ready to be computed.

    Attributes
    ----------
    explainer : Explainer
        Explains with the requested method and layers.
    image : ShownImage
        The image.
    captions : tuple of Caption
        The caption, and the foil if there is one.
    chosen_layers : (layer, layer)
        The requested text and image layer; None for the method's default.
    grid : (int, int)
        Rows and columns of patches.
    view : View
        The part of the image that they cover.
    methods : dict
        Methods that were passed as objects, by name.
    listed : tuple of Caption
        All captions to rank, including those in `captions`; empty if there is no list.
    """

    explainer: Explainer
    image: ShownImage
    captions: tuple[Caption, ...]
    chosen_layers: tuple[LayerName | None, LayerName | None]
    grid: tuple[int, int]
    view: View
    methods: Mapping[str, Method]
    listed: tuple[Caption, ...] = ()

    @classmethod
    def read(cls, model: Any, image: Any, caption: Any, options: Mapping[str, Any]) -> Request:
        """Read a widget's initial inputs; `caption` may be a list; a list of two is a caption and its foil.

        Raises
        ------
        ExclipError
            If one of them cannot be used. The message says which, and why.
        """
        explainer = Explainer(model, **options)
        captions, listed = _read_given(explainer, caption)
        shown = _read_image(explainer, image)
        grid, view = _patches_of(explainer, shown)
        return cls(
            explainer=explainer,
            image=shown,
            captions=captions,
            chosen_layers=(options.get("text_layer"), options.get("image_layer")),
            grid=grid,
            view=view,
            methods=_with_method({}, options.get("method")),
            listed=listed,
        )

    def changed(self, changes: Mapping[str, Any]) -> Request:
        """Return this request with some inputs replaced, named as in `CHANGEABLE`.

        The image and the captions that stay are preprocessed and tokenised again, in case these functions
        have been changed, and are the same objects unless that makes a difference.

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
        if "image" in changes:
            image = _read_image(explainer, changes["image"])
        else:
            image = _read_image_again(explainer, self.image)
        captions, listed = self._read_captions(changes)
        same_grid = image is self.image and explainer.layers[1] == self.explainer.layers[1]
        grid, view = (self.grid, self.view) if same_grid else _patches_of(explainer, image)
        return Request(
            explainer=explainer,
            image=image,
            captions=captions,
            chosen_layers=(text_layer, image_layer),
            grid=grid,
            view=view,
            methods=methods,
            listed=listed,
        )

    def _read_captions(self, changes: Mapping[str, Any]) -> tuple[tuple[Caption, ...], tuple[Caption, ...]]:
        """Return the explained captions and the listed ones after applying `changes`."""
        caption, foil, listed = self.caption, self.foil, self.listed
        if "captions" in changes:
            if not listed:
                raise CaptionError(
                    "captions cannot be set: this widget was made with one caption and shows no list; "
                    "expected a widget that was made with several, ExplainWidget(model, image, [...])"
                )
            listed = _read_listed(self.explainer, changes["captions"], listed)
            if caption not in listed:
                caption, foil = listed[0], None
            foil = foil if foil in listed else None
        if "caption" in changes:
            new = _read_caption(self.explainer, changes["caption"], "caption", listed)
            listed = _put(new, listed, None if caption is foil else caption)
            caption = new
        if "foil" in changes and changes["foil"] is None:
            foil = None
        elif "foil" in changes:
            new = _read_caption(self.explainer, changes["foil"], "foil", listed)
            listed = _put(new, listed, None if caption is foil else foil)
            foil = new
        explained = (caption,) if foil is None else (caption, foil)
        return self._read_captions_again(explained, listed)

    def _read_captions_again(
        self, explained: tuple[Caption, ...], listed: tuple[Caption, ...]
    ) -> tuple[tuple[Caption, ...], tuple[Caption, ...]]:
        """Return captions with the explained ones tokenised again, unless they were only just read.

        The others are tokenised again when they are ranked.
        """
        known = {*self.captions, *self.listed}
        kept = [caption for caption in explained if caption in known]
        now = dict(zip(kept, self.explainer.read_captions_again(kept), strict=True))
        return tuple(now.get(one, one) for one in explained), tuple(now.get(one, one) for one in listed)

    @property
    def caption(self) -> Caption:
        """The caption."""
        return self.captions[0]

    @property
    def foil(self) -> Caption | None:
        """The foil, if there is one."""
        return self.captions[1] if len(self.captions) > 1 else None

    @property
    def texts(self) -> tuple[str, ...]:
        """All captions to rank, as text."""
        return tuple(caption.rows.caption for caption in self.listed)

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.explainer.method.name

    @property
    def choices(self) -> dict[str, list[str]]:
        """Names of the methods and of the layers of each tower, in order."""
        text, image = self.explainer.layer_names
        return {"methods": list(METHODS), "text_layers": list(text), "image_layers": list(image)}

    @property
    def key(self) -> tuple[object, ...]:
        """Cache key: equal for requests with equal results, provided the explainer has not changed."""
        return self.key_at(self.explainer.layers)

    def key_at(self, layers: Layers) -> tuple[object, ...]:
        """Return the `key` of this request at other layers."""
        return self.image.digest, tuple(map(key_of, self.captions)), self.explainer.method, layers

    @property
    def layers_by_distance(self) -> tuple[list[LayerName], list[LayerName]]:
        """The layers of the text and the image tower, each sorted by distance from the request's own."""
        text, image = (
            _by_distance(len(names), layer)
            for names, layer in zip(self.explainer.layer_names, self.explainer.layers, strict=True)
        )
        return text, image

    def same_as(self, other: Request) -> bool:
        """Return whether this request is the same as `other`."""
        return self.same_but_for_layers(other) and (self.explainer.layers, self.chosen_layers) == (
            other.explainer.layers,
            other.chosen_layers,
        )

    def same_but_for_layers(self, other: Request) -> bool:
        """Return whether this request differs from `other` at most in its layers."""
        layers = self.explainer.layers
        return self.same_list_as(other) and self.key_at(layers) == other.key_at(layers)

    def same_list_as(self, other: Request) -> bool:
        """Return whether both requests rank the same captions for the same image."""
        return self.image is other.image and self.texts == other.texts


def key_of(caption: Caption) -> tuple[object, ...]:
    """Return a cache key of a caption: the ids that the model runs on, and what is shown of them."""
    return caption.rows, tuple(caption.ids.tolist())


def _by_distance(count: int, layer: LayerName) -> list[LayerName]:
    """Return a tower's layers sorted by distance from `layer`; the output counts as one after the last."""
    names: list[LayerName] = [*range(count), "output"]
    place = names.index(layer)
    return sorted(names, key=lambda name: abs(names.index(name) - place))


def _with_method(methods: Mapping[str, Method], given: Any) -> Mapping[str, Method]:
    return {**methods, given.name: given} if isinstance(given, Method) else methods


def _read_given(explainer: Explainer, given: Any) -> tuple[tuple[Caption, ...], tuple[Caption, ...]]:
    """Return the captions to explain first, and the listed ones: all of them if a list was given."""
    if isinstance(given, (list, tuple)) and len(given) == 2 and given[1] is None:
        given = given[0]  # a caption without a foil
    if not isinstance(given, (list, tuple)):
        return (_read_caption(explainer, given, "caption"),), ()
    listed = _read_listed(explainer, given)
    return listed if len(listed) == 2 else listed[:1], listed


def _read_caption(explainer: Explainer, text: Any, name: str, listed: Sequence[Caption] = ()) -> Caption:
    """Return the listed caption with this text, or read it if there is none."""
    if isinstance(text, str):
        for one in listed:
            if one.rows.caption == text:
                return one
    try:
        return explainer.read_caption(require_short(text))
    except CaptionError as error:
        if name == "caption":
            raise
        raise CaptionError(f"{name}: {error}") from None


def require_short(text: Any, name: str = "caption") -> Any:
    """Return a text unchanged if a browser can display it and it is short enough to tokenise quickly.

    Raises
    ------
    CaptionError
        If it is too long, or contains half of a character. The message begins with `name`.
    """
    if isinstance(text, str):
        if len(text) > MOST_CHARACTERS:
            raise CaptionError(f"{name} has {len(text)} characters; expected at most {MOST_CHARACTERS}")
        if half := next((char for char in text if "\ud800" <= char <= "\udfff"), None):
            raise CaptionError(f"{name} has {half!a}, which is half of a character")
    return text


def _read_listed(explainer: Explainer, given: Any, known: Sequence[Caption] = ()) -> tuple[Caption, ...]:
    """Read a list of captions, reusing those already `known`."""
    if not isinstance(given, (list, tuple)):
        shown = " ".join(repr(given).split())
        raise CaptionError(f"captions is {named_type(given)} ({shown:.80}); expected a list of strings")
    if len(given) > MOST_LISTED:
        raise CaptionError(f"captions has {len(given)} entries; expected at most {MOST_LISTED}")
    by_text = {one.rows.caption: one for one in reversed(known)}  # the first one wins, as in `_read_caption`
    texts = []
    for index, text in enumerate(given):
        with naming("captions", index):
            require_short(text)
        texts.append(by_text.get(text, text) if isinstance(text, str) else text)
    return tuple(explainer.read_captions(texts))


def _put(new: Caption, listed: tuple[Caption, ...], before: Caption | None) -> tuple[Caption, ...]:
    """Return the list, if there is one, with the caption `before` replaced by `new`."""
    if not listed or new in listed:
        return listed
    if before is None:
        return *listed, new
    return tuple(new if one is before else one for one in listed)


def _read_image(explainer: Explainer, given: Any) -> ShownImage:
    if isinstance(given, torch.Tensor):
        raise ImageError("image is a tensor of pixels; a widget shows the image itself, so pass that")
    image = decode(given) if isinstance(given, UploadedFile) else open_image(given)
    pixels, view = explainer.read_view(image)
    _ = view.crop  # so that an unknown crop is reported with the image
    return ShownImage(image, pixels, view, encode_image(image), digest(pixels))


def _patches_of(explainer: Explainer, shown: ShownImage) -> tuple[tuple[int, int], View]:
    """Return the rows and columns of an image's patches, and the part of the image that they cover."""
    grid = explainer.grid(shown.pixels)
    return grid, explainer.view_of_patches(shown.view, shown.pixels, grid)


def _read_image_again(explainer: Explainer, shown: ShownImage) -> ShownImage:
    """Return an image as `explainer` preprocesses it now; the same object if the model sees the same."""
    if digest(explainer.read_image(shown.image)) == shown.digest:
        return shown
    return _read_image(explainer, shown.image)
