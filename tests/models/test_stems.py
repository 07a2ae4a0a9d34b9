"""Stems in place of a transformer's first convolution, compared with the one convolution that equals each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.cuts import picture
from support.zoo.families import FAMILIES
from support.zoo.models import build, inputs_of
from torch import Tensor, nn

from exclip_widget import DualEncoder, ParameterError, explain

CAPTION = "a red boat"


class Beside(nn.Module):
    """Two convolutions side by side, of which the second may have a low rank, as in LoRA."""

    def __init__(self, own: nn.Conv2d, more: nn.Module) -> None:
        super().__init__()
        self.own, self.more = own, more

    @property
    def weight(self) -> Tensor:  # clip and transformers read its dtype
        return self.own.weight

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.own(pixels) + self.more(pixels)
        return found


class Chain(nn.Sequential):
    """Modules one after another."""

    @property
    def weight(self) -> Any:
        return self[0].weight


class Unfolded(nn.Module):
    """A linear layer of each patch."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight, self.size = nn.Parameter(weight.flatten(1)), weight.shape[-1]

    def forward(self, pixels: Tensor) -> Tensor:
        patches = nn.functional.unfold(pixels, self.size, stride=self.size)
        rows, columns = (side // self.size for side in pixels.shape[2:])
        return (self.weight @ patches).unflatten(2, (rows, columns))


def _conv(weight: Tensor, **more: Any) -> nn.Conv2d:
    width, channels, size, _ = weight.shape
    conv = nn.Conv2d(channels, width, size, size, bias=False, **more)
    conv.weight = nn.Parameter(weight)
    return conv


def _side_by_side(own: Tensor) -> tuple[nn.Module, Tensor]:
    other = 0.5 * own.flip(0)
    return Beside(_conv(own), _conv(other)), own + other


def _low_rank(own: Tensor) -> tuple[nn.Module, Tensor]:
    up = own.mean((1, 2, 3)).reshape(-1, 1).expand(-1, 2)
    lora = nn.Sequential(_conv(own[:2]), _conv(up[..., None, None]))
    return Beside(_conv(own), lora), own + torch.einsum("or,rchw->ochw", up, own[:2])


def _pooled(own: Tensor) -> tuple[nn.Module, Tensor]:
    small = own[..., ::2, ::2]
    return Chain(_conv(small), nn.AvgPool2d(2)), small.repeat(1, 1, 2, 2) / 4


def _one_after_another(own: Tensor) -> tuple[nn.Module, Tensor]:
    first = torch.eye(3)[..., None, None].flip(0) * 0.5
    return Chain(_conv(first), _conv(own)), own.flip(1) * 0.5


def _named_padding(own: Tensor) -> tuple[nn.Module, Tensor]:
    return _conv(own, padding="valid"), own


def _linear(own: Tensor) -> tuple[nn.Module, Tensor]:
    return Unfolded(own), own


STEMS = (_side_by_side, _low_rank, _pooled, _one_after_another, _named_padding, _linear)
Make = Callable[[Tensor], tuple[nn.Module, Tensor]]


def _replaced(model: nn.Module, path: str, stem: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    holder, _, name = path.rpartition(".")
    setattr(model.get_submodule(holder), name, stem)
    return model.eval()


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("make", STEMS)
@pytest.mark.parametrize("name", ["tall picture, quick gelu", "openai", "transformers CLIP"])
def test_the_grid_is_that_of_the_stem(name: str, make: Make, layer: int) -> None:
    if name.startswith("transformers"):
        this = FAMILIES[name]()
        model, options, path = this.model, this.options, "vision_model.embeddings.patch_embedding"
    else:
        model, path = build(name), "visual.conv1"
        options = inputs_of(model)
    stem, weight = make(model.get_submodule(path).weight.detach())
    options = options | {"method": "exclip", "image_layer": layer, "steps": 3}
    found = explain(_replaced(model, path, stem), picture(), CAPTION, **options)
    expected = explain(_replaced(model, path, _conv(weight)), picture(), CAPTION, **options)
    assert found.similarity == pytest.approx(expected.similarity, abs=1e-5)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4 * np.abs(expected.values).max())


@pytest.mark.parametrize("grid", [(0, 4), (4,), (2.5, 3), "44", 4])
def test_a_grid_of_ones_own_is_checked(grid: Any) -> None:
    model: Any = build("plain")
    with pytest.raises(ParameterError, match=r"grid"):
        DualEncoder(
            model,
            encode_text=model.encode_text,
            encode_image=model.encode_image,
            text_layers=["transformer.resblocks.0"],
            image_layers=["visual.transformer.resblocks.0"],
            grid=grid,
        )
