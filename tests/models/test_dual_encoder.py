"""A model of the user's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.explaining import IMAGE
from support.zoo.tokenizers import SmallTokenizer
from torch import nn

from exclip_widget import DualEncoder, Explainer, ParameterError, explain


class _Slots(nn.Module):
    """An image encoder whose five slots do not form a grid of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = nn.Linear(3, 40)
        self.last = nn.Linear(8, 6)
        self.words = nn.Embedding(64, 8)

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.last(self.slots(pixels.mean((2, 3))).reshape(len(pixels), 5, 8)).square().mean(1)

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        return self.last(self.words(ids)).tanh().mean(1)


def test_tokens_that_are_no_grid_are_named() -> None:
    model = _Slots()

    def own(**more: Any) -> DualEncoder:
        layers = {"text_layers": ["last"], "image_layers": ["last"]}
        return DualEncoder(model, encode_text=model.text, encode_image=model.image, **layers, **more)

    inputs = {"tokenizer": SmallTokenizer(), "preprocess": preprocess_of(48, 64)}
    with pytest.raises(
        TypeError, match=r"the 5 tokens at layer 'last' do not form a grid .* 48 x 64 pixels.*grid="
    ):
        explain(own(), IMAGE, "a boat", **inputs, method="exclip")
    result = explain(own(grid=(2, 2), extra_tokens=1), IMAGE, "a boat", **inputs, method="exclip")
    assert result.values.shape[1:] == (2, 2)
    assert result.cls.any()
    with pytest.raises(TypeError, match=r"holds 5 tokens; expected a grid of 3 x 2"):
        explain(own(grid=(3, 2)), IMAGE, "a boat", **inputs, method="exclip")


def preprocess_of(height: int, width: int) -> Any:
    def preprocess(image: Image.Image) -> torch.Tensor:
        small = np.asarray(image.resize((width, height)), dtype=np.float32) / 255
        return torch.from_numpy(small).permute(2, 0, 1)

    return preprocess


class _OneByOne(nn.Module):
    """A model whose code before the image layer takes a single image."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix, self.last = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 8), nn.Linear(8, 6)
        self.words = nn.Embedding(64, 8)
        self.passes = 0

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        (one,) = pixels
        self.passes += 1
        patches = self.patches(one[None]).flatten(2).transpose(1, 2)
        return self.last(self.mix(patches).tanh()).square().mean(1)

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        return self.last(self.words(ids)).tanh().mean(1)


def test_patches_are_found_once_and_one_image_at_a_time() -> None:
    model = _OneByOne()
    own = DualEncoder(
        model, encode_text=model.text, encode_image=model.image, text_layers=["last"], image_layers=["mix"]
    )
    inputs = {"tokenizer": SmallTokenizer(), "preprocess": preprocess_of(24, 32), "method": "exclip"}
    first = explain(own, IMAGE, "a boat", **inputs)
    assert first.values.shape[1:] == (3, 4)
    passes, model.passes = model.passes, 0
    again = explain(own, IMAGE, "a boat", **inputs)
    np.testing.assert_array_equal(again.values, first.values)
    assert model.passes < passes


class _Prompted(nn.Module):
    """A model with four prompts before the patches or, if they are not first, behind them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.is_first = True
        self.conv, self.words = nn.Conv2d(3, 16, 8, 8), nn.Embedding(64, 16)
        self.positions, self.prompts = nn.Parameter(torch.randn(16, 16)), nn.Parameter(torch.randn(4, 16))
        self.block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.last = nn.Linear(16, 6)

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        patches = self.conv(pixels).flatten(2).mT + self.positions
        prompts = self.prompts.expand(len(patches), -1, -1)
        parts = [prompts, patches] if self.is_first else [patches, prompts]
        return self.last(self.block(torch.cat(parts, 1)).mean(1))

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        return self.last(self.words(ids)).tanh().mean(1)

    def described(self) -> DualEncoder:
        layers = {"text_layers": ["last"], "image_layers": ["block"]}
        return DualEncoder(self, encode_text=self.text, encode_image=self.image, grid=(4, 4), **layers)


def test_patches_are_found_again_if_the_model_moves_them() -> None:
    model = _Prompted()
    own = model.described()
    pixels = torch.zeros(3, 32, 32)
    pixels[:, 8:16, 16:24] = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    inputs = {"tokenizer": SmallTokenizer(), "preprocess": preprocess_of(32, 32), "method": "similarity"}
    for is_first in (True, False, True):
        model.is_first = is_first
        rows = Explainer(own, **inputs).image_factors(pixels).rows
        assert rows == Explainer(model.described(), **inputs).image_factors(pixels).rows
        assert rows.first == (4 if is_first else 0)


def test_modules_in_place_of_their_paths() -> None:
    model = _OneByOne()
    layers: Any = [model.mix]
    with pytest.raises(ParameterError, match=r"image_layers=.*Linear.* is not a list of module paths"):
        DualEncoder(
            model, encode_text=model.text, encode_image=model.image, text_layers=["last"], image_layers=layers
        )
