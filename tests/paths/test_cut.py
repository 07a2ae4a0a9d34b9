"""Cutting a tower at a layer: errors name what cannot be read or differentiated there."""

from __future__ import annotations

import pytest
import torch
from support.explaining import CAPTION, IMAGE
from support.zoo.models import build, inputs_of

from exclip_widget import explain


def test_a_model_that_detaches_is_refused() -> None:
    model = build("plain")
    encode = model.encode_image
    model.encode_image = lambda pixels, **options: encode(pixels, **options).detach()
    with pytest.raises(TypeError, match="no gradient reaches the layer"):
        explain(model, IMAGE, CAPTION, **inputs_of(build("plain")), image_layer=0, method="exclip")


@pytest.mark.parametrize("where", ["visual.transformer.resblocks.1", "transformer.resblocks.1"])
def test_infinite_activations_are_named(where: str) -> None:
    model = build("plain")
    with torch.no_grad():
        side = model.get_submodule(where.replace("resblocks.1", "resblocks.0"))
        side.mlp.c_proj.bias[0] = float("nan")
    with pytest.raises(TypeError, match=f"NaN or infinite at layer '{where}'"):
        explain(model, IMAGE, CAPTION, **inputs_of(model), text_layer=1, image_layer=1, method="exclip")
