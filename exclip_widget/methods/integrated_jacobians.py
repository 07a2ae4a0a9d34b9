"""exCLIP: integrated Jacobians, the method of the paper.

Möller, Tilli, Vu and Padó, "Explaining Caption-Image Interactions in CLIP Models with Second-Order
Attributions", TMLR 2025, Eq. 9 and 10; factorised, so that the widths of both towers are summed before the
two sides meet.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..paths.autograd import Path
from ..paths.quadrature import probes, quadrature
from ..results.factors import Factors
from ..results.interactions import Estimate, residual
from .base import as_array, as_factors, met_by, stacked
from .side import Side

FIRST_STEPS, MOST_STEPS = 5, 320
"""A tolerance is tried with so many nodes first, then with twice as many, up to so many."""


@dataclass(frozen=True)
class IntegratedJacobians:
    """Second-order attributions by integrated Jacobians.

    Parameters
    ----------
    steps : int
        Nodes of the quadrature along the path from reference to input.
    rule : str
        Its rule.
    tolerance : float, optional
        Take as many nodes instead of `steps` as the completeness residual needs to be no larger.
    """

    steps: int = 10
    rule: str = "arc-length"
    tolerance: float | None = None
    name: str = field(default="exclip", init=False)
    layers: tuple[int, int] = field(default=(-1, -1), init=False)
    differentiates: bool = field(default=True, init=False)

    def factors(self, side: Side, memory: int) -> Factors:
        """``T[s] = sum_n w_n (d f / d x_s)(r + a_n d) d_s``; they sum to ``f(x) - f(r)`` (completeness)."""
        path = side.path()
        fits = max(1, memory // path.bytes_per_node(len(side.tokens)))
        curve = self._curve(side, path, fits)
        start, end = curve[0], curve[-1]
        change = end - start
        for steps in self._attempts():
            nodes, weights = self._rule(steps, curve)
            parts = (path.integrate_tangents(nodes[turn], weights[turn]) for turn in turns(steps, 1, fits))
            values = sum(parts, start.new_zeros(()))
            # A side can be held against its own change alone; the other one will shrink or stretch it.
            left = float((values.sum(0) - change).norm() / change.norm())
            if self.tolerance is None or left <= self.tolerance / 10:
                break
        return as_factors(self, side, values, end, change=change, steps=steps, rule=self.rule)

    def meet(
        self, texts: Sequence[Factors], image: Side, frames: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Interactions without the picture's factors: the captions' go backwards through its tower instead.

        There are fewer of them than patches, and than widths of the embedding.
        """
        path = image.path()
        cotangents = stacked(texts, image.tokens)
        fits = max(1, memory // path.bytes_per_node(len(cotangents)))
        curve = self._curve(image, path, fits)
        start, end = curve[0], curve[-1]
        norm = end.norm()
        totals = [float((end - start) @ torch.from_numpy(text.change).to(end) / norm) for text in texts]
        for steps in self._attempts():
            nodes, weights = self._rule(steps, curve)
            summed, weighed, done = torch.zeros(()).to(start), 0.0, 0
            for turn in turns(steps, frames, fits):
                part = path.integrate_cotangents(nodes[turn], weights[turn], cotangents)
                share = float(weights[turn].sum() / weights.sum())
                summed, weighed, done = part + summed, weighed + share, done + len(turn)
                met = summed / (weighed * norm)
                estimates = [
                    one._replace(total=total, done=done, steps=steps)
                    for one, total in zip(met_by(texts, met, end), totals, strict=True)
                ]
                yield estimates
            residuals = [residual(float(one.matrix.sum(dtype=np.float64)), one.total) for one in estimates]
            if self.tolerance is None or max(residuals) <= self.tolerance:
                return
        warnings.warn(
            f"the completeness residual is {max(residuals):.2g} with {steps} nodes, more than "
            f"tolerance={self.tolerance:g}; the explanation holds the best there is",
            stacklevel=2,
        )

    def _curve(self, side: Side, path: Path, fits: int) -> Tensor:
        """Embeddings along the path where the rule wants them, from the reference's to the input's own."""
        nodes = side.tokens.new_tensor(probes(self.rule))
        return torch.cat([path.embeddings(some) for some in torch.split(nodes, fits)])

    def _rule(self, steps: int, curve: Tensor) -> tuple[Tensor, Tensor]:
        lengths = as_array(curve.diff(dim=0).norm(dim=1)).astype(np.float64)
        points = quadrature(self.rule, steps, lengths)
        nodes, weights = (curve.new_tensor(part) for part in points)
        return nodes, weights

    def _attempts(self) -> Iterator[int]:
        if self.tolerance is None:
            yield self.steps
            return
        steps = FIRST_STEPS
        while steps <= MOST_STEPS:
            yield steps
            steps *= 2


def turns(nodes: int, frames: int, most: int) -> list[np.ndarray]:
    """Node numbers in turns of at most `most`: a few first, for an early estimate, then ever more."""
    # Multiples of the golden ratio, modulo one, spread every prefix evenly over the path.
    order = np.argsort(np.arange(nodes) * 0.618033988749895 % 1)
    cut = np.arange(1, min(frames, nodes))
    growing = np.maximum(cut, np.ceil(nodes * (cut / min(frames, nodes)) ** 2).astype(int))
    return [
        turn[start : start + most] for turn in np.split(order, growing) for start in range(0, len(turn), most)
    ]
