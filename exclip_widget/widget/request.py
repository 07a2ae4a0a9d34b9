"""Inputs: what a widget explains, read and checked, and what of it stays when some of it changes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from PIL import Image

from ..errors import CaptionError, ParameterError, PictureError
from ..explainer import Explainer, Explanation, LayerName
from ..inputs.image import open_picture
from ..inputs.preprocessing import field_of_view, preprocessed
from ..methods import METHODS
from ..models.activation_cache import digest_of
from ..models.family import Towers, find_towers
from ..models.tower import Tower
from ..results.rows import Tokens
from .uploads import File, decoded

CHANGEABLE = ("image", "caption", "foil", "method", "text_layer", "image_layer")
"""What can be asked to change, by the names of the widget's traits."""

LONGEST = 20_000
"""Most characters of a caption: far more than any model takes, and read in a moment."""

SHOWN = 1024
"""Longest side, in pixels, of the picture as the browser gets it."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture, and what the model sees of it.

    Attributes
    ----------
    image : PIL.Image.Image
        The picture, RGB, as a whole.
    pixels : torch.Tensor
        What the model gets, (1, 3, height, width).
    view : (float, float, float, float)
        Left, top, width and height of what it sees, as fractions of the picture.
    shown : (bytes, str)
        It as a browser gets it: a file of at most `SHOWN` pixels a side, and its type.
    digest : bytes
        Equal for equal pixels.
    """

    image: Image.Image
    pixels: torch.Tensor
    view: tuple[float, float, float, float]
    shown: tuple[bytes, str]
    digest: bytes


