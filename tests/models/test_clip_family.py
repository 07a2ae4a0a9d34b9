"""open_clip models with towers from other libraries."""

from __future__ import annotations

import copy
import tempfile
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import transformers
from support.cuts import picture
from support.definitions import assert_agree, captions_of, definition
from support.zoo.families import Family, of_open_clip
from support.zoo.inputs import preprocess_to
from support.zoo.models import build, inputs_of
from support.zoo.tokenizers import bert_tokenizer, saved_tokenizer
from support.zoo.weights import draw
from torch import Tensor, nn
from torch.nn import functional as F

from exclip_widget import ModelError, explain

CAPTION = "a red boat"


def with_mt5() -> tuple[Any, dict[str, Any]]:
    """Make a model with mT5, which has no positions, so no known length, and a hand-written GELU."""
    spoken = bert_tokenizer("xlm-roberta")
    config = transformers.MT5Config(
        vocab_size=len(spoken),
        d_model=24,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=3,
        pad_token_id=spoken.pad_token_id,
        decoder_start_token_id=spoken.pad_token_id,
    )
    vision = {"layers": 2, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32}
    text = {"hf_model_pretrained": False, "hf_pooler_type": "mean_pooler", "hf_proj_type": "linear"}
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        model = open_clip.CustomTextCLIP(12, vision, {"hf_model_name": folder} | text)
    return draw(model, 47), {"preprocess": preprocess_to(32, 32), "tokenizer": saved_tokenizer(spoken)}


