"""Preprocessing: from an image to what the model sees of it, and which part of the image that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image

from ..errors import PictureError

Preprocess: TypeAlias = Callable[[Image.Image], torch.Tensor]


def preprocessed(
    image: Image.Image, preprocess: Preprocess, size: tuple[int, int] | None = None
) -> torch.Tensor:
    """What the model sees of `image`: float, (1, 3, height, width), with `size` = (height, width).

    Raises
    ------
    PictureError
        Where `preprocess` gives anything else, or values that are not finite.
    """
    return checked_pixels(preprocess(image), size, "preprocess gave")


def checked_pixels(pixels: object, size: tuple[int, int] | None, source: str = "image is") -> torch.Tensor:
    """Preprocessed pixels as the model takes them, (1, 3, height, width); `source` begins the errors.

    Raises
    ------
    PictureError
        Where they are anything else, or not finite.
    """
    height, width = size or ("height", "width")
    expected = f"expected preprocessed pixels, a tensor of floats (3, {height}, {width})"
    if not isinstance(pixels, torch.Tensor):
        raise PictureError(f"{source} a {type(pixels).__name__}; {expected}")
    pixels = pixels[0] if pixels.ndim == 4 and len(pixels) == 1 else pixels
    if pixels.ndim != 3 or len(pixels) != 3 or (size and pixels.shape[1:] != size):
        raise PictureError(f"{source} of shape {tuple(pixels.shape)}; {expected}")
    if not pixels.is_floating_point():
        raise PictureError(f"{source} of {pixels.dtype}; {expected}")
    if not torch.isfinite(pixels).all():
        raise PictureError(f"{source} NaN or infinite in places; {expected}")
    return pixels[None]


def field_of_view(preprocess: Preprocess, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Which part of a picture of `size` (width, height) pixels a model sees through `preprocess`.

    Returns left, top, width and height as fractions of the picture. Nothing needs to be known of
    `preprocess` but that it keeps brightness linear: it is shown a picture whose brightness rises from
    left to right, then one whose brightness rises from top to bottom, and the two ramps are read off
    what comes out.
    """
    shrink = min(1.0, 512 / max(size))
    width, height = (max(1, round(side * shrink)) for side in size)

    def seen(levels: np.ndarray) -> np.ndarray:
        grey = np.broadcast_to(levels, (height, width)).astype(np.uint8)
        return preprocessed(Image.fromarray(grey).convert("RGB"), preprocess)[0, 0].double().numpy()

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
        # Within what eight bits can tell, an edge that lies on the picture's edge is meant to.
        ends = [round(end) if abs(end - round(end)) < 0.004 else end for end in (start, start + extent)]
        edges.append((float(ends[0]), float(ends[1] - ends[0])))
    (left, across), (top, down) = edges
    return left, top, across, down
