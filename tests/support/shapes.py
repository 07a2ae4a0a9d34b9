"""Shapes in signatures, checked: beartype on the arrays of every function of the package, nothing else.

What is no array is left to mypy and to the package's own checks, which many tests give what they refuse.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from beartype import beartype
from jaxtyping import AbstractArray


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
    function.__annotations__ = {name: hint for name, hint in hints.items() if _is_of_arrays(hint)}
    return beartype(function) if function.__annotations__ else function
