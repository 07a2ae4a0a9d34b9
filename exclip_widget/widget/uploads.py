"""Uploads: pictures that arrive from a browser in parts, and are not to be trusted."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import PictureError
from ..inputs.image import open_picture
from .protocol import Chunk

LARGEST = 32 * 2**20
"""Most bytes of a file."""

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "MPO", "JPEG2000")
"""Kinds of files that are decoded: pixels only, none that Pillow gives to another program to draw."""


@dataclass(frozen=True)
class File:
    """A file's bytes, and the name that the browser gives it."""

    data: bytes
    name: str


class Uploads:
    """The one upload under way: a newer one replaces it."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._data: bytearray | None = None  # None: there is nothing more to come

    def take(self, chunk: Chunk) -> File | None:
        """The whole file, where `chunk` is the last of it; a chunk that came before is passed over.

        Raises
        ------
        PictureError
            Once for an upload: where it is too large, or a part of it is missing.
        """
        if chunk.offset == 0 or chunk.number != self._number:
            self._number, self._data = chunk.number, bytearray()
        if self._data is None or chunk.offset < len(self._data):
            return None
        refusal = self._refusal(chunk)
        if refusal:
            self._data = None
            raise PictureError(f"{named(chunk.name)} {refusal}")
        self._data += chunk.data
        if len(self._data) < chunk.size:
            return None
        file, self._data = File(bytes(self._data), chunk.name), None
        return file

    def _refusal(self, chunk: Chunk) -> str | None:
        assert self._data is not None
        if chunk.size == 0:
            return "is an empty file"
        if chunk.size > LARGEST:
            return f"has {chunk.size / 2**20:.0f} MiB; expected at most {LARGEST / 2**20:.0f}"
        if chunk.offset > len(self._data) or len(self._data) + len(chunk.data) > chunk.size:
            return "did not arrive in one piece; send it again"
        return None


def decoded(file: File) -> Image.Image:
    """The picture in a file, RGB, upright.

    Raises
    ------
    PictureError
        Where it is no picture, or one of more pixels than Pillow takes for safe.
    """
    data, name = file.data, file.name
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (
        head.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in head
    ):
        raise PictureError(f"{named(name)} is an SVG, a drawing and not pixels; export it as PNG first")
    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=[kind for kind in FORMATS if kind in Image.OPEN]) as image:
            _require_fit(image, name)
            return open_picture(ImageOps.exif_transpose(image))
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{named(name)} is not a picture of a kind that is read here") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"{named(name)} is too large to open: {error}") from None
    except Exception as error:
        # Whatever a decoder raises on what it was never meant to be given.
        raise PictureError(f"{named(name)} cannot be read: {error}") from None


def _require_fit(image: Image.Image, name: str) -> None:
    """Refuse what Pillow only warns of: pixels are allocated at once, on this machine."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise PictureError(
            f"{named(name)} has {image.width} x {image.height} pixels; "
            f"expected at most {most / 1e6:.0f} million"
        )


def named(name: str) -> str:
    """A file's name, quoted, for a message; it is a browser's text and may be anything."""
    return f"picture {name[:80]!r}"
