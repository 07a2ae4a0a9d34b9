"""The derivatives of the end of a last block are those of autograd, whatever its parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.zoo.weights import draw
from torch import Tensor, nn

from exclip_widget.models.tail import tail_of
from exclip_widget.paths.last_block import Tail

WIDTH, INNER, EMBED = 6, 10, 4


def layers(activation: nn.Module, **options: Any) -> list[nn.Module]:
    return [nn.Linear(WIDTH, INNER, **options), activation, nn.Linear(INNER, WIDTH, **options)]


USUAL: dict[str, dict[str, Any]] = {
    "GELU, a matrix": {"mlp": layers(nn.GELU()), "projection": torch.randn(WIDTH, EMBED)},
    "ReLU in place, a linear map with a bias": {
        "mlp": layers(nn.ReLU(inplace=True)),
        "projection": nn.Linear(WIDTH, EMBED),
    },
    "no biases, layer scale, no projection": {
        "mlp": layers(nn.SiLU(), bias=False),
        "scale": torch.rand(WIDTH),
        "final_norm": nn.LayerNorm(WIDTH, eps=0.1, elementwise_affine=False),
    },
    "dropout": {"mlp": [*layers(nn.Tanh()), nn.Dropout(0.5)], "projection": torch.randn(WIDTH, EMBED)},
}
UNUSUAL: dict[str, dict[str, Any]] = {
    "three linear maps": {"mlp": [*layers(nn.GELU()), nn.GELU(), nn.Linear(WIDTH, WIDTH)]},
    "a norm within": {"mlp": [*layers(nn.GELU())[:1], nn.LayerNorm(INNER), *layers(nn.GELU())[1:]]},
    "a norm in place of the activation": {"mlp": layers(nn.LayerNorm(INNER))},
    "a projection of two layers": {"projection": nn.Sequential(nn.Linear(WIDTH, 5), nn.Linear(5, EMBED))},
    "no norm at the end": {"final_norm": nn.Identity()},
    "nothing at all": {"mlp": [nn.Identity()], "final_norm": nn.Identity()},
}


@pytest.mark.parametrize("name", [*USUAL, *UNUSUAL])
def test_derivatives_are_those_of_autograd(name: str) -> None:
    parts = {"norm": nn.LayerNorm(WIDTH), "mlp": layers(nn.GELU()), "scale": None} | (USUAL | UNUSUAL)[name]
    parts.setdefault("final_norm", nn.LayerNorm(WIDTH, eps=1e-3))
    parts.setdefault("projection", None)
    modules = nn.ModuleList(
        [part for part in (*parts["mlp"], *parts.values()) if isinstance(part, nn.Module)]
    )
    draw(modules, 3).double().eval()
    tail = tail_of(**parts, dtype=torch.float64)
    assert isinstance(tail, Tail) == (name in USUAL)
    rows = torch.randn(3, WIDTH, dtype=torch.float64)

    def by_hand(row: Tensor) -> Tensor:
        inner = parts["norm"](row)
        for layer in parts["mlp"]:
            inner = layer(inner)
        row = parts["final_norm"](row + inner * (1 if parts["scale"] is None else parts["scale"].double()))
        projection = parts["projection"]
        if projection is None:
            return row
        return projection(row) if isinstance(projection, nn.Module) else row @ projection.double()

    torch.testing.assert_close(tail(rows), by_hand(rows))
    if not isinstance(tail, Tail):
        return
    tangents, weights = torch.randn(5, 3, WIDTH, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    slopes = torch.stack([torch.autograd.functional.jacobian(by_hand, row) for row in rows])
    pushed = torch.einsum("n,new,snw->se", weights, slopes, tangents)
    torch.testing.assert_close(tail.push_forward(rows, tangents, weights), pushed)
    cotangents = torch.randn(7, len(pushed[0]), dtype=torch.float64)
    torch.testing.assert_close(
        tail.pull_back(rows, cotangents), torch.einsum("ce,new->cnw", cotangents, slopes)
    )
