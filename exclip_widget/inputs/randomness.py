"""Randomness: preprocessing and tokenizers that give something else each time, as those for training do."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import ExclipError, ParameterError

MOST_REPEATS = 32
"""How often to repeat preprocessing that draws random numbers, if that changes nothing."""

SAME = 1e-4
"""Largest difference between two runs that count as the same, as a fraction of the largest pixel."""

RUNS_ON_NOISE = 4
"""How often to run preprocessing on a test image: a flip of every second image shows in seven of eight."""

RUNS_ON_CAPTION = 8
"""How often to tokenise one caption: a choice between two templates shows in 127 of 128."""

TEST_CAPTION = "photograph of sailboats"
"""Words that every vocabulary splits differently if some of its merges are left out."""

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
"""A test image on which hardly any augmentation goes unnoticed."""


class RandomState:
    """The state of the global generators of torch, NumPy and Python at the time when this was made."""

    def __init__(self) -> None:
        self._torch = torch.get_rng_state()
        self._numpy = np.random.get_state(legacy=False)  # noqa: NPY002  # what users draw from
        self._python = random.getstate()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RandomState) and self._bytes() == other._bytes()

    __hash__ = None  # type: ignore[assignment]

    def _bytes(self) -> bytes:
        return pickle.dumps((self._torch.numpy(), self._numpy, self._python))

    def restore(self) -> None:
        """Return the generators to this state."""
        torch.set_rng_state(self._torch)
        np.random.set_state(self._numpy)  # noqa: NPY002
        random.setstate(self._python)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave the global generators as they were before the block, those of GPUs included."""
    before = RandomState()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            before.restore()


class _Found:
    """Functions that were found to be repeatable, so that each is tried only once."""

    def __init__(self) -> None:
        self._functions: WeakSet[Any] = WeakSet()

    def has(self, function: object) -> bool:
        with suppress(TypeError):  # it may have no hash, or take no weak references
            return function in self._functions
        return False

    def add(self, function: object) -> None:
        with suppress(TypeError):
            self._functions.add(function)


_BY_DRAWING, _BY_NOISE, _TOKENIZERS = _Found(), _Found(), _Found()


def require_repeatable(preprocess: object, pixels: Tensor, again: Callable[[], object]) -> None:
    """Refuse preprocessing whose results on one image differ.

    Call this if it drew random numbers. That alone is no proof, because a flip of every image, or of none,
    draws them too.

    Parameters
    ----------
    preprocess : callable
        The function in question.
    pixels : Tensor
        What it gave for an image.
    again : callable
        Runs it again on that image.

    Raises
    ------
    ParameterError
        If another run gives other pixels.
    """
    if _BY_DRAWING.has(preprocess):
        return
    with random_state_kept():
        for _ in range(MOST_REPEATS):
            other = again()
            if not (isinstance(other, Tensor) and _are_same(pixels, other)):
                raise _is_random()
    _BY_DRAWING.add(preprocess)


def require_repeatable_on_noise(preprocess: Callable[[Image.Image], Tensor]) -> None:
    """Refuse preprocessing whose results on a test image differ, whatever generator it draws from.

    Exceptions from `preprocess` are passed on.

    Raises
    ------
    ParameterError
        If they differ.
    """
    if _BY_NOISE.has(preprocess):
        return
    with random_state_kept(), np.errstate(all="ignore"):
        # Copies, because it may fill the same tensor each time.
        first, *others = (preprocess(Image.fromarray(NOISE)).clone() for _ in range(RUNS_ON_NOISE))
    if not all(_are_same(first, other) for other in others):
        raise _is_random()
    _BY_NOISE.add(preprocess)


def require_repeatable_ids(tokenizer: object, ids_of: Callable[[str], Tensor], caption: str) -> None:
    """Refuse a tokenizer whose ids for one caption differ; each tokenizer is tried once.

    Exceptions from `ids_of` are passed on.

    Parameters
    ----------
    tokenizer : callable
        The tokenizer in question.
    ids_of : callable
        Runs it on a caption.
    caption : str
        A caption to try if it refuses `TEST_CAPTION`, which dropout is sure to split in several ways.

    Raises
    ------
    ParameterError
        If two runs on the same caption give other ids.
    """
    owner = getattr(tokenizer, "__self__", tokenizer)  # each access makes a new bound method
    if _TOKENIZERS.has(owner):
        return
    with random_state_kept():
        try:
            is_same = _gives_same(ids_of, TEST_CAPTION)
        except ExclipError:  # a short context, or a tokenizer that knows only some captions
            is_same = _gives_same(ids_of, caption)
    if not is_same:
        raise ParameterError(
            "tokenizer is random: run again on the same caption, it gave other ids; pass one without dropout "
            "(for a Hugging Face tokenizer, tokenizer.backend_tokenizer.model.dropout = None) and with a "
            "fixed template"
        )
    _TOKENIZERS.add(owner)


def _gives_same(ids_of: Callable[[str], Tensor], caption: str) -> bool:
    first, *others = (ids_of(caption) for _ in range(RUNS_ON_CAPTION))
    return all(torch.equal(first, other) for other in others)


def _are_same(one: Tensor, other: Tensor) -> bool:
    one, other = (pixels.detach().cpu().double().flatten(0, -3).nan_to_num() for pixels in (one, other))
    return one.shape == other.shape and bool(((one - other).abs() <= SAME * one.abs().max()).all())


def _is_random() -> ParameterError:
    return ParameterError(
        "preprocess is random: run again on the same image, it gave other pixels; pass the preprocessing for "
        "evaluation, without augmentation, such as the last value that "
        "open_clip.create_model_and_transforms returns"
    )
