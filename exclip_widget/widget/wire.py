"""Wire format of requests, masking tests and chunks of bytes. For results, see `results.shown`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..masking import MaskingTest
from ..results.shown import finite_or_none, image_traits, text_traits
from .request import Request

CHUNK_BYTES = 256 * 1024
"""Size of one message: minimises the total time without dropping frames in the browser."""


def request_traits(request: Request) -> dict[str, Any]:
    """Return the traits that describe what is explained."""
    text_layer, image_layer = request.explainer.layers
    return {
        "image": request.image.image,
        "method": request.method,
        "text_layer": text_layer,
        "image_layer": image_layer,
        "captions": request.texts,
        **text_traits([caption.rows for caption in request.captions]),
        **image_traits(request.image.encoded, request.grid, request.view.crop),
    }


def test_row(id: int, test: MaskingTest) -> dict[str, Any]:
    """Return a row for the table of masking tests."""
    return {
        "id": id,
        "tokens": list(test.tokens),
        "region": list(test.region),
        "predicted": finite_or_none(test.predicted),
        "actual": finite_or_none(test.actual),
        "label": test.label,
    }


def split_chunks(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield the offset and content of each chunk of `data`, in order."""
    view = memoryview(data)
    for offset in range(0, len(data), CHUNK_BYTES):
        yield offset, view[offset : offset + CHUNK_BYTES]
