"""Banzhaf interactions: exact with all masks, and as far off as they say with some."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import oracle
from support.explaining import IMAGE
from support.oracle import assert_close
from support.zoo.families import of_open_clip
from support.zoo.models import build, inputs_of

from exclip_widget import explain


@pytest.fixture(scope="module")
def six_tokens_and_six_patches() -> Any:
    """A caption of six tokens before a picture of 2 x 3 patches, at two layers of either tower."""
    this = of_open_clip(31, size=(16, 24), grids=((2, 3),) * 3, context=77)
    return this, "a red boat below two fish"


@pytest.mark.parametrize("layer", [0, 2])
def test_banzhaf_equals_exact_enumeration(six_tokens_and_six_patches: Any, layer: int) -> None:
    """All 4096 coalitions of both sides; with no fewer masks than there are, ours is exact as well."""
    this, caption = six_tokens_and_six_patches
    text, image = oracle.cut_both(
        this, IMAGE, caption, text_layer=this.text_layers[layer], image_layer=this.image_layers[layer]
    )
    tokens, patches = [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]
    exact = oracle.banzhaf_exact(text, image, tokens, patches).values[np.ix_(tokens, patches)]
    options = this.options | {"method": "banzhaf", "text_layer": layer, "image_layer": layer}
    ours = explain(this.model, IMAGE, caption, samples=64, **options)
    assert_close(ours.values[1:7].reshape(6, 6), exact, 1e-4)
    assert not ours.values[[0, 7]].any()
    assert not ours.error.any()
    # Drawn masks come near, within their error.
    drawn = explain(this.model, IMAGE, caption, samples=60, seed=3, **options)
    away = np.abs(drawn.values[1:7].reshape(6, 6) - exact)
    error = drawn.error[1:7].reshape(6, 6)
    assert (error > 0).all()
    assert (away < 6 * error).all()
    assert away.max() > 1e-3 * np.abs(exact).max()


def test_standard_error_is_the_spread_of_repetitions() -> None:
    """Over forty seeds, the error that one of them states is about what the forty differ by."""
    model = build("plain")
    options = {"method": "banzhaf", "samples": 64, **inputs_of(model)}
    runs = [explain(model, IMAGE, "a red boat", seed=seed, **options) for seed in range(40)]
    spread = np.std([run.values for run in runs], axis=0, ddof=1)
    stated = np.sqrt(np.mean([run.error**2 for run in runs], axis=0))
    words = slice(1, -1)
    assert np.median(stated[words] / spread[words]) == pytest.approx(1, abs=0.25)
