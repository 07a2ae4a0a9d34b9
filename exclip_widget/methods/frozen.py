"""Frozen gates: the pass that the model made, with its attention weights and other gates held.

With its gates fixed a network is affine in the tokens of any of its layers, so a side's embedding is exactly
the sum of its tokens' parts and one constant:

    f(x) = f_held(r) + sum_s T[s],    T[s] = J_s (x_s - r_s)

with J the Jacobian of the held pass. No quadrature is needed, one pass serves all layers, and the
interactions are ``A = T P^T / (|f| |g|)``, as for the other methods. See `exclip_widget.paths.gates`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ..paths.frozen import FrozenPath, integrate_at_layers
from ..results.factors import Factors
from ..results.interactions import Estimate
from .base import Method, as_factors, norm_of, split_by_caption, stack_factors
from .side import Side


@dataclass(frozen=True)
class FrozenGates(Method):
    """Interactions of the affine maps that both towers are with their gates held.

    Examples
    --------
    >>> FrozenGates()
    FrozenGates()
    """

    name: ClassVar = "frozen"
    default_layers: ClassVar = (0, 1)
    needs_gradients: ClassVar = True

    def factors(self, side: Side, memory: int) -> Factors:
        """Return ``T[s] = J_s (x_s - r_s)``, which sum to what the held pass gains over the reference."""
        del memory
        path, once = self._path(side)
        values = path.integrate_tangents(once, once)
        return as_factors(self, side, values, path.embeddings(once)[0], change=values.sum(0))

    def refine(
        self, texts: Sequence[Factors], image: Side, estimates: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Yield interactions without computing the image's factors, as `IntegratedJacobians` does."""
        del estimates, memory
        path, once = self._path(image)
        (end,) = path.embeddings(once)
        interactions = path.integrate_cotangents(once, once, stack_factors(texts, end))
        yield _estimates(texts, interactions, end)

    def refine_layers(
        self, texts: Sequence[Factors], images: Sequence[Side], memory: int
    ) -> list[list[Estimate]]:
        """Return the interactions at several layers of the image's tower, from one pass through it."""
        cuts = [image.differentiable() for image in images]
        references, tokens = [image.reference for image in images], [image.tokens for image in images]
        cotangents = stack_factors(texts, tokens[0])
        by_layer = integrate_at_layers(cuts, references, tokens, cotangents)
        if by_layer is None:
            return super().refine_layers(texts, images, memory)
        end = cuts[0](tokens[0][None])[0]
        return [_estimates(texts, interactions, end) for interactions in by_layer]

    def _path(self, side: Side) -> tuple[FrozenPath, Tensor]:
        cut = side.differentiable()
        path = FrozenPath(cut, side.reference, side.tokens, side.row_index, cut.held)
        return path, side.tokens.new_ones(1)


def _estimates(
    texts: Sequence[Factors],
    interactions: Float[Tensor, "cotangents tokens"],
    embedding: Float[Tensor, " embed"],
) -> list[Estimate]:
    found = split_by_caption(texts, interactions / norm_of(embedding, "image"), embedding)
    # Nothing is left over: the sum is what is explained.
    return [one._replace(total=float(one.matrix.sum(dtype=np.float64))) for one in found]
