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

Preprocess: TypeAlias = Callable[[Image.Image], Tensor]
"""From an RGB image to what a model sees of it, (3, height, width)."""


def preprocess_image(
    image: Image.Image, preprocess: Preprocess, size: tuple[int, int] | None = None
) -> Float[Tensor, "1 3 height width"]:
    """Return what the model sees of `image`, with `size` = (height, width).

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
        How an error begins.

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

    All that is assumed of `preprocess` is that it keeps brightness linear. It is given an image whose
    brightness rises from left to right, then one whose brightness rises from top to bottom; the two ramps
    are read off what comes out.

    Returns
    -------
    left, top, width, height : float
        As fractions of the image.
    """
    shrink = min(1.0, 512 / max(size))
    width, height = (max(1, round(side * shrink)) for side in size)

    def seen(levels: np.ndarray) -> np.ndarray:
        grey = np.broadcast_to(levels, (height, width)).astype(np.uint8)
        return preprocess_image(Image.fromarray(grey).convert("RGB"), preprocess)[0, 0].double().numpy()

    black, white = seen(np.zeros((1, 1))).mean(), seen(np.full((1, 1), 255)).mean()
    edges = []
    for axis, pixels in enumerate((width, height)):
        ramp = (np.arange(pixels) + 0.5) / pixels
        levels = np.round(ramp * 255).reshape((1, -1) if axis == 0 else (-1, 1))
        profile = np.median((seen(levels) - black) / (white - black), axis=axis)
        position = (np.arange(len(profile)) + 0.5) / len(profile)
        inside = (profile > 0.03) & (profile < 0.97)  # flat stretches at the ends are padding
        if inside.sum() < 2:
            return 0.0, 0.0, 1.0, 1.0
        extent, start = np.polyfit(position[inside], profile[inside], 1)
        # Eight bits tell an edge no better than this, so one this close lies on the image's own edge.
        ends = [round(end) if abs(end - round(end)) < 0.004 else end for end in (start, start + extent)]
        edges.append((float(ends[0]), float(ends[1] - ends[0])))
    (left, across), (top, down) = edges
    return left, top, across, down
