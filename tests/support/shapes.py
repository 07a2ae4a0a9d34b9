"""Shapes in signatures, checked: beartype on the arrays of every function of the package, nothing else.

What is no array is left to mypy and to the package's own checks, which many tests give what they refuse.
A function without arrays stays as it is: jaxtyping alone would bind the arguments of each of its calls, too,
which took more time than all that the tests call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray, config

_jaxtyped = jaxtyping.jaxtyped
_without_arrays: set[CodeType] = set()


def install_checks(package: str) -> None:
    """Check the arrays of every function of `package` that is imported from now on."""
    # The import hook writes `@jaxtyping.jaxtyped(typechecker=...)` above each function and class.
    jaxtyping.jaxtyped = lambda *, typechecker: functools.partial(_checked_if_of_arrays, typechecker)
    jaxtyping.install_import_hook(package, f"{check_arrays.__module__}.{check_arrays.__qualname__}")


def _checked_if_of_arrays(typechecker: Callable[..., Any], written: Any) -> Any:
    """Return what jaxtyping makes of a function or class if `typechecker` found something to check."""
    # A function in another one is made at each call of that one.
    code = getattr(written, "__code__", None)
    if code in _without_arrays:
        return written
    found = []

    def check(function: Callable[..., Any]) -> Callable[..., Any]:
        checked = typechecker(function)
        found.append(checked is not function)
        return checked

    constructor = getattr(written, "__init__", None)
    checked = _jaxtyped(written, typechecker=check)
    if any(found):
        return checked
    if code is not None:
        _without_arrays.add(code)
    elif written.__init__ is not constructor:  # of a data class, which is changed in its place
        written.__init__ = constructor
    return written


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
