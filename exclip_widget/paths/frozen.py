"""The path of a pass whose gates are held: one node, and no quadrature error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .autograd import CutPath, Nodes, differentiating, gradients, require_gradient
from .batch_norm import mend_batch_norms
from .cut import Cut
from .gates import STEP, hold_gates, unknown_gate
from .onednn import fast_products
from .watched import WatchedPass, are_alike
from .without_zeros import WithoutZeros


class FrozenPath(CutPath):
    """The path through the rest of a tower with its gates held at the input, where it is straight.

    Its only node is 1, the input itself, so `nodes` and `weights` are ones.
    """

    _recorded: Tensor | None = None

    def integrate_cotangents(
        self, nodes: Nodes, weights: Nodes, cotangents: Float[Tensor, "cotangents embed"]
    ) -> Float[Tensor, "cotangents rows"]:
        """Return the product of `cotangents` with the factors, with a pull-back for each."""
        # It must also apply while checkpointed blocks run again in the backward pass.
        with sdpa_kernel(SDPBackend.MATH):
            return super().integrate_cotangents(nodes, weights, cotangents)

    def embeddings(self, nodes: Nodes) -> Float[Tensor, "nodes embed"]:
        """Return the embeddings at `nodes`: those of the recorded pass, if there was one."""
        return super().embeddings(nodes) if self._recorded is None else self._recorded

    def _embed(self, x: Float[Tensor, "nodes tokens width"]) -> Float[Tensor, "nodes embed"]:
        # Fused attention hides its weights, which are gates.
        with sdpa_kernel(SDPBackend.MATH):
            is_own = not isinstance(self.run, Cut) or self.run.is_own
            moved = None if is_own else watch_moved(self.run, x)
            with WatchedPass(x, is_own=is_own) as watched:
                embedded = super()._embed(x)
            if isinstance(self.run, Cut):
                _require_as_recorded(self.run, x, embedded, watched, moved)
            hold_gates(embedded, watched, moved)
        self._recorded = embedded.detach()
        return embedded


def watch_moved(run: Callable[[Tensor], object], x: Float[Tensor, "nodes tokens width"]) -> WatchedPass:
    """Run a pass with tokens that are moved by `STEP`, to see what changes with them."""
    generator = torch.Generator().manual_seed(0)
    step = torch.randn(x.shape, generator=generator, dtype=torch.float32, device="cpu").to(x)
    moved = (x.detach() + STEP * x.detach().norm() / step.norm() * step).requires_grad_()
    watched = WatchedPass(moved, is_own=False)
    with watched, torch.enable_grad():
        run(moved)
    return watched


def _require_as_recorded(
    cut: Cut,
    tokens: Float[Tensor, "nodes tokens width"],
    embedded: Float[Tensor, "nodes embed"],
    watched: WatchedPass,
    moved: WatchedPass | None,
) -> None:
    """Refuse a tower that computes something else than autograd has recorded.

    Raises
    ------
    ModelError
        If its embeddings or their derivatives differ, or some operator has no gate.
    """
    for name in sorted(watched.branches):
        raise unknown_gate(f"torch's operator {name!r}")
    cut.require_same(tokens, embedded)
    # If a gate is hidden from autograd, the derivative lacks its share; but gates are held anyway.
    if moved is not None and are_alike(watched.joined, moved.joined, 1e-3 * STEP):
        with differentiating():
            cut.require_true_derivatives(tokens, embedded)


class HeldPass:
    """One pass through a tower with its gates held, through which cotangents are pulled back.

    A pull-back passes all layers on its way to the first one.

    Parameters
    ----------
    cuts : sequence of Cut
        Cuts of one tower, from the first layer to the last.
    references, tokens : sequence of Tensor
        Where the path at each layer starts and ends, (tokens, width).

    Attributes
    ----------
    embedding : Tensor
        The output of the pass, (embed,).
    """

    def __init__(
        self,
        cuts: Sequence[Cut],
        references: Sequence[Float[Tensor, "_ _"]],
        tokens: Sequence[Float[Tensor, "_ _"]],
    ) -> None:
        self._cuts = cuts
        self._changes = [end - begin for begin, end in zip(references, tokens, strict=True)]
        first, *later = cuts
        self._start = tokens[0][None].clone().requires_grad_()
        with self._held():
            moved = None if first.is_own else watch_moved(first, self._start)
            with WatchedPass(self._start, is_own=first.is_own) as watched, torch.enable_grad():
                self._embedded, passed = first.embed_through(self._start, later)
            require_gradient(self._embedded)
            mend_batch_norms(self._embedded)
            _require_as_recorded(first, self._start, self._embedded, watched, moved)
            self._passed = [native for native in passed if native is not None and native.requires_grad]
            if len(self._passed) < len(later):
                raise NotOnTheWayError
            hold_gates(self._embedded, watched, moved)
        self.embedding = self._embedded[0].detach()
        self._pushed: tuple[Tensor, list[Tensor]] | None = None

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Run a block in which checkpointed blocks that run again repeat what they did in the pass."""
        # Fused attention hides its weights, which are gates.
        with sdpa_kernel(SDPBackend.MATH), self._cuts[0].held(self._start):
            yield

    def pull_back(self, cotangents: Float[Tensor, "cotangents embed"]) -> list[list[Float[Tensor, " _"]]]:
        """Return the products of some cotangents with the factors at each layer, (tokens,).

        Two at a time take a fifth less time than one after the other.

        Raises
        ------
        NotOnTheWayError
            If a layer does not lie on the way from the first one to the embedding.
        """
        _, *later = self._cuts
        with self._held(), fast_products(), WithoutZeros(), differentiating():
            pulled = gradients(
                self._embedded,
                [self._start, *self._passed],
                cotangents[:, None],
                allow_unused=bool(later),  # if the only layer gets nothing back, it is an error
            )
        return [
            self._along_the_way([None if part is None else part[number] for part in pulled])
            for number in range(len(cotangents))
        ]

    def push_forward(self, shares: Sequence[Float[Tensor, " _"]]) -> Float[Tensor, " embed"]:
        """Return a sum of factors: ``sum_l sum_s shares[l][s] T_l[s]`` over layers l and their tokens s.

        One pass does it for all layers, and costs about two pull-backs.

        Raises
        ------
        NotOnTheWayError
            If a layer does not lie on the way from the first one to the embedding, or a function on the way
            can be differentiated only once.
        """
        with self._held(), fast_products(), differentiating():
            if self._pushed is None:
                # A pull-back is linear in its cotangent, so its derivative pushes tangents forward.
                with torch.enable_grad():
                    cotangent = torch.zeros_like(self._embedded, requires_grad=True)
                    pulled = torch.autograd.grad(
                        self._embedded,
                        [self._start, *self._passed],
                        cotangent,
                        create_graph=True,
                        allow_unused=len(self._cuts) > 1,
                    )
                    self._pushed = cotangent, self._along_the_way(pulled)
            cotangent, moved = self._pushed
            with torch.enable_grad():
                along = sum((part * share).sum() for part, share in zip(moved, shares, strict=True))
            assert isinstance(along, Tensor)
            if not along.requires_grad:
                raise NotOnTheWayError
            (found,) = torch.autograd.grad(along, cotangent, retain_graph=True)
        pushed: Tensor = found[0]
        return pushed

    def _along_the_way(self, pulled: Sequence[Tensor | None]) -> list[Float[Tensor, " _"]]:
        """Return the product of what was pulled back to each layer with the change of each token there."""
        known = [part for part in pulled if part is not None]
        if len(known) < len(pulled):
            raise NotOnTheWayError
        first, *later = known
        at_later = (cut.tokens_of(part) for cut, part in zip(self._cuts[1:], later, strict=True))
        return [
            (part[0] * change).sum(-1) for part, change in zip((first, *at_later), self._changes, strict=True)
        ]


class NotOnTheWayError(Exception):
    """Raised if one pass cannot serve all layers, which must then be explained one after another."""
