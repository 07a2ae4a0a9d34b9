"""A cache of the images that were explained last, by their size and the hash of their pixels.

A result contains no image, so thousands of results take little memory. The last few images are cached here,
up to a limit, for the results that are displayed.
"""

from __future__ import annotations

import os
from threading import Lock

from PIL import Image

from ..lru_cache import LRUCache

MOST_BYTES = 64 * 2**20
"""Largest number of bytes of pixels in the cache."""


def _bytes_of(image: Image.Image) -> int:
    return image.width * image.height * len(image.getbands())


_kept = LRUCache[Image.Image](_bytes_of, MOST_BYTES)
_lock = Lock()

if hasattr(os, "register_at_fork"):
    # A child must not start with a lock that another thread holds, as that thread does not exist there.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def remember(digest: str, image: Image.Image) -> None:
    """Cache an image, and drop the least recently used ones if there is no room."""
    with _lock:
        _kept.put((image.size, digest), image)


def recall(size: tuple[int, int], digest: str | None) -> Image.Image | None:
    """Return the image of this size and with this hash, or None if it is not cached any more.

    The hash alone would not do: it is of the pixels in one row, and a plain image has the same ones lying
    down as standing up.
    """
    with _lock:
        return _kept.get((size, digest))
