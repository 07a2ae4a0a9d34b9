"""The path of a pass whose gates are held: one node, and no quadrature error."""

from __future__ import annotations

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .autograd import CutPath, Nodes
from .gates import InputsOfTanh, hold_gates


class FrozenPath(CutPath):
    """The path through the rest of a tower with its gates held at the input, where it is straight.

    Its only node is 1, the input itself, so `nodes` and `weights` are ones.
    """

    def _record(self, nodes: Nodes) -> tuple[Tensor, Tensor]:
        # Fused attention hides its weights, which are gates.
        with sdpa_kernel(SDPBackend.MATH), InputsOfTanh() as tanhs:
            x, embedded = super()._record(nodes)
        hold_gates(embedded, [x], tanhs)
        return x, embedded
