"""Models of Hugging Face transformers."""

from __future__ import annotations

import copy

from support import oracle
from support.cuts import STEPS, assert_agree, picture
from support.zoo.families import family

from exclip_widget import explain


def test_grid_is_that_of_the_picture() -> None:
    """NaFlex: as many patches upright as wide, whose reference must not stand in for each other's."""
    this, caption = family("transformers SigLIP 2"), "a red boat"
    model = copy.deepcopy(this.model)
    text_layer, image_layer = this.text_layers[0], this.image_layers[1]
    for shown, grid in ((picture(), (3, 4)), (picture(64, 48), (4, 3)), (picture(), (3, 4))):
        cuts = oracle.cut_both(this, shown, caption, text_layer=text_layer, image_layer=image_layer)
        expected = oracle.exclip(*cuts, rule="arc-length", steps=STEPS)
        where = {"text_layer": text_layer, "image_layer": image_layer}
        found = explain(model, shown, caption, steps=STEPS, **where, **this.options)
        assert found.values.shape[1:] == grid
        assert_agree(found, this, expected, caption, grid)
