"""Explanation methods: each turns a side into factors. Interactions are products of factors."""

from dataclasses import fields
from typing import Any

from ..errors import ParameterError
from .banzhaf import Banzhaf
from .base import Method
from .frozen import FrozenGates
from .gradient import GradientActivation
from .integrated_jacobians import IntegratedJacobians
from .similarity import TokenSimilarity

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (FrozenGates, IntegratedJacobians, TokenSimilarity, GradientActivation, Banzhaf)
}
"""All methods, by the name that serves as their shorthand."""

DEFAULT_METHOD = FrozenGates.name
"""The default method: the best of those that take seconds, according to the table in `docs/evaluation.md`."""


def as_method(given: object, **options: Any) -> Method:
    """Return a method, given either as an instance or by its name with some of its options.

    Raises
    ------
    ParameterError
        If `given` is neither, or an option belongs to another method or is out of range.
    TypeError
        If no method has such an option.

    Examples
    --------
    >>> as_method("exclip", steps=20)
    IntegratedJacobians(steps=20, rule='arc-length', tolerance=None, rank=None)
    """
    if isinstance(given, Method):
        if options:
            name, value = next(iter(options.items()))
            kind = type(given).__name__
            raise ParameterError(
                f"{name}={value!r} was given together with method={given!r}; pass {kind}({name}=...)"
            )
        return given
    if isinstance(given, str) and given in METHODS:
        _require_own(given, options)
        return METHODS[given](**options)
    names = ", ".join(map(repr, METHODS))
    raise ParameterError(
        f"method={given!r} is not one of {names}, nor a method such as Banzhaf(samples=1024)"
    )


def options_of(method: type[Method]) -> set[str]:
    """Return the names of a method's options."""
    return {field.name for field in fields(method)}  # type: ignore[arg-type]  # every method is a dataclass


def _require_own(name: str, options: dict[str, Any]) -> None:
    for option in options.keys() - options_of(METHODS[name]):
        owners = " and ".join(
            repr(other) for other, method in METHODS.items() if option in options_of(method)
        )
        if not owners:
            raise TypeError(f"{option!r} is an unexpected keyword argument: no method has such an option")
        raise ParameterError(f"{option}={options[option]!r} is an option of method {owners}, not of {name!r}")


__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "Banzhaf",
    "FrozenGates",
    "GradientActivation",
    "IntegratedJacobians",
    "Method",
    "TokenSimilarity",
    "as_method",
    "options_of",
]
