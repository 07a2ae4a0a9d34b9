"""Uploads: images that arrive from a browser in parts, and are not to be trusted."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import ImageError
from ..image import open_image
from .protocol import UploadChunk

MOST_BYTES = 32 * 2**20
"""Largest size of a file."""

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "MPO", "JPEG2000")
"""Formats that are decoded: pixels only, none that Pillow passes to another program to draw."""


@dataclass(frozen=True)
class UploadedFile:
    """A file's bytes, and its name as the browser gives it."""

    data: bytes
    name: str


class Uploads:
    """The one upload in progress; a newer one replaces it."""

    def __init__(self) -> None:
        self._question: int | None = None
        self._data: bytearray | None = None  # None once it is complete or refused

    def add(self, chunk: UploadChunk) -> UploadedFile | None:
        """Add `chunk`, and return the file once it is complete; a chunk that came before is ignored.

        Raises
        ------
        ImageError
            Once for an upload, if it is too large or a part of it is missing.
        """
        if chunk.offset == 0 or chunk.question != self._question:
            self._question, self._data = chunk.question, bytearray()
        if self._data is None or chunk.offset < len(self._data):
            return None
        refusal = self._refusal(chunk, len(self._data))
        if refusal:
            self._data = None
            raise ImageError(f"{_quoted(chunk.name)} {refusal}")
        self._data += chunk.data
        if len(self._data) < chunk.size:
            return None
        file, self._data = UploadedFile(bytes(self._data), chunk.name), None
        return file

    def _refusal(self, chunk: UploadChunk, received: int) -> str | None:
        if chunk.size == 0:
            return "is an empty file"
        if chunk.size > MOST_BYTES:
            return f"has {chunk.size / 2**20:.0f} MiB; expected at most {MOST_BYTES / 2**20:.0f}"
        if chunk.offset > received or received + len(chunk.data) > chunk.size:
            return "did not arrive complete; send it again"
        return None


def decode(file: UploadedFile) -> Image.Image:
    """Return the image in a file, RGB, upright.

    Raises
    ------
    ImageError
        If it is no image, or has more pixels than Pillow considers safe.
    """
    data, name = file.data, _quoted(file.name)
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (
        head.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in head
    ):
        raise ImageError(f"{name} is an SVG, a drawing and not pixels; export it as PNG first")
    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=[kind for kind in FORMATS if kind in Image.OPEN]) as image:
            _require_safe_size(image, name)
            return open_image(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not an image of a format that is read here") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} is too large to open: {error}") from None
    except Exception as error:
        # Decoders raise all kinds of errors on data that they were never meant to be given.
        raise ImageError(f"{name} cannot be read: {error}") from None


def _require_safe_size(image: Image.Image, name: str) -> None:
    """Refuse a size that Pillow only warns about: all pixels are allocated at once, on this machine."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise ImageError(
            f"{name} has {image.width} x {image.height} pixels; expected at most {most / 1e6:.0f} million"
        )


def _quoted(name: str) -> str:
    """Return a file's name quoted for a message; it is a browser's text and may be anything."""
    return f"image {name[:80]!r}"
