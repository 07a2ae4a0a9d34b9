"""exCLIP: integrated Jacobians, the method of the paper.

Möller, Tilli, Vu and Padó, "Explaining Caption-Image Interactions in CLIP Models with Second-Order
Attributions", TMLR 2025, Eq. 9 and 10. The computation is factorised: the widths of both towers are summed
before the product of the two sides is taken.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..checks import positive_number, whole_number
from ..errors import ParameterError
from ..paths.autograd import Path
from ..paths.quadrature import RULES, probes, quadrature
from ..results.factors import Factors
from ..results.interactions import Estimate, relative_residual
from ..results.matching import require_width
from .base import Method, as_array, as_factors, norm_of, split_by_caption, stack_factors
from .directions import Directions
from .side import Side

DEFAULT_STEPS = 10
"""Default number of nodes."""

FIRST_STEPS, MOST_STEPS = 5, 320
"""First and largest number of nodes to try, if a tolerance determines it by doubling."""


@dataclass(frozen=True)
class IntegratedJacobians(Method):
    """Second-order attributions from integrated Jacobians.

    Parameters
    ----------
    steps : int
        Number of nodes of the quadrature along the path from reference to input.
    rule : {"arc-length", "gauss-legendre", "midpoint", "right"}
        Quadrature rule. `"arc-length"` spreads its nodes evenly along the curve of embeddings; `"right"`
        is the rule of exclip and of the paper.
    tolerance : float, optional
        Largest completeness residual allowed. If given, it determines the number of nodes instead of
        `steps`. An error that rounding explains is not reduced any further.
    rank : int, optional
        Number of directions of the captions' factors to pull back through the image tower at each node, as
        for `FrozenGates`. By default, each factor is pulled back. At early layers, the cost is proportional
        to `rank`; the last block gets hardly any faster.

    Raises
    ------
    ParameterError
        If an option is out of range, or both `steps` and `tolerance` are given.

    Examples
    --------
    >>> IntegratedJacobians(steps=20, rule="right")
    IntegratedJacobians(steps=20, rule='right', tolerance=None, rank=None)
    """

    name: ClassVar = "exclip"
    default_layers: ClassVar = (-1, -1)
    needs_gradients: ClassVar = True

    steps: int | None = None
    rule: str = RULES[0]
    tolerance: float | None = None
    rank: int | None = None

    def __post_init__(self) -> None:
        if self.tolerance is not None and self.steps is not None:
            raise ParameterError(
                f"steps={self.steps!r} and tolerance={self.tolerance!r} were both given; give one of them"
            )
        if self.tolerance is not None:
            object.__setattr__(self, "tolerance", positive_number("tolerance", self.tolerance))
        else:
            steps = DEFAULT_STEPS if self.steps is None else whole_number("steps", self.steps)
            object.__setattr__(self, "steps", steps)
        if self.rank is not None:
            object.__setattr__(self, "rank", whole_number("rank", self.rank))
        quadrature(self.rule, 1)  # raises if it is not a rule

    def factors(self, side: Side, memory: int) -> Factors:
        """Return ``T[s] = sum_n w_n (d f / d x_s)(r + a_n d) d_s``, which sum to ``f(x) - f(r)``.

        If something goes around the layer, they lack its part of the change; see `Factors.around`.
        """
        path = side.path()
        fits = max(1, memory // path.bytes_per_node(len(side.tokens)))
        curve = self._curve(side, path, fits)
        start, end = curve[0], curve[-1]
        change = end - start
        rounding, before = rounding_of(start, end), float(change.norm())
        for steps in self._attempts():
            nodes, weights = self._rule(steps, curve)
            parts = (path.integrate_tangents(nodes[turn], weights[turn]) for turn in in_turns(steps, 1, fits))
            values = sum(parts, start.new_zeros(()))
            # One side alone knows only its own residual; in the product, the other side scales it.
            left = float((values.sum(0) - change).norm())
            enough = 0.0 if self.tolerance is None else self.tolerance / 10 * float(change.norm())
            if self.tolerance is None or left <= enough or max(left, before) <= rounding:
                break
            before = left
        around = side.around()
        reference = None if around is None else start - around
        return as_factors(
            self, side, values, end, change=change, reference=reference, steps=steps, rule=self.rule
        )

    def refine(
        self, texts: Sequence[Factors], image: Side, estimates: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Yield interactions without computing the image's factors.

        The captions' factors are pulled back through the image tower instead, because there are fewer of
        them than of patches or of dimensions of the embedding.
        """
        path = image.path()
        directions = None if self.rank is None else Directions.of(texts)
        if directions is None:
            cotangents = stack_factors(texts, image.tokens)
        else:
            cotangents = torch.from_numpy(directions.first(self.rank)).to(image.tokens)
        fits = max(1, memory // path.bytes_per_node(len(cotangents)))
        curve = self._curve(image, path, fits)
        start, end = curve[0], curve[-1]
        require_width(texts, len(end))
        norm, around = norm_of(end, "image"), image.around()
        reference = start if around is None else start - around
        # What the sums tend to. The totals also include what goes around the layers, which no node reaches.
        limits = [float((end - start) @ torch.from_numpy(text.change).to(end) / norm) for text in texts]
        residuals = _Residuals(limits, [_rounding_of_total(text, start, end) for text in texts])
        totals = [
            limit
            + text.total_around(as_array(end / norm), None if around is None else as_array(around / norm))
            for limit, text in zip(limits, texts, strict=True)
        ]
        for steps in self._attempts():
            nodes, weights = self._rule(steps, curve)
            summed, weight, done = torch.zeros((), device="cpu").to(start), 0.0, 0
            for turn in in_turns(steps, estimates, fits):
                part = path.integrate_cotangents(nodes[turn], weights[turn], cotangents)
                share = float(weights[turn].sum() / weights.sum())
                summed, weight, done = part + summed, weight + share, done + len(turn)
                interactions, error = summed / (weight * norm), None
                if directions is not None:
                    pulled = as_array(interactions).astype(np.float64)
                    interactions = torch.from_numpy(directions.interactions(pulled)).to(end)
                    error = directions.error(pulled)
                by_caption = split_by_caption(texts, interactions, end, reference, error)
                found = [
                    one._replace(total=total, done=done, steps=steps)
                    for one, total in zip(by_caption, totals, strict=True)
                ]
                yield found
            if self.tolerance is None:
                break
            residuals.take(found)
            if residuals.are_met(self.tolerance):
                break
        if self.tolerance is not None and residuals.largest > self.tolerance:
            warnings.warn(
                f"the completeness residual is {residuals.largest:.2g} with {steps} nodes, more than "
                f"tolerance={self.tolerance:g}; the explanation is the best that was reached",
                stacklevel=2,
            )

    def _curve(self, side: Side, path: Path, fits: int) -> Tensor:
        """Return the embeddings along the path that the rule needs, from the reference's to the input's."""
        nodes = side.tokens.new_tensor(probes(self.rule))
        return torch.cat([path.embeddings(some) for some in torch.split(nodes, fits)])

    def _rule(self, steps: int, curve: Tensor) -> tuple[Tensor, Tensor]:
        lengths = as_array(curve.diff(dim=0).norm(dim=1)).astype(np.float64)
        points = quadrature(self.rule, steps, lengths)
        nodes, weights = (curve.new_tensor(part) for part in points)
        return nodes, weights

    def _attempts(self) -> Iterator[int]:
        if self.tolerance is None:
            assert self.steps is not None
            yield self.steps
            return
        steps = FIRST_STEPS
        while steps <= MOST_STEPS:
            yield steps
            steps *= 2


class _Residuals:
    """How far the interactions of captions are from what they sum to in the limit of many nodes.

    Parameters
    ----------
    totals : list of float
        What each caption's interactions sum to in that limit.
    rounding : list of float
        About how far off each of these sums may be due to rounding.
    """

    def __init__(self, totals: list[float], rounding: list[float]) -> None:
        self._totals, self._rounding = totals, rounding
        self._sums = self._before = [0.0 for _ in totals]  # without any nodes

    def take(self, found: Sequence[Estimate]) -> None:
        """Note the sums of another attempt, with more nodes."""
        self._before = self._sums
        self._sums = [float(one.matrix.sum(dtype=np.float64)) for one in found]

    @property
    def largest(self) -> float:
        """The largest relative residual of the captions of which not all may be due to rounding."""
        each = zip(self._sums, self._totals, self._rounding, strict=True)
        known = [relative_residual(found, total) for found, total, least in each if abs(total) > least]
        return max(known, default=0.0)

    def are_met(self, tolerance: float) -> bool:
        """Return whether all residuals are within a tolerance, or as small as rounding lets them be."""
        each = zip(self._sums, self._before, self._totals, self._rounding, strict=True)
        # If two attempts in a row are off by no more than rounding explains, a third would be, too.
        return all(
            abs(found - total) <= tolerance * abs(total)
            or max(abs(found - total), abs(before - total)) <= least
            for found, before, total, least in each
        )


def rounding_of(start: Float[Tensor, " embed"], end: Float[Tensor, " embed"]) -> float:
    """Return about how far off the difference of two embeddings may be due to rounding.

    Errors of a dot product's terms are independent, so it is off by about the square root of their number
    times the precision (Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", SIAM
    Journal on Scientific Computing, 2019). Each number of an embedding is one over about as many terms as
    the embedding has numbers.

    Examples
    --------
    >>> end = torch.ones(4)
    >>> rounding_of(0 * end, end) == 4 * torch.finfo(end.dtype).eps
    True
    """
    relative = float(torch.finfo(end.dtype).eps) * math.sqrt(len(end))
    return relative * float(start.norm() + end.norm())


def _rounding_of_total(text: Factors, start: Float[Tensor, " embed"], end: Float[Tensor, " embed"]) -> float:
    """Return about how far off the sum of a caption's interactions may be due to rounding on either side."""
    assert text.change is not None
    assert text.reference is not None
    change, reference, embedding = (
        torch.from_numpy(one).to(end) for one in (text.change, text.reference, text.embedding)
    )
    of_image = float(change.norm()) * rounding_of(start, end)
    of_text = float((end - start).norm()) * rounding_of(reference, embedding)
    return (of_image + of_text) / float(end.norm())


def in_turns(nodes: int, estimates: int, most: int) -> list[np.ndarray]:
    """Return indices of nodes in turns of at most `most`: few at first for an early estimate, then more."""
    # Multiples of the golden ratio, modulo one, spread every prefix evenly over the path.
    order = np.argsort(np.arange(nodes) * 0.618033988749895 % 1)
    cut = np.arange(1, min(estimates, nodes))
    growing = np.maximum(cut, np.ceil(nodes * (cut / min(estimates, nodes)) ** 2).astype(int))
    return [
        turn[start : start + most] for turn in np.split(order, growing) for start in range(0, len(turn), most)
    ]
