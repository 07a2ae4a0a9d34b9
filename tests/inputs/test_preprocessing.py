"""Preprocessing: which outputs are accepted, and which are refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from support.explaining import MODEL, values_of, values_or_refusal
from support.oracle import assert_close
from support.zoo.families import family
from support.zoo.inputs import picture, preprocess_to
from support.zoo.models import build, inputs_of, preprocess_for

from exclip_widget import ExclipError, Explainer, ImageError, ParameterError, explain
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


@pytest.mark.parametrize(
    ("name", "holder"),
    [
        ("OpenAI ViT", "visual.input_resolution"),
        ("open_clip ViT", "visual.image_size"),
        ("open_clip SigLIP", "visual.image_size"),
        ("transformers CLIP", "config.vision_config.image_size"),
    ],
)
def test_a_size_that_the_model_does_not_take_names_what_says_so(name: str, holder: str) -> None:
    """Its position embeddings may have been resized since, with that left as it was."""
    this = family(name)
    size = attrgetter(holder)(this.model)
    height, width = (size, size) if isinstance(size, int) else size
    said = rf"\(3, {height}, {width}\), as model\.{re.escape(holder)} says; set that if"
    pixels = torch.zeros(3, 48, 64)
    with pytest.raises(ImageError, match=rf"image is a tensor of shape \(3, 48, 64\); .*{said}"):
        explain(this.model, pixels, "a boat", **this.options)
    options = {key: value for key, value in this.options.items() if key != "processor"}
    options |= {"tokenizer": this.options["processor"].tokenizer} if "processor" in this.options else {}
    options["preprocess"] = lambda _: pixels
    with pytest.raises(ImageError, match=rf"preprocess gave a tensor of shape \(3, 48, 64\); .*{said}"):
        explain(this.model, picture(), "a boat", **options)


def test_a_resized_model_is_explained_once_it_says_so() -> None:
    model: Any = copy.deepcopy(build("openai"))
    positions = model.visual.positional_embedding
    larger = torch.nn.functional.interpolate(positions[1:].T.reshape(1, -1, 4, 4), (6, 8)).flatten(2)[0].T
    model.visual.positional_embedding = torch.nn.Parameter(torch.cat([positions[:1], larger]).detach())
    pixels, options = preprocess_to(48, 64)(picture()), inputs_of(MODEL)
    with pytest.raises(ImageError, match=r"model\.visual\.input_resolution says"):
        explain(model, pixels, "a boat", **options)
    model.visual.input_resolution = (48, 64)
    assert explain(model, pixels, "a boat", **options).values.shape[1:] == (6, 8)


def test_what_is_wrong_with_pixels_is_a_whole_sentence() -> None:
    for pixels, said in (
        (torch.zeros(4, 32, 32), r"a tensor of shape \(4, 32, 32\); expected .*\(3, 32, 32\)$"),
        (torch.zeros(3, 32, 32, dtype=torch.int64), "a tensor of torch.int64; expected"),
        (torch.full((3, 32, 32), float("nan")), "a tensor that is NaN or infinite in places; expected"),
    ):
        with pytest.raises(ImageError, match=f"^preprocess gave {said}"):
            values_of(picture(), preprocess=lambda _, pixels=pixels: pixels)
        with pytest.raises(ImageError, match=f"^image is {said}"):
            values_of(pixels)


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
