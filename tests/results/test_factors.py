"""Factors that are computed separately and then multiplied give what the pair gives."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support.explaining import IMAGE
from support.oracle import assert_close
from support.zoo.inputs import CAPTIONS, scene
from support.zoo.models import build, inputs_of

from exclip_widget import Explainer, ParameterError, interactions_of
from exclip_widget.methods import METHODS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [0, -1])
def test_factors_meet_as_the_pair_does(method: str, layer: int) -> None:
    """Token factors times patch factors give the same numbers as cotangents do for the pair."""
    model = build("layer scale")
    explainer = Explainer(model, method=method, text_layer=layer, image_layer=layer, **inputs_of(model))
    captions, images = CAPTIONS[:3], [Image.fromarray(scene(seed)) for seed in (1, 2)]
    texts, pictures = (
        [explainer.text_factors(c) for c in captions],
        [explainer.image_factors(i) for i in images],
    )
    met = interactions_of(texts, pictures)
    for row, caption, text in zip(met, captions, texts, strict=True):
        for result, image, picture in zip(row, images, pictures, strict=True):
            pair, single = explainer.explain(image, caption), interactions_of(text, picture)
            for other in (pair, single):
                assert_close(result.values, other.values, 1e-4)
                assert result.similarity == pytest.approx(other.similarity, abs=1e-5)
                np.testing.assert_allclose(result.total, other.total, atol=1e-5)
                np.testing.assert_allclose(result.cls, other.cls, atol=1e-5)
                assert (result.tokens, result.method) == (other.tokens, other.method)
                if result.error is not None:
                    np.testing.assert_allclose(result.error, other.error, rtol=1e-3, atol=1e-7)


def test_factors_that_do_not_match() -> None:
    model = build("plain")
    explainer = Explainer(model, **inputs_of(model), method="exclip")
    text, image = explainer.text_factors("a boat"), explainer.image_factors(IMAGE)
    with pytest.raises(ParameterError, match="texts has image factors"):
        interactions_of(image, text)
    with pytest.raises(ParameterError, match="images has an Image"):
        interactions_of(text, IMAGE)
    other = Explainer(model, method="gradient", **inputs_of(model)).image_factors(IMAGE)
    with pytest.raises(ParameterError, match=r"'exclip' .* 'gradient'"):
        interactions_of(text, other)
