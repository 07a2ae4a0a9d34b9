"""Thumbnails: the pictures of a gallery, looked up by image id and cached up to a size limit."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from PIL import Image

from ..datasets.reading import path_of
from ..errors import ImageError, ParameterError, named_type
from ..image import ImageLike, open_image
from ..lru_cache import LRUCache
from ..results.origin import View

Pictures: TypeAlias = str | os.PathLike[str] | Mapping[str, ImageLike] | Callable[[str], ImageLike]
"""Where to find pictures: a folder, a mapping from ids to images, or a function from an id to an image."""

SIDE = 256
"""Longest side of a thumbnail in pixels: sharp in a tile of 128 on a high-density screen."""

QUALITY = 85

MOST_BYTES = 2**25
"""Largest total size of the cached thumbnails in bytes: about 3000 photographs."""

SUFFIXES = ("", ".jpg", ".jpeg", ".png", ".webp", ".JPG", ".JPEG", ".PNG")
"""Suffixes that may follow an id in a file name."""


class Thumbnail(NamedTuple):
    """A small copy of a picture.

    Attributes
    ----------
    jpeg : bytes
        The copy, as a JPEG.
    is_of_other_pixels : bool
        Whether the picture is not the image that was explained, as far as that is known: it is another one,
        or a copy that was compressed or edited.
    """

    jpeg: bytes
    is_of_other_pixels: bool


class Thumbnails:
    """The pictures of a data set, and their thumbnails.

    Parameters
    ----------
    pictures
        A folder whose files are named after the image ids, with or without a suffix; a mapping from ids to
        images; or a function from an id to an image. Images may be anything that `explain` accepts.

    Raises
    ------
    ParameterError
        If it is none of these, or the folder does not exist.

    Examples
    --------
    >>> pictures = Thumbnails({"7": Image.new("RGB", (900, 300))})
    >>> pictures.picture("7").size
    (900, 300)
    >>> Image.open(io.BytesIO(pictures.thumbnail("7").jpeg)).size
    (256, 85)
    """

    def __init__(self, pictures: Pictures) -> None:
        self._find = _finder_of(pictures)
        self._kept = LRUCache[Thumbnail](lambda kept: len(kept.jpeg), MOST_BYTES)

    def picture(self, image_id: str) -> Image.Image:
        """Return the picture of an image.

        Raises
        ------
        ImageError
            If it is missing or cannot be read.
        """
        return open_image(self._find(image_id))

    def thumbnail(self, image_id: str, explained: View | None = None) -> Thumbnail:
        """Return the picture of an image as a small JPEG.

        Parameters
        ----------
        image_id : str
            Id of the image.
        explained : View, optional
            The image that was explained, if known.

        Raises
        ------
        ImageError
            If it is missing, cannot be read, or has another size than the one that was explained.
        """
        kept = self._kept.get(image_id)
        if kept is None:
            image = self.picture(image_id)
            if explained is not None and image.size != explained.size:
                width, height = explained.size
                raise ImageError(
                    f"the picture of {image_id!r:.80} is {image.width} x {image.height} pixels; expected "
                    f"{width} x {height}, the size of the image that was explained"
                )
            is_other = explained is not None and explained.is_of_other_pixels(image)
            image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
            buffer = io.BytesIO()
            image.save(buffer, "jpeg", quality=QUALITY)
            kept = Thumbnail(buffer.getvalue(), is_other)
            self._kept.put(image_id, kept)
        return kept


def _finder_of(pictures: object) -> Callable[[str], ImageLike]:
    if isinstance(pictures, (str, os.PathLike)):
        folder = path_of(pictures)
        if not folder.is_dir():
            raise ParameterError(
                f"images={str(pictures)!r:.200} is not a folder; expected one with the pictures"
            )
        return lambda key: _file_in(folder, key)
    if isinstance(pictures, Mapping):
        return lambda key: _picture_in(pictures, key)
    if callable(pictures):
        return lambda key: _picture_by(pictures, key)
    raise ParameterError(
        f"images is {named_type(pictures)}; expected a folder with the pictures, a mapping from the ids "
        "of images to them, or a function from an id to one"
    )


def _file_in(folder: Path, key: str) -> Path:
    """Return the file of a picture. An id may lead into subfolders, but not out of the folder."""
    for suffix in SUFFIXES:
        path = folder / f"{key}{suffix}"
        try:
            if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                return path
        except (OSError, ValueError):  # not a valid file name
            continue
    raise ImageError(f"there is no picture {key!r:.80} in {str(folder)!r:.200}")


def _picture_in(pictures: Mapping[str, ImageLike], key: str) -> ImageLike:
    if key not in pictures:
        raise ImageError(f"images has no picture of {key!r:.80}")
    return pictures[key]


def _picture_by(function: Callable[[str], ImageLike], key: str) -> ImageLike:
    try:
        return function(key)
    except ImageError:
        raise
    except Exception as error:  # anything may come from a user's function
        raise ImageError(
            f"images({key!r:.80}) raised {type(error).__name__}: {error!s:.200}; expected an image"
        ) from None
