"""Shapes in signatures, checked: beartype on the arrays of every function of the package, nothing else.

Whatever is not an array is left to mypy and to the package's own checks, which many tests pass bad values.
A function without arrays is left alone.

`jaxtyping.jaxtyped(typechecker=...)` would check the arguments a second time together with the returned
value, for better messages. That took a tenth of the tests' time, so a call here is checked once.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, SimpleNamespace
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import beartype
from jaxtyping import AbstractArray, config

_jaxtyped = jaxtyping.jaxtyped
_without_arrays: set[CodeType] = set()


def install_checks(package: str) -> None:
    """Check the arrays of every function of `package` that is imported from now on."""
    # The import hook writes `@jaxtyping.jaxtyped(typechecker=...)` above each function and class.
    jaxtyping.jaxtyped = lambda *, typechecker: typechecker
    jaxtyping.install_import_hook(package, f"{check_arrays.__module__}.{check_arrays.__qualname__}")


def check_arrays(written: Any) -> Any:
    """Return a function or data class with the shapes and dtypes of its arrays checked at every call."""
    if inspect.isclass(written):
        if isinstance(written.__dict__.get("__init__"), FunctionType):
            written.__init__ = check_arrays(written.__init__)
        return written
    # A function inside another one is defined again at each call of the outer one.
    if not inspect.isfunction(written) or written.__code__ in _without_arrays:
        return written
    hints = {name: _evaluated(hint, written.__globals__) for name, hint in written.__annotations__.items()}
    arrays = {name: hint for name, hint in hints.items() if _is_of_arrays(hint)}
    if not arrays:
        _without_arrays.add(written.__code__)
        return written
    return _checked(written, arrays)


def _evaluated(hint: Any, names: dict[str, Any]) -> Any:
    """Return what a hint stands for, or None if its names are imported for type checkers only."""
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"hint": hint}), names)["hint"]
    except (NameError, TypeError):
        return None


def _is_of_arrays(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(map(_is_of_arrays, get_args(hint)))


def _checked(function: Callable[..., Any], arrays: dict[str, Any]) -> Callable[..., Any]:
    annotations, function.__annotations__ = function.__annotations__, arrays
    checked = beartype(function)
    # Documentation and editors see the annotations as they were written.
    function.__annotations__ = annotations

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if config.jaxtyping_disable:
            return function(*args, **options)
        with _jaxtyped("context"):  # axes of the same name are of the same size within one call
            return checked(*args, **options)

    return call


@contextmanager
def unchecked_arrays() -> Iterator[None]:
    """Leave arrays unchecked, for tests that count or stop what the package itself does with them."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", before)
