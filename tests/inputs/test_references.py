"""References: where the paths to inputs start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.explaining import CAPTION, IMAGE, found
from support.oracle import relative_error
from support.zoo.families import FAMILIES
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of

from exclip_widget import Explainer, ImageError, ParameterError, explain


@pytest.mark.parametrize("reference", ["zeros", "mean", "blur", "noise", Image.fromarray(scene(4))])
@pytest.mark.parametrize("text_reference", [None, "a photo", "two dogs on a hill beside a barn today"])
def test_references_start_the_path(reference: Any, text_reference: str | None) -> None:
    """With any reference, the sum tends to the product of both changes, as the model itself gives them."""
    model = build("plain")
    options = {"image_reference": reference, "text_reference": text_reference, "seed": 5}
    result = found(steps=60, **options)
    preprocess, tokenizer = inputs_of(model)["preprocess"], inputs_of(model)["tokenizer"]
    pixels = preprocess(IMAGE)[None]
    if isinstance(reference, Image.Image):
        start = preprocess(reference)[None]
    elif reference == "mean":
        start = torch.ones_like(pixels) * pixels.mean((2, 3), keepdim=True)
    elif reference == "zeros":
        start = torch.zeros_like(pixels)
    else:
        return _is_complete(result)
    with torch.no_grad():
        change = model.encode_image(pixels) - model.encode_image(start)
        image = model.encode_image(pixels)
        text = model.encode_text(tokenizer(CAPTION))
    explainer = Explainer(model, **({"method": "exclip"} | options), **inputs_of(model))
    factors = explainer.image_factors(IMAGE)
    np.testing.assert_allclose(factors.change, (change / image.norm())[0], atol=1e-5)
    assert result.similarity == pytest.approx(float(torch.cosine_similarity(image, text)), abs=1e-5)
    return _is_complete(result)


def _is_complete(result: Any) -> None:
    everything = result.values.sum(dtype=float) + result.cls.sum(dtype=float)
    assert everything == pytest.approx(result.total, abs=1e-3)


def test_blur_and_noise_are_what_they_say() -> None:
    one, again, other = (found(image_reference="noise", seed=seed).values for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert relative_error(other, one) > 0.01
    # An image of one colour is its own blur, so nothing changes along the path.
    plain = found(image_reference="blur", image=Image.new("RGB", (64, 64), (90, 120, 40)))
    assert np.abs(plain.values).max() < 1e-5


@pytest.mark.parametrize("reference", ["black", "", 3, "no/such/file.png"])
def test_a_reference_that_is_none(reference: Any) -> None:
    with pytest.raises(ParameterError, match=r"image_reference=.*'zeros', 'mean', 'blur', 'noise'"):
        found(image_reference=reference)
    with pytest.raises(ValueError, match="text_reference"):
        found(text_reference=3)


def test_a_reference_picture_of_another_shape() -> None:
    """If preprocessing keeps the image's shape, the reference must have the same shape."""
    this = FAMILIES["transformers SigLIP 2"]()
    upright = Image.fromarray(scene(3, (64, 32)))
    with pytest.raises(ImageError, match="expected the same height and width"):
        explain(this.model, IMAGE, "a boat", image_reference=upright, **this.options, method="exclip")
