"""Preprocessing: which outputs are accepted, and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from support.explaining import MODEL, values_of, values_or_refusal
from support.oracle import assert_close
from support.zoo.inputs import picture
from support.zoo.models import inputs_of, preprocess_for

from exclip_widget import ExclipError, Explainer, ImageError, ParameterError
from exclip_widget.inputs.preprocessing import check_pixels, preprocess_image
from exclip_widget.results import View


@pytest.mark.parametrize(
    "result",
    [
        None,
        "tensor",
        torch.zeros(3, 32),
        torch.zeros(3, 16, 16),
        torch.zeros(1, 32, 32),
        torch.zeros(2, 3, 32, 32),
        torch.full((3, 32, 32), float("nan")),
        torch.zeros(0),
    ],
    ids=["None", "str", "flat", "small", "grey", "two", "nan", "empty"],
)
def test_preprocessing_that_gives_nonsense(result: Any) -> None:
    with pytest.raises(ExclipError) as refusal:
        values_of(picture(), preprocess=lambda _: result)
    assert "preprocess" in str(refusal.value)


def test_preprocessing_that_gives_other_precision() -> None:
    preprocess = preprocess_for(MODEL)
    values = values_of(picture(), preprocess=lambda image: preprocess(image).double())
    assert_close(values, values_of(picture()), 1e-5)


def test_preprocessing_that_gives_a_batch_of_one() -> None:
    preprocess = preprocess_for(MODEL)
    outcome = values_or_refusal(ExclipError, picture(), preprocess=lambda image: preprocess(image)[None])
    if isinstance(outcome, str):
        assert "(1, 3, 32, 32)" in outcome.replace("[", "(").replace("]", ")")
        return
    np.testing.assert_array_equal(outcome, values_of(picture()))


@pytest.mark.filterwarnings("ignore:.*(beta|prototype)")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pixels: pixels.to("meta"), "a tensor on meta"),
        (torch.Tensor.to_sparse, r"layout torch\.sparse_coo"),
        (torch.Tensor.to_sparse_csr, r"layout torch\.sparse_csr"),
        (torch.Tensor.to_mkldnn, r"layout torch\._mkldnn"),
        (lambda pixels: torch.nested.nested_tensor([pixels]), "a nested tensor"),
        (lambda pixels: pixels + 0j, r"of torch\.complex64"),
        pytest.param(
            lambda pixels: pixels.byte().view(torch.float4_e2m1fn_x2),
            "which torch cannot read",
            marks=pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="an old torch"),
        ),
    ],
)
def test_tensors_without_readable_values(
    change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    pixels = change(torch.zeros(3, 32, 32))
    with pytest.raises(ImageError, match=rf"image is .*{message}.*; expected preprocessed pixels"):
        values_of(pixels)
    with pytest.raises(ImageError, match=rf"preprocess gave .*{message}"):
        preprocess_image(picture(), lambda _: pixels)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_pixels_of_eight_bits_are_widened(dtype: torch.dtype) -> None:
    given = preprocess_for(MODEL)(picture()).to(dtype)
    torch.testing.assert_close(check_pixels(given, (32, 32)), given.float()[None], rtol=0, atol=0)


def test_preprocessing_that_raises() -> None:
    cause = TypeError("got a picture")

    def preprocess(_: Image.Image) -> torch.Tensor:
        raise cause

    with pytest.raises(ImageError, match=r"preprocess raised TypeError \(got a picture\)") as refusal:
        values_of(picture(), preprocess=preprocess)
    assert refusal.value.__cause__ is cause


def _filling(shape: tuple[int, ...] = (3, 32, 32)) -> Callable[[Image.Image], torch.Tensor]:
    """Return preprocessing that gives every image in one tensor, over NumPy's memory."""
    preprocess, memory = preprocess_for(MODEL), torch.from_numpy(np.empty(shape, np.float32))
    return lambda image: memory.copy_(preprocess(image))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 3, 32, 32)])
def test_preprocessing_that_fills_one_tensor(shape: tuple[int, ...]) -> None:
    inputs = inputs_of(MODEL) | {"image_reference": picture(9)}
    filled, fresh = Explainer(MODEL, **inputs | {"preprocess": _filling(shape)}), Explainer(MODEL, **inputs)
    pictures = [picture(seed) for seed in range(3)]
    for one, other in zip(filled.image_factors(pictures), fresh.image_factors(pictures), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    assert filled.explain(picture(), "a red boat") == fresh.explain(picture(), "a red boat")


def test_random_preprocessing_that_fills_one_tensor() -> None:
    fill, own = _filling(), np.random.default_rng(0)
    with pytest.raises(ParameterError, match="preprocess is random"):
        preprocess_image(picture(), lambda image: fill(image).mul_(own.uniform(0.5, 1)))


def test_pixels_that_the_caller_fills_again() -> None:
    explainer, preprocess = Explainer(MODEL, **inputs_of(MODEL)), preprocess_for(MODEL)
    pictures, pixels = [picture(seed) for seed in range(3)], torch.empty(3, 32, 32)
    found = explainer.image_factors(pixels.copy_(preprocess(one)) for one in pictures)
    for one, other in zip(found, explainer.image_factors(pictures), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
    steps = explainer.refine([explainer.text_factors("a boat")], pixels.copy_(preprocess(picture())))
    pixels.zero_()
    *_, (result,) = steps
    np.testing.assert_array_equal(result.values, explainer.explain(picture(), "a boat").values)


def _shrink(image: Image.Image) -> None:
    image.thumbnail((20, 20))


def _draw(image: Image.Image) -> None:
    ImageDraw.Draw(image).rectangle((0, 0, image.width, 20), fill=(0, 0, 0))


def _paste(image: Image.Image) -> None:
    image.paste((255, 0, 0), (8, 8, 24, 24))


@pytest.mark.parametrize("change", [_shrink, _draw, _paste, lambda image: image.putalpha(90)])
@pytest.mark.parametrize("as_array", [False, True])
def test_preprocessing_that_changes_the_image_it_is_given(
    change: Callable[[Image.Image], None], as_array: bool
) -> None:
    preprocess, runs = preprocess_for(MODEL), []

    def changing(image: Image.Image) -> torch.Tensor:
        change(image)
        runs.append(image)
        return preprocess(image) + 0 * torch.rand(1)  # which is run again, to see whether it is random

    given = picture(1)
    explainer = Explainer(MODEL, **inputs_of(MODEL) | {"preprocess": changing})
    result = explainer.explain(np.asarray(given) if as_array else given, "a red boat")
    assert len(runs) > 1
    assert result.view == View.of(given, (0, 0, 1, 1))
    np.testing.assert_array_equal(result.view.picture, given)
    np.testing.assert_array_equal(given, picture(1))
    changed = given.copy()
    change(changed)
    np.testing.assert_array_equal(explainer.read_image(given), preprocess(changed)[None])
