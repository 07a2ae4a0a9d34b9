"""Pairs of an image and a caption, which all data set readers yield."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TypeAlias

import numpy as np

from ..errors import ParameterError, named_type
from ..image import ImageLike
from .reports import MalformedError

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of the image; right and bottom are exclusive."""

MOST_CAPTION = 10_000
"""Largest number of characters in a caption; no model takes even a tenth of that."""


@dataclass(frozen=True)
class Phrase:
    """Words of a caption, and the boxes in the image around what they name.

    Attributes
    ----------
    text : str
        The words, exactly as in the caption.
    span : (int, int)
        Where they are: ``caption[start:end]``.
    boxes : tuple of (float, float, float, float)
        Left, top, right and bottom of each box in pixels of the image; right and bottom are exclusive. Boxes
        may extend beyond the image, as human annotations sometimes do.

    Raises
    ------
    ParameterError
        If a box is not four numbers, or has no area.
    """

    text: str
    span: tuple[int, int]
    boxes: tuple[Box, ...]

    def __post_init__(self) -> None:
        for box in self.boxes:
            try:
                as_box(box)
            except MalformedError as error:
                raise ParameterError(f"boxes of phrase {self.text!r:.80}: {error}") from None


@dataclass(frozen=True, eq=False)
class Pair:
    """An image and a caption of a data set.

    Attributes
    ----------
    id : str
        Id of the caption, unique in the data set: pairs with the same id have the same caption, image and
        phrases.
    image_id : str
        Id of the image, unique among images. Pairs of the same image share it and are consecutive.
    image : path, PIL image, array or binary file
        The image, in a form that `explain` accepts. It is not decoded, unless the data set stores it decoded.
    caption : str
        The caption.
    phrases : tuple of Phrase
        Phrases of the caption whose location in the image is known.
    foil : str or None
        A caption that is wrong, but as close to this one as the data set offers.
    source : str
        Where the record was read from, as ``"file:line"``.

    Raises
    ------
    ParameterError
        If a phrase is not where its span says it is in the caption.
    """

    id: str
    image_id: str
    image: ImageLike
    caption: str
    phrases: tuple[Phrase, ...] = ()
    foil: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        caption: object = self.caption
        for phrase in _phrases_in(self.phrases):
            start, end = phrase.span
            # A caption that is no text is a fault of its pair when it is read.
            if isinstance(caption, str) and not (
                0 <= start < end <= len(caption) and caption[start:end] == phrase.text
            ):
                raise ParameterError(
                    f"phrase {phrase.text!r:.80} is not at {phrase.span} in caption {caption!r:.200}; "
                    "expected caption[start:end] to be its text"
                )


def _phrases_in(given: object) -> Iterator[Phrase]:
    """Yield the phrases of a pair, which somebody may have made by hand."""
    if not isinstance(given, (tuple, list)):
        raise ParameterError(f"phrases is {named_type(given)}; expected a tuple of Phrase")
    for phrase in given:
        if not isinstance(phrase, Phrase):
            raise ParameterError(f"phrases has {named_type(phrase)}; expected a tuple of Phrase")
        yield phrase


def as_caption(given: object, name: str = "caption") -> str:
    """Validate a caption and return it unchanged.

    Raises
    ------
    MalformedError
        If it is not text, has no words, or has too many characters.

    Examples
    --------
    >>> as_caption(" a boat")
    ' a boat'
    """
    if not isinstance(given, str):
        raise MalformedError(f"{name} is {_kind(given)}; expected text")
    if not given.strip():
        raise MalformedError(f"{name} {given!r:.40} has no words")
    if len(given) > MOST_CAPTION:
        raise MalformedError(f"{name} has {len(given)} characters; expected at most {MOST_CAPTION}")
    return _require_utf8(given, name)


def _require_utf8(text: str, name: str) -> str:
    if any("\ud800" <= one <= "\udfff" for one in text):
        raise MalformedError(f"{name} {text!r:.80} is not UTF-8")
    return text


def as_id(given: object, name: str) -> str:
    """Return an id, given as text or a whole number, as text.

    Raises
    ------
    MalformedError
        If it is anything else.

    Examples
    --------
    >>> as_id(17, "id")
    '17'
    """
    if isinstance(given, bool) or not isinstance(given, (Integral, str)) or given == "":
        raise MalformedError(f"{name} is {_kind(given)}; expected text or a whole number")
    return _require_utf8(str(given), name)


def as_box(given: object) -> Box:
    """Return a box given as four numbers: left, top, right and bottom.

    Raises
    ------
    MalformedError
        If it is anything else, or has no area.

    Examples
    --------
    >>> as_box([1, 2, 3.5, 4])
    (1.0, 2.0, 3.5, 4.0)
    """
    left, top, right, bottom = _four_numbers(given, "left, top, right and bottom")
    if not (left < right and top < bottom):
        raise MalformedError(f"box {given!r:.80} has no area; expected left < right and top < bottom")
    return left, top, right, bottom


