"""What an image of a data set was given as, found without decoding its file.

An image that was given before has the same stamp, so filling a store again takes no longer for images that
it has. Another stamp may still be of the same image, such as of a copy of its file; then the pixels decide.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xxhash
from PIL import Image

from ..errors import ImageError, named_type
from ..image import expanded, open_image
from ..results.origin import View
from ..store.hashes import ImageHash, hash_of_pixels


class GivenImage(NamedTuple):
    """What an image was given as.

    Attributes
    ----------
    name : str
        What to call it in an error.
    stamp : str or None
        A hash of a file's path, size and times, of the bytes of an open file, or of pixels in memory. None
        for a file that can be read only once, and for what is no image.
    path : str or None
        The file, if it was given as a path.
    pixels : int or None
        The hash of its pixels, if they are in memory.
    """

    name: str
    stamp: str | None
    path: str | None = None
    pixels: int | None = None

    def is_another_than(self, first: GivenImage, image: Any) -> bool:
        """Return whether it is another image than the one that was given before.

        Parameters
        ----------
        first : GivenImage
            The one that was given before.
        image : image
            This one itself.
        """
        if self.stamp is None or first.stamp is None or self.stamp == first.stamp:
            return False
        before = _hash_of(_view_of(first.path)) if first.pixels is None and first.path else first.pixels
        return before is None or before != self._pixels(image)

    def is_another_than_kept(self, kept: ImageHash, image: Any) -> bool:
        """Return whether it is another image than the one that a store has.

        A file that cannot be read any more cannot be compared.

        Parameters
        ----------
        kept : ImageHash
            What the store has.
        image : image
            This one itself.
        """
        if self.stamp is None or hash(self.stamp) == kept.stamp:
            return False
        if kept.pixels is None:  # preprocessed pixels, of which there is only a stamp
            return kept.stamp is not None
        pixels = self._pixels(image)
        return pixels is not None and pixels != kept.pixels

    def _pixels(self, image: Any) -> int | None:
        return _hash_of(_view_of(image)) if self.pixels is None else self.pixels


def look_at(image: Any) -> GivenImage:
    """Return what an image was given as. Errors are left to whoever reads it."""
    name = named_type(image)
    if isinstance(image, (str, os.PathLike)):
        path = expanded(image).absolute()
        return GivenImage(repr(str(path)), _digest("file", str(path), *_state_of(path)), str(path))
    if isinstance(image, (Image.Image, np.ndarray)):
        view = _view_of(image)
        stamp = None if view is None else _digest("pixels", view.size, view.digest)
        return GivenImage(name, stamp, pixels=_hash_of(view))
    if isinstance(image, torch.Tensor):
        values = image.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        stamp = _digest("values", image.dtype, tuple(image.shape), data=values)
        return GivenImage(name, stamp, pixels=hash(stamp))
    data = _bytes_of(image)
    return GivenImage(name, None if data is None else _digest("bytes", data=data))


def _view_of(image: Any) -> View | None:
    try:
        return View.of(open_image(image))
    except ImageError:
        return None


def _hash_of(view: View | None) -> int | None:
    return None if view is None else hash_of_pixels(view.size, view.digest)


def _state_of(path: Path) -> tuple[int, ...]:
    """Return what changes if a file's content does; nothing if there is no file.

    The last is the time of the last change to the file itself: it also shows that one was replaced by
    another with the same size and the same time of modification.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _bytes_of(file: Any) -> bytes | None:
    """Return the bytes of an open file, and restore its position; None if it can be read only once."""
    try:
        if not file.seekable():
            return None
        position = file.tell()
        try:
            file.seek(0)
            data = file.read()
        finally:
            file.seek(position)
    except (AttributeError, OSError, ValueError):
        return None
    return data if isinstance(data, bytes) else None


def _digest(*parts: object, data: Any = b"") -> str:
    state = xxhash.xxh3_128(repr(parts).encode())
    state.update(data)
    return state.hexdigest()
