"""A pass observed operation by operation, for what autograd's graph does not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .kinds import (
    CONSTANT,
    LINEAR,
    LINEAR_IN_PLACE,
    PRODUCTS,
    SUMS_WITH_PRODUCTS,
    SWITCHES,
    Node,
    kind_of,
)


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
        self._is_gate: dict[Node, bool] = {}

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

    def is_gate(self, node: Node) -> bool:
        """Return whether a node's output depends on the tokens only through gates."""
        stack = [node]
        while stack:
            top = stack[-1]
            if top in self._is_gate:
                stack.pop()
                continue
            name = kind_of(top)
            below = self._below(top)
            if name in CONSTANT or self._divides_constant(top):
                self._is_gate[top] = True
            elif self.starts_at(top) or (name not in LINEAR and name not in PRODUCTS):
                self._is_gate[top] = False
            elif waiting := [one for one in below if one not in self._is_gate]:
                stack += waiting
                continue
            else:
                self._is_gate[top] = bool(below) and all(self._is_gate[one] for one in below)
            stack.pop()
        return self._is_gate[node]

    def is_last_gate(self, node: Node) -> bool:
        """Return whether a node is a gate by itself, and not because all that it depends on are gates."""
        return kind_of(node) in CONSTANT or (
            self._divides_constant(node) and not all(map(self.is_gate, self._below(node)))
        )

    def _divides_constant(self, node: Node) -> bool:
        """Return whether a node divides something that is not in the signal by something that is."""
        return kind_of(node) == "Div" and self._below(node) == [node.next_functions[1][0]]

    def _below(self, node: Node) -> list[Node]:
        """Return the nodes whose outputs a node takes, without those that do not depend on the tokens."""
        return [one for one, _ in node.next_functions if one in self]

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