def as_box_of_size(given: object) -> Box:
    """Return a box given as left, top, width and height.

    Raises
    ------
    MalformedError
        If it is anything else, or has no area.

    Examples
    --------
    >>> as_box_of_size([1, 2, 10, 20])
    (1.0, 2.0, 11.0, 22.0)
    """
    left, top, width, height = _four_numbers(given, "left, top, width and height")
    if not (width > 0 and height > 0):
        raise MalformedError(f"box {given!r:.80} has no area; expected a width and a height")
    return left, top, left + width, top + height


def _four_numbers(given: object, names: str) -> Iterator[float]:
    if not isinstance(given, (Sequence, np.ndarray)) or isinstance(given, str) or len(given) != 4:
        raise MalformedError(f"box {given!r:.80} is not four numbers: {names}")
    return (_number(edge, given) for edge in given)


def _number(given: object, box: object) -> float:
    try:
        number = math.nan if isinstance(given, (bool, str)) else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise MalformedError(f"box {box!r:.80} has {given!r:.40}, which is not a finite number")
    return number


def _kind(given: object) -> str:
    is_missing = given is None or (isinstance(given, str) and not given)
    return "missing" if is_missing else f"{named_type(given)} ({given!r:.40})"


def phrase_in(caption: str, text: str, boxes: Iterable[Box]) -> Phrase:
    """Return a phrase that occurs exactly once in a caption.

    Raises
    ------
    MalformedError
        If it does not occur, or occurs more than once, which makes it ambiguous. It does not occur within
        longer words.

    Examples
    --------
    >>> phrase_in("a red boat", "red boat", [(0, 0, 8, 8)])
    Phrase(text='red boat', span=(2, 10), boxes=((0, 0, 8, 8),))
    """
    starts = starts_of(caption, text)
    if len(starts) != 1:
        said = f"occurs {len(starts)} times" if starts else "does not occur"
        raise MalformedError(f"phrase {text!r:.80} {said} in caption {caption!r:.200}; expected once")
    return Phrase(text, (starts[0], starts[0] + len(text)), tuple(boxes))


def starts_of(caption: str, text: str) -> list[int]:
    """Return where a phrase begins in a caption, wherever it is not a part of longer words.

    Words end only between letters of scripts that have capitals, and digits: in others, such as Chinese, they
    need not be apart.

    Examples
    --------
    >>> starts_of("a man and a woman", "man"), starts_of("a woman", "man")
    ([2], [])
    """
    if not text.strip():
        return []
    found = (one.start() for one in re.finditer(f"(?={re.escape(text)})", caption))
    return [at for at in found if not (_splits(caption, at) or _splits(caption, at + len(text)))]


def _splits(caption: str, at: int) -> bool:
    """Return whether a place in a caption lies within a word."""
    around = caption[max(0, at - 1) : at + 1]
    return len(around) == 2 and all(one.isdecimal() or one.lower() != one.upper() for one in around)


def named_phrases(caption: str, boxes: Iterable[tuple[str, Box]]) -> tuple[Phrase, ...]:
    """Return phrases for the objects that a caption mentions by name, in reading order.

    A name matches only whole words, ignoring case, in the singular or with s or es. A longer name takes
    precedence over a shorter one inside it: *hot dog* is not a dog. A name that occurs twice is left out,
    because it is ambiguous which object is meant.

    Parameters
    ----------
    caption : str
        The caption.
    boxes : iterable of (str, box)
        Name and box of each object.

    Examples
    --------
    >>> things = [("dog", (0, 0, 9, 9)), ("dog", (9, 0, 18, 9)), ("hot dog", (4, 4, 6, 6))]
    >>> for phrase in named_phrases("Two dogs eat a hot dog.", things):
    ...     print(phrase.text, phrase.span, len(phrase.boxes))
    dogs (4, 8) 2
    hot dog (15, 22) 1
    """
    by_name: dict[str, list[Box]] = {}
    for name, box in boxes:
        by_name.setdefault(name, []).append(box)
    taken: list[tuple[int, int]] = []
    phrases = []
    for name in sorted(by_name, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(name)}(?:s|es)?(?!\w)" if name.strip() else r"(?!)"
        spans = [one.span() for one in re.finditer(pattern, caption, re.IGNORECASE)]
        free = [one for one in spans if not any(one[0] < end and start < one[1] for start, end in taken)]
        taken += free
        if len(free) == 1:
            ((start, end),) = free
            phrases.append(Phrase(caption[start:end], (start, end), tuple(by_name[name])))
    return tuple(sorted(phrases, key=lambda one: one.span))
