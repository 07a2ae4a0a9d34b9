"""Images: from files, arrays and PIL images to the RGB image that a model's preprocessing takes."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from .errors import ImageError, named_type

ImageLike: TypeAlias = Image.Image | np.ndarray | str | os.PathLike[str] | BinaryIO
"""Anything that can be read as an image."""

URL = re.compile(r"data:|[a-z][a-z0-9+.-]+://", re.IGNORECASE)
"""Start of a string that is a URL rather than a path."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""From an EXIF orientation to what turns the image upright."""

ORIENTED = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
"""Names of the metadata in which Pillow looks for an orientation."""


def open_image(source: ImageLike) -> Image.Image:
    """Read `source` as RGB with 8 bits per channel.

    Parameters
    ----------
    source : PIL image, numpy array, path or binary file
        Arrays are (rows, columns), (rows, columns, 3) or (rows, columns, 4), with row 0 at the top. Their
        values are bytes, 16-bit integers, booleans or floats from 0 to 1. The values of a 32-bit PIL image
        must be floats from 0 to 1 or whole numbers from 0 to 255. In a path, `~` stands for the home
        directory. Files are rotated upright according to their EXIF orientation, unless their EXIF data is
        damaged. Only the first frame of an animation is read. Transparency becomes white.

    Raises
    ------
    ImageError
        If the file does not exist, it cannot be read, or the image has no pixels.

    Examples
    --------
    >>> open_image(np.zeros((2, 3)))
    <PIL.Image.Image image mode=RGB size=3x2 at 0x...>
    """
    if isinstance(source, Image.Image):
        name = "the PIL image"
        image = _first_frame(source, name)
    elif isinstance(source, np.ndarray):
        name = "the array"
        image = _from_array(source)
    elif isinstance(source, (str, os.PathLike)):
        name = f"image {os.fspath(source)!r:.200}"
        image = _from_path(source, name)
    elif hasattr(source, "read"):
        name = f"the image in {named_type(source)}"
        image = _from_open_file(source, name)
    else:
        raise _unknown_kind(source)
    if 0 in image.size:
        raise ImageError(f"{name} is {image.width} x {image.height}: it has no pixels")
    return _to_rgb(image, name)


def _unknown_kind(source: object) -> ImageError:
    remedy = "; wrap the bytes of a file in io.BytesIO" if isinstance(source, (bytes, bytearray)) else ""
    return ImageError(
        f"image is {named_type(source)}; expected a PIL image, a numpy array, a path or a binary file{remedy}"
    )


# ------------------------------------------------------------------------------------------- files


