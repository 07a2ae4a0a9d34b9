"""Hashes of inputs, which show whether an id is given to another input than the one that has it.

A set of a million inputs is compared with what a store already has, so neither keeps more than hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from ..datasets.pairs import Phrase

PlacedPhrase: TypeAlias = tuple[int, int, Sequence[float]]
"""Start and end of a phrase in its caption, and the edges of all of its boxes in one row."""


class CaptionHash(NamedTuple):
    """Hashes of what a store keeps of a caption besides its factors and its source."""

    caption: int
    image_id: int
    foil_of: int
    phrases: int
    boxes: int

    @classmethod
    def of(
        cls, caption: object, image_id: str | None, foil_of: str | None, phrases: Iterable[PlacedPhrase]
    ) -> CaptionHash:
        """Return the hashes of a caption, or of what was given as one: it becomes a fault when it is read.

        The order of phrases and of boxes does not matter.

        Examples
        --------
        >>> first = CaptionHash.of("a boat", "1", None, [(2, 6, (0, 0, 8, 8))])
        >>> first.difference(CaptionHash.of("a boat", "1", None, [(2, 6, [0.0, 0.0, 8.0, 8.0])]))
        >>> first.difference(CaptionHash.of("a boat", "1", None, [(2, 6, (0, 0, 8, 9))]))
        'boxes'
        """
        placed = sorted((start, end, _boxes(edges)) for start, end, edges in phrases)
        return cls(
            hash(caption if isinstance(caption, str) else repr(caption)),
            _hash(image_id),
            _hash(foil_of),
            _hash(tuple((start, end) for start, end, _ in placed)),
            _hash(tuple(boxes for _, _, boxes in placed)),
        )

    def difference(self, other: CaptionHash) -> str | None:
        """Return the name of the first thing in which two captions with one id differ; or None."""
        for name, ours, theirs in zip(self._fields, self, other, strict=True):
            if ours != theirs:
                return name
        return None


class CaptionClash(NamedTuple):
    """What differs between two captions with one id, in words.

    Attributes
    ----------
    kind : str
        What the other caption has, such as `"another image_id"`.
    given : str
        What this one has.
    remedy : str
        What was expected.
    """

    kind: str
    given: str
    remedy: str

    @classmethod
    def of(
        cls,
        name: str,
        caption: object,
        image_id: str | None,
        foil_of: str | None,
        phrases: Sequence[Phrase],
    ) -> CaptionClash:
        """Return the difference called `name`, as `CaptionHash.difference` returns it."""
        if name == "caption":
            return cls("another caption", f"{caption!r:.80}", "expected one caption per id")
        if name in ("image_id", "foil_of"):
            given = image_id if name == "image_id" else foil_of
            return cls(f"another {name}", f"{name} {given!r:.80}", "expected one pair per id")
        of_one = [one.text if name == "phrases" else list(one.boxes) for one in phrases]
        remedy = "expected one pair per id, with all of its phrases; in a table, its rows must be adjacent"
        return cls(f"other {name}", f"{name} {of_one!r:.120}", remedy)


class ImageHash(NamedTuple):
    """Hashes of what a store keeps of an image besides its factors; None for what it does not know.

    Attributes
    ----------
    stamp : int or None
        Of what the image was given as; see `exclip_widget.filling.given_image`.
    pixels : int or None
        Of its size and its pixels; None if it was given as preprocessed pixels.
    """

    stamp: int | None
    pixels: int | None

    @classmethod
    def of(cls, stamp: str | None, size: Sequence[int] | None, digest: str | None) -> ImageHash:
        """Return the hashes of an image, given the size and the digest of its view."""
        return cls(None if stamp is None else hash(stamp), hash_of_pixels(size, digest))


def hash_of_pixels(size: Sequence[int] | None, digest: str | None) -> int | None:
    """Return a hash of an image's size and of the digest of its pixels; None if they are unknown.

    The digest alone would not do: it is of the pixels in one row.
    """
    return None if size is None or digest is None else hash((*size, digest))


def places_of(phrases: Iterable[Phrase]) -> list[PlacedPhrase]:
    """Return where phrases are, as a store keeps them."""
    return [(*one.span, [edge for box in one.boxes for edge in box]) for one in phrases]


def _boxes(edges: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    numbers = [float(edge) for edge in edges]
    return tuple(sorted(tuple(numbers[at : at + 4]) for at in range(0, len(numbers), 4)))


def _hash(given: object) -> int:
    """Return a hash; 0 for nothing, which takes no memory."""
    return hash(given) if given else 0
