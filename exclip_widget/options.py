"""Options that users give, turned into what they mean, or refused by name."""

from __future__ import annotations

import math
from dataclasses import fields
from operator import index
from typing import Any, TypeVar

from .errors import ParameterError
from .methods import METHODS, Method
from .models.tower import Tower
from .paths.cut import Layer
from .paths.quadrature import RULES, quadrature

T = TypeVar("T")


def method_named(name: Any, options: dict[str, Any], seed: int) -> Method:
    """The method of a name with those of `options` that are not None, all of which must be its own.

    Raises
    ------
    ParameterError
        Where there is no such method, or an option is another's or out of its range.
    """
    if not isinstance(name, str) or name not in METHODS:
        raise ParameterError(f"method={name!r} is not one of {', '.join(map(repr, METHODS))}")
    kind = METHODS[name]
    given: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
    seed = whole("seed", seed, least=0)
    own = {field.name for field in fields(kind) if field.init}
    for option, value in given.items():
        if option not in own:
            owner = next(other for other, kind in METHODS.items() if option in {f.name for f in fields(kind)})
            raise ParameterError(f"{option}={value!r} is an option of method {owner!r}, not of {name!r}")
    if "tolerance" in given:
        given["tolerance"] = _tolerance(given["tolerance"])
        if "steps" in given:
            raise ParameterError(
                f"steps={given['steps']!r} and tolerance={given['tolerance']!r} were both given; one decides"
            )
    if "samples" in given:
        given["samples"] = whole("samples", given["samples"], least=2)
    if "steps" in given or "rule" in given:
        steps = quadrature(given.get("rule", RULES[0]), given.get("steps", 1)).nodes
        given |= {"steps": len(steps)} if "steps" in given else {}
    if "seed" in own:
        given["seed"] = seed
    method: Method = kind(**given)
    return method


def whole(name: str, value: Any, least: int = 1) -> int:
    """`value` as a whole number, of at least `least`."""
    try:
        number = least - 1 if isinstance(value, bool) else index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ParameterError(f"{name}={value!r} is not a whole number from {least} on")
    return number


def callable_or_none(name: str, given: T) -> T:
    """`given`, which must be callable if it is anything."""
    if given is not None and not callable(given):
        raise ParameterError(f"{name}={given!r} cannot be called; expected what the model's library gives")
    return given


def layers_named(tower: Tower, given: Any, default: int | str) -> dict[Any, Layer]:
    """Layers of a tower by what they were called: one, or each of a list.

    Raises
    ------
    ParameterError
        Where there is no such layer, or the list is empty.
    """
    if given is None:
        given = max(default, -len(tower.layers)) if isinstance(default, int) else default
    wanted = list(given) if isinstance(given, (list, tuple, range)) else [given]
    if not wanted:
        raise ParameterError(f"{tower.side}_layer={given!r} names no layer")
    return {which: tower.layer(which) for which in wanted}


def _tolerance(value: Any) -> float:
    try:
        number = float("nan") if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not (math.isfinite(number) and number > 0):
        raise ParameterError(f"tolerance={value!r} is not a positive number")
    return number
