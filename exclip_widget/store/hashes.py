"""Hashes of inputs, which show whether an id is given to another input than the one that has it.

A set of a million inputs is compared with what a store already has, so neither keeps more than hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


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