@dataclass
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
    is_gate : bool
        Whether all that was detached is a gate, such as a norm.
    is_factor : bool
        Whether something of the signal is multiplied by it.
    joining : list
        The tensors and numbers that join.
    is_in_place : bool
        Whether the operation works in place, on all or part of a tensor.
    node : Node or None
        The operation's node in autograd's graph, known once the operation has returned.
    """

    name: str
    result: Tensor
    is_detached: bool
    is_gate: bool
    is_factor: bool
    joining: list[Tensor | float]
    is_in_place: bool
    node: Node = None


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
    branches : set of str
        Operators that take functions, such as torch.cond, and something of the signal.
    """

    supports_higher_order_operators = True

    def __init__(self, start: Tensor, *, is_own: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._is_own = is_own
        self.signal = Signal(start)
        self.hidden: set[str] = set()
        self.branches: set[str] = set()
        self._joined: list[Joined] = []
        self._detached: dict[int, Tensor] = {}  # keeps the tensors, so that no others get their ids
        self._gates: set[int] = set()  # of the detached, those that are gates

    @property
    def joined(self) -> list[Joined]:
        """Operations through which something joins the signal, in order."""
        self._find_nodes()
        return self._joined

    def _find_nodes(self) -> None:
        """Note the nodes of what has just joined, before an operation in place gives it another one."""
        for one in reversed(self._joined):
            if one.node is not None:
                break
            one.node = _whole(one.result).grad_fn if one.is_in_place else one.result.grad_fn

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        self._find_nodes()
        if not isinstance(func, OpOverload):
            if any(one in self.signal for one in tree_leaves(args) if isinstance(one, Tensor)):
                self.branches.add(func.__name__)
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
                self._note_joining(name, tree_leaves(summand), found, func._schema.is_mutable)
        elif (of_signal or is_detached) and name not in _SWITCHES | _MAKERS:
            if func._schema.is_mutable:
                found = [*found, *map(_whole, found)]
            self._detached |= {id(one): one for one in found}
            if name in _GATES or all(map(self._is_gate, [one for one in tensors if self._was_signal(one)])):
                self._gates |= set(map(id, found))

    def _was_signal(self, tensor: Tensor) -> bool:
        return tensor in self.signal or id(tensor) in self._detached

    def _is_gate(self, tensor: Tensor) -> bool:
        """Return whether something of the signal, or detached from it, is a gate."""
        if tensor in self.signal:
            return tensor.grad_fn is not None and self.signal.is_gate(tensor.grad_fn)
        return id(tensor) in self._gates

    def _note_joining(self, name: str, given: list[Any], found: list[Tensor], is_in_place: bool) -> None:
        """Note what joins the signal in `found`, of what an operation was given."""
        is_factor = name in _PRODUCTS and any(one in self.signal for one in given if isinstance(one, Tensor))
        detached = [one for one in given if id(one) in self._detached and one not in self.signal]
        joining = detached if self._is_own else [one for one in given if self._may_join(one)]
        if joining or detached:
            is_denominator = name == "div" and id(given[0]) not in self._detached
            is_gate = is_denominator or all(map(self._is_gate, detached))
            self._joined += [
                Joined(name, one, bool(detached), is_gate, is_factor, joining, is_in_place) for one in found
            ]

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


def _whole(tensor: Tensor) -> Tensor:
    """Return the tensor that a tensor is a view of, or the tensor itself."""
    base = tensor._base
    return tensor if base is None else base


def has_changed(one: Joined, other: Joined, least: float) -> bool:
    """Return whether what joins the signal differs between two passes, by this fraction at least."""
    pairs = zip(one.joining, other.joining, strict=False)
    return any(_differs(first, second, least) for first, second in pairs)


def are_alike(one: Sequence[Joined], other: Sequence[Joined], least: float) -> bool:
    """Return whether whatever joins the signal in either of two passes joins it in the other, unchanged."""
    return len(one) == len(other) and not any(
        has_changed(first, second, least) for first, second in zip(one, other, strict=True)
    )


def _differs(one: Tensor | float, other: Tensor | float, least: float) -> bool:
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return isinstance(one, float) and isinstance(other, float) and abs(one - other) > least * abs(one)
    if one.shape != other.shape:
        return True
    before, after = _dense(one.detach()), _dense(other.detach())
    # Masks are infinite in both.
    apart = torch.nan_to_num((before - after).float(), posinf=0, neginf=0).norm()
    return bool(apart > least * torch.nan_to_num(before.float(), posinf=0, neginf=0).norm())


def _dense(tensor: Tensor) -> Tensor:
    """Return a sparse tensor as a dense one, as torch cannot subtract sparse tensors of every layout."""
    return tensor if tensor.layout is torch.strided or tensor.is_nested else tensor.to_dense()


def _operations(kinds: frozenset[str]) -> frozenset[str]:
    """Return torch's names for the operations of these kinds of nodes in autograd's graph."""
    return frozenset(kind.lower() for kind in kinds)


_TANH = (torch.ops.aten.tanh.default, torch.ops.aten.tanh_.default)

_SWITCHES, _PRODUCTS = _operations(SWITCHES), _operations(PRODUCTS)
_GATES = _operations(CONSTANT | frozenset("Abs Amax Amin Max Min".split()))
"""Operations after which what was detached only scales what it multiplies."""
_SUMS_WITH_PRODUCTS = _operations(SUMS_WITH_PRODUCTS)
_MAKERS = frozenset(
    f"{how}{what}" for how in ("new", "") for what in "empty zeros ones full".split()
) | frozenset(f"{what}like" for what in "empty zeros ones full rand randn".split())
"""Operations that make a tensor of the shape of another one."""


def _hides(func: Any, args: Any) -> bool:
    """Return whether an operation works in place on part of a tensor and is not linear."""
    if not (func._schema.is_mutable and args and isinstance(args[0], Tensor) and args[0]._is_view()):
        return False
    name = func.overloadpacket.__name__
    if name in ("mul_", "div_"):  # by a constant
        return isinstance(args[1], Tensor) and args[1].grad_fn is not None
    return name not in LINEAR_IN_PLACE
