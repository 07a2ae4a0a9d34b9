"""Derivatives along the path at any cut of any tower, by automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import ModelError
from .onednn import fast_products

Nodes: TypeAlias = Float[Tensor, " nodes"]
"""Nodes in [0, 1] of a quadrature, or their weights."""


class Path(Protocol):
    """The straight path ``r + a d`` from a reference to an input at a cut, and the derivatives along it."""

    def bytes_per_node(self, cotangents: int) -> int:
        """Return roughly the memory that one node takes while so many cotangents are integrated."""

    def embeddings(self, nodes: Nodes) -> Float[Tensor, "nodes embed"]:
        """Return the embeddings at `nodes`."""

    def integrate_tangents(self, nodes: Nodes, weights: Nodes) -> Float[Tensor, "rows embed"]:
        """Return the factors ``T[s] = sum_n w_n (d emb / d x_s)(a_n) d_s`` of every row s."""

    def integrate_cotangents(
        self, nodes: Nodes, weights: Nodes, cotangents: Float[Tensor, "cotangents embed"]
    ) -> Float[Tensor, "cotangents rows"]:
        """Return the product of `cotangents` with this side's factors, without computing the factors."""


class CutPath:
    """The path through the rest of a tower.

    Parameters
    ----------
    run : callable
        From tokens, (batch, tokens, width), to embeddings, (batch, embed). Must be twice differentiable.
    reference, tokens : Tensor
        Where the path starts and ends, (tokens, width).
    row_index : Tensor, optional
        The row that each token belongs to, (tokens,). By default each is a row of its own.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        reference: Float[Tensor, "tokens width"],
        tokens: Float[Tensor, "tokens width"],
        row_index: Int[Tensor, " tokens"] | None = None,
    ) -> None:
        self.run = run
        self.reference = reference
        self.d = tokens - reference
        self.row_index = torch.arange(len(tokens)) if row_index is None else row_index
        self._bytes_per_node = 0

    def bytes_per_node(self, cotangents: int) -> int:
        """Return what autograd keeps of one node, as measured once. Cotangents go one after another."""
        del cotangents
        if not self._bytes_per_node:
            one = (self.reference + self.d)[None]
            self._bytes_per_node = max(
                1, _bytes_kept(self.run, torch.cat([one, one])) - _bytes_kept(self.run, one)
            )
        return self._bytes_per_node

    def embeddings(self, nodes: Nodes) -> Float[Tensor, "nodes embed"]:
        """Return the embeddings at `nodes`."""
        return self.run(self._at(nodes))

    def integrate_tangents(self, nodes: Nodes, weights: Nodes) -> Float[Tensor, "rows embed"]:
        """Return the factors, by forward mode for each row, or reverse mode for each of `embed`."""
        with sdpa_kernel(SDPBackend.MATH):  # fused attention cannot be differentiated twice
            x, embedded = self._record(nodes)
        if self._row_count() > embedded.shape[1]:
            unit = torch.eye(embedded.shape[1]).to(embedded)
            return self.integrate_cotangents(nodes, weights, unit).T
        with torch.enable_grad(), fast_products():
            # The pull-back of a cotangent is linear in it: its derivative pushes tangents forward.
            cotangent = torch.zeros_like(embedded, requires_grad=True)
            pulled = torch.autograd.grad(embedded, x, cotangent, create_graph=True)[0]
            moved = self._by_row(weights @ (pulled * self.d).sum(-1))
            factors = [torch.autograd.grad(along, cotangent, retain_graph=True)[0].sum(0) for along in moved]
        return torch.stack(factors)

    def integrate_cotangents(
        self, nodes: Nodes, weights: Nodes, cotangents: Float[Tensor, "cotangents embed"]
    ) -> Float[Tensor, "cotangents rows"]:
        """Return the product of `cotangents` with the factors, by a reverse-mode pass for each cotangent."""
        x, embedded = self._record(nodes)
        products = []
        with fast_products():
            for cotangent in cotangents:
                weighted = weights[:, None] * cotangent
                pulled = torch.autograd.grad(embedded, x, weighted, retain_graph=True)[0]
                products.append(self._by_row((pulled * self.d).sum((0, 2))))
        return torch.stack(products)

    def _record(self, nodes: Nodes) -> tuple[Tensor, Tensor]:
        """Return the tokens and embeddings at `nodes`, with the graph between them."""
        with torch.enable_grad():
            x = self._at(nodes).requires_grad_()
            embedded = self.run(x)
        if not embedded.requires_grad:
            raise ModelError(
                "no gradient reaches the layer: the model is quantised, or detaches on the way; "
                "methods 'similarity' and 'banzhaf' do without"
            )
        return x, embedded

    def _at(self, nodes: Nodes) -> Float[Tensor, "nodes tokens width"]:
        return self.reference + nodes[:, None, None] * self.d

    def _row_count(self) -> int:
        return int(self.row_index.max()) + 1

    def _by_row(self, of_tokens: Float[Tensor, " tokens"]) -> Float[Tensor, " rows"]:
        row_index = self.row_index.to(of_tokens.device)
        return of_tokens.new_zeros(self._row_count()).index_add(0, row_index, of_tokens)


def _bytes_kept(run: Callable[[Tensor], Tensor], nodes: Tensor) -> int:
    """Return how many bytes autograd keeps of a run on `nodes`, the model's weights included."""
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: Tensor) -> None:
        # Keeping the tensor would leak: an output that its own graph node holds is never freed. Keeping its
        # storage is enough for no other to take its place before all are counted.
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda nothing: nothing):
        run(nodes.detach().requires_grad_())
    return sum(storage.nbytes() for storage in kept.values())
