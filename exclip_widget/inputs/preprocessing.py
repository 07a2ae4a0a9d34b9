"""Preprocessing: from an image to the pixels that the model sees, and which part of the image they show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..errors import ExclipError, ImageError, ParameterError, named_type
from .randomness import RandomState, random_state_kept, require_repeatable, require_repeatable_on_noise
from .view import find_view

Preprocess: TypeAlias = Callable[[Image.Image], Tensor]
"""From an RGB image to the pixels that a model takes, (3, height, width)."""


def preprocess_image(
    image: Image.Image, preprocess: Preprocess, size: tuple[int, int] | None = None, size_from: str = ""
) -> Float[Tensor, "1 3 height width"]:
    """Return the pixels that the model sees of `image`, checked against `size` = (height, width).

    `size_from` is the attribute of the model that gives the size, for an error message.

    `preprocess` gets a copy, because it may change the image that it is given, as `Image.thumbnail` does.

    Raises
    ------
    ImageError
        If `preprocess` raises, or returns anything else or values that are not finite.
    ParameterError
        If `preprocess` is random.
    """
    before = RandomState()
    pixels = check_pixels(_run(preprocess, image.copy()), size, "preprocess gave", size_from)
    if RandomState() != before:
        require_repeatable(preprocess, pixels, lambda: _run(preprocess, image.copy()))
    _require_no_generator_of_its_own(preprocess)
    return pixels


def _require_no_generator_of_its_own(preprocess: Preprocess) -> None:
    """Refuse preprocessing that is random without drawing from the global generators.

    Raises
    ------
    ParameterError
        If it is.
    """
    try:
        require_repeatable_on_noise(preprocess)
    except ParameterError:
        raise
    except Exception:
        return  # it may reject the test image although it accepts the user's


def _run(preprocess: Preprocess, image: Image.Image) -> object:
    try:
        return preprocess(image)
    except ExclipError:
        raise
    except Exception as error:
        raise ImageError(
            f"preprocess raised {type(error).__name__} ({error!s:.200}) on an image of {image.width} x "
            f"{image.height}; expected a function from a PIL image to the pixels that the model takes"
        ) from error


def check_pixels(
    pixels: object, size: tuple[int, int] | None, source: str = "image is", size_from: str = ""
) -> Float[Tensor, "1 3 height width"]:
    """Return a copy of preprocessed pixels with a batch axis, if the model can take them.

    It is a copy because whoever made the pixels may fill the same memory with those of another image.

    Parameters
    ----------
    pixels : object
        Expected to be floats, (3, height, width) or (1, 3, height, width).
    size : (int, int) or None
        Height and width that the model takes; None if it takes any.
    source : str
        Beginning of an error message.
    size_from : str
        The attribute of the model that gives the size, for an error message.

    Raises
    ------
    ImageError
        If they are anything else, or not finite.
    """
    height, width = size or ("height", "width")
    expected = f"expected preprocessed pixels, a tensor of floats (3, {height}, {width})"
    if not isinstance(pixels, Tensor):
        raise ImageError(f"{source} {named_type(pixels)}; {expected}")
    if pixels.is_meta or pixels.is_nested or pixels.layout != torch.strided:
        raise ImageError(
            f"{source} {'a nested' if pixels.is_nested else 'a'} tensor on {pixels.device} with layout "
            f"{pixels.layout}; {expected}, dense (see Tensor.to_dense) and on a device that stores its values"
        )
    pixels = pixels[0] if pixels.ndim == 4 and len(pixels) == 1 else pixels
    if pixels.ndim != 3 or len(pixels) != 3:
        raise ImageError(f"{source} a tensor of shape {tuple(pixels.shape)}; {expected}")
    if size and pixels.shape[1:] != size:
        said = f", as model.{size_from} says; set that if the model takes another size" if size_from else ""
        raise ImageError(f"{source} a tensor of shape {tuple(pixels.shape)}; {expected}{said}")
    if not pixels.is_floating_point():
        raise ImageError(f"{source} a tensor of {pixels.dtype}; {expected}")
    try:
        # torch stores numbers of 8 bits, but barely computes with them.
        pixels = pixels.float() if pixels.dtype.itemsize == 1 else pixels
        is_finite = bool(torch.isfinite(pixels).all())
    except RuntimeError as error:
        raise ImageError(
            f"{source} a tensor of {pixels.dtype}, which torch cannot read ({error}); {expected}"
        ) from None
    if not is_finite:
        raise ImageError(f"{source} a tensor that is NaN or infinite in places; {expected}")
    # The caller may be in inference mode, whose tensors autograd rejects.
    with torch.inference_mode(False), torch.no_grad():
        return pixels[None].clone()


def field_of_view(preprocess: Preprocess, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return which part of test images of `size` (width, height) the model sees through `preprocess`.

    This assumes that `preprocess` shows a part of the image, or all of it surrounded by padding, and that
    brighter areas stay brighter. It may normalise each image by its own brightness. `SeenPart` checks that
    the user's image is shown in the same way.

    Returns
    -------
    left, top, width, height : float
        As fractions of the image. The whole image if they cannot be determined.

    Raises
    ------
    ParameterError
        If `preprocess` mirrors or turns the image, or changes what it shows, such as to its edges.
    """
    try:
        # Ignored are errors such as a division by the brightness of a black image.
        with random_state_kept(), np.errstate(all="ignore"):
            return find_view(preprocess, size)
    except ParameterError:
        raise
    except Exception:
        # It may reject the test images although it accepts the user's.
        return 0.0, 0.0, 1.0, 1.0
