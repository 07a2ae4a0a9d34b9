"""Interruption: a long computation checks, before each pass through a tower, whether it is still wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_wanted: ContextVar[Callable[[], bool] | None] = ContextVar("exclip_is_wanted", default=None)


class NoLongerWantedError(Exception):
    """Raised in the middle of a computation that is no longer wanted."""


@contextmanager
def interruptible(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Run a block in which computations end with `NoLongerWantedError` once `is_wanted` returns False."""
    token = _is_wanted.set(is_wanted)
    try:
        yield
    finally:
        _is_wanted.reset(token)


def end_if_unwanted() -> None:
    """Raise `NoLongerWantedError` if the current computation is no longer wanted."""
    is_wanted = _is_wanted.get()
    if is_wanted is not None and not is_wanted():
        raise NoLongerWantedError
