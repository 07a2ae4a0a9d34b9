"""Quadrature rules for the integral over the straight path from reference to input.

A tower turns the straight path at a layer into a curve of embeddings, which it runs along at a varying
speed: slowly where normalisation and attention have settled, many times as fast where they swing. What is
integrated is the curve's derivative; so nodes evenly spread along the curve, not along the path, follow it
with a fraction of their number. Embeddings cost next to nothing beside derivatives, so the speed is known
beforehand from a few of them.
"""

from __future__ import annotations

import math
from operator import index
from typing import NamedTuple

import numpy as np

from ..errors import ParameterError

RULES = ("arc-length", "gauss-legendre", "midpoint", "right")


class Quadrature(NamedTuple):
    """Nodes in [0, 1] and their weights, which sum to one, or near it; both float64, shape (steps,)."""

    nodes: np.ndarray
    weights: np.ndarray


INTERVALS, DEGREE, SLOWEST = 12, 5, 0.1
"""Into how many parts a path is cut to learn its speed, of which degree the polynomial is that is fitted to
the speed's logarithm, and what is added to each speed, in parts of the mean: single tokens still move where
all of them together stand still."""


def probes(rule: str) -> np.ndarray:
    """Where on the path the embedding must be known for a rule to place its nodes: both ends at least."""
    return np.linspace(0, 1, 1 + (INTERVALS if rule == "arc-length" else 1))


def quadrature(rule: str, steps: int, lengths: np.ndarray | None = None) -> Quadrature:
    """The rule named `rule` with `steps` nodes.

    `"gauss-legendre"` integrates polynomials up to degree 2 steps - 1 exactly, `"midpoint"` and
    `"right"` (end points 1/N, 2/N, ..., 1: what exclip and the paper use) up to degree 1 and 0.
    `"arc-length"` has Gauss-Legendre's nodes on the curve of embeddings instead of on the path;
    `lengths`, (intervals,), says how far the embedding moves from each of the `probes` to the next.
    Where it is not known, or the embedding does not move, the speed is taken for constant.

    Raises
    ------
    ParameterError
        Where the rule has no such name or `steps` is not a positive whole number.
    """
    if rule not in RULES:
        raise ParameterError(f"rule={rule!r} is not one of {', '.join(map(repr, RULES))}")
    steps = _positive(steps)
    if rule in ("arc-length", "gauss-legendre"):
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        even = Quadrature((nodes + 1) / 2, weights / 2)
        return even if rule == "gauss-legendre" or lengths is None else _along(even, lengths)
    offset = 0.5 if rule == "midpoint" else 1.0
    return Quadrature((np.arange(steps) + offset) / steps, np.full(steps, 1 / steps))


def _along(even: Quadrature, lengths: np.ndarray) -> Quadrature:
    """`even` with its nodes on a curve of these `lengths`: a change of variable, as smooth as their fit."""
    mean = float(lengths.mean())
    if not (math.isfinite(mean) and mean > 0):
        return even
    centres = (np.arange(len(lengths)) + 0.5) / len(lengths)
    logarithm = np.log(lengths / mean + SLOWEST)
    fitted = np.polynomial.Chebyshev.fit(centres, logarithm, DEGREE, domain=[0, 1])
    path = np.linspace(0, 1, 10_001)
    speed = np.exp(fitted(path))
    along = np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2)]) * path[1]
    nodes = np.interp(even.nodes * along[-1], along, path)
    return Quadrature(nodes, even.weights * along[-1] / np.exp(fitted(nodes)))


def _positive(steps: int) -> int:
    try:
        count = index(steps)
    except TypeError:
        count = 0
    if isinstance(steps, bool) or count < 1:
        raise ParameterError(f"steps={steps!r} is not a positive whole number")
    return count
