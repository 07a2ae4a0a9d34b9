"""Quadrature rules for the integral over the straight path from reference to input.

A tower maps the straight path at a layer to a curve of embeddings, whose speed varies: it is low while
normalisation and attention are saturated, and many times higher while they change. The integrand is the
curve's derivative, so far fewer nodes are needed if they are spread evenly along the curve instead of the
path. Embeddings cost next to nothing compared with derivatives, so a few of them measure the speed first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..checks import whole_number
from ..errors import ParameterError

RULES = ("arc-length", "gauss-legendre", "midpoint", "right")


class Quadrature(NamedTuple):
    """Nodes in [0, 1] and their weights, which sum to about one; both float64, (steps,)."""

    nodes: Float[np.ndarray, " steps"]
    weights: Float[np.ndarray, " steps"]


INTERVALS, DEGREE, SLOWEST = 12, 5, 0.1
"""For `"arc-length"`: the number of intervals whose speed is measured; the degree of the polynomial fitted to
the speed's logarithm; and what is added to each speed, as a fraction of the mean, since single tokens may
move while the embedding stands still."""


def probes(rule: str) -> Float[np.ndarray, " probes"]:
    """Return the points on the path whose embeddings `rule` needs to place its nodes: at least both ends."""
    return np.linspace(0, 1, 1 + (INTERVALS if rule == "arc-length" else 1))


def quadrature(rule: str, steps: int, lengths: Float[np.ndarray, " intervals"] | None = None) -> Quadrature:
    """Return the nodes and weights of a rule.

    Parameters
    ----------
    rule : {"arc-length", "gauss-legendre", "midpoint", "right"}
        `"gauss-legendre"` integrates polynomials up to degree 2 steps - 1 exactly; `"midpoint"` and
        `"right"` (nodes 1/N, 2/N, ..., 1, as in exclip and the paper) up to degree 1 and 0.
        `"arc-length"` puts Gauss-Legendre's nodes on the curve of embeddings instead of on the path.
    steps : int
        Number of nodes.
    lengths : np.ndarray, optional
        For `"arc-length"`: how far the embedding moves from each of the `probes` to the next. If it is
        unknown, or the embedding does not move, the speed is assumed to be constant.

    Raises
    ------
    ParameterError
        If there is no such rule, or `steps` is not a positive whole number.
    """
    if rule not in RULES:
        raise ParameterError(f"rule={rule!r} is not one of {', '.join(map(repr, RULES))}")
    steps = whole_number("steps", steps)
    if rule in ("arc-length", "gauss-legendre"):
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        even = Quadrature((nodes + 1) / 2, weights / 2)
        return even if rule == "gauss-legendre" or lengths is None else _along(even, lengths)
    offset = 0.5 if rule == "midpoint" else 1.0
    return Quadrature((np.arange(steps) + offset) / steps, np.full(steps, 1 / steps))


def _along(even: Quadrature, lengths: Float[np.ndarray, " intervals"]) -> Quadrature:
    """Move the nodes of `even` to a curve of these `lengths`, with a smooth change of variable."""
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
