"""LRU cache, bounded by size: keeps the most recently used entries that fit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class LRUCache(Generic[T]):
    """LRU cache bounded by total bytes.

    Parameters
    ----------
    bytes_of : callable
        Returns the size of an entry in bytes.
    most_bytes : int
        Largest total size of the entries.

    Examples
    --------
    >>> cache = LRUCache[bytes](len, 4)
    >>> cache.put("a", b"123")
    >>> cache.put("b", b"45")
    >>> cache.get("a") is None, cache.get("b")
    (True, b'45')
    """

    def __init__(self, bytes_of: Callable[[T], int], most_bytes: int) -> None:
        self._bytes_of = bytes_of
        self._most_bytes = most_bytes
        self._bytes = 0
        self._entries: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        """Return the entry of `key`, or None, and mark it as the most recently used."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: Hashable, entry: T) -> None:
        """Add an entry as the most recently used, and drop the least recently used until all fit."""
        if key in self._entries:
            self._bytes -= self._bytes_of(self._entries.pop(key))
        self._entries[key] = entry
        self._bytes += self._bytes_of(entry)
        while self._bytes > self._most_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._bytes -= self._bytes_of(dropped)

    def clear(self) -> None:
        """Drop all entries."""
        self._entries.clear()
        self._bytes = 0
