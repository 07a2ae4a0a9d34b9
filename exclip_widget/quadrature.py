"""Quadrature rules for the integral over the straight path from reference to input."""

from __future__ import annotations

from operator import index
from typing import NamedTuple

import numpy as np

from .errors import ParameterError

RULES = ("gauss-legendre", "midpoint", "right")


class Quadrature(NamedTuple):
    """Nodes in [0, 1] and their weights, which sum to one; both float64, shape (steps,)."""

    nodes: np.ndarray
    weights: np.ndarray


def quadrature(rule: str, steps: int) -> Quadrature:
    """The rule named `rule` with `steps` nodes.

    `"gauss-legendre"` integrates polynomials up to degree 2 steps - 1 exactly, `"midpoint"` and
    `"right"` (end points 1/N, 2/N, ..., 1: what exclip and the paper use) up to degree 1 and 0.

    Raises
    ------
    ParameterError
        Where the rule has no such name or `steps` is not a positive whole number.
    """
    if rule not in RULES:
        raise ParameterError(f"rule={rule!r} is not one of {', '.join(map(repr, RULES))}")
    steps = _positive(steps)
    if rule == "gauss-legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return Quadrature((nodes + 1) / 2, weights / 2)
    offset = 0.5 if rule == "midpoint" else 1.0
    return Quadrature((np.arange(steps) + offset) / steps, np.full(steps, 1 / steps))


def _positive(steps: int) -> int:
    try:
        count = index(steps)
    except TypeError:
        count = 0
    if isinstance(steps, bool) or count < 1:
        raise ParameterError(f"steps={steps!r} is not a positive whole number")
    return count
