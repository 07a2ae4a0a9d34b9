"""Skips multiplications by zero on the way back through a pass whose gates are held.

Much of what autograd would multiply there is known to be zero: the gradients of queries and keys, whose
attention weights are held; the gradients of all tokens but the pooled one in the last block; and the
derivative of a gate itself, which another one replaces.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten

_zeros: dict[tuple[torch.dtype, torch.device], Tensor] = {}


def nothing_like(tensor: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """Return zeros that take no memory, and that `WithoutZeros` does not multiply by."""
    kind = tensor.dtype, tensor.device
    if kind not in _zeros:
        with torch.inference_mode(False):
            _zeros[kind] = torch.zeros((), dtype=tensor.dtype, device=tensor.device)
    return _zeros[kind].expand(tensor.shape if shape is None else shape)


def _is_nothing(tensor: Tensor) -> bool:
    if tensor.layout is not torch.strided:  # a sparse tensor has no address
        return False
    zero = _zeros.get((tensor.dtype, tensor.device))
    return zero is not None and tensor.data_ptr() == zero.data_ptr()


class WithoutZeros(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Multiplies only what is not zero, in the pull-backs that run inside its block."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if func is _aten.mm.default:
            return _mm(*args)
        if func is _aten.bmm.default and any(map(_is_nothing, args)):
            left, right = args
            return nothing_like(left, (left.shape[0], left.shape[1], right.shape[2]))
        if func in _BY_ELEMENT and _is_nothing(args[0]):
            return args[0]
        return func(*args, **(kwargs or {}))


_BY_ELEMENT = {
    getattr(_aten, f"{name}_backward").default
    for name in ("gelu", "silu", "hardswish", "mish", "elu", "tanh")
}
"""Derivatives that multiply an incoming gradient element by element."""


def _mm(back: Tensor, weight: Tensor) -> Tensor:
    if back.layout is not torch.strided or weight.layout is not torch.strided:
        return torch.mm(back, weight)  # torch cannot pick rows of a sparse matrix
    # A packed projection of queries, keys and values: the gradients of the first two are zero.
    held = 2 * weight.shape[1]
    if back.shape[1] == 3 * weight.shape[1] and not back[:, :held].any():
        return torch.mm(back[:, held:], weight[held:])
    # Check one row first: in most products none is zero, and checking all of them takes time.
    if len(back) >= _ROWS and not back[len(back) // 3].any():
        rows = back.any(1).nonzero()[:, 0]
        if len(rows) < len(back) // 2:
            product = back.new_zeros(len(back), weight.shape[1])
            return product.index_copy(0, rows, torch.mm(back[rows], weight))
    return torch.mm(back, weight)


_ROWS = 16
"""Fewer rows than this are multiplied faster than they are checked."""
