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

from ..paths.frozen import FrozenPath, integrate_at_layers
from ..results.factors import Factors
from ..results.interactions import Estimate
from .base import Method, as_factors, interactions_at_input, norm_of, split_by_caption, stack_factors
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
        path, once = self._path(side), side.tokens.new_ones(1)
        values = path.integrate_tangents(once, once)
        return as_factors(self, side, values, path.embeddings(once)[0], change=values.sum(0))

    def refine(
        self, texts: Sequence[Factors], image: Side, estimates: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Yield interactions without computing the image's factors, as `IntegratedJacobians` does."""
        del estimates, memory
        yield _with_totals(interactions_at_input(texts, self._path(image), image))

    def refine_layers(
        self, texts: Sequence[Factors], images: Sequence[Side], memory: int
    ) -> list[list[Estimate]]:
        """Return the interactions at several layers of the image's tower, from one pass through it."""
        cuts = [image.differentiable() for image in images]
        references, tokens = [image.reference for image in images], [image.tokens for image in images]
        cotangents = stack_factors(texts, tokens[0])
        found = integrate_at_layers(cuts, references, tokens, cotangents)
        if found is None:
            return super().refine_layers(texts, images, memory)
        end, by_layer = found
        norm = norm_of(end, "image")
        return [_with_totals(split_by_caption(texts, one / norm, end)) for one in by_layer]

    def _path(self, side: Side) -> FrozenPath:
        cut = side.differentiable()
        return FrozenPath(cut, side.reference, side.tokens, side.row_index, cut.held)


def _with_totals(estimates: list[Estimate]) -> list[Estimate]:
    """Return estimates with their sums as totals: nothing is left over."""
    return [one._replace(total=float(one.matrix.sum(dtype=np.float64))) for one in estimates]
