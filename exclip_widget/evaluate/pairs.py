"""Images and captions with known locations of what the words name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool
from PIL import Image

from ..datasets.pairs import Pair, starts_of
from ..errors import CaptionError, ParameterError, named_type
from ..image import ImageLike, open_image
from ..results.regions import mask_of_boxes
from ..results.rows import Span, Tokens

PixelBox: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom of a box, in pixels of the image; right and bottom are exclusive."""

Place: TypeAlias = PixelBox | np.ndarray
"""Where in an image something is: a box, or a mask of its pixels, bool, (height, width)."""


@dataclass(frozen=True, eq=False)
class Mention:
    """Words of a caption, and the location in the image of what they name.

    Attributes
    ----------
    span : (int, int)
        Where the words are: ``caption[start:end]``.
    mask : np.ndarray
        The pixels of the image that show what they name, bool, (height, width).
    """

    span: Span
    mask: Bool[np.ndarray, "height width"]

    def tokens_of(self, rows: Tokens) -> list[int]:
        """Return the tokens inside these words, as rows of a result."""
        start, end = self.span
        return [
            row
            for row, span in enumerate(rows.spans)
            if span is not None and start <= span[0] and span[1] <= end
        ]


@dataclass(frozen=True, eq=False)
class LabelledPair:
    """An image, a caption and its labelled phrases; `labelled_pair` makes one from phrases and boxes.

    Raises
    ------
    ParameterError
        If a mask is not one of the image's pixels, or a span is not one of the caption.
    """

    image: Image.Image
    caption: str
    mentions: tuple[Mention, ...]

    def __post_init__(self) -> None:
        image: object = self.image  # somebody may give another kind than `labelled_pair` does
        opened = image if isinstance(image, Image.Image) else open_image(self.image)
        expected = opened.size[::-1]
        for mention in self.mentions:
            mask, (start, end) = np.asarray(mention.mask), mention.span
            if mask.dtype != bool or mask.shape != expected:
                given = f"{mask.dtype} {mask.shape}"
                raise ParameterError(
                    f"the mask of span {mention.span} is {given}; expected bool {expected}, the height and "
                    "width of the image"
                )
            if not 0 <= start < end <= len(self.caption):
                raise ParameterError(
                    f"span {mention.span} is not in caption {self.caption!r:.200}, which has "
                    f"{len(self.caption)} characters"
                )


def labelled_pair(image: ImageLike, caption: str, places: Mapping[str, Place]) -> LabelledPair:
    """Return an image and a caption, labelled with where its phrases are in the image.

    Parameters
    ----------
    image : image
        The image, in any form that `explain` accepts.
    caption : str
        The caption.
    places : mapping
        Maps each phrase, which must occur once in the caption, to a box (left, top, right, bottom) in pixels
        of the image, or to a mask of its pixels, bool, (height, width).

    Raises
    ------
    CaptionError
        If the caption is not a string.
    ImageError
        If the image cannot be read.
    ParameterError
        If nothing is labelled, a phrase is not a string, it does not occur exactly once in the caption, or a
        place lies outside the image.

    Examples
    --------
    >>> pair = labelled_pair(Image.new("RGB", (64, 48)), "a red boat", {"red boat": (10, 10, 30, 40)})
    >>> pair.mentions[0].span, int(pair.mentions[0].mask.sum())
    ((2, 10), 600)
    """
    opened = open_image(image)
    _require_phrases(caption, places)
    if not places:
        raise ParameterError(f"no phrase of {caption!r} is labelled; expected at least one and its place")
    mentions = [
        Mention(_span_of(phrase, caption), _mask_of(phrase, place, opened.size))
        for phrase, place in places.items()
    ]
    return LabelledPair(opened, caption, tuple(mentions))


