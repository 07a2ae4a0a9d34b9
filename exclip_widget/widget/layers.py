"""Results at other layers, for a browser to hold: a layer's slider then shows them without asking.

They are made once a request is done, in the time that nobody else wants.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from .request import Layers, Request
from .result_cache import Result, ResultCache

MOST_BYTES = 2**24
"""Largest size of all results at other layers that a browser holds."""

QUICK_S = 1.0
"""Longest time that one text layer may take for the next one to be made, too."""


def results_by_layer(request: Request, cache: ResultCache) -> Iterator[tuple[Layers, Result] | None]:
    """Yield what a request gives at its layers and at others, from the nearest on; its text layer's first.

    They are results that are kept, or that the method makes at little cost; of them, those on the same grid
    of patches, and as many as a browser may hold. None comes in between, when something else may be done.
    """
    known = cache.known(request)
    if known is None:
        return
    text_layers, image_layers = request.layers_by_distance
    most = MOST_BYTES // sum(one.values.nbytes + one.cls.nbytes for one in known)
    wanted = [(text, image) for text in text_layers for image in image_layers][:most]
    took = 0.0
    for text in text_layers:
        row = [image for which, image in wanted if which == text]
        kept = [image for image in row if cache.at(request, (text, image)) is not None]
        if len(kept) < len(row) and request.explainer.method.shares_layers and took < QUICK_S:
            begin = time.perf_counter()
            for _ in cache.explain_layers(request, text, [image for image in row if image not in kept]):
                yield None
            took = time.perf_counter() - begin
        for image in row:
            result = cache.at(request, (text, image))
            if result is not None and (result[0].grid.rows, result[0].grid.columns) == request.grid:
                yield (text, image), result
