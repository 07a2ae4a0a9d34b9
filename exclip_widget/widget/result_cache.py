"""Result cache: makes returning to a recent request nearly free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from ..explainer import Explainer, LayerName
from ..inputs.caption import Caption
from ..lru_cache import LRUCache
from ..results.classification import Classification
from ..results.factors import Factors
from ..results.interactions import Interactions
from ..results.matching import require_same_width
from .request import Layers, Request, key_of

MOST_BYTES = 2**26
"""Largest total size in bytes of the results that a widget caches, and separately of the factors."""

Result = tuple[Interactions, ...]
"""Interactions of the caption with the image, followed by those of the foil if there is one."""

TOGETHER = 64
"""Number of listed captions to tokenise or embed between checks for a newer request."""


class ResultCache:
    """Computes results, and caches recent ones until the model or a reference changes."""

    def __init__(self) -> None:
        self._fingerprint: object | None = None
        self._results = LRUCache[Result](lambda result: sum(map(_interactions_bytes, result)), MOST_BYTES)
        self._text_factors = LRUCache[Factors](_factors_bytes, MOST_BYTES)
        self._listed: dict[str, Caption] = {}
        self._text_embeddings: dict[Caption, Float[np.ndarray, " embed"]] = {}
        self._image_embedding: tuple[bytes, Float[np.ndarray, " embed"]] | None = None

    def estimates(self, request: Request, count: int) -> Iterator[Result]:
        """Yield about `count` improving estimates, ending with the result; only that if it is cached."""
        result = self.known(request)
        if result is not None:
            yield result
            return
        fingerprint = self._fingerprint
        texts = [self._factors_of(request.explainer, caption) for caption in request.captions]
        image = request.image
        for found in request.explainer.refine(texts, image.pixels, count, view=image.view):
            result = tuple(found)
            yield result
        if fingerprint is not None and result is not None:
            self._results.put(request.key, result)

    def known(self, request: Request) -> Result | None:
        """Return the cached result of a request, or None; clear the cache if the model or a reference has."""
        fingerprint = request.explainer.fingerprint()
        if fingerprint is None or fingerprint != self._fingerprint:
            self._results.clear()
            self._text_factors.clear()
            self._listed.clear()
            self._text_embeddings.clear()
            self._image_embedding = None
        self._fingerprint = fingerprint
        return self.at(request, request.explainer.layers)

    def at(self, request: Request, layers: Layers) -> Result | None:
        """Return the cached result of a request at `layers`, or None, without checking for changes."""
        return self._results.get(request.key_at(layers))

    def explain_layers(
        self, request: Request, text_layer: LayerName, image_layers: Sequence[LayerName]
    ) -> Iterator[None]:
        """Compute and cache a request's results at other layers, yielding whenever other work may be done.

        They are cached only if neither the model nor a reference has changed.
        """
        fingerprint = self._fingerprint
        explainer = request.explainer.with_method(request.explainer.method, text_layer, image_layers[0])
        texts = [self._factors_of(explainer, caption) for caption in request.captions]
        yield
        image = request.image
        for found in explainer.refine_layers(texts, image.pixels, image_layers, view=image.view):
            if found is None:
                yield
            elif fingerprint == self._fingerprint == explainer.fingerprint():
                for image_layer, result in found.items():
                    self._results.put(request.key_at((text_layer, image_layer)), tuple(result))

    def embed_captions(self, request: Request) -> Iterator[None]:
        """Embed the listed captions whose ids are not cached yet, yielding after each batch."""
        missing: list[Caption] = []
        for some in _batches(request.listed):
            cached = [self._listed.get(caption.rows.caption, caption) for caption in some]
            for caption in request.explainer.read_captions_again(cached):
                self._listed[caption.rows.caption] = caption
                if caption not in self._text_embeddings:
                    missing.append(caption)
            yield
        missing.sort(key=lambda caption: len(caption.ids))  # captions of equal length run together
        for some in _batches(missing):
            found = request.explainer.text_embeddings(some)
            self._text_embeddings |= zip(some, found, strict=True)
            yield

    def classify(self, request: Request) -> Classification:
        """Return similarities and probabilities of the listed captions, which must be embedded already."""
        explainer, image = request.explainer, request.image
        if self._image_embedding is None or self._image_embedding[0] != image.digest:
            self._image_embedding = image.digest, explainer.image_embedding(image.pixels)
        # Drop captions that are no longer listed.
        self._listed = {text: self._listed[text] for text in request.texts}
        self._text_embeddings = {one: self._text_embeddings[one] for one in self._listed.values()}
        embeddings = np.stack([self._text_embeddings[self._listed[text]] for text in request.texts])
        require_same_width(embeddings.shape[1], len(self._image_embedding[1]))
        similarities = embeddings @ self._image_embedding[1]
        return Classification(request.texts, similarities, explainer.logits())

    def _factors_of(self, explainer: Explainer, caption: Caption) -> Factors:
        """Return the factors of a caption, from the cache if possible: they do not depend on the image."""
        key = (key_of(caption), explainer.method, explainer.layers[0])
        factors = self._text_factors.get(key)
        if factors is None:
            factors = explainer.text_factors(caption)
            if self._fingerprint is not None:
                self._text_factors.put(key, factors)
        return factors


def _batches(captions: Sequence[Caption]) -> Iterator[Sequence[Caption]]:
    """Yield captions a few at a time."""
    for start in range(0, len(captions), TOGETHER):
        yield captions[start : start + TOGETHER]


def _interactions_bytes(interactions: Interactions) -> int:
    error = interactions.error
    return interactions.values.nbytes + interactions.cls.nbytes + (0 if error is None else error.nbytes)


def _factors_bytes(factors: Factors) -> int:
    samples = factors.samples
    drawn = 0 if samples is None else samples.present.nbytes + samples.outputs.nbytes
    return factors.values.nbytes + drawn
