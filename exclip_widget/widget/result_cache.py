"""Result cache: going back to a recent request costs next to nothing."""

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
from .request import Layers, Request

MOST_BYTES = 2**26
"""Largest size of the results, and of the factors, that a widget keeps."""

Result = tuple[Interactions, ...]
"""Interactions of a caption with an image, and of its foil if there is one."""

EMBEDDED_TOGETHER = 64
"""Listed captions that are embedded before a newer request is looked for."""


class ResultCache:
    """Computes results, and keeps the last few for as long as nothing about the model changes."""

    def __init__(self) -> None:
        self._fingerprint: object | None = None
        self._results = LRUCache[Result](lambda result: sum(map(_interactions_bytes, result)), MOST_BYTES)
        self._text_factors = LRUCache[Factors](_factors_bytes, MOST_BYTES)
        self._text_embeddings: dict[str, Float[np.ndarray, " embed"]] = {}
        self._image_embedding: tuple[bytes, Float[np.ndarray, " embed"]] | None = None

    def estimates(self, request: Request, count: int) -> Iterator[Result]:
        """Yield about `count` ever better results, the last of which is final; one, if it is known."""
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
        """Return the result of a request, if it is kept and the model is what it was."""
        fingerprint = request.explainer.fingerprint()
        if fingerprint is None or fingerprint != self._fingerprint:
            self._results.clear()
            self._text_factors.clear()
            self._text_embeddings.clear()
            self._image_embedding = None
        self._fingerprint = fingerprint
        return self.at(request, request.explainer.layers)

    def at(self, request: Request, layers: Layers) -> Result | None:
        """Return the result of a request at some layers, if it is kept, whatever the model is now."""
        return self._results.get(request.key_at(layers))

    def explain_layers(
        self, request: Request, text_layer: LayerName, image_layers: Sequence[LayerName]
    ) -> Iterator[None]:
        """Compute and keep the results of a request at other layers; yield when something else may be done.

        They are kept only if the model has stayed what it was.
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
        """Embed the listed captions of a request, and yield after some of them each. Those known are kept."""
        missing = [caption for caption in request.listed if caption.rows.caption not in self._text_embeddings]
        missing.sort(key=lambda caption: len(caption.ids))  # those of one length run together
        for start in range(0, len(missing), EMBEDDED_TOGETHER):
            some = missing[start : start + EMBEDDED_TOGETHER]
            found = request.explainer.text_embeddings(some)
            for caption, embedding in zip(some, found, strict=True):
                self._text_embeddings[caption.rows.caption] = embedding
            yield

    def classify(self, request: Request) -> Classification:
        """Return the similarities and probabilities of the listed captions, which have been embedded."""
        explainer, image = request.explainer, request.image
        if self._image_embedding is None or self._image_embedding[0] != image.digest:
            self._image_embedding = image.digest, explainer.image_embedding(image.pixels)
        # Captions that are listed no more are forgotten.
        self._text_embeddings = {text: self._text_embeddings[text] for text in request.texts}
        embeddings = np.stack([self._text_embeddings[text] for text in request.texts])
        similarities = embeddings @ self._image_embedding[1]
        return Classification(request.texts, similarities, explainer.logits())

    def _factors_of(self, explainer: Explainer, caption: Caption) -> Factors:
        """Return the factors of a caption, which stay valid if the image changes."""
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
