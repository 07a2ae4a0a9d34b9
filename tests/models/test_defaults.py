"""What is known about a model without being given: its preprocessing and its tokenizer."""

from __future__ import annotations

import dataclasses

import numpy as np
import open_clip
import pytest
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from support.oracle import assert_close
from support.zoo.inputs import CAPTIONS, scene
from support.zoo.models import build, inputs_of, preprocess_for
from support.zoo.openai import clip
from support.zoo.tokenizers import clip_tokenizer

from exclip_widget import ExclipError, explain


@pytest.mark.parametrize("size", [(48, 64), (33, 47), (71, 40), (32, 32), (9, 200)])
def test_preprocessing_of_openai_models_is_known(size: tuple[int, int]) -> None:
    model, image = build("openai"), Image.fromarray(scene(4, size))
    found = explain(model, image, "a boat", steps=2, method="exclip")
    given_ = explain(model, image, "a boat", steps=2, preprocess=clip.clip._transform(32), method="exclip")
    assert_close(found.values, given_.values, 1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.4, 0.3)},
        {"interpolation": "bilinear"},
        {"resize_mode": "squash"},
        {"resize_mode": "longest", "fill_color": 90},
    ],
)
def test_preprocessing_of_open_clip_models_is_read_from_them(change: dict[str, object]) -> None:
    """The factory stores its preprocessing on the model, and every field of it counts."""
    model, image = build("plain"), Image.fromarray(scene(4, (50, 71)))
    config = PreprocessCfg(size=(32, 32), **change)
    open_clip.set_model_preprocess_cfg(model, dataclasses.asdict(config))
    preprocess = image_transform_v2(config, is_train=False)
    found = explain(model, image, "a boat", steps=2, method="exclip")
    given_ = explain(model, image, "a boat", steps=2, preprocess=preprocess, method="exclip")
    assert_close(found.values, given_.values, 1e-5)


def test_preprocessing_that_cannot_be_known_is_asked_for() -> None:
    model = build("plain")
    with pytest.raises(ExclipError, match="preprocess="):
        explain(model, Image.fromarray(scene(0)), "a boat", tokenizer=clip_tokenizer(), method="exclip")


@pytest.mark.parametrize("name", ["plain", "openai"])
def test_tokenizer_of_the_clip_vocabulary_is_known(name: str) -> None:
    model, image = build(name), Image.fromarray(scene(0))
    preprocess = preprocess_for(model)
    found = explain(model, image, CAPTIONS[3], steps=2, preprocess=preprocess, method="exclip")
    given_ = explain(model, image, CAPTIONS[3], steps=2, **inputs_of(model), method="exclip")
    assert found.tokens == given_.tokens
    np.testing.assert_array_equal(found.values, given_.values)


def test_tokenizer_that_cannot_be_known_is_asked_for() -> None:
    model = build("small vocabulary")
    with pytest.raises(ExclipError, match="tokenizer="):
        explain(model, Image.fromarray(scene(0)), "a boat", preprocess=preprocess_for(model), method="exclip")
