"""Matrix products on the CPU through oneDNN, if that is faster than torch's own choice.

torch multiplies float32 matrices with MKL, which takes a slow path on processors that are not Intel's.
oneDNN, which torch ships as well, treats all processors alike. On an AMD EPYC it is more than twice as fast,
and products are three quarters of the cost of an explanation. Both compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten

MODES_ALLOW_BRANCHES = hasattr(TorchDispatchMode, "supports_higher_order_operators")
"""Whether torch runs its higher-order operators, such as torch.cond, under a mode: not before version 2.7."""


@contextmanager
def fast_products() -> Iterator[None]:
    """Run a block with this thread's float32 products on the CPU through oneDNN, if that is faster."""
    if not (_onednn_is_faster() and MODES_ALLOW_BRANCHES):
        yield
        return
    with nullcontext() if _are_patched() else _Unfused(), _ThroughOneDNN():  # type: ignore[no-untyped-call]
        yield


def _linear(x: Tensor, transposed: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, transposed.t(), bias, "none", [], "")
    return result


def _fits(*factors: Tensor) -> bool:
    return all(map(_is_known_to_onednn, factors))


def _is_known_to_onednn(tensor: Tensor) -> bool:
    return (
        tensor.dtype == torch.float32
        and tensor.is_cpu
        and tensor.layout is torch.strided  # oneDNN has no products of sparse matrices
        and tensor.numel() > 0
        and type(tensor) in _TENSORS
    )


_TENSORS = (Tensor, nn.Parameter)
"""Excludes tensors without memory, with which torch traces the branches of its higher-order operators."""


def _mm(a: Tensor, b: Tensor) -> Tensor:
    return _linear(a, b, None) if _fits(a, b) else _aten.mm(a, b)


def _addmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    if _fits(a, b, c) and c.ndim == 1 and len(c) == b.shape[1] and beta == alpha == 1:
        return _linear(a, b, c)
    result: Tensor = _aten.addmm(c, a, b, beta=beta, alpha=alpha)
    return result


_REPLACEMENTS: dict[object, Callable[..., Tensor]] = {_aten.mm.default: _mm, _aten.addmm.default: _addmm}


class _ThroughOneDNN(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Replaces products below autograd, so that derivatives benefit as well."""

    supports_higher_order_operators = True  # such as torch.cond and flex_attention, which run unchanged

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Let torch trace the branches of its higher-order operators, which it refuses under other modes."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))


_FUSED = {
    name: getattr(functional, name)
    for name in ("multi_head_attention_forward", "scaled_dot_product_attention", "linear", "softmax")
}


def _are_patched() -> bool:
    """Return whether somebody has replaced a function that attention runs only when it is not fused.

    A model that fuses attention does not run the replacement, so it must stay fused.
    """
    return any(getattr(functional, name) is not function for name, function in _FUSED.items())


class _Unfused(TorchFunctionMode):
    """Does nothing. Its presence alone keeps attention modules from fusing products into one operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@cache
def _onednn_is_faster() -> bool:
    """Return whether oneDNN is available, correct, and known to be faster on this kind of processor.

    This is deliberately not measured: on a busy machine, a measurement could decide differently in the next
    process, and the last digits of results would change with it.
    """
    try:
        processor = torch.cpu.get_capabilities()
        x = torch.linspace(-1, 1, 60, device="cpu").reshape(4, 15)
        weight = torch.linspace(1, -1, 90, device="cpu").reshape(15, 6)
        right = torch.allclose(_linear(x, weight, None), x @ weight, rtol=1e-4, atol=1e-5)
    except (AttributeError, RuntimeError):  # an old torch, or one built without oneDNN
        return False
    # On Intel's processors, and with AVX2 alone, the two are equally fast.
    return right and "AMD" in processor.get("cpu_name", "") and processor.get("avx512_f", False)
