"""Interruption: a long computation checks, before each pass through a tower, whether it is still wanted.

Ctrl-C also ends it there. Anywhere else it might end code of ours, torch's or Python's that is about to give
the user's model its hooks and modes back, which would break the model for good.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

_put_off: list[int] = []
"""The signal of a Ctrl-C that is put off."""

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


@contextmanager
def between_passes() -> Iterator[None]:
    """Run a block that Ctrl-C ends only before a pass or at its end; a second Ctrl-C ends it at once.

    This is so in the main thread, which alone gets signals, and if Ctrl-C has Python's own meaning.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _put_off.clear()
    signal.signal(signal.SIGINT, _put_off_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _end_if_put_off()


def _put_off_once(number: int, frame: FrameType | None) -> None:
    if _put_off:
        signal.default_int_handler(number, frame)
    _put_off.append(number)


def _end_if_put_off() -> None:
    if _put_off:
        _put_off.clear()
        raise KeyboardInterrupt


def end_if_unwanted() -> None:
    """Raise `NoLongerWantedError` if the current computation is no longer wanted.

    Raises KeyboardInterrupt if a Ctrl-C was put off by `between_passes`.
    """
    is_wanted = _is_wanted.get()
    if is_wanted is not None and not is_wanted():
        raise NoLongerWantedError
    if threading.current_thread() is threading.main_thread():
        _end_if_put_off()
