"""Passes in which nothing attends to some tokens: they are there, but never read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

_SOFTMAXES = {torch.ops.aten._softmax.default, torch.ops.aten._safe_softmax.default}


@contextmanager
def only_attending_to(
    present: Bool[Tensor, "batch tokens"], scores: list[Tensor] | None = None
) -> Iterator[None]:
    """Run a block in which the attention weights of all tokens that are not `present` are zero.

    These tokens are removed from every softmax that has the shape of attention, after its input has been
    appended to `scores`, if given. Attention computed in any other way is unaffected, and a softmax over
    something else may have the same shape, so the caller must check that everything was hidden, and with
    `are_of_tokens` that nothing else was.

    Examples
    --------
    >>> attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)
    >>> tokens, other = torch.rand(1, 3, 4), torch.rand(4)
    >>> changed = torch.stack([tokens[0, 0], tokens[0, 1], other])[None]
    >>> with torch.no_grad(), only_attending_to(torch.tensor([[True, True, False]])):
    ...     (one, _), (two, _) = attention(tokens, tokens, tokens), attention(changed, changed, changed)
    >>> torch.equal(one[0, :2], two[0, :2])
    True
    """
    # Fused attention has no softmax of its own.
    with sdpa_kernel(SDPBackend.MATH), _Hiding(~present, scores):
        yield


def are_of_tokens(
    one: Float[Tensor, "... keys"], other: Float[Tensor, "... keys"], hidden: Bool[Tensor, " tokens"]
) -> bool:
    """Return whether scores are of tokens, given those of two passes that differ only in hidden tokens.

    As nothing attends to these, a query that is present scores them differently, and all others alike.
    """
    changes = torch.nan_to_num((one - other).flatten(0, -2).float(), posinf=0, neginf=0).abs()
    is_hidden = F.pad(hidden, (0, changes.shape[-1] - len(hidden))).to(changes.device)
    of_hidden = changes.where(is_hidden, 0).amax(-1)
    return bool(((of_hidden > 0) & (changes.where(~is_hidden, 0).amax(-1) < ROUNDING * of_hidden)).any())


ROUNDING = 1e-3
"""How much scores may change by rounding, as a fraction of how much others change. Both passes compute them
alike, so even in half precision they hardly do."""


class _Hiding(TorchDispatchMode):
    """Removes tokens from every softmax that has the shape of attention."""

    supports_higher_order_operators = True

    def __init__(self, hidden: Bool[Tensor, "batch tokens"], scores: list[Tensor] | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._hidden = hidden
        self._scores = scores

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        if func not in _SOFTMAXES or not self._is_over_tokens(args[0], args[1]):
            return func(*args, **kwargs)
        if self._scores is not None:
            self._scores.append(args[0])
        scores: Float[Tensor, "..."] = args[0].masked_fill(self._hidden_like(args[0]), -torch.inf)
        weights = func(scores, *args[1:], **kwargs)
        # For a token that may attend only to hidden ones.
        return weights.masked_fill((scores == -torch.inf).all(-1, keepdim=True), 0)

    def _is_over_tokens(self, scores: Tensor, axis: int) -> bool:
        batch, count = self._hidden.shape
        if axis not in (-1, scores.ndim - 1) or scores.ndim < 3 or len(scores) % batch:
            return False
        queries, keys = scores.shape[-2:]
        # Each token is a query, or fewer of them pool. A softmax for each token over fewer things, such as
        # experts, is not attention.
        return keys >= max(count, queries)

    def _hidden_like(self, scores: Tensor) -> Tensor:
        """Return which scores are of hidden tokens. Heads may have their own axis or share the batch's."""
        batch, count = self._hidden.shape
        # Whatever follows the tokens is padding, which stays unchanged.
        hidden = F.pad(self._hidden, (0, scores.shape[-1] - count)).repeat_interleave(len(scores) // batch, 0)
        return hidden.reshape(len(scores), *[1] * (scores.ndim - 2), -1).to(scores.device)
