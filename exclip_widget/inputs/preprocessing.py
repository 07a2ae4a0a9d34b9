"""Preprocessing: from an image to the pixels that the model sees, and which part of the image they show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..errors import ImageError
from .view import find_view

Preprocess: TypeAlias = Callable[[Image.Image], Tensor]
"""From an RGB image to the pixels that a model takes, (3, height, width)."""


def preprocess_image(
    image: Image.Image, preprocess: Preprocess, size: tuple[int, int] | None = None
) -> Float[Tensor, "1 3 height width"]:
    """Return the pixels that the model sees of `image`, checked against `size` = (height, width).

    Raises
    ------
    ImageError
        If `preprocess` returns anything else, or values that are not finite.
    """
    return check_pixels(preprocess(image), size, "preprocess gave")


def check_pixels(
    pixels: object, size: tuple[int, int] | None, source: str = "image is"
) -> Float[Tensor, "1 3 height width"]:
    """Return preprocessed pixels with a batch axis, if the model can take them.

    Parameters
    ----------
    pixels : object
        Expected to be floats, (3, height, width) or (1, 3, height, width).
    size : (int, int) or None
        Height and width that the model takes; None if it takes any.
    source : str
        Beginning of an error message.

    Raises
    ------
    ImageError
        If they are anything else, or not finite.
    """
    height, width = size or ("height", "width")
    expected = f"expected preprocessed pixels, a tensor of floats (3, {height}, {width})"
    if not isinstance(pixels, Tensor):
        raise ImageError(f"{source} a {type(pixels).__name__}; {expected}")
    pixels = pixels[0] if pixels.ndim == 4 and len(pixels) == 1 else pixels
    if pixels.ndim != 3 or len(pixels) != 3 or (size and pixels.shape[1:] != size):
        raise ImageError(f"{source} of shape {tuple(pixels.shape)}; {expected}")
    if not pixels.is_floating_point():
        raise ImageError(f"{source} of {pixels.dtype}; {expected}")
    if not torch.isfinite(pixels).all():
        raise ImageError(f"{source} NaN or infinite in places; {expected}")
    return pixels[None]


def field_of_view(preprocess: Preprocess, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return which part of an image of `size` (width, height) the model sees through `preprocess`.

    This assumes that `preprocess` shows an upright part of the image, or all of it surrounded by padding,
    and that brighter areas stay brighter. It may normalise each image by its own brightness.

    Returns
    -------
    left, top, width, height : float
        As fractions of the image. The whole image if they cannot be determined.
    """
    try:
        with np.errstate(all="ignore"):  # such as a division by the brightness of a black image
            return find_view(preprocess, size)
    except Exception:
        # It may reject the test images although it accepts the user's.
        return 0.0, 0.0, 1.0, 1.0
