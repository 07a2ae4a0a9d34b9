"""Wire format: requests and results as plain data, for the browser and for saved notebooks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..masking import MaskingTest
from ..results.alignment import align_rows
from ..results.interactions import Interactions
from ..results.rows import Tokens
from .request import Request

CHUNK_BYTES = 256 * 1024
"""Size of one message: the best total time, and no visible gap in the browser's frames."""


def request_traits(request: Request) -> dict[str, Any]:
    """Return the traits that say what is explained."""
    data, mime_type = request.image.encoded
    left, top, width, height = request.image.crop
    rows, columns = request.grid
    caption = request.caption.rows
    foil = None if request.foil is None else request.foil.rows
    text_layer, image_layer = request.explainer.layers
    return {
        "image": request.image.image,
        "caption": caption.caption,
        "foil": None if foil is None else foil.caption,
        "method": request.method,
        "text_layer": text_layer,
        "image_layer": image_layer,
        "_tokens": _describe(caption),
        "_foil_tokens": [] if foil is None else _describe(foil),
        "_alignment": [] if foil is None else [list(pair) for pair in align_rows(caption, foil)],
        "_image": data,
        "_image_type": mime_type,
        "_grid": {
            "rows": rows,
            "columns": columns,
            "left": left,
            "top": top,
            "width": width,
            "height": height,
        },
    }


def _describe(tokens: Tokens) -> list[dict[str, Any]]:
    return [
        {
            "text": text,
            "word": word,
            "special": word < 0,
            "start": span[0] if span else None,
            "end": span[1] if span else None,
        }
        for text, word, span in zip(tokens.texts, tokens.words, tokens.spans, strict=True)
    ]


def result_traits(result: Sequence[Interactions]) -> dict[str, Any]:
    """Return the traits of a result for the caption and its foil; empty ones if there is none yet."""
    caption, foil = (*map(encode_interactions, result), b"", b"")[:2]
    return {"_result": caption, "_foil_result": foil, "_summary": _summarise(result) if result else None}


def _summarise(result: Sequence[Interactions]) -> dict[str, float | None]:
    main, *foil = result
    numbers = {
        "similarity": main.similarity,
        "total": main.total,
        "residual": main.residual,
        "error": None if main.error is None else float(main.error.max()),
        "foil_similarity": foil[0].similarity if foil else None,
        "foil_total": foil[0].total if foil else None,
    }
    return {name: _finite(number) for name, number in numbers.items()}


def test_row(id: int, test: MaskingTest) -> dict[str, Any]:
    """Return a row of the table of masking tests."""
    return {
        "id": id,
        "tokens": list(test.tokens),
        "region": list(test.region),
        "predicted": _finite(test.predicted),
        "actual": _finite(test.actual),
        "label": test.label,
    }


def _finite(number: float | None) -> float | None:
    """Return None for what JSON cannot hold: infinities and NaN."""
    return number if number is not None and math.isfinite(number) else None


def encode_interactions(interactions: Interactions) -> bytes:
    """Return little-endian float32: values, (tokens, rows, columns), row-major, then cls, (tokens,)."""
    parts = (interactions.values, interactions.cls)
    return b"".join(np.ascontiguousarray(part, "<f4").tobytes() for part in parts)


def split_chunks(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield offset and content of each chunk of `data`, in order."""
    view = memoryview(data)
    for offset in range(0, len(data), CHUNK_BYTES):
        yield offset, view[offset : offset + CHUNK_BYTES]
