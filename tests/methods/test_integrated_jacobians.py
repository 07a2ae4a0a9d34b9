"""exCLIP's own option: a tolerance for the residual."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.explaining import IMAGE, found
from support.zoo.models import build, inputs_of

from exclip_widget import Explainer
from exclip_widget.methods.integrated_jacobians import FIRST_STEPS, MOST_STEPS


@pytest.mark.parametrize("tolerance", [0.1, 1e-2, 1e-3])
@pytest.mark.parametrize("layer", [-1, 0])
def test_tolerance_is_met(tolerance: float, layer: int) -> None:
    result = found(tolerance=tolerance, text_layer=layer, image_layer=layer)
    assert result.residual <= tolerance
    assert result.steps in (5, 10, 20, 40, 80, 160, 320)


def test_a_smaller_tolerance_takes_more_steps() -> None:
    loose, tight = (found(tolerance=t, text_layer=0, image_layer=0) for t in (0.5, 1e-4))
    assert loose.steps < tight.steps


def test_a_tolerance_that_cannot_be_met_is_told_of() -> None:
    with pytest.warns(UserWarning, match=r"residual is .* with \d+ nodes.*tolerance=1e-15"):
        result = found("one block", tolerance=1e-15)
    assert result.steps < MOST_STEPS, "what is left is rounding, which more nodes do not reduce"
    assert 0 < result.residual < 1e-5


def test_a_caption_that_lacks_more_than_rounding_takes_all_nodes() -> None:
    model = build("one block")
    explainer = Explainer(model, method="exclip", tolerance=0.1, **inputs_of(model))
    text = explainer.text_factors("a red boat")
    assert text.change is not None
    # The caption's factors lack a fifth of what they should sum to, whatever the image's nodes.
    short = replace(text, values=0.8 * text.values)
    with pytest.warns(UserWarning, match=rf"residual is 0.2 with {MOST_STEPS} nodes"):
        *_, (result,) = explainer.refine([short], IMAGE)
    assert result.steps == MOST_STEPS


PLAIN = Image.new("RGB", (64, 48), (200, 30, 30))

NOTHING: list[tuple[Image.Image, str, dict[str, Any]]] = [
    (PLAIN, "a red boat", {"image_reference": "mean"}),
    (IMAGE, "a photo", {"text_reference": "a photo"}),
    (PLAIN, "a photo", {"image_reference": "mean", "text_reference": "a photo"}),
]


@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize(("image", "caption", "references"), NOTHING)
def test_rounding_takes_no_more_nodes(
    image: Image.Image, caption: str, references: dict[str, Any], layer: int
) -> None:
    """If an input is its own reference, all that there is to explain is rounding error."""
    model = build("plain")
    options = {"text_layer": layer, "image_layer": layer, **references, **inputs_of(model)}
    explainer = Explainer(model, method="exclip", tolerance=0.02, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = explainer.explain(image, caption)
        assert abs(result.total) < 1e-6
        assert result.steps == FIRST_STEPS
        for factors in (explainer.text_factors(caption), explainer.image_factors(image)):
            assert factors.change is not None
            if np.linalg.norm(factors.change) < 1e-5:
                assert factors.steps == FIRST_STEPS
        # Nor does it hold back the others.
        texts = explainer.text_factors([caption, "two dogs"])
        *_, (_, other) = explainer.refine(texts, image)
        *_, (alone,) = explainer.refine(texts[1:], image)
        assert (other.steps, other.residual <= 0.02) == (alone.steps, alone.residual <= 0.02)
