"""Gradient times activation, at the input alone: no path, no reference.

The second-order form of Grad-CAM's product that Sammani, Joukovsky and Deligiannis ("Visualizing and
Understanding Contrastive Learning", IEEE TIP 2024) call InteractionCAM, without rectification: here each
side's ``(d f / d x_s) x_s`` meets the other's in the embedding, as in exCLIP.

Normalisation ignores the length of what it normalises. At the last block of a transformer, where tokens act
through normalised keys and values alone, all these products are therefore zero but for the pooled token's;
so the default is the block before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..paths.autograd import Path
from ..results.factors import Factors
from ..results.interactions import Estimate
from .base import as_factors, met_by, stacked
from .side import Side


@dataclass(frozen=True)
class GradientActivation:
    """Interactions of gradients times activations."""

    name: str = field(default="gradient", init=False)
    layers: tuple[int, int] = field(default=(-2, -2), init=False)
    differentiates: bool = field(default=True, init=False)

    def factors(self, side: Side, memory: int) -> Factors:
        """``T[s] = (d f / d x_s)(x) x_s``: the path from the origin, at its end."""
        del memory
        path, once = self._path(side)
        return as_factors(self, side, path.integrate_tangents(once, once), path.embeddings(once)[0])

    def meet(
        self, texts: Sequence[Factors], image: Side, frames: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Interactions without the picture's factors, as for integrated Jacobians."""
        del frames, memory
        path, once = self._path(image)
        (end,) = path.embeddings(once)
        met = path.integrate_cotangents(once, once, stacked(texts, end))
        yield met_by(texts, met / end.norm(), end)

    def _path(self, side: Side) -> tuple[Path, Tensor]:
        return side.path(torch.zeros_like(side.tokens)), side.tokens.new_ones(1)
