"""Batches: captions or images that run through a tower together, as many as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from ..errors import ExclipError
from .side import Side

T = TypeVar("T")

MOST_TOGETHER = 32
"""Largest number of inputs that go through a tower together. More would gain nothing."""

BYTES_OF_A_PASS = 8
"""Approximate memory of a pass, in multiples of the tokens at the layer: queries, keys, values and MLP."""


def sides_together(
    inputs: Iterable[tuple[int, T]],
    sides_of: Callable[[Sequence[T]], Sequence[Side]],
    like: Callable[[T], Hashable],
    *,
    name: str,
    memory: int,
    most: int,
) -> Iterator[list[tuple[int, T, Side]]]:
    """Yield inputs with their sides, in batches of consecutive inputs that are alike.

    If a batch fails, its inputs are run one by one, so that an error concerns a single input.

    Parameters
    ----------
    inputs : iterable of (int, input)
        Inputs with their indices, consumed lazily.
    sides_of : callable
        Returns the sides of inputs that are alike.
    like : callable
        Returns what an input must have in common with the others in its batch: its shape.
    name : str
        Name of the inputs in error messages.
    memory : int
        About how many bytes a pass may take.
    most : int
        Largest number of inputs in a batch.
    """
    fits, batch = 1, list[tuple[int, T]]()

    def finish() -> list[tuple[int, T, Side]]:
        return [(*one, side) for one, side in zip(batch, _sides(batch, sides_of, name), strict=True)]

    for index, one in inputs:
        if batch and (len(batch) == fits or like(batch[0][1]) != like(one)):
            done = finish()
            yield done
            # The first batch has a single input, which shows how much memory one takes.
            each = max(side.tokens.nbytes for _, _, side in done)
            fits = max(1, min(most, memory // (BYTES_OF_A_PASS * each)))
            batch = []
        batch.append((index, one))
    if batch:
        yield finish()


def _sides(
    batch: Sequence[tuple[int, T]], sides_of: Callable[[Sequence[T]], Sequence[Side]], name: str
) -> Sequence[Side]:
    if len(batch) > 1:
        try:
            return sides_of([one for _, one in batch])
        except Exception:  # a model's own code may raise anything, and does so again for a single input
            pass
    sides: list[Side] = []
    for index, one in batch:
        with naming(name, index):
            sides += sides_of([one])
    return sides


@contextmanager
def naming(name: str, index: int) -> Iterator[None]:
    """Prefix the package's errors that a block raises with the name and index of their input.

    Examples
    --------
    >>> from exclip_widget import CaptionError
    >>> with naming("captions", 3):
    ...     raise CaptionError("caption '' has no words")
    Traceback (most recent call last):
    ...
    exclip_widget.errors.CaptionError: captions[3]: caption '' has no words
    """
    try:
        yield
    except ExclipError as error:
        raise type(error)(f"{name}[{index}]: {error}") from error
