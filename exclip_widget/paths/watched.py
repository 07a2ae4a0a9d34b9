"""A pass observed operation by operation, for what autograd's graph does not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .kinds import CONSTANT, LINEAR_IN_PLACE, PRODUCTS, SUMS_WITH_PRODUCTS, Node


@dataclass(frozen=True)
class Rejoined:
    """An operation through which something detached rejoins the signal, other than as a factor."""

    name: str
    result: Tensor
    origins: set[Node | Tensor]
    """What it was detached from: nodes of the graph, or tensors that the graph starts from."""


class WatchedPass(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records what autograd's graph of a pass does not show.

    That is the input of each tanh, whose gate is tanh(x) / x; in-place operations on part of a tensor; and
    where something detached rejoins the signal.

    Attributes
    ----------
    hidden : set of str
        In-place operations on a view of a tensor that are not linear.
    rejoined : list of Rejoined
        Operations through which something detached rejoins the signal, other than as a factor.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.hidden: set[str] = set()
        self.rejoined: list[Rejoined] = []
        self._detached: dict[int, tuple[Tensor, set[Node | Tensor]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if not isinstance(func, OpOverload):  # such as torch.cond, whose node is rejected by name
            return func(*args, **(kwargs or {}))
        before = None
        if func in (torch.ops.aten.tanh.default, torch.ops.aten.tanh_.default):
            before = args[0].detach().clone()
        if _hides(func, args):
            self.hidden.add(func.overloadpacket.__name__)
        result = func(*args, **(kwargs or {}))
        self._follow_detached(func, (*args, *(kwargs or {}).values()), result)
        if before is not None:
            # The result is kept as well, so that no other tensor gets its address.
            self._kept[result.data_ptr()] = before, result.detach()
        return result

    def _follow_detached(self, func: OpOverload, args: tuple[Any, ...], result: Any) -> None:
        """Follow what is detached until it becomes a gate or rejoins the signal."""
        given = [one for one in tree_leaves(args) if isinstance(one, Tensor)]
        found = [one for one in tree_leaves(result) if isinstance(one, Tensor) and one.is_floating_point()]
        sources = {one.grad_fn or one for one in given if one.requires_grad}
        origins = {
            source for one in given if id(one) in self._detached for source in self._detached[id(one)][1]
        }
        detaches = func is torch.ops.aten.detach.default or not torch.is_grad_enabled()
        name = func.overloadpacket.__name__.replace("_", "")
        if sources and not detaches:
            is_factor = name in _PRODUCTS and not (
                name in _SUMS_WITH_PRODUCTS and id(args[0]) in self._detached
            )
            if origins and not is_factor:
                self.rejoined += [Rejoined(name, one, origins) for one in found]
        elif (origins := origins | sources) and name not in _CONSTANT:
            # The tensors are kept as well, so that no others get their ids.
            self._detached |= {id(one): (one, origins) for one in found}

    def input_of(self, tanh: Node) -> Tensor:
        """Return the input of a tanh.

        Raises
        ------
        KeyError
            If it was not recorded.
        """
        before, _ = self._kept[tanh._saved_result.data_ptr()]
        return before


def _operations(kinds: frozenset[str]) -> frozenset[str]:
    """Return torch's names for the operations of these kinds of nodes in autograd's graph."""
    return frozenset(kind.lower() for kind in kinds)


_CONSTANT, _PRODUCTS = _operations(CONSTANT), _operations(PRODUCTS)
_SUMS_WITH_PRODUCTS = _operations(SUMS_WITH_PRODUCTS)


def _hides(func: Any, args: Any) -> bool:
    """Return whether an operation works in place on part of a tensor and is not linear."""
    if not (func._schema.is_mutable and args and isinstance(args[0], Tensor) and args[0]._is_view()):
        return False
    name = func.overloadpacket.__name__
    if name in ("mul_", "div_"):  # by a constant
        return isinstance(args[1], Tensor) and args[1].grad_fn is not None
    return name not in LINEAR_IN_PLACE
