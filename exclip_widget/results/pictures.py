"""The images that were explained last, by the hash of their pixels: results show themselves on them.

A result holds no image, so that thousands of them take little memory. The last few images are kept here, as
far as there is room, for the results that are looked at.
"""

from __future__ import annotations

from threading import Lock

from PIL import Image

from ..lru_cache import LRUCache

MOST_BYTES = 64 * 2**20
"""Bytes of pixels that are kept, together."""


def _bytes_of(image: Image.Image) -> int:
    return image.width * image.height * len(image.getbands())


_kept = LRUCache[Image.Image](_bytes_of, MOST_BYTES)
_lock = Lock()


def remember(digest: str, image: Image.Image) -> None:
    """Keep an image, and forget those that were used longest ago if there is no room."""
    with _lock:
        _kept.put(digest, image)


def recall(digest: str | None) -> Image.Image | None:
    """Return the image with this hash; None if it is kept no longer."""
    with _lock:
        return _kept.get(digest)
