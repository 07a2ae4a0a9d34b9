"""The image beside a result: read as `explain` reads it, and compared with the one that was explained."""

from __future__ import annotations

import sys
import warnings

from PIL import Image

from ..errors import ImageError
from ..image import ImageLike, open_image
from .interactions import Interactions
from .origin import View

PACKAGE = __name__.partition(".")[0]


def read_explained_image(result: Interactions, given: ImageLike) -> tuple[Image.Image, View]:
    """Return the image that a result is shown on, and which part of it the model saw.

    Warns if its pixels differ from those that were explained: it is another image, or a copy that was
    compressed or edited.

    Raises
    ------
    ImageError
        If the image cannot be read, or is not the size of the one that was explained, or if that size is
        unknown.
    """
    image = open_image(given)
    if result.view is None:
        raise ImageError(
            "the result was computed from preprocessed pixels, so it is not known where in the image its "
            "patches lie; expected the result of explaining the image itself"
        )
    if image.size != result.view.size:
        width, height = result.view.size
        raise ImageError(
            f"image is {image.width} x {image.height} pixels; expected {width} x {height}, those of the "
            "image that was explained"
        )
    if result.view.is_of_other_pixels(image):
        warnings.warn(
            f"the image has different pixels from the one in which {result.caption!r:.80} was explained: it "
            "is another one, or a copy that was compressed or edited. The numbers do not describe it.",
            stacklevel=_levels_of_package() + 1,  # at the line that shows it
        )
    return image, result.view


def _levels_of_package() -> int:
    """Return how many frames above this one's caller lead to the first that is not of this package."""
    levels, frame = 0, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        levels, frame = levels + 1, frame.f_back
    return levels
