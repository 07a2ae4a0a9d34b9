"""Shapes in signatures, checked: beartype on the arrays of every function of the package, nothing else.

What is no array is left to mypy and to the package's own checks, which many tests give what they refuse.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args, get_type_hints

from beartype import beartype
from jaxtyping import AbstractArray, config


def _is_of_arrays(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(map(_is_of_arrays, get_args(hint)))


def check_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` with the shapes and dtypes of its arrays checked at every call."""
    if not inspect.isfunction(function):
        return function
    try:
        hints = get_type_hints(function)
    except NameError:  # imported for type checkers alone
        return function
    arrays = {name: hint for name, hint in hints.items() if _is_of_arrays(hint)}
    if not arrays:
        return function
    written, function.__annotations__ = function.__annotations__, arrays
    checked = beartype(function)
    # Documentation and editors see what is written.
    function.__annotations__ = checked.__annotations__ = written
    return checked


@contextmanager
def unchecked_arrays() -> Iterator[None]:
    """Leave arrays unchecked, for tests that count or stop what the package itself does with them."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", before)
