"""Gates of a recorded pass, held fixed: what is left is affine in the tokens of every layer.

A *gate* is what a network multiplies its signal by, or divides it by: attention weights, the denominators of
normalisation, the share of its input that an activation lets through, squeeze-and-excite and GLU gates. With
all gates held fixed, each operation on the way is affine, and so is the pass:

    f(x') = f(x) + sum_s J_s (x'_s - x_s)        exactly, for the network with its gates held at x

Autograd has recorded the pass as a graph. Its nodes are sorted into those that are linear, products in which
one factor is a gate, and functions whose gate is known. Hooks on the nodes replace the derivatives of the
last two. A node of any other kind is rejected with an error that names it, because guessing would be wrong.

Closely related: X-gradient (Hesse, Schaub-Meyer and Roth, NeurIPS 2021), conservative propagation through
transformers (Ali et al., ICML 2022), BiLRP for transformers (Vasileiou and Eberle, NAACL 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ModelError
from .autograd import differentiating
from .kinds import (
    LINEAR,
    PRODUCTS,
    SHARES,
    SHIFTS_AND_SCALES,
    SUMS_WITH_PRODUCTS,
    SWITCHES,
    WEIGHTS,
    Node,
    kind_of,
)
from .watched import Joined, WatchedPass, has_changed
from .without_zeros import nothing_like

Held: TypeAlias = Callable[[Tensor], Tensor]
"""From the gradient of an operation's output to that of its input, with its gate held."""

Gate: TypeAlias = Callable[[Node], Held]
"""From an operation's node to its derivative, which must not refer to the node, as the node refers to it."""


def _layer_norm(node: Node) -> Held:
    """Hold the scale of (x - mean) * scale; the mean is linear."""
    scale = _scaled(node._saved_weight, node._saved_result2)
    axes = tuple(range(-len(node._saved_normalized_shape), 0))

    def held(grad: Tensor) -> Tensor:
        moved = scale(grad)
        return moved - moved.mean(axes, keepdim=True)

    return held


def _rms_norm(node: Node) -> Held:
    return _scaled(node._saved_weight, node._saved_result1)


def _scaled(weight: Tensor | None, scale: Tensor) -> Held:
    scale = scale.detach()
    weight = None if weight is None else weight.detach()
    return lambda grad: (grad if weight is None else grad * weight.to(grad)) * scale


def _group_norm(node: Node) -> Held:
    groups, weight, scale = node._saved_group, node._saved_weight, node._saved_result2.detach()
    weight = None if weight is None else weight.detach()

    def held(grad: Tensor) -> Tensor:
        moved = grad if weight is None else grad * weight.reshape(-1, *[1] * (grad.ndim - 2))
        by_group = moved.reshape(len(grad), groups, -1) * scale.reshape(len(grad), groups, 1)
        found: Tensor = (by_group - by_group.mean(-1, keepdim=True)).reshape(grad.shape)
        return found

    return held


def _by_share(share: Callable[[Tensor], Tensor]) -> Gate:
    """Return the gate of a function x g(x): the share g(x) of its input that it lets through, held fixed."""

    def gate(node: Node) -> Held:
        let_through = share(node._saved_self.detach())
        return lambda grad: grad * let_through

    return gate


