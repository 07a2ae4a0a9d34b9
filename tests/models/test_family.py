"""Models in any state: of unknown kinds, in other precisions, on other devices, wrapped, quantised."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from support.explaining import CAPTION, IMAGE, MODEL, found, refusal_of, values_of
from support.oracle import assert_close, relative_error
from support.zoo.families import family
from support.zoo.inputs import CAPTIONS, picture
from support.zoo.models import build, inputs_of, open_clip_model, openai_model
from support.zoo.openai import clip
from support.zoo.weights import mild
from torch import nn

from exclip_widget import (
    ModelError,
    explain,
)
from exclip_widget.methods import METHODS


class _Lookalike(nn.Module):
    """A model with the methods of a CLIP model but none of its parts."""

    def encode_text(self, text: torch.Tensor) -> torch.Tensor:
        return text.float()

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (nn.Linear(2, 2), "Linear"),
        (None, "None"),
        ("ViT-B-32", "str"),
        (open_clip.CLIP, "type"),
        (nn.Sequential(MODEL), "Sequential"),
        (MODEL.visual, "VisionTransformer"),
        (_Lookalike(), "_Lookalike"),
        ({}, "dict"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_model_of_an_unknown_kind(model: object, name: str) -> None:
    assert name in refusal_of(ModelError, picture(), model=model)


def _mixed(dtype: torch.dtype) -> nn.Module:
    """Make a model as open_clip's factory does with ``precision="fp16"`` or ``"bf16"``."""
    config = {"layers": 2, "width": 32}
    model = open_clip.CLIP(
        12,
        vision_cfg=config | {"head_width": 8, "patch_size": 8, "image_size": 32},
        text_cfg=config | {"heads": 4},
        cast_dtype=dtype,
    )
    model = mild(model)
    open_clip.model.convert_weights_to_lp(model, dtype)
    return model


def _openai_half() -> nn.Module:
    """Make a model as ``clip.load`` does on a GPU."""
    model = mild(openai_model())
    clip.model.convert_weights(model)
    return model


HALF = {
    "float16": lambda: mild(open_clip_model()).half(),
    "bfloat16": lambda: mild(open_clip_model()).bfloat16(),
    "float16, mixed": lambda: _mixed(torch.float16),
    "bfloat16, mixed": lambda: _mixed(torch.bfloat16),
    "custom text, float16": lambda: mild(open_clip_model(custom_text=True)).half(),
    "openai, float16": _openai_half,
}


@pytest.mark.parametrize("options", [{}, {"rule": "right"}, {"text_layer": 0, "image_layer": 0}])
@pytest.mark.parametrize("kind", HALF)
def test_half_precision(kind: str, options: dict[str, Any]) -> None:
    """The result is as close to that of float32 as half precision allows."""
    model = HALF[kind]()
    found, expected = (
        explain(m, picture(1), CAPTIONS[1], method="exclip", **options, **inputs_of(MODEL))
        for m in (model, copy.deepcopy(model).float())
    )
    assert found.values.dtype == np.float32
    assert_close(found.values, expected.values, 2e-2)
    assert found.similarity == pytest.approx(expected.similarity, abs=1e-2)
    assert found.total == pytest.approx(expected.total, abs=2e-2 * abs(expected.total) + 1e-3)
    assert len({p.dtype for p in model.parameters()} - {torch.float32}) == 1, "must stay in half precision"


def test_model_without_data() -> None:
    """Tensors on the meta device have a shape but no data."""
    assert "meta" in refusal_of(ModelError, picture(), model=build("plain").to("meta"))


def test_model_on_two_devices() -> None:
    model = build("plain")
    model.visual.to("meta")
    assert "meta" in refusal_of(ModelError, picture(), model=model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["plain", "openai"])
def test_model_on_a_gpu(name: str) -> None:
    model = build(name)
    expected = values_of(picture(), model=model)
    on_gpu = values_of(picture(), model=model.to("cuda"))
    assert_close(on_gpu, expected, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [0, -1])
def test_other_precisions(dtype: torch.dtype, method: str, layer: int) -> None:
    """Half models are differentiated in float32; only the rounding of their own activations remains."""
    options = {"method": method, "text_layer": layer, "image_layer": layer}
    model = build("plain").to(dtype)
    inputs = inputs_of(build("plain"))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    result = explain(model, IMAGE, CAPTION, **inputs, **options)
    exact = found(**options)
    assert result.values.dtype == np.float32
    rounding = {torch.float16: 0.02, torch.bfloat16: 0.15, torch.float64: 1e-4}[dtype]
    if method != "gradient" or layer == 0:  # at the last block, everything cancels
        assert relative_error(result.values, exact.values) < rounding
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_data_parallel_and_compiled_models_are_taken_out_of_their_wrapping() -> None:
    model = build("plain")
    inputs = inputs_of(model)
    expected = explain(model, IMAGE, CAPTION, **inputs, image_layer=0, method="exclip").values
    wrapped = [nn.DataParallel(model), torch.compile(model, backend="eager")]
    inner = build("plain")
    inner.visual = torch.compile(inner.visual, backend="eager")
    in_place = build("plain")
    in_place.visual.transformer.resblocks[0].compile(backend="eager")
    for given_model in (*wrapped, inner, in_place):
        result = explain(given_model, IMAGE, CAPTION, **inputs, image_layer=0, method="exclip")
        assert_close(result.values, expected, 1e-4)
    assert in_place.visual.transformer.resblocks[0]._compiled_call_impl is not None


def test_a_quantised_model_is_refused_by_name_where_gradients_are_needed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated
        model = torch.ao.quantization.quantize_dynamic(build("openai"), {nn.Linear}, dtype=torch.qint8)
    inputs = inputs_of(build("openai"))
    for layer in (-1, 0):
        with pytest.raises(TypeError, match=r"'.*c_fc' is quantised.*similarity.*banzhaf"):
            explain(model, IMAGE, CAPTION, **inputs, text_layer=layer, image_layer=layer, method="exclip")
    result = explain(model, IMAGE, CAPTION, **inputs, method="banzhaf", samples=8)
    assert np.isfinite(result.values).all()


def test_inputs_of_a_quantised_model_are_read_apart() -> None:
    """It rounds activations by one scale for a whole batch, padding included."""
    siglip = family("transformers SigLIP")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated
        model = torch.ao.quantization.quantize_dynamic(siglip.model, {nn.Linear}, dtype=torch.qint8)
    with torch.no_grad():
        text = siglip.encode_text(model, siglip.ids(CAPTION))
        own = torch.cosine_similarity(siglip.encode_image(model, siglip.pixels(IMAGE)), text)
    result = explain(model, IMAGE, CAPTION, **siglip.options, method="similarity")
    assert result.similarity == pytest.approx(float(own), abs=1e-4)
