"""Uploads: untrusted images that arrive from a browser in chunks."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from ..errors import ImageError
from ..image import open_image, upright
from .protocol import UploadChunk

MOST_BYTES = 32 * 2**20
"""Largest file size in bytes."""

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "MPO", "JPEG2000")
"""Formats that are decoded: only raster formats, and none that Pillow delegates to another program."""


@dataclass(frozen=True)
class UploadedFile:
    """The bytes of a file, and its name according to the browser."""

    data: bytes
    name: str


class Uploads:
    """The one upload in progress; a newer one replaces it."""

    def __init__(self) -> None:
        self._question: int | None = None
        self._data: bytearray | None = None  # None once the upload is complete or refused

    def add(self, chunk: UploadChunk) -> UploadedFile | None:
        """Add `chunk`, and return the file once it is complete; ignore a chunk that was already received.

        Raises
        ------
        ImageError
            If the file is too large or a part of it is missing; raised only once per upload.
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
    """Return the image in a file as RGB, rotated upright according to its EXIF data.

    Raises
    ------
    ImageError
        If it is not an image, or has more pixels than Pillow considers safe.
    """
    data, name = file.data, _quoted(file.name)
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<svg") or (
        head.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in head
    ):
        raise ImageError(f"{name} is an SVG, a drawing rather than pixels; export it as PNG first")
    Image.init()
    try:
        with Image.open(io.BytesIO(data), formats=[kind for kind in FORMATS if kind in Image.OPEN]) as image:
            _require_safe_size(image, name)
            return open_image(upright(image))
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not an image in a supported format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} is too large to open: {error}") from None
    except Exception as error:
        # Decoders raise all kinds of errors when given malformed data.
        raise ImageError(f"{name} cannot be read: {error}") from None


def _require_safe_size(image: Image.Image, name: str) -> None:
    """Refuse a size that Pillow only warns about, since all pixels are allocated at once."""
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise ImageError(
            f"{name} has {image.width} x {image.height} pixels; expected at most {most / 1e6:.0f} million"
        )


def _quoted(name: str) -> str:
    """Return a file name quoted for a message; it comes from the browser and may be anything."""
    return f"image {name[:80]!r}"
