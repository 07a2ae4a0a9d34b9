"""The path at any cut of any tower, by automatic differentiation: slower than by hand, but general."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import ModelError
from .onednn import fast_products


class Path(Protocol):
    """The straight path ``r + a d`` from a reference to an input at a cut, and the derivatives along it.

    `nodes` and `weights` of a quadrature are (nodes,).
    """

    def bytes_per_node(self, cotangents: int) -> int:
        """About how much memory one node takes while so many cotangents are integrated."""

    def embeddings(self, nodes: Tensor) -> Tensor:
        """Embeddings at `nodes`, (nodes, embed)."""

    def integrate_tangents(self, nodes: Tensor, weights: Tensor) -> Tensor:
        """Factors ``T[s] = sum_n w_n (d emb / d x_s)(a_n) d_s``, (tokens, embed)."""

    def integrate_cotangents(self, nodes: Tensor, weights: Tensor, cotangents: Tensor) -> Tensor:
        """Product of `cotangents`, (cotangents, embed), with this side's factors: (cotangents, tokens)."""


class CutPath:
    """The path from `reference` to `tokens`, both (tokens, width), through `run`.

    `run` takes (batch, tokens, width) to (batch, embed); it must be twice differentiable. `owners`,
    (tokens,), says which tokens share a factor; by default each has its own.
    """

    def __init__(
        self, run: Callable[[Tensor], Tensor], reference: Tensor, tokens: Tensor, owners: Tensor | None = None
    ) -> None:
        self.run = run
        self.reference = reference
        self.d = tokens - reference
        self.owners = torch.arange(len(tokens)) if owners is None else owners
        self._kept = 0

    def bytes_per_node(self, cotangents: int) -> int:
        """What the run keeps of one node for the way back, measured; cotangents go one after another."""
        del cotangents
        if not self._kept:
            one = (self.reference + self.d)[None]
            self._kept = max(1, _bytes_kept(self.run, torch.cat([one, one])) - _bytes_kept(self.run, one))
        return self._kept

    def embeddings(self, nodes: Tensor) -> Tensor:
        """Embeddings at `nodes`, (nodes, embed)."""
        return self.run(self._at(nodes))

    def integrate_tangents(self, nodes: Tensor, weights: Tensor) -> Tensor:
        """Factors ``T[s] = sum_n w_n (d emb / d x_s)(a_n) d_s``: a pass for each, or for each of `embed`."""
        with sdpa_kernel(SDPBackend.MATH):  # fused attention cannot be differentiated twice
            x, embedded = self._follow(nodes)
        if self._count() > embedded.shape[1]:
            unit = torch.eye(embedded.shape[1]).to(embedded)
            return self.integrate_cotangents(nodes, weights, unit).T
        with torch.enable_grad(), fast_products():
            # The pull-back of a cotangent is linear in it: its derivative pushes tangents forward.
            cotangent = torch.zeros_like(embedded, requires_grad=True)
            pulled = torch.autograd.grad(embedded, x, cotangent, create_graph=True)[0]
            moved = self._shared(weights @ (pulled * self.d).sum(-1))
            factors = [torch.autograd.grad(along, cotangent, retain_graph=True)[0].sum(0) for along in moved]
        return torch.stack(factors)

    def integrate_cotangents(self, nodes: Tensor, weights: Tensor, cotangents: Tensor) -> Tensor:
        """Product of `cotangents` with this side's factors, (cotangents, tokens), a pass for each row."""
        x, embedded = self._follow(nodes)
        met = []
        with fast_products():
            for cotangent in cotangents:
                weighted = weights[:, None] * cotangent
                pulled = torch.autograd.grad(embedded, x, weighted, retain_graph=True)[0]
                met.append(self._shared((pulled * self.d).sum((0, 2))))
        return torch.stack(met)

    def _follow(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = self._at(nodes).requires_grad_()
            embedded = self.run(x)
        if not embedded.requires_grad:
            raise ModelError(
                "no gradient reaches the layer: the model is quantised, or detaches on the way; "
                "methods 'similarity' and 'banzhaf' do without"
            )
        return x, embedded

    def _at(self, nodes: Tensor) -> Tensor:
        return self.reference + nodes[:, None, None] * self.d

    def _count(self) -> int:
        return int(self.owners.max()) + 1

    def _shared(self, of_tokens: Tensor) -> Tensor:
        owners = self.owners.to(of_tokens.device)
        return of_tokens.new_zeros(self._count()).index_add(0, owners, of_tokens)


def _bytes_kept(run: Callable[[Tensor], Tensor], nodes: Tensor) -> int:
    """How many bytes autograd keeps of a run on so many nodes, the model's weights among them."""
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: Tensor) -> None:
        # Not the tensor: nothing goes back through this run, and an output that its own node holds is never
        # freed. But its storage, so that no other takes the place before all are counted.
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda nothing: nothing):
        run(nodes.detach().requires_grad_())
    return sum(storage.nbytes() for storage in kept.values())
