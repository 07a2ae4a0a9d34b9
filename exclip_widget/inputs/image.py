"""Images: from whatever people have to the RGB image that a model's preprocessing takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import ImageError

ImageLike: TypeAlias = Image.Image | np.ndarray | str | os.PathLike[str]
"""What can be read as an image."""


def open_image(source: ImageLike) -> Image.Image:
    """Read `source` as RGB, 8 bits a channel.

    Parameters
    ----------
    source : PIL image, numpy array or path
        Arrays are (rows, columns), (rows, columns, 3) or (rows, columns, 4), row 0 at the top, in
        bytes, 16-bit integers, booleans or floats from 0 to 1. Files are turned upright by their
        EXIF orientation. Of an animation the first frame is read. Transparency becomes white.

    Raises
    ------
    ImageError
        If there is no such file, it cannot be read, or the image has no pixels.

    Examples
    --------
    >>> open_image(np.zeros((2, 3)))
    <PIL.Image.Image image mode=RGB size=3x2 at 0x...>
    """
    if isinstance(source, Image.Image):
        image = _first_frame(source, "the PIL image")
    elif isinstance(source, np.ndarray):
        image = _from_array(source)
    elif isinstance(source, (str, os.PathLike)):
        image = _from_file(source)
    else:
        raise ImageError(f"image is a {type(source).__name__}; expected a PIL image, a numpy array or a path")
    if 0 in image.size:
        raise ImageError(f"the image is {image.width} x {image.height} pixels: it has none")
    return _to_rgb(image)


def _from_file(path: str | os.PathLike[str]) -> Image.Image:
    name = repr(os.fspath(path))
    try:
        with Image.open(Path(path)) as image:
            return ImageOps.exif_transpose(_first_frame(image, f"image {name}"))
    except FileNotFoundError:
        raise ImageError(f"there is no image {name}") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not an image that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"image {name} is too large to open: {error}") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"image {name} cannot be read: {error}") from None


def _first_frame(image: Image.Image, name: str) -> Image.Image:
    """Return a copy of the first frame; the caller's image stays at the frame it was at."""
    try:
        frame = getattr(image, "tell", int)()
        if frame != 0:
            image.seek(0)
        first = image.copy()
        if frame != 0:
            image.seek(frame)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise ImageError(f"{name} cannot be read: {error}") from None
    return first


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"image has shape {array.shape}; expected (rows, columns), (rows, columns, 3) or "
            "(rows, columns, 4)"
        )
    if array.size == 0:
        raise ImageError(f"image has shape {array.shape}: it has no pixels")
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.dtype == bool:
        array = array * np.uint8(255)
    elif array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise ImageError("image has values that are NaN or infinite")
        if array.min() < 0 or array.max() > 1:
            raise ImageError(
                f"image has floats from {array.min():g} to {array.max():g}; expected 0 to 1 "
                "(or bytes from 0 to 255)"
            )
        array = np.round(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"image has dtype {array.dtype}; expected uint8, uint16, bool or float")
    return Image.fromarray(np.ascontiguousarray(array))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow would clip these at 255 rather than scale them.
        levels = np.asarray(image).astype(np.float64)
        if not np.isfinite(levels).all():
            raise ImageError(f"the image (mode {image.mode!r}) has values that are not finite")
        if image.mode == "F":
            top = 1.0 if levels.max() <= 1 else 255.0
        else:
            top = 65535.0 if image.mode.startswith("I;16") or levels.max() > 255 else 255.0
        return Image.fromarray(np.clip(levels * (255 / top), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        page = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(page, layer).convert("RGB")
    return image.convert("RGB")
