"""Layers of a tower, by number and by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.cuts import explained
from support.explaining import refusal_of, values_of
from support.zoo.inputs import picture
from support.zoo.models import preprocess_for, residual_networks

from exclip_widget import ExclipError, ParameterError


@pytest.mark.parametrize("keyword", ["text_layer", "image_layer"])
@pytest.mark.parametrize("layer", [2, 11, -3, 1.0, 1.5, "last"])
def test_layers(keyword: str, layer: object) -> None:
    """The towers have two blocks."""
    message = refusal_of(ParameterError, picture(), **{keyword: layer})
    assert keyword in message
    assert repr(layer) in message


def test_the_last_layer_by_its_index() -> None:
    np.testing.assert_array_equal(values_of(picture(), text_layer=1, image_layer=1), values_of(picture()))


@pytest.mark.parametrize("which", [0, 1], ids=["open_clip", "openai"])
def test_a_layer_of_a_residual_network_that_is_not_there(which: int) -> None:
    """The error lists the layers that exist."""
    model = residual_networks()[which]
    options = {"model": model, "preprocess": preprocess_for(model)}
    message = refusal_of(ParameterError, picture(), image_layer="visual.layer5", **options)
    assert all(f"'visual.layer{number}'" in message for number in (1, 2, 3, 4))


@pytest.mark.parametrize("name", ["OpenAI ResNet", "open_clip CoCa", "transformers CLIP", "own"])
@pytest.mark.parametrize("layer", ["nowhere", "logit_scale", "", 99, 1.5, True])
def test_layer_that_is_none_is_named(name: str, layer: Any) -> None:
    with pytest.raises(ExclipError, match="image_layer"):
        explained(name, -1, layer, "a red boat")
    with pytest.raises(ExclipError, match="text_layer"):
        explained(name, layer, -1, "a red boat")
