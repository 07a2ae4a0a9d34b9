"""Interactions as bytes: what the kernel sends a browser, and what a saved notebook keeps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..results.interactions import Interactions

CHUNK = 256 * 1024
"""Bytes of one message: the best total time, and no gap in the browser's frames that shows."""


def payload(interactions: Interactions) -> bytes:
    """Little-endian float32: values, (tokens, rows, columns), row-major, then cls, (tokens,)."""
    parts = (interactions.values, interactions.cls)
    return b"".join(np.ascontiguousarray(part, "<f4").tobytes() for part in parts)


def chunks(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Offset and content of each chunk of `data`, in order."""
    view = memoryview(data)
    for offset in range(0, len(data), CHUNK):
        yield offset, view[offset : offset + CHUNK]
