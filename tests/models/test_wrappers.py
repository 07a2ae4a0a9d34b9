"""Wrapped models are unwrapped, or give one error that says what to pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of
from torch import nn
from torch.optim.swa_utils import AveragedModel

from exclip_widget import ModelError, explain
from exclip_widget.models.towers import unwrap

IMAGE = Image.fromarray(scene(0))


class PassesOn(nn.Module):
    """A wrapper with the attributes of its model, like those of PEFT and FSDP."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.other = inner, nn.Linear(2, 2)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


class Training(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.nets = nn.ModuleDict({"clip": inner})
        self.head = nn.Linear(2, 2)


class _Pipeline(nn.Sequential):
    __module__ = "sentence_transformers.SentenceTransformer"


class _Step(nn.Module):
    __module__ = "sentence_transformers.models.CLIPModel"

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.model = inner


@pytest.mark.parametrize(
    "wrap",
    [
        PassesOn,
        AveragedModel,
        nn.DataParallel,
        lambda model: nn.DataParallel(PassesOn(model)),
        lambda model: _Pipeline(_Step(model)),
    ],
    ids=["passes on", "averaged", "data parallel", "twice", "sentence-transformers"],
)
def test_unwrapped(wrap: Any) -> None:
    model = build("plain")
    wrapped = wrap(model).eval()
    inputs = inputs_of(model) | {"steps": 2}
    expected = explain(model, IMAGE, "a red boat", **inputs, method="exclip").values
    np.testing.assert_allclose(
        explain(wrapped, IMAGE, "a red boat", **inputs, method="exclip").values, expected, atol=1e-6
    )


def test_a_holder_with_more_in_it_names_the_model() -> None:
    model = build("plain")
    with pytest.raises(ModelError, match=r"Training.*get_submodule\('nets\.clip'\)"):
        explain(Training(model), IMAGE, "a red boat", **inputs_of(model), method="exclip")


def test_what_changes_embeddings_is_not_thrown_away() -> None:
    class Dense(nn.Module):
        __module__ = "sentence_transformers.models.Dense"

    model = build("plain")
    pipeline = _Pipeline(_Step(model), Dense())
    assert unwrap(pipeline) is pipeline
    with pytest.raises(ModelError, match="wrap the whole in DualEncoder"):
        explain(pipeline, IMAGE, "a red boat", **inputs_of(model), method="exclip")


@pytest.mark.filterwarnings("ignore")
def test_a_traced_tower_is_refused_and_a_scripted_part_is_run() -> None:
    model: Any = build("plain")
    inputs = inputs_of(model) | {"steps": 2}
    expected = explain(model, IMAGE, "a red boat", **inputs, method="exclip").values
    block = model.visual.transformer.resblocks[0]
    block.mlp = torch.jit.script(block.mlp)
    np.testing.assert_allclose(
        explain(model, IMAGE, "a red boat", **inputs, method="exclip").values, expected, atol=1e-5
    )
    pixels = inputs["preprocess"](IMAGE)[None]
    model.visual = torch.jit.trace(build("plain").visual, pixels, check_trace=False)
    with pytest.raises(ModelError, match="'visual' was scripted or traced"):
        explain(model, IMAGE, "a red boat", **inputs, method="exclip")


def test_built_otherwise() -> None:
    class Otherwise(nn.Module):
        visual, transformer = nn.Linear(2, 2), 3
        encode_image = encode_text = None

    with pytest.raises(ModelError, match="DualEncoder"):
        explain(Otherwise(), IMAGE, "a red boat", method="exclip")
