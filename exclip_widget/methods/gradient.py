"""Gradient times activation, at the input alone: no path, no reference.

This is the second-order form of Grad-CAM's product that Sammani, Joukovsky and Deligiannis ("Visualizing and
Understanding Contrastive Learning", IEEE TIP 2024) call InteractionCAM, without rectification. As in exCLIP,
each side has ``(d f / d x_s) x_s``, and the product is taken in the embedding space.

Normalisation ignores the length of what it normalises. At the last block of a transformer, tokens act only
through normalised keys and values, so all these products are zero except the pooled token's. The default
is therefore the block before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..paths.autograd import InputPath, Path
from ..results.factors import Factors
from ..results.interactions import Estimate
from .base import Method, as_factors, interactions_at_input
from .side import Side


@dataclass(frozen=True)
class GradientActivation(Method):
    """Interactions of gradients times activations."""

    name: ClassVar = "gradient"
    default_layers: ClassVar = (-2, -2)
    needs_gradients: ClassVar = True
    needs_references: ClassVar = False

    def factors(self, side: Side, memory: int) -> Factors:
        """Return ``T[s] = (d f / d x_s)(x) x_s``: the path from the origin, evaluated at its end."""
        del memory
        path, once = self._path(side), side.tokens.new_ones(1)
        return as_factors(self, side, path.integrate_tangents(once, once), path.embeddings(once)[0])

    def refine(
        self, texts: Sequence[Factors], image: Side, estimates: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Yield interactions without computing the image's factors, as `IntegratedJacobians` does."""
        del estimates, memory
        yield interactions_at_input(texts, self._path(image), image)

    def _path(self, side: Side) -> Path:
        return side.path(torch.zeros_like(side.tokens), InputPath)
