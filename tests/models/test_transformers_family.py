"""Models of Hugging Face transformers."""

from __future__ import annotations

import copy

import pytest
import torch
from support import oracle
from support.cuts import STEPS, assert_agree, picture
from support.zoo.families import FAMILIES, family

from exclip_widget import explain
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
@pytest.mark.parametrize("caption", ["a red boat", "a <boat> in the water"])
def test_a_model_that_pools_at_an_added_token(caption: str, layer: int) -> None:
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
