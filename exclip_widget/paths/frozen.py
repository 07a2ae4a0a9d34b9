"""The path of a pass whose gates are held: one node, and no quadrature error."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .autograd import CutPath, Nodes, differentiating
from .cut import Cut
from .gates import WatchedPass, hold_gates
from .onednn import fast_products


class FrozenPath(CutPath):
    """The path through the rest of a tower with its gates held at the input, where it is straight.

    Its only node is 1, the input itself, so `nodes` and `weights` are ones.
    """

    def _record(self, nodes: Nodes) -> tuple[Tensor, Tensor]:
        # Fused attention hides its weights, which are gates.
        with sdpa_kernel(SDPBackend.MATH), WatchedPass() as watched:
            x, embedded = super()._record(nodes)
        hold_gates(embedded, x, watched)
        return x, embedded


def integrate_at_layers(
    cuts: Sequence[Cut],
    references: Sequence[Float[Tensor, "_ _"]],
    tokens: Sequence[Float[Tensor, "_ _"]],
    cotangents: Float[Tensor, "cotangents embed"],
) -> tuple[Float[Tensor, " embed"], list[Float[Tensor, "cotangents _"]]] | None:
    """Return the embedding, and products of `cotangents` with the factors at several layers, from one pass.

    A pull-back passes all layers on its way to the first one.

    Parameters
    ----------
    cuts : sequence of Cut
        Cuts of one tower, from the first layer to the last.
    references, tokens : sequence of Tensor
        Where the path at each layer starts and ends, (tokens, width).
    cotangents : Tensor
        What to pull back.

    Returns
    -------
    embedding : Tensor
        What the pass gave, (embed,).
    products : list of Tensor
        For each layer, (cotangents, tokens).
        None instead of both, if some layer does not lie on the way from the first one.
    """
    first, *later = cuts
    with sdpa_kernel(SDPBackend.MATH), WatchedPass() as watched, torch.enable_grad():
        start = tokens[0][None].clone().requires_grad_()
        embedded, passed = first.embed_through(start, later)
    natives = [native for native in passed if native is not None and native.requires_grad]
    if len(natives) < len(later) or not embedded.requires_grad:
        return None
    hold_gates(embedded, start, watched)
    found: list[list[Tensor]] = [[] for _ in cuts]
    with fast_products(), differentiating():
        for one in cotangents:
            pulled = torch.autograd.grad(
                embedded, [start, *natives], one[None], retain_graph=True, allow_unused=True
            )
            if any(part is None for part in pulled):
                return None
            at_later = (cut.tokens_of(part) for cut, part in zip(later, pulled[1:], strict=True))
            at_all = [pulled[0], *at_later]
            for rows, part, end, begin in zip(found, at_all, tokens, references, strict=True):
                rows.append((part[0] * (end - begin)).sum(-1))
    return embedded[0].detach(), [torch.stack(rows) for rows in found]
