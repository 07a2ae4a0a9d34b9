"""Models of Hugging Face transformers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support import oracle
from support.cuts import STEPS, assert_agree, picture
from support.zoo.families import FAMILIES, family

from exclip_widget import explain
from exclip_widget.models.transformers_family import TransformersFamily
from exclip_widget.paths.cut import embedding_of


def test_grid_is_that_of_the_picture() -> None:
    """NaFlex: upright and wide images have equally many patches, but must not share a reference."""
    this, caption = family("transformers SigLIP 2"), "a red boat"
    model = copy.deepcopy(this.model)
    text_layer, image_layer = this.text_layers[0], this.image_layers[1]
    for shown, grid in ((picture(), (3, 4)), (picture(64, 48), (4, 3)), (picture(), (3, 4))):
        cuts = oracle.cut_both(this, shown, caption, text_layer=text_layer, image_layer=image_layer)
        expected = oracle.exclip(*cuts, rule="arc-length", steps=STEPS)
        where = {"text_layer": text_layer, "image_layer": image_layer}
        found = explain(model, shown, caption, method="exclip", steps=STEPS, **where, **this.options)
        assert found.values.shape[1:] == grid
        assert_agree(found, this, expected, caption, grid)


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("repaired", [False, True])
@pytest.mark.parametrize("caption", ["a red boat", "a <boat> in the water"])
def test_a_model_that_pools_at_an_added_token(caption: str, repaired: bool, layer: int) -> None:
    """Old configurations pool at a caption's highest id, and an added token has the highest of all."""
    this = FAMILIES["transformers CLIP"]()
    processor = copy.deepcopy(this.options["processor"])
    processor.tokenizer.add_tokens(["<boat>"])
    model = this.model
    embeddings = model.text_model.embeddings
    old = embeddings.token_embedding.weight.detach()
    added = old.mean(0, keepdim=True)
    embeddings.token_embedding = torch.nn.Embedding.from_pretrained(torch.cat([old, added]))
    model.config.text_config.vocab_size = len(processor.tokenizer)
    model.config.text_config.eos_token_id = model.text_model.eos_token_id = 2
    if repaired:  # too late: the module has a copy of its own, and an ordinary caption agrees with both
        model.config.text_config.eos_token_id = processor.tokenizer.eos_token_id
        explain(model, picture(), "a boat", processor=processor, text_layer=layer, steps=1, method="exclip")
    found = explain(
        model, picture(), caption, processor=processor, text_layer=layer, steps=20, method="exclip"
    )
    inputs = processor(text=caption, images=picture(), return_tensors="pt")
    with torch.no_grad():
        text = embedding_of(model.get_text_features(inputs["input_ids"]))
        image = embedding_of(model.get_image_features(inputs["pixel_values"]))
    assert found.similarity == pytest.approx(float(torch.cosine_similarity(text, image)), abs=1e-5)
    assert found.residual < 0.05
    # Tokens after the pooled one are not read.
    unread = found.tokens.index("<boat>") + 1 if "<boat>" in caption else len(found.tokens)
    assert not found.values[unread:].any()
    assert found.values[:unread].any()


def _halve(model: Any) -> None:
    model.visual_projection.weight.data[:, ::2] *= -2


def _replace(model: Any) -> None:
    width, embed = model.visual_projection.in_features, model.visual_projection.out_features
    torch.manual_seed(5)
    model.visual_projection = torch.nn.Linear(width, embed, bias=False)


def _hook(model: Any) -> None:
    model.visual_projection.register_forward_hook(lambda _module, _args, output: output.flip(-1))


@pytest.mark.parametrize("change", [_halve, _replace, _hook])
def test_a_changed_projection_is_seen(change: Callable[[Any], None]) -> None:
    this = FAMILIES["transformers CLIP"]()
    model, never_run = this.model, copy.deepcopy(this.model)
    explain(model, picture(), "a boat", method="frozen", **this.options)
    change(model)
    change(never_run)
    found, expected = (
        explain(one, picture(), "a boat", method="frozen", **this.options) for one in (model, never_run)
    )
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)


def test_a_tower_does_not_read_the_other_towers_weights() -> None:
    model = FAMILIES["transformers CLIP"]().model
    text, image = TransformersFamily().towers(model)
    owned = [
        {id(weight) for part in tower.modules() for weight in part._parameters.values()}
        for tower in (text, image)
    ]
    shared = (owned[0] & owned[1]) - {id(None)}
    assert shared == {id(model.logit_scale)}
    assert id(model.visual_projection.weight) in owned[1]
    assert id(model.text_projection.weight) in owned[0]
