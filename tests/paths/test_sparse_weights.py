"""Sparse weights are explained like dense ones with the same zeros, on any processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from support.oracle import assert_close
from support.snapshots import unchanged
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of
from torch import Tensor, nn
from torch.nn import functional as F

from exclip_widget import explain
from exclip_widget.paths import onednn


class Sparse(nn.Module):
    """A linear layer with half of its weights, in any layout."""

    def __init__(self, linear: nn.Linear, layout: Callable[[Tensor], Tensor], call: str) -> None:
        super().__init__()
        weight = linear.weight.detach()
        pruned = weight * (weight.abs() > weight.abs().median())
        self.register_buffer("weight", layout(pruned))
        self.bias, self.call = linear.bias, call

    def forward(self, x: Tensor) -> Tensor:
        weight: Any = self.weight
        if self.call == "linear":
            return F.linear(x, weight) + self.bias
        product = torch.sparse.mm(weight, x.flatten(0, -2).T)
        return product.T.reshape(*x.shape[:-1], -1) + self.bias


def pruned(layout: Callable[[Tensor], Tensor], call: str) -> Any:
    model = build("plain")
    for blocks in (model.transformer.resblocks, model.visual.transformer.resblocks):
        blocks[1].mlp.c_proj = Sparse(blocks[1].mlp.c_proj, layout, call)
    return model


@pytest.mark.parametrize("is_faster", [False, True])
@pytest.mark.parametrize("method", ["exclip", "frozen", "gradient", "similarity"])
@pytest.mark.parametrize(
    ("layout", "call"), [(Tensor.to_sparse, "linear"), (Tensor.to_sparse, "mm"), (Tensor.to_sparse_csr, "mm")]
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_like_dense_weights(
    layout: Callable[[Tensor], Tensor],
    call: str,
    method: str,
    is_faster: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if is_faster and not torch.backends.mkldnn.is_available():
        pytest.skip("torch has no oneDNN here")
    monkeypatch.setattr(onednn, "_onednn_is_faster", lambda: is_faster)
    model = pruned(layout, call)

    def values(model: Any) -> Any:
        options = {"method": method, "text_layer": 0, "image_layer": 0}
        return explain(
            model, Image.fromarray(scene(0)), "two red boats", **options, **inputs_of(model)
        ).values

    with unchanged(model):
        found = values(model)
    assert_close(found, values(pruned(lambda weight: weight, "linear")), 1e-4)