def _gelu(node: Node) -> Held:
    x = node._saved_self.detach()
    if node._saved_approximate == "tanh":
        let_through = (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    else:
        let_through = (1 + torch.erf(x / math.sqrt(2))) / 2
    return lambda grad: grad * let_through


def _elu(node: Node) -> Held:
    x, scale = node._saved_self.detach(), node._saved_scale
    let_through = _ratio(torch.ops.aten.elu(x, node._saved_alpha, scale, node._saved_input_scale), x, scale)
    return lambda grad: grad * let_through


def _ratio(y: Tensor, x: Tensor, at_zero: float) -> Tensor:
    """Return y / x, the gate of a function that is zero at zero and whose slope there is `at_zero`."""
    return torch.where(x == 0, at_zero, y / torch.where(x == 0, 1, x))


ACTIVATIONS: dict[str, Gate] = {
    "Gelu": _gelu,
    "Silu": _by_share(torch.sigmoid),
    "Hardswish": _by_share(F.hardsigmoid),
    "Mish": _by_share(lambda x: torch.tanh(F.softplus(x))),
    "Elu": _elu,
}
"""Functions x g(x): the input passes through, the gate g is held."""

NORMS: dict[str, Gate] = {
    "NativeLayerNorm": _layer_norm,
    "FusedRmsNorm": _rms_norm,
    "NativeGroupNorm": _group_norm,
}
"""Normalisations: what they divide by is held."""

STEP = 0.01
"""How far tokens are moved, as a fraction of their own length, to see what changes with them: far more than
rounding, and little enough for experts and masks to stay the same."""

BATCH_NORMS = frozenset("NativeBatchNorm CudnnBatchNorm MkldnnBatchNorm BatchNormWithUpdate".split())
"""Normalisations that are affine if they use their stored statistics."""


def hold_gates(embedded: Tensor, watched: WatchedPass, moved: WatchedPass | None = None) -> None:
    """Hold the gates of a recorded pass: later derivatives of `embedded` are those of the affine map.

    Parameters
    ----------
    embedded : Tensor
        The output of the pass, with its graph.
    watched : WatchedPass
        The mode that was active during the pass.
    moved : WatchedPass, optional
        That of a pass with tokens moved by `STEP`: whatever joins the signal must be the same there.

    Raises
    ------
    ModelError
        If the gate of some operation is not known, and the message names the operation; or if what autograd
        has saved for it can no longer be read.
    """
    with differentiating():
        _Graph(watched, moved).hold(embedded.grad_fn)


@dataclass
class _Graph:
    """The part of a graph that lies between the tokens and the embedding."""

    watched: WatchedPass
    moved: WatchedPass | None = None
    _of_gates: set[Node] = field(default_factory=set)
    """Operations in which all that depends on the tokens are gates, so that anything else passes through."""

    def hold(self, end: Node) -> None:
        """Visit every node that the signal passes through, from the embedding to the tokens."""
        seen, left = {end}, [end]
        while left:
            node = left.pop()
            for following in self._hold(node):
                if following not in seen:
                    seen.add(following)
                    left.append(following)
        self._require_complete(seen)

    def _require_complete(self, seen: set[Node]) -> None:
        """Raise `ModelError` if part of the signal passes where autograd does not see it."""
        seen = seen | self._of_gates
        again = [] if self.moved is None else self.moved.joined
        for one, other in zip_longest(self.watched.joined, again[: len(self.watched.joined)]):
            if one.node not in seen or (one.is_factor and self._joins_as_gate(one)):
                continue  # it ends in a gate, or is one
            if one.is_detached:
                raise ModelError(_DETACHED.format(one.name))
            if other is not None and other.name == one.name and has_changed(one, other, 1e-3 * STEP):
                raise ModelError(_UNSEEN.format(one.name))

    def _joins_as_gate(self, one: Joined) -> bool:
        """Return whether a factor from outside the signal is the gate of what it multiplies."""
        if one.node in self._of_gates:
            return False  # the signal is the gate
        if not one.is_detached or one.is_gate:
            return True
        # The activation of a gated linear unit is the gate, and the other factor is what passes through.
        factors = [each for each, _ in one.node.next_functions if self._has_signal(each)]
        return not any(map(self._ends_in_activation, factors))

    def _hold(self, node: Node) -> list[Node]:
        """Hold the gate of a node, if it has one, and return the nodes that the signal came from."""
        name = kind_of(node)
        factors = [
            (place, one) for place, (one, _) in enumerate(node.next_functions) if self._has_signal(one)
        ]
        following = [one for _, one in factors]
        if name in WEIGHTS and len(factors) > 1 and WEIGHTS[name] in [place for place, _ in factors]:
            raise unknown_gate(f"{node.name()} of two signals")
        if name == "CopySlices" and self.watched.hidden:
            done = " and ".join(sorted(self.watched.hidden))
            raise unknown_gate(f"{done}, in place on a part of a tensor,")
        if name in LINEAR or not factors:
            return following
        if name in PRODUCTS:
            return self._hold_product(node, name, factors)
        gate = ACTIVATIONS.get(name) or NORMS.get(name)
        if name == "Tanh":
            gate = self._gate_of_tanh
        is_affine = name in BATCH_NORMS and not node._saved_training  # uses its stored statistics
        if gate is None and not is_affine:
            raise unknown_gate(node.name())
        if [place for place, _ in factors] != [0]:
            raise unknown_gate(f"{node.name()}, whose weight or bias depends on the tokens,")
        if gate is not None:
            _replace(node, 0, gate(node))
        return following

    def _gate_of_tanh(self, node: Node) -> Held:
        try:
            x = self.watched.input_of(node)
        except KeyError:
            raise unknown_gate(f"{node.name()}, whose input is not known,") from None
        let_through = _ratio(node._saved_result.detach(), x, 1)
        return lambda grad: grad * let_through

    def _hold_product(self, node: Node, name: str, factors: list[tuple[int, Node]]) -> list[Node]:
        signals = [(place, one) for place, one in factors if not self.watched.signal.is_gate(one)]
        if name in SUMS_WITH_PRODUCTS:
            # The term that is added passes on, whatever happens to the product.
            added = [one for one in factors if one[0] == 0]
            of_product = [one for one in signals if one[0] != 0]
        else:
            added, of_product = [], signals
        if name == "Div" and len(of_product) > 1:
            of_product = [one for one in of_product if one[0] == 0]  # a denominator is a gate
        if name == "Div" and of_product and of_product[0][0] != 0:
            raise unknown_gate(f"{node.name()} of a constant")
        if len(of_product) > 1:
            # Such as silu(a) * b: the activation is the gate of a gated linear unit.
            plain = [one for one in of_product if not self._ends_in_activation(one[1])]
            if len(plain) != 1:
                raise unknown_gate(f"{node.name()} of two signals")
            of_product = plain
        going_on = added + of_product
        if not of_product and len(factors) > len(added):
            kinds, between = self._down_to_gates([one for one in factors if one not in added])
            if not kinds <= SWITCHES:
                raise unknown_gate(f"{node.name()} of a constant")
            self._of_gates |= {node, *between}
        stopped = [place for place, _ in factors if place not in {kept for kept, _ in going_on}]
        if stopped and going_on and name == "Bmm":
            ((kept, _),) = going_on
            _replace(node, kept, _weighted(node, kept))
        elif stopped:
            node.register_hook(_stopped_at(stopped))
        return [one for _, one in going_on]

    def _has_signal(self, node: Node) -> bool:
        return node in self.watched.signal

    def _down_to_gates(self, factors: list[tuple[int, Node]]) -> tuple[set[str], set[Node]]:
        """Return the kinds of the last gates on the way to some factors, and the nodes after these gates."""
        kinds, between, left = set(), set(), [one for _, one in factors]
        while left:
            node = left.pop()
            if self.watched.signal.is_last_gate(node):
                kinds.add(kind_of(node))
            elif node not in between:
                between.add(node)
                left += [one for one, _ in node.next_functions if self._has_signal(one)]
        return kinds, between

    def _ends_in_activation(self, node: Node) -> bool:
        """Return whether the last operation on a factor is an activation, as a function or written out."""
        node = self._without_constants(node)
        if kind_of(node) != "Mul":
            return kind_of(node) in ACTIVATIONS or kind_of(node) == "Tanh"
        # Such as x * sigmoid(x), or x * (1 + tanh(...)).
        return any(
            kind_of(self._without_constants(one)) in SHARES
            for one, _ in node.next_functions
            if self._has_signal(one)
        )

    def _without_constants(self, node: Node) -> Node:
        """Return the node before all operations that only reshape, shift or scale its output."""
        while kind_of(node) in SHIFTS_AND_SCALES:
            below = [one for one, _ in node.next_functions if self._has_signal(one)]
            if len(below) != 1:
                break
            (node,) = below
        return node


def unknown_gate(operation: str) -> ModelError:
    """Return the error about an operation whose gate is not known, with the methods that hold none."""
    return ModelError(
        f"the gate of {operation} is not known, so it cannot be held; methods 'exclip', 'gradient', "
        "'similarity' and 'banzhaf' do without"
    )


def _replace(node: Node, place: int, held: Held) -> None:
    """Replace autograd's derivatives at a node: one input gets that of `held`, the others get none.

    Autograd cannot be kept from computing its own derivatives, so it is given zeros that cost nothing.
    """
    came: list[Tensor | None] = []

    def before(outputs: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        came[:] = outputs[:1]
        return tuple(None if back is None else nothing_like(back) for back in outputs)

    def after(inputs: Sequence[Tensor | None], outputs: object) -> tuple[Tensor | None, ...]:
        del outputs
        back = came.pop()
        found = None if back is None else held(back)
        return tuple(found if at == place else None for at in range(len(inputs)))

    node.register_prehook(before)
    node.register_hook(after)


def _weighted(node: Node, kept: int) -> Held:
    """Return the derivative of a batch of products whose other factor is a gate: attention weights."""
    if kept == 0:
        right = node._saved_mat2.detach()
        return lambda back: back @ right.mH
    left = node._saved_self.detach()
    return lambda back: left.mH @ back


def _stopped_at(places: Sequence[int]) -> Callable[..., tuple[Tensor | None, ...]]:
    def hook(inputs: Sequence[Tensor | None], outputs: object) -> tuple[Tensor | None, ...]:
        del outputs
        return tuple(None if place in places else grad for place, grad in enumerate(inputs))

    return hook


_DETACHED = (
    "part of the signal is detached and rejoins it through {}, so no derivative shows its share; "
    "let gradients through it, or use method 'similarity' or 'banzhaf'"
)
_UNSEEN = (
    "part of the signal leaves torch, such as through NumPy or a number, and rejoins it through {}, so no "
    "derivative shows its share; compute it with torch, or use method 'similarity' or 'banzhaf'"
)
