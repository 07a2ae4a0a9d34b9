"""State: inputs and results as the plain data that is synced with a browser and kept in a notebook."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..masking import Trial
from ..results.interactions import Interactions
from ..results.rows import Tokens
from .foil_alignment import aligned
from .request import Inputs
from .stream import payload


def of_inputs(inputs: Inputs) -> dict[str, Any]:
    """Traits that tell what is explained."""
    picture, picture_type = inputs.seen.shown
    left, top, width, height = inputs.seen.view
    _, rows, columns = inputs.shape
    tokens, *foil = inputs.tokens
    text_layer, image_layer = inputs.layers
    return {
        "image": inputs.seen.image,
        "caption": tokens.caption,
        "foil": inputs.foil,
        "method": inputs.method,
        "text_layer": text_layer,
        "image_layer": image_layer,
        "_tokens": _described(tokens),
        "_foil_tokens": _described(foil[0]) if foil else [],
        "_pairs": [list(pair) for pair in aligned(tokens, foil[0])] if foil else [],
        "_picture": picture,
        "_picture_type": picture_type,
        "_grid": {
            "rows": rows,
            "columns": columns,
            "left": left,
            "top": top,
            "width": width,
            "height": height,
        },
        "_result_shape": list(inputs.shape),
    }


def of_result(result: Sequence[Interactions]) -> dict[str, Any]:
    """Traits that tell what came out, for the caption and its foil; or that nothing has yet."""
    main, foil = (*map(payload, result), b"", b"")[:2]
    return {"_result": main, "_foil_result": foil, "_summary": summary(result) if result else None}


def summary(result: Sequence[Interactions]) -> dict[str, float | None]:
    """Numbers of a result, for the caption and its foil."""
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


def of_trial(number: int, trial: Trial) -> dict[str, Any]:
    """A row of the table of tests."""
    return {
        "id": number,
        "tokens": list(trial.tokens),
        "region": list(trial.region),
        "predicted": _finite(trial.predicted),
        "actual": _finite(trial.actual),
        "label": trial.label,
    }


def _finite(number: float | None) -> float | None:
    """JSON knows neither infinities nor NaN."""
    return number if number is not None and math.isfinite(number) else None


def _described(tokens: Tokens) -> list[dict[str, Any]]:
    return [
        {
            "text": token,
            "word": word,
            "special": word < 0,
            "start": span[0] if span else None,
            "end": span[1] if span else None,
        }
        for token, word, span in zip(tokens.tokens, tokens.words, tokens.spans, strict=True)
    ]
