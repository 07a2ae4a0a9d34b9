"""Checks of user-supplied values: each returns the value, or raises an error that names it."""

from __future__ import annotations

import math
from operator import index
from typing import Any, TypeVar

from .errors import ParameterError

T = TypeVar("T")

LARGEST_SEED = 2**63 - 1
"""Largest seed of random numbers: torch takes 64 bits, and some seeds are increased by a small number."""


def whole_number(name: str, value: Any, *, least: int = 1) -> int:
    """Return `value` as an int, if it is a whole number of at least `least`.

    Raises
    ------
    ParameterError
        If it is anything else.

    Examples
    --------
    >>> whole_number("steps", 10)
    10
    """
    try:
        number = least - 1 if isinstance(value, bool) else index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ParameterError(f"{name}={value!r} is not a whole number of at least {least}")
    return number


def random_seed(value: Any) -> int:
    """Return `value` as an int, if it is a seed of random numbers.

    Raises
    ------
    ParameterError
        If it is not a whole number from 0 to `LARGEST_SEED`.
    """
    seed = whole_number("seed", value, least=0)
    if seed > LARGEST_SEED:
        raise ParameterError(f"seed={value!r} is not a whole number from 0 to 2**63 - 1")
    return seed


def positive_number(name: str, value: Any) -> float:
    """Return `value` as a float, if it is a positive finite number.

    Raises
    ------
    ParameterError
        If it is anything else.
    """
    number = _number(value)
    if not (math.isfinite(number) and number > 0):
        raise ParameterError(f"{name}={value!r} is not a positive number")
    return number


def finite_number(name: str, value: Any) -> float:
    """Return `value` as a float, if it is a finite number.

    Raises
    ------
    ParameterError
        If it is anything else.
    """
    number = _number(value)
    if not math.isfinite(number):
        raise ParameterError(f"{name}={value!r} is not a finite number")
    return number


def _number(value: Any) -> float:
    """Return `value` as a float; NaN if it is not a number."""
    try:
        return math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        return math.nan


def callable_or_none(name: str, value: T, expected: str = "the one from the model's library") -> T:
    """Return `value`, if it is callable or None. An error says which callable was `expected`.

    Raises
    ------
    ParameterError
        If it is anything else.
    """
    if value is not None and not callable(value):
        raise ParameterError(f"{name}={value!r} is not callable; expected {expected}")
    return value
