"""A pass observed operation by operation, for what autograd's graph does not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .kinds import LINEAR_IN_PLACE, PRODUCTS, SUMS_WITH_PRODUCTS, SWITCHES, Node


class Signal:
    """Everything in autograd's graph that depends on the tokens that a pass starts from.

    Parameters
    ----------
    start : Tensor
        The tokens, a leaf of the graph.
    """

    def __init__(self, start: Tensor) -> None:
        self._start = start
        self._depends: dict[Node, bool] = {}

    def __contains__(self, source: Node | Tensor | None) -> bool:
        """Return whether a node or tensor depends on the tokens."""
        if isinstance(source, Tensor):
            if source is self._start:
                return True
            source = source.grad_fn if source.requires_grad else None
        if source is not None and source not in self._depends:
            self._find_dependent(source)
        return source is not None and self._depends[source]

    def starts_at(self, node: Node) -> bool:
        """Return whether a node is that of the tokens themselves."""
        return getattr(node, "variable", None) is self._start

    def _find_dependent(self, end: Node) -> None:
        """Find out which nodes depend on the tokens, without recursion, as graphs are deep."""
        stack = [end]
        while stack:
            node = stack[-1]
            below = [one for one, _ in node.next_functions if one is not None]
            waiting = [one for one in below if one not in self._depends]
            if waiting and node not in self._depends:
                self._depends[node] = False  # until all below are known
                stack += waiting
                continue
            stack.pop()
            self._depends[node] = self.starts_at(node) or any(self._depends.get(one) for one in below)


@dataclass(frozen=True)
class Joined:
    """An operation through which something that is not in the signal joins it.

    Attributes
    ----------
    name : str
        The operation.
    result : Tensor
        Its result, which is part of the signal.
    is_detached : bool
        Whether what joins was detached from the signal.
    is_factor : bool
        Whether something of the signal is multiplied by it.
    joining : list
        The tensors and numbers that join.
    """

    name: str
    result: Tensor
    is_detached: bool
    is_factor: bool
    joining: list[Tensor | float]


class WatchedPass(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records what autograd's graph of a pass does not show.

    That is the input of each tanh, whose gate is tanh(x) / x; in-place operations on part of a tensor; and
    what joins the signal from outside, such as what was detached from it.

    Parameters
    ----------
    start : Tensor
        The tokens that the pass is given, where the graph starts.
    is_own : bool
        Whether the pass is known to run only its library's own code. If not, all that joins the signal is
        noted, as the signal may leave torch, through NumPy for one, and come back.

    Attributes
    ----------
    signal : Signal
        What depends on the tokens.
    hidden : set of str
        In-place operations on a view of a tensor that are not linear.
    joined : list of Joined
        Operations through which something joins the signal, in order.
    """

    supports_higher_order_operators = True

    def __init__(self, start: Tensor, *, is_own: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._is_own = is_own
        self.signal = Signal(start)
        self.hidden: set[str] = set()
        self.joined: list[Joined] = []
        self._detached: dict[int, Tensor] = {}  # keeps the tensors, so that no others get their ids

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if not isinstance(func, OpOverload):  # such as torch.cond, whose node is rejected by name
            return func(*args, **(kwargs or {}))
        before = None
        # Tensors of other types may have no memory, such as those that torch traces torch.cond with.
        if func in _TANH and type(args[0]) in (Tensor, nn.Parameter):
            before = args[0].detach().clone()
        if _hides(func, args):
            self.hidden.add(func.overloadpacket.__name__)
        given = (*args, *(kwargs or {}).values())
        if not self._is_own and func._schema.is_mutable:
            given = self._as_before(given)
        result = func(*args, **(kwargs or {}))
        self._follow(func, given, result)
        if before is not None:
            # The result is kept as well, so that no other tensor gets its address.
            self._kept[result.data_ptr()] = before, result.detach()
        return result

    def _as_before(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what an in-place operation is given, with a copy of what it changes if that may join."""
        changed, *rest = given
        if not isinstance(changed, Tensor) or not self._may_join(changed) or id(changed) in self._detached:
            return given
        return changed.detach().clone(), *rest

    def _follow(self, func: OpOverload, args: tuple[Any, ...], result: Any) -> None:
        """Follow what is detached until it becomes a gate, and note what joins the signal."""
        given = tree_leaves(args)
        tensors = [one for one in given if isinstance(one, Tensor)]
        found = [one for one in tree_leaves(result) if isinstance(one, Tensor) and one.is_floating_point()]
        of_signal = [one for one in tensors if one in self.signal]
        is_detached = any(id(one) in self._detached for one in tensors)
        name = func.overloadpacket.__name__.replace("_", "")
        if of_signal and torch.is_grad_enabled() and func is not torch.ops.aten.detach.default:
            for summand in (args[:1], args[1:]) if name in _SUMS_WITH_PRODUCTS else (args,):
                self._note_joining(name, tree_leaves(summand), found)
        elif (of_signal or is_detached) and name not in _SWITCHES:
            self._detached |= {id(one): one for one in found}

    def _note_joining(self, name: str, given: list[Any], found: list[Tensor]) -> None:
        """Note what joins the signal in `found`, of what an operation was given."""
        is_factor = name in _PRODUCTS and any(one in self.signal for one in given if isinstance(one, Tensor))
        detached = [one for one in given if id(one) in self._detached and one not in self.signal]
        joining = detached if self._is_own else [one for one in given if self._may_join(one)]
        if joining or detached:
            self.joined += [Joined(name, one, bool(detached), is_factor, joining) for one in found]

    def _may_join(self, given: object) -> bool:
        """Return whether the signal may have reached something by a way that torch does not see."""
        if isinstance(given, Tensor) and not isinstance(given, nn.Parameter):
            return given.is_floating_point() and given not in self.signal
        return isinstance(given, float)

    def input_of(self, tanh: Node) -> Tensor:
        """Return the input of a tanh.

        Raises
        ------
        KeyError
            If it was not recorded.
        """
        before, _ = self._kept[tanh._saved_result.data_ptr()]
        return before


def has_changed(one: Joined, other: Joined, least: float) -> bool:
    """Return whether what joins the signal differs between two passes, by this fraction at least."""
    pairs = zip(one.joining, other.joining, strict=False)
    return any(_differs(first, second, least) for first, second in pairs)


def _differs(one: Tensor | float, other: Tensor | float, least: float) -> bool:
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return isinstance(one, float) and isinstance(other, float) and abs(one - other) > least * abs(one)
    if one.shape != other.shape:
        return True
    # Masks are infinite in both.
    apart = torch.nan_to_num((one.detach() - other.detach()).float(), posinf=0, neginf=0).norm()
    return bool(apart > least * torch.nan_to_num(one.detach().float(), posinf=0, neginf=0).norm())


def _operations(kinds: frozenset[str]) -> frozenset[str]:
    """Return torch's names for the operations of these kinds of nodes in autograd's graph."""
    return frozenset(kind.lower() for kind in kinds)


_TANH = (torch.ops.aten.tanh.default, torch.ops.aten.tanh_.default)

_SWITCHES, _PRODUCTS = _operations(SWITCHES), _operations(PRODUCTS)
_SUMS_WITH_PRODUCTS = _operations(SUMS_WITH_PRODUCTS)


def _hides(func: Any, args: Any) -> bool:
    """Return whether an operation works in place on part of a tensor and is not linear."""
    if not (func._schema.is_mutable and args and isinstance(args[0], Tensor) and args[0]._is_view()):
        return False
    name = func.overloadpacket.__name__
    if name in ("mul_", "div_"):  # by a constant
        return isinstance(args[1], Tensor) and args[1].grad_fn is not None
    return name not in LINEAR_IN_PLACE
