"""Matrix products on the CPU through oneDNN, where that is faster than torch's own choice.

torch multiplies float32 matrices with MKL, which takes its slow path on processors that are not Intel's.
oneDNN, which torch carries as well, does not mind the maker: on an AMD EPYC it is more than twice as
fast, and the products are three quarters of what an explanation costs. The numbers are float32's either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten


@contextmanager
def fast_products() -> Iterator[None]:
    """A context in which this thread's float32 products on the CPU are as fast as the machine has them."""
    if not _onednn_is_faster():
        yield
        return
    with _Unfused(), _ThroughOneDNN():  # type: ignore[no-untyped-call]
        yield


def _linear(x: Tensor, transposed: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, transposed.t(), bias, "none", [], "")
    return result


def _fits(*factors: Tensor) -> bool:
    return all(factor.dtype == torch.float32 and factor.is_cpu and factor.numel() for factor in factors)


def _mm(a: Tensor, b: Tensor) -> Tensor:
    return _linear(a, b, None) if _fits(a, b) else _aten.mm(a, b)


def _addmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    if _fits(a, b, c) and c.ndim == 1 and len(c) == b.shape[1] and beta == alpha == 1:
        return _linear(a, b, c)
    result: Tensor = _aten.addmm(c, a, b, beta=beta, alpha=alpha)
    return result


_INSTEAD: dict[object, Callable[..., Tensor]] = {_aten.mm.default: _mm, _aten.addmm.default: _addmm}


class _ThroughOneDNN(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation after autograd has, so that what is differentiated profits as well."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _INSTEAD.get(func, func)(*args, **(kwargs or {}))


class _Unfused(TorchFunctionMode):
    """Does nothing; but where one is there, attention modules do not fuse their products out of sight."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@cache
def _onednn_is_faster() -> bool:
    """Whether oneDNN is there, right, and known to be the faster one on a processor of this kind.

    Measured, not known, it would be another one where the machine is busy at that moment: the last digits
    of a result would change from one kernel to the next.
    """
    try:
        processor = torch.cpu.get_capabilities()
        x, weight = torch.linspace(-1, 1, 60).reshape(4, 15), torch.linspace(1, -1, 90).reshape(15, 6)
        right = torch.allclose(_linear(x, weight, None), x @ weight, rtol=1e-4, atol=1e-5)
    except (AttributeError, RuntimeError):  # torch is too old to tell, or was built without oneDNN
        return False
    # With AVX2 alone the two are equals, and on Intel's processors they are at all times.
    return right and "AMD" in processor.get("cpu_name", "") and processor.get("avx512_f", False)
