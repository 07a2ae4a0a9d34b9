"""Results at other layers, sent ahead so that the browser's layer sliders need not ask for them.

They are computed after a request is done, while the worker has nothing else to do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from .request import Layers, Request
from .result_cache import Result, ResultCache

MOST_BYTES = 2**24
"""Largest total size of the results at other layers that a browser caches, in bytes."""

QUICK_S = 1.0
"""If one text layer takes longer than this, no further ones are computed."""


def results_by_layer(request: Request, cache: ResultCache) -> Iterator[tuple[Layers, Result] | None]:
    """Yield a request's results at its own layers and at others, nearest first, starting with its text layer.

    Only results that are cached, or cheap for the method to compute, are included; they must be on the same
    grid of patches, and fit into the browser's cache. None is yielded whenever other work may be done.
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