@dataclass(frozen=True, eq=False)
class Subject:
    """What stays for as long as a widget lives: a model, its towers, and options as they were given."""

    model: Any
    towers: Towers
    options: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Inputs:
    """One request, ready to be computed.

    Attributes
    ----------
    subject : Subject
        What the inputs are for.
    seen : Seen
        The picture.
    captions : tuple of str
        The caption, and the foil where there is one.
    method : str
        Name of the method.
    chosen : (layer, layer)
        The text and the image layer as they were asked for; None for what suits the method.
    explainer : Explainer
        For this method at these layers.
    explanation : Explanation
        The caption and the picture.
    tokens : tuple of Tokens
        Of each caption.
    shape : (int, int, int)
        Of the interactions of the caption.
    """

    subject: Subject
    seen: Seen
    captions: tuple[str, ...]
    method: str
    chosen: tuple[LayerName | None, LayerName | None]
    explainer: Explainer
    explanation: Explanation
    tokens: tuple[Tokens, ...]
    shape: tuple[int, int, int]

    @classmethod
    def read(cls, model: Any, image: Any, caption: Any, options: Mapping[str, Any]) -> Inputs:
        """Read a widget's first inputs: `caption` may be a list of a caption and its foil.

        Raises
        ------
        ExclipError
            Where one of them cannot be used: the message says which, and why.
        """
        explainer = Explainer(model, **options)  # all at once: what does not fit the method is a mistake here
        fixed = {name: value for name, value in options.items() if name not in CHANGEABLE}
        subject = Subject(model, find_towers(model), fixed)
        foil = None
        if isinstance(caption, (list, tuple)):
            if len(caption) != 2:
                raise CaptionError(
                    f"caption is a {type(caption).__name__} of {len(caption)}; expected a string, or two of "
                    "them, a caption and its foil"
                )
            caption, foil = caption
        method = options.get("method", "exclip")
        layers = options.get("text_layer"), options.get("image_layer")
        return cls._with(subject, _seen(explainer, subject, image), caption, foil, method, layers)

    def changed(self, changes: Mapping[str, Any]) -> Inputs:
        """These inputs with some others, by the names in `CHANGEABLE`; only those are read anew.

        Raises
        ------
        ExclipError
            Where one of them cannot be used.
        """
        seen = _seen(self.explainer, self.subject, changes["image"]) if "image" in changes else self.seen
        return self._with(
            self.subject,
            seen,
            changes.get("caption", self.captions[0]),
            changes.get("foil", self.foil),
            changes.get("method", self.method),
            (changes.get("text_layer", self.chosen[0]), changes.get("image_layer", self.chosen[1])),
        )

    @classmethod
    def _with(
        cls,
        subject: Subject,
        seen: Seen,
        caption: Any,
        foil: Any,
        method: Any,
        chosen: tuple[Any, Any],
    ) -> Inputs:
        options = _fitting(subject.options, method)
        explainer = Explainer(
            subject.model, method=method, text_layer=chosen[0], image_layer=chosen[1], **options
        )
        if explainer.many:
            raise ParameterError(
                "text_layer and image_layer are lists; a widget shows one layer of each tower"
            )
        explanation = _prepared(explainer, seen, caption)
        tokens: tuple[Tokens, ...] = (explanation.tokens,)
        if foil is not None:
            try:
                tokens += (_prepared(explainer, seen, foil).tokens,)
            except CaptionError as error:
                raise CaptionError(f"foil: {error}") from None
        return cls(
            subject=subject,
            seen=seen,
            captions=tuple(each.caption for each in tokens),
            method=method,
            chosen=chosen,
            explainer=explainer,
            explanation=explanation,
            tokens=tokens,
            shape=explanation.shape,
        )

    @property
    def foil(self) -> str | None:
        """The second caption, if there is one."""
        return self.captions[1] if len(self.captions) > 1 else None

    @property
    def layers(self) -> tuple[LayerName, LayerName]:
        """Text and image layer, each by its number or as `"output"`."""
        (text,), (image,) = self.explainer.cut_at
        return _number(self.subject.towers.text, text), _number(self.subject.towers.image, image)

    @property
    def choices(self) -> dict[str, list[str]]:
        """Names of what can be asked for: methods, and the layers of either tower in order."""
        towers = self.subject.towers.text, self.subject.towers.image
        text, image = ([layer.name for layer in tower.layers] for tower in towers)
        return {"methods": list(METHODS), "text_layers": text, "image_layers": image}

    def same_as(self, other: Inputs) -> bool:
        """Whether nothing has changed from `other` to these."""
        return self.seen is other.seen and (self.key, self.chosen) == (other.key, other.chosen)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for inputs with equal results, as long as the model stays the same."""
        return (self.seen.digest, self.captions, self.method, self.layers)


def _prepared(explainer: Explainer, seen: Seen, caption: Any) -> Explanation:
    """The pair, of a caption that a browser can be told and a tokenizer need not be kept busy with."""
    if isinstance(caption, str):
        if len(caption) > LONGEST:
            raise CaptionError(f"caption has {len(caption)} characters; expected at most {LONGEST}")
        if half := next((char for char in caption if "\ud800" <= char <= "\udfff"), None):
            raise CaptionError(f"caption has {half!a}, which is half of a character")
    return explainer.prepare(seen.pixels, caption)


def _fitting(options: Mapping[str, Any], method: Any) -> dict[str, Any]:
    """`options` without those of other methods: they wait until their own is asked for."""
    of = {name: {field.name for field in fields(kind) if field.init} for name, kind in METHODS.items()}
    foreign = (
        set().union(*of.values()) - of.get(method, set()) - {"seed"} if isinstance(method, str) else set()
    )
    return {name: value for name, value in options.items() if name not in foreign}


def _number(tower: Tower, name: str) -> LayerName:
    names = [layer.name for layer in tower.layers]
    return names.index(name) if name in names else name


def _seen(explainer: Explainer, subject: Subject, image: Any) -> Seen:
    if isinstance(image, torch.Tensor):
        raise PictureError("image is a tensor of pixels; a widget shows the picture itself, so give it that")
    whole = decoded(image) if isinstance(image, File) else open_picture(image)
    pixels = preprocessed(whole, explainer.preprocess, subject.towers.image.size)
    view = field_of_view(explainer.preprocess, whole.size)
    return Seen(whole, pixels, view, _encoded(whole), digest_of(pixels))


def _encoded(image: Image.Image) -> tuple[bytes, str]:
    """The picture, bounded in size, as the smaller of PNG and fine JPEG."""
    shown = image.copy()
    shown.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    forms = []
    for kind, options in (("png", {}), ("jpeg", {"quality": 92, "subsampling": 0})):
        buffer = io.BytesIO()
        shown.save(buffer, kind, **options)
        forms.append((buffer.getvalue(), f"image/{kind}"))
    return min(forms, key=lambda form: len(form[0]))
