"""Batch normalisation right before a feature map becomes tokens, which torch differentiates wrongly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.zoo.families import of_open_clip
from support.zoo.inputs import picture, preprocess_to
from support.zoo.tokenizers import SmallTokenizer
from torch import Tensor, nn

from exclip_widget import DualEncoder, Interactions, explain, explain_layers

METHODS: list[dict[str, Any]] = [
    {"method": "gradient"},
    {"method": "frozen"},
    {"method": "frozen", "rank": 2},
    {"method": "exclip", "steps": 1, "rule": "midpoint"},
    {"method": "exclip", "steps": 4},
]


class Affine(nn.Module):
    """What batch normalisation computes from its stored statistics."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        self.scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()[:, None, None]
        self.offset = norm.bias.detach()[:, None, None] - norm.running_mean[:, None, None] * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.offset


def with_statistics(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.copy_(0.1 * torch.randn(part.num_features, generator=generator))
            part.running_var.copy_(0.5 + torch.rand(part.num_features, generator=generator))
    return model.eval()


class Own(nn.Module):
    """Normalises a map before it becomes tokens, after it has been tokens, or both."""

    def __init__(self, where: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.where = where
        self.stem, self.map = nn.Conv2d(3, 16, 8, 8), nn.Conv2d(16, 16, 3, padding=1)
        self.norm: nn.Module = nn.BatchNorm2d(16)
        self.gate, self.last, self.words = nn.Linear(16, 16), nn.Linear(16, 6), nn.Embedding(64, 16)

    def image(self, pixels: Tensor) -> Tensor:
        found = self.map(self.stem(pixels))
        if self.where != "before tokens":
            tokens = found.flatten(2).mT
            found = (tokens * self.gate(tokens).sigmoid()).mT.reshape(found.shape)
        found = self.norm(found)
        if self.where == "after tokens":
            found = nn.functional.gelu(found)
        tokens = found.flatten(2).mT
        return self.last((tokens * self.gate(tokens).sigmoid()).mean(1))

    def text(self, ids: Tensor) -> Tensor:
        return self.last(self.words(ids)).tanh().mean(1)

    def explained(self, **options: Any) -> Interactions:
        described = DualEncoder(
            self,
            encode_text=self.text,
            encode_image=self.image,
            text_layers=["last"],
            image_layers=["map"],
        )
        inputs = {"preprocess": preprocess_to(32, 32), "tokenizer": SmallTokenizer()}
        return explain(described, picture(), "a red boat", **inputs, **options)


@pytest.mark.parametrize("options", METHODS)
@pytest.mark.parametrize("where", ["before tokens", "after tokens", "between tokens"])
def test_a_users_model(where: str, options: dict[str, Any]) -> None:
    model: Any = with_statistics(Own(where))
    found = model.explained(**options)
    model.norm = Affine(model.norm)
    expected = model.explained(**options)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5 * np.abs(expected.values).max())


class OfEachImage(nn.Module):
    """What `nn.InstanceNorm2d` computes."""

    def forward(self, x: Tensor) -> Tensor:
        apart = x - x.mean((2, 3), keepdim=True)
        return apart / (apart.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()


@pytest.mark.parametrize("options", METHODS[:1] + METHODS[3:])
@pytest.mark.parametrize("where", ["before tokens", "after tokens", "between tokens"])
def test_normalisation_of_each_image(where: str, options: dict[str, Any]) -> None:
    model: Any = with_statistics(Own(where))
    model.norm = nn.InstanceNorm2d(16)
    found = model.explained(**options)
    model.norm = OfEachImage()
    expected = model.explained(**options)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4 * np.abs(expected.values).max())


def replace_norms(model: nn.Module) -> None:
    for part in [*model.modules()]:
        for name, child in part.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(part, name, Affine(child))


@pytest.mark.parametrize("options", METHODS)
def test_a_librarys_model(options: dict[str, Any]) -> None:
    this = of_open_clip(
        52,
        size=(224, 224),
        vision={"timm_model_name": "efficientformer_l1", "timm_pool": "avg", "timm_proj": "linear"},
        named={"depths": (1, 1, 1, 2), "embed_dims": (8, 12, 16, 32), "num_vit": 1},
        embed_dim=32,
    )
    model: Any = with_statistics(this.model)
    given = {"image_layers": [0, -1], "text_layers": [-1], **this.options, **options}
    found = explain_layers(model, picture(), "a red boat", **given)
    alone = explain(model, picture(), "a red boat", image_layer=0, text_layer=-1, **this.options, **options)
    replace_norms(model.visual)
    for layers, expected in explain_layers(model, picture(), "a red boat", **given).items():
        tolerance = 1e-4 * np.abs(expected.values).max()
        np.testing.assert_allclose(found[layers].values, expected.values, atol=tolerance)
        if layers == (-1, 0):
            np.testing.assert_allclose(alone.values, expected.values, atol=tolerance)
