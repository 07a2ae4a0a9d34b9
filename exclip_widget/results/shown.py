"""What a browser shows of a result: plain data, by the names of the widget's traits.

The widget sends it, and pages contain it (`page`). `js/protocol.ts` documents each trait.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from ..errors import ParameterError, named_type
from ..image import ImageLike
from .alignment import align_rows
from .classification import Classification
from .explained_image import read_explained_image
from .interactions import Interactions, require_comparable
from .origin import Crop, View
from .phrases import stand_alone
from .rows import Tokens

MOST_SHOWN_PIXELS = 1024
"""Longest side of an image, as sent to a browser."""


def encode_image(image: Image.Image) -> tuple[bytes, str]:
    """Return an image, bounded in size, as the smaller of PNG and high-quality JPEG, and its type."""
    shown = image.copy()
    shown.thumbnail((MOST_SHOWN_PIXELS, MOST_SHOWN_PIXELS), Image.Resampling.LANCZOS)
    forms = []
    for kind, options in (("png", {}), ("jpeg", {"quality": 92, "subsampling": 0})):
        buffer = io.BytesIO()
        shown.save(buffer, kind, **options)
        forms.append((buffer.getvalue(), f"image/{kind}"))
    return min(forms, key=lambda form: len(form[0]))


Encode: TypeAlias = Callable[[Image.Image], tuple[bytes, str]]
"""Encodes an image, as `encode_image` does."""


def encoding_once() -> Encode:
    """Return an encoder that encodes each image once, however often it is asked to.

    Examples
    --------
    >>> encode = encoding_once()
    >>> encode(Image.new("RGB", (8, 8))) is encode(Image.new("RGB", (8, 8)))
    True
    """
    known: dict[View, tuple[bytes, str]] = {}

    def encode(image: Image.Image) -> tuple[bytes, str]:
        view = View.of(image)
        if view not in known:
            known[view] = encode_image(image)
        return known[view]

    return encode


def finished_traits(
    result: Interactions,
    image: ImageLike,
    foil: Interactions | None = None,
    encode: Encode = encode_image,
) -> dict[str, Any]:
    """Return the traits that show a finished result, and its foil's, on the image that was explained.

    Raises
    ------
    ImageError
        If the image cannot be read, or is not the size of the one that was explained, or if that size is
        unknown.
    ParameterError
        If either is not a result, is a difference, or has numbers that are not finite; or if the foil is of
        another image, or was explained in another way.
    """
    results = [_require_whole("result", result)]
    if foil is not None:
        results.append(_require_whole("foil", foil))
        require_comparable(result, foil)
    shown, view = read_explained_image(result, image)
    return {
        **text_traits([one.rows for one in results]),
        **image_traits(encode(shown), (result.grid.rows, result.grid.columns), view.crop),
        **result_traits(results),
        "method": result.method,
    }


def require_result(name: str, given: object) -> Interactions:
    """Return a value, if it is a result.

    Raises
    ------
    ParameterError
        If it is not.
    """
    if not isinstance(given, Interactions):
        raise ParameterError(f"{name} is {named_type(given)}; expected Interactions, as explain returns")
    return given


def _require_whole(name: str, result: Interactions) -> Interactions:
    """Return the result of a caption, if all its numbers are still finite as sent to a browser."""
    require_result(name, result)
    if result.foil is not None:
        raise ParameterError(
            f"{name} is a difference from the foil {result.foil!r:.80}; expected the result of the caption "
            "and, as foil=..., that of the foil: their difference is shown too"
        )
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
        numbers = np.frombuffer(encode_interactions(result), "<f4")
    if count := int((~np.isfinite(numbers)).sum()):
        raise ParameterError(
            f"{count} of {numbers.size} interactions of {result.caption!r:.80} are not finite; expected an "
            "explanation of a model with finite weights"
        )
    return result


def text_traits(captions: Sequence[Tokens]) -> dict[str, Any]:
    """Return the traits of a caption, and of its foil if there is one."""
    caption, foil = (*captions, None)[:2]
    assert caption is not None
    return {
        "caption": caption.caption,
        "foil": None if foil is None else foil.caption,
        "_tokens": describe_tokens(caption),
        "_foil_tokens": [] if foil is None else describe_tokens(foil),
        "_alignment": [] if foil is None else [list(pair) for pair in align_rows(caption, foil)],
    }


def describe_tokens(tokens: Tokens) -> list[dict[str, Any]]:
    """Return the tokens of a caption as plain data."""
    return [
        {
            "text": text,
            "word": word,
            "special": word < 0,
            "alone": alone,
            "start": span[0] if span else None,
            "end": span[1] if span else None,
        }
        for text, word, span, alone in zip(
            tokens.texts, tokens.words, tokens.spans, stand_alone(tokens), strict=True
        )
    ]


def image_traits(encoded: tuple[bytes, str], grid: tuple[int, int], crop: Crop) -> dict[str, Any]:
    """Return the traits of an image, encoded by `encode_image`, with its rows and columns and its crop."""
    data, mime_type = encoded
    names = ("rows", "columns", "left", "top", "width", "height")
    return {
        "_image": data,
        "_image_type": mime_type,
        "_grid": dict(zip(names, (*grid, *crop), strict=True)),
    }


def result_traits(result: Sequence[Interactions]) -> dict[str, Any]:
    """Return the traits of a result for the caption and its foil; empty ones if there is no result yet."""
    caption, foil = (*map(encode_interactions, result), b"", b"")[:2]
    return {"_result": caption, "_foil_result": foil, "_summary": _summarise(result) if result else None}


def _summarise(result: Sequence[Interactions]) -> dict[str, float | list[float] | None]:
    main, *foil = result
    numbers = {
        "similarity": main.similarity,
        "total": main.total,
        "residual": main.residual,
        "error": largest_error(main),
        "foil_similarity": foil[0].similarity if foil else None,
        "foil_total": foil[0].total if foil else None,
        "foil_error": largest_error(foil[0]) if foil else None,
    }
    outliers = () if main.outliers is None else np.flatnonzero(main.outliers).tolist()
    own = {"own": main.own_sums, "foil_own": foil[0].own_sums if foil else None}
    return {
        **{name: finite_or_none(number) for name, number in numbers.items()},
        **{name: list(both) if both and np.isfinite(both).all() else None for name, both in own.items()},
        "outliers": list(outliers),
    }


def largest_error(result: Interactions) -> float | None:
    """Return about how far off any word's interaction with a patch may be at most; None if all are exact."""
    if result.error is None:
        return None
    of_words = result.error[[word >= 0 for word in result.words]]
    return finite_or_none(float((of_words if len(of_words) else result.error).max()))


def scores_traits(found: Classification | None) -> dict[str, Any]:
    """Return the traits of the listed captions' similarities and probabilities; an empty one if unknown."""
    if found is None:
        return {"_scores": None}
    chances = found.probabilities
    return {
        "_scores": {
            "similarities": found.similarities.tolist(),
            "probabilities": None if chances is None else chances.tolist(),
            "rule": found.rule,
        }
    }


def finite_or_none(number: float | None) -> float | None:
    """Return a number, or None for what JSON cannot represent: infinities and NaN."""
    return number if number is not None and math.isfinite(number) else None


def encode_interactions(interactions: Interactions) -> bytes:
    """Return little-endian float32: values, (tokens, rows, columns), row-major, then cls, (tokens,)."""
    parts = (interactions.values, interactions.cls)
    return b"".join(np.ascontiguousarray(part, "<f4").tobytes() for part in parts)
