"""The path at any cut of any tower, by automatic differentiation: slower than by hand, but general."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class CutPath:
    """The straight path ``r + a d`` from `reference` to `tokens`, both (tokens, width), at a cut.

    `run` takes (batch, tokens, width) at the cut to (batch, embed); it must be twice differentiable.
    `kept` is about how many numbers it keeps of one of the batch for the way back.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], reference: Tensor, tokens: Tensor, kept: int) -> None:
        self.run = run
        self.kept = kept
        self.reference = reference
        self.d = tokens - reference

    def numbers_per_node(self, _: int) -> int:
        """About how many numbers one node takes; cotangents go one after another."""
        return self.kept

    def ends(self) -> Tensor:
        """Embeddings of the reference and of the input, (2, embed)."""
        return self.run(torch.stack([self.reference, self.reference + self.d]))

    def integrate_tangents(self, nodes: Tensor, weights: Tensor) -> Tensor:
        """Factors ``T[s] = sum_n w_n (d emb / d x_s)(a_n) d_s``, (tokens, embed), a pass for each token."""
        x, embedded = self._follow(nodes)
        with torch.enable_grad():
            # The pull-back of a cotangent is linear in it: its derivative pushes tangents forward.
            cotangent = torch.zeros_like(embedded, requires_grad=True)
            pulled = torch.autograd.grad(embedded, x, cotangent, create_graph=True)[0]
            moved = weights @ (pulled * self.d).sum(-1)
            factors = [torch.autograd.grad(along, cotangent, retain_graph=True)[0].sum(0) for along in moved]
        return torch.stack(factors)

    def integrate_cotangents(self, nodes: Tensor, weights: Tensor, cotangents: Tensor) -> Tensor:
        """Product of `cotangents` with this side's factors, (cotangents, tokens), a pass for each row."""
        x, embedded = self._follow(nodes)
        met = []
        for cotangent in cotangents:
            weighted = weights[:, None] * cotangent
            pulled = torch.autograd.grad(embedded, x, weighted, retain_graph=True)[0]
            met.append((pulled * self.d).sum((0, 2)))
        return torch.stack(met)

    def _follow(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = (self.reference + nodes[:, None, None] * self.d).requires_grad_()
            return x, self.run(x)
