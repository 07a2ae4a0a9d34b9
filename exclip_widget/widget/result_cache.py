"""Recent results: going back to what was computed a moment ago costs next to nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from ..results.factors import Factors
from ..results.interactions import Interactions
from .request import Inputs

LARGEST = 2**26
"""Most bytes of results, and of factors, that a widget keeps."""

Result = tuple[Interactions, ...]
"""Interactions of a caption, and of its foil where there is one, with a picture."""

T = TypeVar("T")


class Recent:
    """Computes results, and keeps the last few for as long as nothing about the model changes."""

    def __init__(self) -> None:
        self._state: object | None = None
        self._results = _Shelf[Result](lambda result: sum(map(_size_of_interactions, result)))
        self._texts = _Shelf[Factors](_size_of_factors)

    def estimates(self, inputs: Inputs, frames: int) -> Iterator[Result]:
        """Yield ever better results, in about `frames` estimates; or the one that is known, at once."""
        state = inputs.explainer.state()
        if state is None or state != self._state:
            self._results.clear()
            self._texts.clear()
        self._state = state
        result = self._results.get(inputs.key)
        if result is not None:
            yield result
            return
        texts = [self._text(inputs, caption) for caption in inputs.captions]
        for found in inputs.explainer.meet(texts, inputs.seen.pixels, frames):
            result = tuple(found)
            yield result
        if state is not None and result is not None:
            self._results.put(inputs.key, result)

    def _text(self, inputs: Inputs, caption: str) -> Factors:
        """Factors of a caption, which stay when the picture changes."""
        key = (caption, inputs.method, inputs.layers[0])
        factors = self._texts.get(key)
        if factors is None:
            factors = inputs.explainer.text(caption)
            if self._state is not None:
                self._texts.put(key, factors)
        return factors


class _Shelf(Generic[T]):
    """The newest of things, as far as there is room."""

    def __init__(self, size_of: Callable[[T], int]) -> None:
        self._size_of = size_of
        self._things: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        if key in self._things:
            self._things.move_to_end(key)
        return self._things.get(key)

    def put(self, key: Hashable, thing: T) -> None:
        self._things[key] = thing
        while sum(map(self._size_of, self._things.values())) > LARGEST:
            self._things.popitem(last=False)

    def clear(self) -> None:
        self._things.clear()


def _size_of_interactions(interactions: Interactions) -> int:
    error = interactions.error
    return interactions.values.nbytes + interactions.cls.nbytes + (0 if error is None else error.nbytes)


def _size_of_factors(factors: Factors) -> int:
    samples = factors.samples
    drawn = 0 if samples is None else samples.present.nbytes + samples.outputs.nbytes
    return factors.values.nbytes + drawn
