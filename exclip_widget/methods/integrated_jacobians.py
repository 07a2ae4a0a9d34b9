"""exCLIP: integrated Jacobians, the method of the paper.

Möller, Tilli, Vu and Padó, "Explaining Caption-Image Interactions in CLIP Models with Second-Order
Attributions", TMLR 2025, Eq. 9 and 10. Factorised: the widths of both towers are summed before the product
of the two sides is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..checks import positive_number, whole_number
from ..errors import ParameterError
from ..paths.autograd import Path
from ..paths.quadrature import RULES, probes, quadrature
from ..results.factors import Factors
from ..results.interactions import Estimate, relative_residual
from .base import Method, as_array, as_factors, norm_of, split_by_caption, stack_factors
from .directions import Directions
from .side import Side

DEFAULT_STEPS = 10
"""Number of nodes by default."""

FIRST_STEPS, MOST_STEPS = 5, 320
"""Numbers of nodes to start and to end with, if a tolerance chooses it by doubling."""


@dataclass(frozen=True)
class IntegratedJacobians(Method):
    """Second-order attributions by integrated Jacobians.

    Parameters
    ----------
    steps : int
        Number of nodes of the quadrature along the path from reference to input.
    rule : {"arc-length", "gauss-legendre", "midpoint", "right"}
        Quadrature rule. `"arc-length"` spreads its nodes evenly along the curve of embeddings; `"right"`
        is that of exclip and of the paper.
    tolerance : float, optional
        Largest completeness residual. If given, it chooses the number of nodes instead of `steps`.
    rank : int, optional
        Number of directions of the captions' factors to pull back through the image's tower at each node,
        as for `FrozenGates`. By default each factor is pulled back. At early layers cost is in proportion
        to it; the last block is hardly faster.

    Raises
    ------
    ParameterError
        If an option is out of its range, or both `steps` and `tolerance` are given.

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
        quadrature(self.rule, 1)  # refuses what is no rule

    def factors(self, side: Side, memory: int) -> Factors:
        """Return ``T[s] = sum_n w_n (d f / d x_s)(r + a_n d) d_s``, which sum to ``f(x) - f(r)``."""
        path = side.path()
        fits = max(1, memory // path.bytes_per_node(len(side.tokens)))
        curve = self._curve(side, path, fits)
        start, end = curve[0], curve[-1]
        change = end - start
        for steps in self._attempts():
            nodes, weights = self._rule(steps, curve)
            parts = (path.integrate_tangents(nodes[turn], weights[turn]) for turn in in_turns(steps, 1, fits))
            values = sum(parts, start.new_zeros(()))
            # One side alone knows its own residual only; in the product the other side scales it.
            left = float((values.sum(0) - change).norm() / change.norm())
            if self.tolerance is None or left <= self.tolerance / 10:
                break
        return as_factors(self, side, values, end, change=change, steps=steps, rule=self.rule)

    def refine(
        self, texts: Sequence[Factors], image: Side, estimates: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Yield interactions without computing the image's factors.

        The captions' factors are pulled back through its tower instead: there are fewer of them than
        patches, and than dimensions of the embedding.
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
        norm = norm_of(end, "image")
        totals = [float((end - start) @ torch.from_numpy(text.change).to(end) / norm) for text in texts]
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
                by_caption = split_by_caption(texts, interactions, end, start, error)
                found = [
                    one._replace(total=total, done=done, steps=steps)
                    for one, total in zip(by_caption, totals, strict=True)
                ]
                yield found
            residuals = [
                relative_residual(float(one.matrix.sum(dtype=np.float64)), one.total) for one in found
            ]
            if self.tolerance is None or max(residuals) <= self.tolerance:
                return
        warnings.warn(
            f"the completeness residual is {max(residuals):.2g} with {steps} nodes, more than "
            f"tolerance={self.tolerance:g}; the explanation holds the best there is",
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


def in_turns(nodes: int, estimates: int, most: int) -> list[np.ndarray]:
    """Return indices of nodes in turns of at most `most`: few at first, for an early estimate, then more."""
    # Multiples of the golden ratio, modulo one, spread every prefix evenly over the path.
    order = np.argsort(np.arange(nodes) * 0.618033988749895 % 1)
    cut = np.arange(1, min(estimates, nodes))
    growing = np.maximum(cut, np.ceil(nodes * (cut / min(estimates, nodes)) ** 2).astype(int))
    return [
        turn[start : start + most] for turn in np.split(order, growing) for start in range(0, len(turn), most)
    ]
