"""Derivatives of batch normalisation, which torch gets wrong in one case.

For a single input on the CPU, torch (2.14 for one) reads a feature map in the wrong order if its channels lie
last in memory and those of its gradient do not, or the other way round. That happens if a model turns tokens
into a map or a map into tokens, without an activation in between. Instance normalisation runs the same code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .kinds import Node


def mend_batch_norms(embedded: Float[Tensor, "nodes embed"]) -> None:
    """Let autograd differentiate correctly any batch normalisation on the way to an embedding."""
    if not embedded.is_cpu:
        return
    stack: list[Node] = [embedded.grad_fn]
    seen: set[Node] = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        stack += [one for one, _ in node.next_functions]
        if "BatchNorm" in node.name():
            node.register_prehook(_with_channels_last)


def _with_channels_last(gradients: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """Return gradients with their channels last in memory, which are read right, however the map lies."""
    return tuple(map(_copied, gradients))


def _copied(gradient: Tensor | None) -> Tensor | None:
    if gradient is None or gradient.ndim < 4 or len(gradient) > 1:
        return gradient
    # Copied in any case, because torch goes by the stride of an axis of length one.
    return gradient.movedim(1, -1).clone(memory_format=torch.contiguous_format).movedim(-1, 1)