def _from_path(path: str | os.PathLike[str], name: str) -> Image.Image:
    if URL.match(os.fsdecode(path)):
        raise ImageError(
            f"{name} is a URL, and URLs are not fetched; download the image and pass the file's path"
        )
    return _from_file(expanded(path), name)


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` expanded to the home directory, unless a file of exactly this name exists."""
    given = Path(os.fsdecode(path))
    try:
        return given if given.exists() else given.expanduser()
    except (OSError, RuntimeError, ValueError):  # no home directory, or not a possible file name
        return given


def _from_open_file(file: BinaryIO, name: str) -> Image.Image:
    """Read an open file from its beginning, then restore its position."""
    try:
        position = file.tell() if file.seekable() else None
    except (AttributeError, OSError, ValueError):
        position = None
    try:
        if position is not None:
            file.seek(0)
        data = file.read()
    except Exception as error:
        raise ImageError(f"{name} cannot be read: {error}") from None
    finally:
        if position is not None:
            file.seek(position)
    if not isinstance(data, bytes):
        raise ImageError(f"{name} reads as {type(data).__name__}; expected bytes, as from open(path, 'rb')")
    return _from_file(io.BytesIO(data), name)


def _from_file(file: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        with Image.open(file) as image:
            return upright(_first_frame(image, name))
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"there is no {name}") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not of a format that Pillow can read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} is too large to open: {error}") from None
    except Exception as error:
        # Decoders raise all kinds of errors on malformed data.
        raise ImageError(f"{name} cannot be read: {error}") from None


def upright(image: Image.Image) -> Image.Image:
    """Return an image rotated according to its EXIF orientation, or as it is if its EXIF data is damaged.

    `ImageOps.exif_transpose` would fail on damaged data, even on some whose orientation can be read, because
    it also writes the data again.
    """
    image.load()  # some formats have their EXIF data after the pixels
    try:
        turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (MemoryError, Warning):  # a warning is raised only if the user has asked for it
        raise
    except Exception:
        # Pillow raises all kinds of errors. Image viewers show such a file unrotated.
        return image
    if turn is None:
        return image
    turned = image.transpose(turn)
    for name in ORIENTED:  # so that nobody turns it again
        turned.info.pop(name, None)
    return turned


def _first_frame(image: Image.Image, name: str) -> Image.Image:
    """Return a copy of the first frame, leaving the caller's image at its current frame."""
    try:
        frame = getattr(image, "tell", int)()
        try:
            if frame != 0:
                image.seek(0)
            first = image.copy()
        finally:
            if frame != 0:
                image.seek(frame)
    except Exception as error:
        raise ImageError(f"{name} cannot be read: {error}") from None
    if first.mode == "I" and image.format == "PNG":
        # Pillow before 11 opens 16-bit PNGs this way.
        first = Image.fromarray(np.asarray(first).astype(np.uint16))
    return first


# ------------------------------------------------------------------------------------------ arrays


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"image has shape {array.shape}; expected (rows, columns), (rows, columns, 3) or "
            "(rows, columns, 4)"
        )
    if array.size == 0:
        raise ImageError(f"image has shape {array.shape}: it has no pixels")
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise ImageError("image is an array with masked values; fill them first, with array.filled()")
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    kind, width = array.dtype.kind, array.dtype.itemsize
    if kind == "b":
        array = array * np.uint8(255)
    elif (kind, width) == ("u", 2):
        array = (array >> 8).astype(np.uint8)
    elif kind == "f":
        array = _bytes_of_floats(array, "image", "(or bytes from 0 to 255)")
    elif array.dtype != np.uint8:
        raise ImageError(f"image has dtype {array.dtype}; expected uint8, uint16, bool or float")
    return Image.fromarray(np.ascontiguousarray(array))


def _bytes_of_floats(levels: np.ndarray, name: str, alternative: str) -> np.ndarray:
    """Convert floats from 0 to 1 to bytes."""
    if not np.isfinite(levels).all():
        raise ImageError(f"{name} has values that are NaN or infinite")
    if levels.min() < 0 or levels.max() > 1:
        raise ImageError(
            f"{name} has floats from {levels.min():g} to {levels.max():g}; expected 0 to 1 {alternative}"
        )
    return np.round(levels.astype(np.float64) * 255).astype(np.uint8)


# ------------------------------------------------------------------------------------- Pillow's modes


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert an image of any Pillow mode to RGB, with white for transparency."""
    try:
        if image.mode == "F" or image.mode.startswith("I"):
            return _from_wide(image, name)
        if _is_transparent(image):
            # Pillow converts La to RGBA only via LA.
            layer = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
            page = Image.new("RGBA", layer.size, "white")
            return Image.alpha_composite(page, layer).convert("RGB")
        # Pillow would copy an image that is RGB already, which is a copy of the caller's.
        return image if image.mode == "RGB" else image.convert("RGB")
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(
            f"{name} has mode {image.mode!r}, which Pillow cannot turn into RGB: {error}"
        ) from None


def _is_transparent(image: Image.Image) -> bool:
    palette = image.palette.mode if image.mode == "P" and image.palette else ""
    return (
        image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
        or "transparency" in image.info
        or palette.endswith("A")
    )


def _from_wide(image: Image.Image, name: str) -> Image.Image:
    """Convert a 16- or 32-bit image to RGB, if it is known which value is white.

    Pillow would clip the values at 255 rather than scale them.
    """
    levels = np.asarray(image)
    described = f"{name} (mode {image.mode!r})"
    if image.mode.startswith("I;16"):
        grey = (levels >> 8).astype(np.uint8)
    elif image.mode == "F" and not _are_bytes(levels):
        grey = _bytes_of_floats(levels, described, "(or whole numbers from 0 to 255)")
    elif levels.min() < 0 or levels.max() > 255:
        raise ImageError(
            f"{described} has whole numbers from {levels.min():g} to {levels.max():g}; expected 0 to 255 "
            "(or an array of uint16 from 0 to 65535)"
        )
    else:
        grey = levels.astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey = np.where(levels == clear, np.uint8(255), grey)
    return Image.fromarray(grey).convert("RGB")


def _are_bytes(levels: np.ndarray) -> bool:
    """Return whether floats are whole numbers from 0 to 255, as Pillow's own conversion produces."""
    return 1 < levels.max() <= 255 and bool((levels == levels.astype(np.uint8)).all())
