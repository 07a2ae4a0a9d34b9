"""The cache keeps the most recently used entries within its size limit."""

from __future__ import annotations

from exclip_widget.lru_cache import LRUCache


def test_what_was_used_last_stays() -> None:
    cache = LRUCache[bytes](len, 6)
    for key in "abc":
        cache.put(key, key.encode() * 2)
    assert cache.get("a") == b"aa"
    cache.put("d", b"dd")
    assert [cache.get(key) for key in "abcd"] == [b"aa", None, b"cc", b"dd"]


def test_an_entry_is_replaced_with_its_size() -> None:
    cache = LRUCache[bytes](len, 4)
    cache.put("a", b"1234")
    cache.put("a", b"1")
    cache.put("b", b"123")
    assert (cache.get("a"), cache.get("b")) == (b"1", b"123")


def test_what_is_too_large_is_not_kept() -> None:
    cache = LRUCache[bytes](len, 4)
    cache.put("a", b"12345")
    cache.put("b", b"1")
    assert (cache.get("a"), cache.get("b")) == (None, b"1")
    cache.clear()
    assert cache.get("b") is None