def labelled(pair: Pair) -> LabelledPair:
    """Decode a pair of a data set, and label it with its phrases' boxes.

    Boxes are clipped to the image. If a phrase has several boxes, all of their pixels count. A phrase whose
    boxes lie outside the image is left out.

    Raises
    ------
    ImageError
        If the image cannot be read.
    ParameterError
        If no phrase has a box in the image.

    Examples
    --------
    >>> from exclip_widget.datasets import Phrase
    >>> boat = Phrase("boat", (2, 6), ((-4, 10, 30, 40),))
    >>> pair = labelled(Pair("1", "1", Image.new("RGB", (64, 48)), "a boat", (boat,)))
    >>> pair.mentions[0].span, int(pair.mentions[0].mask.sum())
    ((2, 6), 900)
    """
    opened = open_image(pair.image)
    masks = [(phrase.span, mask_of_boxes(phrase.boxes, opened.size)) for phrase in pair.phrases]
    mentions = tuple(Mention(span, mask) for span, mask in masks if mask.any())
    if not mentions:
        raise ParameterError(
            f"no phrase of {pair.caption!r:.200} has a box in the image ({pair.source or pair.id}); expected "
            "at least one"
        )
    return LabelledPair(opened, pair.caption, mentions)


def several(name: str, given: object, kind: str = "LabelledPair") -> Iterable[Any]:
    """Return what is given for several pairs, if it can be gone through one by one.

    Raises
    ------
    ParameterError
        If it cannot, such as a single pair. The message begins with `name`.
    """
    if isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping)):
        return given
    raise ParameterError(f"{name} is {named_type(given)}; expected a list of {kind}, even for a single one")


def _require_phrases(caption: object, places: object) -> None:
    """Require the types of `labelled_pair`."""
    if not isinstance(caption, str):
        raise CaptionError(f"caption is {named_type(caption)} ({caption!r:.80}); expected a string")
    if not isinstance(places, Mapping):
        raise ParameterError(
            f"places is {named_type(places)}; expected a mapping, such as {{'red boat': (10, 10, 30, 40)}}"
        )
    for phrase in places:
        if not isinstance(phrase, str):
            raise ParameterError(
                f"places has {phrase!r:.80}, {named_type(phrase)}; expected phrases of the caption"
            )


def _span_of(phrase: str, caption: str) -> Span:
    starts = starts_of(caption, phrase)
    if len(starts) != 1:
        said = f"occurs {len(starts)} times" if starts else "does not occur"
        raise ParameterError(
            f"{phrase!r} {said} in the caption {caption!r}; expected a phrase that occurs once"
        )
    return starts[0], starts[0] + len(phrase)


def _mask_of(phrase: str, place: Place, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    width, height = size
    if isinstance(place, np.ndarray) and place.ndim == 2:
        if place.shape != (height, width) or place.dtype != bool:
            raise ParameterError(
                f"the mask of {phrase!r} is {place.dtype} {place.shape}; expected bool {(height, width)}, "
                "as high and as wide as the image"
            )
        mask = place
    else:
        try:
            left, top, right, bottom = _edges_of(place)
        except (TypeError, ValueError):
            raise ParameterError(
                f"{place!r} is not a place of {phrase!r}; expected a box (left, top, right, bottom) or a mask"
            ) from None
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ParameterError(
                f"the box {place!r} of {phrase!r} is not in the image; expected left < right up to {width} "
                f"and top < bottom up to {height}, in pixels"
            )
        mask = np.zeros((height, width), bool)
        mask[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
    if not mask.any():
        raise ParameterError(f"the mask of {phrase!r} is empty; expected at least one pixel")
    return mask


def _edges_of(place: Any) -> list[float]:
    """Return the edges of a box.

    Raises
    ------
    TypeError, ValueError
        If it is not a sequence of numbers.
    """
    if isinstance(place, (str, bytes)) or any(isinstance(edge, (str, bytes)) for edge in place):
        raise TypeError("text is not a box, even if it has four digits")
    return [float(edge) for edge in place]