class Adapter(nn.Module):
    """A wrapper that exposes only the image tower of its model, and may hold another model first."""

    def __init__(self, inner: Any, teacher: nn.Module | None = None) -> None:
        super().__init__()
        self.teacher, self.clip, self.visual = teacher, inner, inner.visual

    def encode_image(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.clip.encode_image(pixels)
        return found

    def encode_text(self, ids: Tensor) -> Tensor:
        found: Tensor = self.clip.encode_text(ids)
        return found


class Parts(nn.Module):
    """A wrapper with the parts of its model under names of its own."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.images, self.words, self.blocks = inner.visual, inner.token_embedding, inner.transformer
        self.whole = [inner]  # in a list, it is not a submodule

    @property
    def visual(self) -> nn.Module:
        return self.images

    def encode_image(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.images(pixels)
        return found

    def encode_text(self, ids: Tensor) -> Tensor:
        found: Tensor = self.whole[0].encode_text(ids)
        return found


@pytest.mark.parametrize("name", ["plain", "custom text", "small vocabulary", "openai"])
def test_a_wrapper_that_exposes_the_image_tower_only(name: str) -> None:
    model = build(name)
    caption, options = captions_of(name)[0], inputs_of(model)
    expected = definition(model, picture(), caption, rule="right", steps=2)
    for wrapped in (Adapter(model), Adapter(model, build("one block"))):
        found = explain(wrapped.eval(), picture(), caption, **options, method="exclip", rule="right", steps=2)
        assert_agree(found, expected, 1e-4)


def test_the_blocks_of_images_are_not_taken_for_those_of_captions() -> None:
    model = build("plain")
    options = inputs_of(model) | {"method": "exclip", "rule": "right", "steps": 2}
    found = explain(Parts(model).eval(), picture(), CAPTION, **options)
    assert found.text_layer == "blocks.resblocks.1"
    assert_agree(found, definition(model, picture(), CAPTION, rule="right", steps=2), 1e-4)


class Known(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")


@pytest.mark.parametrize("method", ["frozen", "exclip"])
@pytest.mark.parametrize("layer", [0, -1])
def test_a_tower_without_positions_and_with_gated_units(layer: int, method: str) -> None:
    model, options = with_mt5()
    assert model.text.context_length == 0
    pixels = options["preprocess"](picture())[None]
    with torch.no_grad():
        sides = model.encode_text(options["tokenizer"](CAPTION)), model.encode_image(pixels)
    options |= {"method": method, "text_layer": layer, "tolerance": 1e-3}
    found = explain(model, picture(), CAPTION, **options)
    assert found.similarity == pytest.approx(float(F.cosine_similarity(*sides)), abs=1e-5)
    assert found.residual is not None
    assert found.residual < 2e-3
    fused = copy.deepcopy(model)
    for block in fused.text.transformer.block:
        block.layer[1].DenseReluDense.act = Known()
    expected = explain(fused, picture(), CAPTION, **options).values
    np.testing.assert_allclose(found.values, expected, atol=1e-4 * np.abs(expected).max())


def _similarity(model: Any, options: dict[str, Any] | None = None) -> float:
    inputs = options or inputs_of(model)
    pixels = inputs["preprocess"](picture())[None]
    with torch.no_grad():
        text, image = model.encode_text(inputs["tokenizer"](CAPTION)), model.encode_image(pixels)
    return float(F.cosine_similarity(text, image))


def test_a_stem_of_several_convolutions() -> None:
    model: Any = build("plain")
    model.visual.conv1 = nn.Sequential(nn.Conv2d(3, 3, 1), model.visual.conv1)
    found = explain(model, picture(), CAPTION, **inputs_of(model))
    assert found.values.shape[1:] == (4, 4)
    assert found.similarity == pytest.approx(_similarity(model), abs=1e-5)


@pytest.mark.parametrize("tower", ["transformer", "visual.transformer"])
def test_a_function_in_place_of_an_mlp(tower: str) -> None:
    model: Any = build("plain")
    block = model.get_submodule(tower).resblocks[-1]
    mlp = block.mlp
    del block.mlp
    block.mlp = lambda x: 0.3 * mlp(x)
    found = explain(model, picture(), CAPTION, method="exclip", **inputs_of(model))
    assert found.similarity == pytest.approx(_similarity(model), abs=1e-5)


@pytest.mark.parametrize("method", ["frozen", "exclip"])
def test_half_precision_with_an_adapter_in_a_hook(method: str) -> None:
    """Weights in a closure are not converted with the model's."""
    model: Any = build("plain").bfloat16()
    adapter = nn.Linear(32, 32).bfloat16()
    model.visual.transformer.resblocks[0].register_forward_hook(lambda _, __, out: out + adapter(out))
    with pytest.raises(ModelError, match=r"torch.float32.*weights that model.to does not reach"):
        explain(model, picture(), CAPTION, method=method, image_layer=0, **inputs_of(model))


def dynamic_vit() -> Family:
    """Make a timm tower that takes images of any size, although open_clip notes one on it."""
    named = {"img_size": 64, "embed_dim": 32, "depth": 2, "num_heads": 4}
    vision = {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "timm_proj": "linear"}
    return of_open_clip(48, size=(64, 64), vision=vision, named=named | {"dynamic_img_size": True})


def twins() -> Family:
    """Make a timm tower whose stages are lists of blocks, which are never run themselves."""
    named = {"img_size": 64, "embed_dims": (8, 16, 16, 24), "depths": (1, 2, 1, 2), "num_heads": (1, 2, 2, 3)}
    vision = {"timm_model_name": "twins_svt_small", "timm_pool": "", "timm_proj": "linear"}
    return of_open_clip(49, size=(64, 64), vision=vision, named=named)


def test_a_dynamic_tower_takes_images_of_another_size() -> None:
    this, (height, width) = dynamic_vit(), (96, 64)
    options = this.options | {"preprocess": preprocess_to(height, width)}
    found = explain(this.model, picture(), CAPTION, **options)
    assert found.values.shape[1:] == (height // 16, width // 16)
    assert found.similarity == pytest.approx(_similarity(this.model, options), abs=1e-5)
    pixels = options["preprocess"](picture())[None]
    np.testing.assert_allclose(
        explain(this.model, pixels, CAPTION, **options).values, found.values, atol=1e-6
    )


@pytest.mark.parametrize(("layer", "grid"), [(0, 16), (1, 8), (2, 8), (3, 4), (-1, 2)])
def test_blocks_in_lists(layer: int, grid: int) -> None:
    this = twins()
    found = explain(this.model, picture(), CAPTION, image_layer=layer, **this.options)
    assert found.values.shape[1:] == (grid, grid)
    assert found.similarity == pytest.approx(_similarity(this.model, this.options), abs=1e-5)
