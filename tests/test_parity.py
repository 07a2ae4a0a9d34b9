"""Parity with exclip 1.1 itself, in all entries, on random models of both packages."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
from PIL import Image
from support.oracle import assert_close, blocks_of, explain_slowly
from support.zoo.inputs import CAPTIONS, scene
from support.zoo.models import build, inputs_of, openai_model, picture_size, preprocess_for
from support.zoo.tokenizers import clip_tokenizer
from support.zoo.weights import spread_normalisation
from torch import Tensor, nn

from exclip_widget import explain

with warnings.catch_warnings():
    # exclip imports OpenAI's package, which imports the deprecated pkg_resources.
    warnings.simplefilter("ignore")
    exclip = pytest.importorskip("exclip", reason="pip install --no-deps exclip==1.1")

SQUARE = ("plain", "one block", "layer scale", "openai", "openai, deep")
"""What exclip supports: square images, CLIP's vocabulary, and text towers that are not a submodule."""

CASES = tuple(zip(CAPTIONS, range(4), (10, 3, 10, 7), strict=True))


def explain_with_exclip(
    model: nn.Module,
    picture: Tensor,
    ids: Tensor,
    steps: int,
    text_layer: int = -1,
    image_layer: int = -1,
) -> np.ndarray:
    """Return exclip's own interactions at a block of each tower.

    exclip leaves its hooks on the model, so it gets a copy.
    """
    model = copy.deepcopy(model)
    openai = type(model).__module__.startswith("clip.")
    explainer_class = exclip.OpenAIExplainer if openai else exclip.OpenClipExplainer
    explainer = explainer_class(model, device="cpu", image_dim=picture_size(model)[0])
    text_blocks, image_blocks = blocks_of(model)
    interactions = explainer.explain(
        ids,
        picture[None],
        text_layer=text_layer % len(text_blocks),
        image_layer=image_layer % len(image_blocks),
        N=steps,
    )
    return interactions.numpy()


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize(("caption", "seed", "steps"), CASES)
def test_right_end_points_equal_exclip(name: str, caption: str, seed: int, steps: int) -> None:
    """Every entry agrees for every model, captions of one word to many tokens, and several step counts."""
    model = build(name)
    image = Image.fromarray(scene(seed))
    expected = explain_with_exclip(model, preprocess_for(model)(image), clip_tokenizer()(caption), steps)
    found = explain(model, image, caption, steps=steps, rule="right", **inputs_of(model), method="exclip")
    assert_close(found.values, expected, 1e-4)


@pytest.mark.parametrize("layers", [(1, 1), (0, 0), (-1, 0), (0, -1), (-2, -2)])
@pytest.mark.parametrize("name", ["plain", "layer scale", "openai", "openai, deep"])
def test_any_layer_equals_exclip(name: str, layers: tuple[int, int]) -> None:
    """Every block of both towers agrees, counted from the front or from the end."""
    model = build(name)
    image = Image.fromarray(scene(5))
    ids = clip_tokenizer()(CAPTIONS[1])
    expected = explain_with_exclip(model, preprocess_for(model)(image), ids, 5, *layers)
    found = explain(
        model,
        image,
        CAPTIONS[1],
        steps=5,
        rule="right",
        text_layer=layers[0],
        image_layer=layers[1],
        **inputs_of(model),
        method="exclip",
    )
    assert_close(found.values, expected, 1e-4)


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize("seed", [0, 1])
def test_oracle_equals_exclip(name: str, seed: int) -> None:
    """The oracle that other tests use agrees with the published implementation."""
    model = build(name)
    picture = preprocess_for(model)(Image.fromarray(scene(seed)))
    ids = clip_tokenizer()(CAPTIONS[1 + seed])
    expected = explain_with_exclip(model, picture, ids, 4)
    truth = explain_slowly(model, picture, ids, rule="right", steps=4)
    assert_close(truth.values, expected, 1e-4)


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
def test_residual_network_equals_exclip(layer: int) -> None:
    """Every stage of OpenAI's ResNet agrees; exclip counts them from 1, like the names of their modules."""
    model = openai_model(
        vision_layers=(1, 1, 1, 1), vision_width=16, vision_patch_size=None, image_resolution=64, seed=3
    )
    spread_normalisation(model)
    image, ids = Image.fromarray(scene(5)), clip_tokenizer()(CAPTIONS[0])
    picture = preprocess_for(model)(image)
    explainer = exclip.OpenAIExplainer(copy.deepcopy(model), device="cpu", image_dim=64)
    expected = explainer.explain(ids, picture[None], text_layer=1, image_layer=layer, N=4).numpy()
    found = explain(
        model,
        image,
        CAPTIONS[0],
        steps=4,
        rule="right",
        image_layer=f"visual.layer{layer}",
        **inputs_of(model),
        method="exclip",
    )
    assert_close(found.values, expected, 1e-4)
