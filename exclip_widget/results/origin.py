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

    @property
    def crop(self) -> Crop:
        """Left, top, width and height of what the model saw, as fractions of the image."""
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


class _Options(dict[str, Option]):
    """A read-only dictionary that prints and serialises like any other."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("The options of a result cannot be changed; dict(...) makes a copy that can.")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what a copy is made from, because `pickle` would fill an empty dictionary entry by entry."""
        return _Options, (dict(self),)


@dataclass(frozen=True)
class Origin:
    """What made a result.

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
    """

    model: str
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)
    version: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", _Options(self.options))

    @classmethod
    def of(cls, model: str, options: Mapping[str, object], version: str) -> Origin:
        """Return an origin with `options` in a form that a file can store.

        Examples
        --------
        >>> Origin.of("CLIP", {"steps": 10, "kind": int}, "1.0")
        Origin(model='CLIP', options={'steps': 10, 'kind': "<class 'int'>"}, version='1.0')
        """
        plain = {
            name: value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)
            for name, value in options.items()
        }
        return cls(model, plain, version)
