"""Where a result comes from: the model's view of the image, and the model, method and package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import xxhash
from PIL import Image

from .pictures import recall, remember

Crop: TypeAlias = tuple[float, float, float, float]
"""Left, top, width and height of what the model saw, as fractions of the image."""

Option: TypeAlias = bool | int | float | str | None
"""The value of a method's option, as stored in a file."""

Difference: TypeAlias = tuple[str, object, object]
"""The name of what differs, and both values."""

WHOLE: Crop = (0.0, 0.0, 1.0, 1.0)
"""The crop that is the whole image."""


class View:
    """The size of an image, and the part of it that the model saw.

    Parameters
    ----------
    size : (int, int)
        Width and height of the image in pixels.
    crop : Crop or callable
        Left, top, width and height of the part, as fractions of the image. It reaches beyond the image if
        preprocessing pads. A callable returns them; it is called once, when they are first needed, because
        finding them takes several runs of preprocessing.
    digest : str, optional
        Hash of the image's pixels, which shows whether two results are of the same image; None if unknown.

    Examples
    --------
    >>> View((640, 480), (0.125, 0, 0.75, 1))
    View(size=(640, 480), crop=(0.125, 0, 0.75, 1))
    """

    def __init__(
        self,
        size: tuple[int, int],
        crop: Crop | Callable[[], Crop] = WHOLE,
        digest: str | None = None,
    ) -> None:
        self.size = size
        self.digest = digest
        self._crop = crop
        self._shares: tuple[float, float] = (1, 1)

    @classmethod
    def of(cls, image: Image.Image, crop: Crop | Callable[[], Crop] = WHOLE) -> View:
        """Return the view of an image that `open_image` returned, with the hash of its pixels.

        Examples
        --------
        >>> View.of(Image.new("RGB", (640, 480))).digest
        '...'
        """
        view = cls(image.size, crop, _digest(image))
        remember(str(view.digest), image)
        return view

    def is_of_other_pixels(self, image: Image.Image) -> bool:
        """Return whether an image differs from that of the view in size, or in pixels if those are known."""
        return self.is_of_another_image(View(image.size, digest=self.digest and _digest(image)))

    def is_of_another_image(self, other: View) -> bool:
        """Return whether another view's image differs in size, or in pixels if those of both are known."""
        digests = {one.digest for one in (self, other) if one.digest is not None}
        return self.size != other.size or len(digests) > 1

    def covered_by(self, shares: tuple[float, float]) -> View:
        """Return the view of a grid of patches, given how much of the pixels' height and width it covers.

        The grid begins at the upper left corner of the pixels. A view of another grid does not matter: the
        shares are always those of the pixels.

        Examples
        --------
        >>> View((640, 480), (0.125, 0, 0.75, 1)).covered_by((0.5, 1))
        View(size=(640, 480), crop=(0.125, 0, 0.75, 0.5))
        """
        if shares == self._shares:
            return self
        # A crop that is not known yet is then looked up once for both views.
        crop = self._crop_of_pixels if callable(self._crop) else self._crop
        view = View(self.size, crop, self.digest)
        view._shares = shares
        return view

    @property
    def crop(self) -> Crop:
        """Left, top, width and height of what the model saw, as fractions of the image."""
        (left, top, width, height), (down, across) = self._crop_of_pixels(), self._shares
        return left, top, width * across, height * down

    def _crop_of_pixels(self) -> Crop:
        if callable(self._crop):
            self._crop = self._crop()
        return self._crop

    @property
    def picture(self) -> Image.Image | None:
        """The image itself, if it is among the last ones that this process explained."""
        return recall(self.size, self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self.size)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what a copy in another process is made from: the numbers, never the preprocessing."""
        return View, self._parts

    @property
    def _parts(self) -> tuple[tuple[int, int], Crop, str | None]:
        return self.size, self.crop, self.digest

    def __repr__(self) -> str:
        return f"View(size={self.size}, crop={self.crop})"


def _digest(image: Image.Image) -> str:
    return xxhash.xxh3_128_hexdigest(image.tobytes())


class _ReadOnly(dict[str, Option]):
    """A read-only dictionary that prints and serialises like any other."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(
            "The options and references of a result cannot be changed; dict(...) makes a copy that can."
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what a copy is made from, because `pickle` would fill an empty dictionary entry by entry."""
        return _ReadOnly, (dict(self),)


@dataclass(frozen=True)
class Origin:
    """What made a result, or the factors of one side of it.

    Attributes
    ----------
    model : str
        Class of the model, and its name if its library stores one: that on the hub, or that of its folder,
        without the path.
    options : mapping
        Options of the method by their names, such as ``{"steps": 10}``. Values other than numbers and
        strings are replaced by their `repr`. This is a read-only copy.
    version : str
        Version of this package.
    weights : str or None
        Hash of the model's weights, the same in every process, and their types if they are not float32, as in
        ``"…-float16"``; None if unknown, as in files from earlier versions.
    references : mapping
        References of the sides that were explained: `"text_reference"`, `"image_reference"` and, if that is
        noise, its `"seed"`. Those that are unknown are left out. This is a read-only copy.
    """

    model: str
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)
    version: str = ""
    weights: str | None = None
    references: Mapping[str, Option] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", _ReadOnly(self.options))
        object.__setattr__(self, "references", _ReadOnly(self.references))

    def difference(self, other: Origin) -> Difference | None:
        """Return the first thing in which two origins differ, of those that both know; or None.

        Examples
        --------
        >>> Origin("CLIP", {"steps": 10}).difference(Origin("CLIP", {"steps": 20}))
        ('options', {'steps': 10}, {'steps': 20})
        """
        for name in ("model", "options", "version"):
            if difference := self._difference_in(name, other):
                return difference
        return self.difference_of_models(other) or self.difference_of_references(other)

    def _difference_in(self, name: str, other: Origin) -> Difference | None:
        ours, theirs = getattr(self, name), getattr(other, name)
        return None if ours == theirs else (name, ours, theirs)

    def difference_of_models(self, other: Origin) -> Difference | None:
        """Return in what two models differ: the weights if both are known, or else the name; or None.

        Weights in another precision are not compared: a model may explain captions on a laptop in float32,
        and images on a GPU in float16.

        Examples
        --------
        >>> Origin("CLIP", weights="00").difference_of_models(Origin("CLIP", weights="ff"))
        ('weights', '00', 'ff')
        >>> Origin("CLIP", weights="00").difference_of_models(Origin("CLIP"))
        >>> Origin("CLIP", weights="00").difference_of_models(Origin("CLIP", weights="ff-float16"))
        """
        precisions = {one.weights and one.weights.partition("-")[2] for one in (self, other)}
        known = len(precisions) == 1 and None not in precisions
        return self._difference_in("weights" if known else "model", other)

    def difference_of_options(self, other: Origin) -> Difference | None:
        """Return both methods' options if both are known and they differ; or None.

        Examples
        --------
        >>> Origin("CLIP", {"p": 0.5}).difference_of_options(Origin("CLIP", {"p": 0.3}))
        ('options', {'p': 0.5}, {'p': 0.3})
        >>> Origin("CLIP", {"p": 0.5}).difference_of_options(Origin("CLIP"))
        """
        return self._difference_in("options", other) if self.options and other.options else None

    def difference_of_references(self, other: Origin) -> Difference | None:
        """Return the first reference in which two origins differ, of those that both know; or None.

        Examples
        --------
        >>> zeros = Origin("CLIP", references={"image_reference": "zeros"})
        >>> zeros.difference_of_references(Origin("CLIP", references={"image_reference": "blur"}))
        ('image_reference', 'zeros', 'blur')
        >>> zeros.difference_of_references(Origin("CLIP"))
        """
        for name, ours in self.references.items():
            if name in other.references and ours != other.references[name]:
                return name, ours, other.references[name]
        return None

    @classmethod
    def of(
        cls,
        model: str,
        options: Mapping[str, object],
        version: str,
        weights: str | None = None,
        references: Mapping[str, Option] | None = None,
    ) -> Origin:
        """Return an origin with `options` in a form that a file can store.

        Examples
        --------
        >>> Origin.of("CLIP", {"steps": 10, "kind": int}, "1.0").options
        {'steps': 10, 'kind': "<class 'int'>"}
        """
        plain = {
            name: value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)
            for name, value in options.items()
        }
        return cls(model, plain, version, weights, references or {})


def references_of(side: str, recipe: Mapping[str, Option]) -> dict[str, Option]:
    """Return the references of a side, `"text"` or `"image"`, from all that an explainer's factors depend on.

    Examples
    --------
    >>> references_of("image", {"text_reference": None, "image_reference": "noise", "seed": 3})
    {'image_reference': 'noise', 'seed': 3}
    >>> references_of("image", {"text_reference": None, "image_reference": "blur", "seed": 3})
    {'image_reference': 'blur'}
    """
    names = [f"{side}_reference"]
    if recipe.get("image_reference") == "noise" and side == "image":
        names.append("seed")
    return {name: recipe[name] for name in names if name in recipe}
