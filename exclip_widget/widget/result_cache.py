"""Result cache: going back to a recent request costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterator

from ..inputs.caption import Caption
from ..results.factors import Factors
from ..results.interactions import Interactions
from ..results.origin import View
from .lru_cache import LRUCache
from .request import Request

MOST_BYTES = 2**26
"""Largest size of the results, and of the factors, that a widget keeps."""

Result = tuple[Interactions, ...]
"""Interactions of a caption with an image, and of its foil if there is one."""


class ResultCache:
    """Computes results, and keeps the last few for as long as nothing about the model changes."""

    def __init__(self) -> None:
        self._fingerprint: object | None = None
        self._results = LRUCache[Result](lambda result: sum(map(_interactions_bytes, result)), MOST_BYTES)
        self._text_factors = LRUCache[Factors](_factors_bytes, MOST_BYTES)

    def estimates(self, request: Request, count: int) -> Iterator[Result]:
        """Yield about `count` ever better results, the last of which is final; one, if it is known."""
        fingerprint = request.explainer.fingerprint()
        if fingerprint is None or fingerprint != self._fingerprint:
            self._results.clear()
            self._text_factors.clear()
        self._fingerprint = fingerprint
        result = self._results.get(request.key)
        if result is not None:
            yield result
            return
        texts = [self._factors_of(request, caption) for caption in request.captions]
        view = View(request.image.image.size, request.image.crop)
        for found in request.explainer.refine(texts, request.image.pixels, count, view=view):
            result = tuple(found)
            yield result
        if fingerprint is not None and result is not None:
            self._results.put(request.key, result)

    def _factors_of(self, request: Request, caption: Caption) -> Factors:
        """Return the factors of a caption, which stay valid if the image changes."""
        explainer = request.explainer
        key = (caption.rows.caption, explainer.method, explainer.layers[0])
        factors = self._text_factors.get(key)
        if factors is None:
            factors = explainer.text_factors(caption)
            if self._fingerprint is not None:
                self._text_factors.put(key, factors)
        return factors


def _interactions_bytes(interactions: Interactions) -> int:
    error = interactions.error
    return interactions.values.nbytes + interactions.cls.nbytes + (0 if error is None else error.nbytes)


def _factors_bytes(factors: Factors) -> int:
    samples = factors.samples
    drawn = 0 if samples is None else samples.present.nbytes + samples.outputs.nbytes
    return factors.values.nbytes + drawn
