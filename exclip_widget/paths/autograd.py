"""Derivatives along the path at any cut of any tower, by automatic differentiation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import ModelError
from .batch_norm import mend_batch_norms
from .cut import FAULTS, Cut, is_out_of_memory, says_enough
from .interruption import end_if_unwanted
from .onednn import fast_products

MOST_TOKENS = 256
"""Tangents go through a tower together up to this many tokens: below that, reading the tower's weights takes
longer than multiplying by them."""

Nodes: TypeAlias = Float[Tensor, " nodes"]
"""Nodes in [0, 1] of a quadrature, or their weights."""


class Path(Protocol):
    """The straight path ``r + a d`` from a reference to an input at a cut, and the derivatives along it."""

    def bytes_per_node(self, cotangents: int) -> int:
        """Return roughly the memory that one node takes while this many cotangents are integrated."""

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
    held : callable, optional
        Returns a context in which `run` can be differentiated, if it needs one.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        reference: Float[Tensor, "tokens width"],
        tokens: Float[Tensor, "tokens width"],
        row_index: Int[Tensor, " tokens"] | None = None,
        held: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.run = run
        self.reference = reference
        self.d = tokens - reference
        self.row_index = torch.arange(len(tokens), device="cpu") if row_index is None else row_index
        self._held = held
        self._bytes_per_node = 0
        self._width = 0  # of the embedding, known after the first pass
        self._is_twice_differentiable: bool | None = None

    def bytes_per_node(self, cotangents: int) -> int:
        """Return what autograd saves for one node, measured once. Cotangents go one after another.

        If it cannot be measured, one node is taken to fill all memory, so that nodes go one at a time.
        """
        del cotangents
        if not self._bytes_per_node:
            one = (self.reference + self.d)[None]
            _require_hooks()
            try:
                of_two, of_one = _bytes_kept(self.run, torch.cat([one, one])), _bytes_kept(self.run, one)
                self._bytes_per_node = max(1, of_two - of_one)
            except FAULTS as error:
                # Such as torch.func.grad, which refuses hooks. If the model itself fails, it will again.
                if says_enough(error):
                    raise
                self._bytes_per_node = sys.maxsize
        return self._bytes_per_node

    def embeddings(self, nodes: Nodes) -> Float[Tensor, "nodes embed"]:
        """Return the embeddings at `nodes`."""
        return self.run(self._at(nodes))

    def integrate_tangents(self, nodes: Nodes, weights: Nodes) -> Float[Tensor, "rows embed"]:
        """Return the factors, by forward mode for each row or reverse mode for each embedding dimension."""
        if self._is_twice_differentiable is not False:
            factors = self._push_forward(nodes, weights)
            if factors is not None:
                return factors
        return self.integrate_cotangents(nodes, weights, torch.eye(self._width, device="cpu").to(self.d)).T

    def integrate_cotangents(
        self, nodes: Nodes, weights: Nodes, cotangents: Float[Tensor, "cotangents embed"]
    ) -> Float[Tensor, "cotangents rows"]:
        """Return the product of `cotangents` with the factors, in one reverse-mode pass per cotangent."""
        with self._held(), fast_products():
            x, embedded = self._record(nodes)
            with differentiating():
                return torch.stack([self._pull_back(x, embedded, weights, one) for one in cotangents])

    def _push_forward(self, nodes: Nodes, weights: Nodes) -> Float[Tensor, "rows embed"] | None:
        """Return the factors by forward mode; None if reverse mode is cheaper, or only it is correct."""
        # Fused attention cannot be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH), self._held(), fast_products():
            x, embedded = self._record(nodes)
            if self._row_count() > embedded.shape[1]:
                return None
            try:
                factors = self._by_double_pull_back(x, embedded, weights)
                if self._is_twice_differentiable is None:
                    self._is_twice_differentiable = self._is_confirmed(factors, x, embedded, weights)
            except FAULTS as error:
                if is_out_of_memory(error):
                    raise
                self._is_twice_differentiable = False
        return factors if self._is_twice_differentiable else None

    def _by_double_pull_back(
        self, x: Tensor, embedded: Tensor, weights: Nodes
    ) -> Float[Tensor, "rows embed"]:
        with torch.enable_grad():
            # The pull-back of a cotangent is linear in it: its derivative pushes tangents forward.
            cotangent = torch.zeros_like(embedded, requires_grad=True)
            pulled = torch.autograd.grad(embedded, x, cotangent, create_graph=True)[0]
            moved = self._by_row(weights @ (pulled * self.d).sum(-1))
            together = max(1, MOST_TOKENS // (len(weights) * len(self.d)))
            factors = []
            for one_each in torch.split(torch.eye(len(moved), device="cpu").to(moved), together):
                (along,) = gradients(moved, [cotangent], one_each)
                assert along is not None  # or autograd would have raised
                factors.append(along.sum(1))
        return torch.cat(factors)

    def _is_confirmed(
        self, factors: Float[Tensor, "rows embed"], x: Tensor, embedded: Tensor, weights: Nodes
    ) -> bool:
        """Return whether one pull-back of a random cotangent agrees with the factors.

        If some function on the way can be differentiated only once, its contribution to them is missing.
        """
        generator = torch.Generator().manual_seed(0)
        random = torch.randn(embedded.shape[1], generator=generator, dtype=torch.float32, device="cpu").to(
            embedded
        )
        expected = self._pull_back(x, embedded, weights, random)
        return bool((factors @ random - expected).norm() <= 1e-3 * expected.norm())

    def _pull_back(
        self, x: Tensor, embedded: Tensor, weights: Nodes, cotangent: Float[Tensor, " embed"]
    ) -> Float[Tensor, " rows"]:
        """Return the product of a cotangent with the factors."""
        end_if_unwanted()
        pulled = torch.autograd.grad(embedded, x, weights[:, None] * cotangent, retain_graph=True)[0]
        return self._by_row((pulled * self.d).sum((0, 2)))

    def _record(self, nodes: Nodes) -> tuple[Tensor, Tensor]:
        """Return the tokens and embeddings at `nodes`, with the graph between them."""
        x = self._at(nodes).requires_grad_()
        return x, self._embed(x)

    def _embed(self, x: Float[Tensor, "nodes tokens width"]) -> Float[Tensor, "nodes embed"]:
        """Return the embeddings of tokens, with the graph between them."""
        with torch.enable_grad():
            embedded = self.run(x)
        require_gradient(embedded)
        mend_batch_norms(embedded)
        self._width = embedded.shape[1]
        return embedded

    def _at(self, nodes: Nodes) -> Float[Tensor, "nodes tokens width"]:
        return self.reference + nodes[:, None, None] * self.d

    def _row_count(self) -> int:
        return int(self.row_index.max()) + 1

    def _by_row(self, of_tokens: Float[Tensor, " tokens"]) -> Float[Tensor, " rows"]:
        return sum_by_row(of_tokens, self.row_index)


class InputPath(CutPath):
    """A path that is only evaluated at its end, where no residual would show derivatives that are wrong."""

    def _embed(self, x: Float[Tensor, "nodes tokens width"]) -> Float[Tensor, "nodes embed"]:
        embedded = super()._embed(x)
        if isinstance(self.run, Cut):
            with differentiating():
                self.run.require_true_derivatives(x, embedded)
        return embedded


def gradients(
    outputs: Tensor, inputs: Sequence[Tensor], cotangents: Tensor, *, allow_unused: bool = False
) -> list[Tensor | None]:
    """Return the gradients of `outputs` with respect to each input, for each cotangent.

    Cotangents go through the graph together, or one after another if an operation there cannot be batched.
    """
    options = {"retain_graph": True, "allow_unused": allow_unused}
    if len(cotangents) > 1:
        end_if_unwanted()
        try:
            return list(torch.autograd.grad(outputs, inputs, cotangents, is_grads_batched=True, **options))
        except FAULTS as error:
            if is_out_of_memory(error):
                raise
    each = []
    for one in cotangents:
        end_if_unwanted()
        each.append(torch.autograd.grad(outputs, inputs, one, **options))
    return [None if parts[0] is None else torch.stack(parts) for parts in zip(*each, strict=True)]


def sum_by_row(
    of_tokens: Float[Tensor, "tokens ..."], row_index: Int[Tensor, " tokens"]
) -> Float[Tensor, "rows ..."]:
    """Return the sum over the tokens of each row."""
    count = int(row_index.max()) + 1
    return of_tokens.new_zeros(count, *of_tokens.shape[1:]).index_add(
        0, row_index.to(of_tokens.device), of_tokens
    )


def require_gradient(embedded: Tensor) -> None:
    """Raise `ModelError` if autograd has no path from an embedding back to the layer."""
    if not embedded.requires_grad:
        raise ModelError(
            "no gradient reaches the layer: the model is quantised, detaches on the way, or runs in no_grad; "
            "methods 'similarity' and 'banzhaf' do without"
        )


@contextmanager
def differentiating() -> Iterator[None]:
    """Run a block that asks autograd for derivatives, with a clear error if there are none.

    Raises
    ------
    ModelError
        If the model cannot be differentiated.
    """
    try:
        yield
    except FAULTS as error:
        if says_enough(error):
            raise
        raise ModelError(_not_differentiable(error)) from error


def _not_differentiable(error: Exception) -> str:
    told = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if "reentrant" in told:
        told = "a checkpoint on the way is reentrant; pass use_reentrant=False to it"
    elif "not have been used" in told:
        # A reentrant checkpoint whose inputs need no gradient looks the same.
        told = (
            "something between the layer and the embedding detaches, or a checkpoint there is reentrant "
            "(pass use_reentrant=False to it)"
        )
    return f"the model cannot be differentiated: {told:.200}; methods 'similarity' and 'banzhaf' do without"


def _require_hooks() -> None:
    """Raise `ModelError` if the caller has disabled hooks on what autograd saves."""
    disabled = torch._C._autograd._saved_tensors_hooks_get_disabled_error_message()
    if disabled is not None:
        raise ModelError(
            "hooks on the tensors that autograd saves are disabled here "
            f"({disabled:.100}), and without them the memory that a pass takes is unknown; explain outside "
            "torch.autograd.graph.disable_saved_tensors_hooks, or use another method than 'exclip'"
        )


def _bytes_kept(run: Callable[[Tensor], Tensor], nodes: Tensor) -> int:
    """Return how many bytes autograd saves during a run on `nodes`, the model's weights included."""
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: Tensor) -> Tensor:
        # Sparse tensors, which are weights, have no storage; nor has a tensor that torch traces with.
        if tensor.layout is not torch.strided or type(tensor) not in (Tensor, nn.Parameter):
            return tensor
        # Keeping the tensor would leak: an output that its own graph node holds is never freed. Keeping its
        # storage is enough to keep the address from being reused before all are counted. What is detached
        # leads to no node, and serves a model that takes derivatives in its pass.
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor.detach()

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda noted: noted):
        run(nodes.detach().requires_grad_())
    return sum(storage.nbytes() for storage in kept.values())
