"""What explanations are made of: methods, options, references, lists of layers, factors met again."""

from __future__ import annotations

import warnings
from typing import Any

import cut_oracle
import numpy as np
import pytest
import torch
from families import FAMILIES, of_open_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from models import CAPTIONS, SmallTokenizer, build, inputs_of, openai_model, scene
from oracle import assert_close, relative_error
from PIL import Image
from torch import nn

from exclip_widget import DualEncoder, Explainer, ParameterError, PictureError, explain, interactions_of
from exclip_widget.methods import METHODS
from exclip_widget.methods.integrated_jacobians import MOST_STEPS

IMAGE = Image.fromarray(scene(3))
CAPTION = CAPTIONS[1]


def found(name: str = "plain", image: Any = IMAGE, caption: str = CAPTION, **options: Any) -> Any:
    model = build(name)
    return explain(model, image, caption, **inputs_of(model), **options)


# ------------------------------------------------------------------------------------------ Banzhaf


@pytest.fixture(scope="module")
def six_tokens_and_six_patches() -> Any:
    """A caption of six tokens before a picture of 2 x 3 patches, at two layers of either tower."""
    this = of_open_clip(31, size=(16, 24), grids=((2, 3),) * 3, context=77)
    return this, "a red boat below two fish"


@pytest.mark.parametrize("layer", [0, 2])
def test_banzhaf_equals_exact_enumeration(six_tokens_and_six_patches: Any, layer: int) -> None:
    """All 4096 coalitions of both sides; with no fewer masks than there are, ours is exact as well."""
    this, caption = six_tokens_and_six_patches
    text, image = cut_oracle.cut_both(
        this, IMAGE, caption, text_layer=this.text_layers[layer], image_layer=this.image_layers[layer]
    )
    tokens, patches = [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]
    exact = cut_oracle.banzhaf_exact(text, image, tokens, patches).values[np.ix_(tokens, patches)]
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


# ------------------------------------------------------------------------------------- completeness


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
    with pytest.warns(UserWarning, match=rf"residual is .* with {MOST_STEPS} nodes.*tolerance=1e-15"):
        result = found("one block", tolerance=1e-15)
    assert result.steps == MOST_STEPS


def test_methods_without_completeness_say_so() -> None:
    for method in ("similarity", "gradient", "banzhaf"):
        result = found(method=method)
        assert np.isnan(result.total)
        assert np.isnan(result.residual)
        assert "residual" not in repr(result)


# --------------------------------------------------------------------------------------- references


@pytest.mark.parametrize("reference", ["zeros", "mean", "blur", "noise", Image.fromarray(scene(4))])
@pytest.mark.parametrize("text_reference", [None, "a photo", "two dogs on a hill beside a barn today"])
def test_references_start_the_path(reference: Any, text_reference: str | None) -> None:
    """Whatever it is, the sum tends to the product of both changes, computed by the model's own calls."""
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
    explainer = Explainer(model, **options, **inputs_of(model))
    factors = explainer.image(IMAGE)
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
    # A picture of one colour is its own blur: nothing changes along the path.
    plain = found(image_reference="blur", image=Image.new("RGB", (64, 64), (90, 120, 40)))
    assert np.abs(plain.values).max() < 1e-5


@pytest.mark.parametrize("reference", ["black", "", 3, "no/such/file.png"])
def test_a_reference_that_is_none(reference: Any) -> None:
    with pytest.raises(ParameterError, match=r"image_reference=.*'zeros', 'mean', 'blur', 'noise'"):
        found(image_reference=reference)
    with pytest.raises(ValueError, match="text_reference"):
        found(text_reference=3)


# ------------------------------------------------------------------------------- layers in lists


@pytest.mark.parametrize("method", METHODS)
def test_a_list_of_layers_is_each_of_them(method: str) -> None:
    """From one pass through either tower: as many as one layer takes."""
    model = build("openai, deep")
    options = {"method": method, **inputs_of(model)}
    passes: list[str] = []
    for name in ("visual.transformer.resblocks.0", "transformer.resblocks.0"):
        block = model.get_submodule(name)
        block.register_forward_pre_hook(lambda _, _args, name=name: passes.append(name))
    text_layers, image_layers = [0, -1], [2, "visual.transformer.resblocks.0", 1]
    together = explain(model, IMAGE, CAPTION, text_layer=text_layers, image_layer=image_layers, **options)
    assert list(together) == [(t, i) for i in image_layers for t in text_layers]
    if method == "exclip":
        del passes[:]
        explainer = Explainer(model, text_layer=text_layers, image_layer=image_layers, **options)
        explainer._image_sides(explainer._pixels(IMAGE), list(explainer._image_layers.values()))
        assert passes == ["visual.transformer.resblocks.0"] * 2  # the picture, and its reference
    for (text_layer, image_layer), result in together.items():
        alone = explain(model, IMAGE, CAPTION, text_layer=text_layer, image_layer=image_layer, **options)
        assert_close(result.values, alone.values, 1e-4)
        assert (result.text_layer, result.image_layer) == (alone.text_layer, alone.image_layer)


def test_layers_of_a_residual_network_have_grids_of_their_own() -> None:
    model = openai_model(
        vision_layers=(1, 1, 1, 1), vision_width=16, vision_patch_size=None, image_resolution=64
    )
    inputs = inputs_of(model)
    result = explain(model, IMAGE, "a boat", image_layer=[0, 1, 2, 3], steps=3, **inputs)
    assert [one.values.shape[1:] for one in result.values()] == [(16, 16), (16, 16), (8, 8), (4, 4)]
    assert not any(one.cls.any() for one in result.values())


# --------------------------------------------------------------------------------- factors, kept


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [0, -1])
def test_factors_meet_as_the_pair_does(method: str, layer: int) -> None:
    """Token factors times patch factors, or one pair by cotangents: the same numbers."""
    model = build("layer scale")
    explainer = Explainer(model, method=method, text_layer=layer, image_layer=layer, **inputs_of(model))
    captions, images = CAPTIONS[:3], [Image.fromarray(scene(seed)) for seed in (1, 2)]
    texts, pictures = [explainer.text(c) for c in captions], [explainer.image(i) for i in images]
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
    explainer = Explainer(model, **inputs_of(model))
    text, image = explainer.text("a boat"), explainer.image(IMAGE)
    with pytest.raises(ParameterError, match="texts has image factors"):
        interactions_of(image, text)
    with pytest.raises(ParameterError, match="images has a Image"):
        interactions_of(text, IMAGE)
    other = Explainer(model, method="gradient", **inputs_of(model)).image(IMAGE)
    with pytest.raises(ParameterError, match=r"'exclip' .* 'gradient'"):
        interactions_of(text, other)
    many = Explainer(model, image_layer=[0, 1], **inputs_of(model))
    with pytest.raises(ParameterError, match="one layer"):
        many.image(IMAGE)


def test_nothing_kept_outlives_a_change_of_the_model() -> None:
    """Whatever way weights or settings are changed by, the next explanation is of the changed model."""
    inputs = inputs_of(build("plain"))

    def by_step(model: nn.Module) -> None:
        with torch.no_grad():
            model.visual.conv1.weight[0, 0, 0, 0] += 0.5

    def behind_autograd(model: nn.Module) -> None:
        model.visual.positional_embedding.data[2, 3] += 1.0

    def by_setting(model: nn.Module) -> None:
        model.visual.ln_pre.eps = 0.5

    def by_hook(model: nn.Module) -> None:
        model.visual.ln_pre.register_forward_hook(lambda _module, _args, output: 1.5 * output)

    def by_call(model: nn.Module) -> None:
        encode = model.encode_image
        model.encode_image = lambda pixels, **options: encode(0.5 * pixels, **options)

    for change in (by_step, behind_autograd, by_setting, by_hook, by_call):
        model, never_run = build("plain"), build("plain")
        before = explain(model, IMAGE, CAPTION, **inputs).values
        change(model)
        change(never_run)
        after = explain(model, IMAGE, CAPTION, **inputs).values
        np.testing.assert_array_equal(after, explain(never_run, IMAGE, CAPTION, **inputs).values)
        assert relative_error(after, before) > 1e-4, change.__name__


# ------------------------------------------------------------------------------------------ options


@settings(max_examples=15, deadline=None, database=None)
@given(
    memory=st.integers(1, 2**22),
    method=st.sampled_from(list(METHODS)),
    layers=st.sampled_from([(-1, -1), (0, 0), (0, -1), (-1, 0)]),
)
def test_memory_changes_nothing_but_time(memory: int, method: str, layers: Any) -> None:
    options = {"method": method, "text_layer": layers[0], "image_layer": layers[1]}
    model = build("openai")
    inputs = inputs_of(model)
    small = explain(model, IMAGE, "a boat", memory=memory, **options, **inputs)
    assert_close(small.values, explain(model, IMAGE, "a boat", **options, **inputs).values, 1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "lime"}, "method='lime' is not one of 'exclip', 'similarity', 'gradient', 'banzhaf'"),
        ({"method": None}, "method=None"),
        ({"method": "banzhaf", "steps": 10}, "steps=10 is an option of method 'exclip', not of 'banzhaf'"),
        ({"samples": 10}, "samples=10 is an option of method 'banzhaf'"),
        ({"method": "similarity", "tolerance": 0.1}, "tolerance=0.1 is an option of method 'exclip'"),
        ({"tolerance": 0}, "tolerance=0 is not a positive number"),
        ({"tolerance": "1%"}, "tolerance='1%' is not a positive number"),
        ({"tolerance": float("nan")}, "tolerance=nan is not a positive number"),
        ({"tolerance": 0.1, "steps": 5}, "steps=5 and tolerance=0.1 were both given"),
        ({"method": "banzhaf", "samples": 1}, "samples=1 is not a whole number from 2 on"),
        ({"method": "banzhaf", "samples": 2.5}, "samples=2.5"),
        ({"seed": -1}, "seed=-1 is not a whole number from 0 on"),
        ({"memory": 0}, "memory=0 is not a whole number from 1 on"),
        ({"image_layer": []}, r"image_layer=\[\] names no layer"),
        (
            {"image_layer": [0, "visual.ln_post"]},
            "image_layer='visual.ln_post' is not a layer of the image tower",
        ),
        ({"processor": 3}, "processor is a int"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        found(**options)


# --------------------------------------------------------------------------- models in other states


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [0, -1])
def test_other_precisions(dtype: torch.dtype, method: str, layer: int) -> None:
    """Half models are differentiated in float32; what is left is the rounding of their own activations."""
    options = {"method": method, "text_layer": layer, "image_layer": layer}
    model = build("plain").to(dtype)
    inputs = inputs_of(build("plain"))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    result = explain(model, IMAGE, CAPTION, **inputs, **options)
    exact = found(**options)
    assert result.values.dtype == np.float32
    rounding = {torch.float16: 0.02, torch.bfloat16: 0.15, torch.float64: 1e-4}[dtype]
    if method != "gradient" or layer == 0:  # at the last block that is all cancellation
        assert relative_error(result.values, exact.values) < rounding
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_data_parallel_and_compiled_models_are_taken_out_of_their_wrapping() -> None:
    model = build("plain")
    inputs = inputs_of(model)
    expected = explain(model, IMAGE, CAPTION, **inputs, image_layer=0).values
    wrapped = [nn.DataParallel(model), torch.compile(model, backend="eager")]
    inner = build("plain")
    inner.visual = torch.compile(inner.visual, backend="eager")
    in_place = build("plain")
    in_place.visual.transformer.resblocks[0].compile(backend="eager")
    for given_model in (*wrapped, inner, in_place):
        result = explain(given_model, IMAGE, CAPTION, **inputs, image_layer=0)
        assert_close(result.values, expected, 1e-4)
    assert in_place.visual.transformer.resblocks[0]._compiled_call_impl is not None


def test_a_quantised_model_is_refused_by_name_where_gradients_are_needed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is on its way out
        model = torch.ao.quantization.quantize_dynamic(build("openai"), {nn.Linear}, dtype=torch.qint8)
    inputs = inputs_of(build("openai"))
    for layer in (-1, 0):
        with pytest.raises(TypeError, match=r"'.*c_fc' is quantised.*similarity.*banzhaf"):
            explain(model, IMAGE, CAPTION, **inputs, text_layer=layer, image_layer=layer)
    result = explain(model, IMAGE, CAPTION, **inputs, method="banzhaf", samples=8)
    assert np.isfinite(result.values).all()


def test_a_model_that_detaches_is_refused() -> None:
    model = build("plain")
    encode = model.encode_image
    model.encode_image = lambda pixels, **options: encode(pixels, **options).detach()
    with pytest.raises(TypeError, match="no gradient reaches the layer"):
        explain(model, IMAGE, CAPTION, **inputs_of(build("plain")), image_layer=0)


@pytest.mark.parametrize("where", ["visual.transformer.resblocks.1", "transformer.resblocks.1"])
def test_infinite_activations_are_named(where: str) -> None:
    model = build("plain")
    with torch.no_grad():
        side = model.get_submodule(where.replace("resblocks.1", "resblocks.0"))
        side.mlp.c_proj.bias[0] = float("nan")
    with pytest.raises(TypeError, match=f"NaN or infinite at layer '{where}'"):
        explain(model, IMAGE, CAPTION, **inputs_of(model), text_layer=1, image_layer=1)


def test_a_reference_picture_of_another_shape() -> None:
    """Where preprocessing keeps a picture's own shape, the reference must have it too."""
    this = FAMILIES["transformers SigLIP 2"]()
    upright = Image.fromarray(scene(3, (64, 32)))
    with pytest.raises(PictureError, match="expected the same height and width"):
        explain(this.model, IMAGE, "a boat", image_reference=upright, **this.options)


class _Slots(nn.Module):
    """A picture encoder whose five slots are no grid of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = nn.Linear(3, 40)
        self.last = nn.Linear(8, 6)
        self.words = nn.Embedding(64, 8)

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.last(self.slots(pixels.mean((2, 3))).reshape(len(pixels), 5, 8)).square().mean(1)

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        return self.last(self.words(ids)).tanh().mean(1)


def test_tokens_that_are_no_grid_are_named() -> None:
    model = _Slots()

    def own(**more: Any) -> DualEncoder:
        layers = {"text_layers": ["last"], "image_layers": ["last"]}
        return DualEncoder(model, encode_text=model.text, encode_image=model.image, **layers, **more)

    inputs = {"tokenizer": SmallTokenizer(), "preprocess": preprocess_of(48, 64)}
    with pytest.raises(TypeError, match=r"the 5 tokens at layer 'last' are no grid .* 48 x 64 pixels.*grid="):
        explain(own(), IMAGE, "a boat", **inputs)
    result = explain(own(grid=(2, 2), extra_tokens=1), IMAGE, "a boat", **inputs)
    assert result.values.shape[1:] == (2, 2)
    assert result.cls.any()
    with pytest.raises(TypeError, match=r"holds 5 tokens; expected a grid of 3 x 2"):
        explain(own(grid=(3, 2)), IMAGE, "a boat", **inputs)


def preprocess_of(height: int, width: int) -> Any:
    def preprocess(image: Image.Image) -> torch.Tensor:
        small = np.asarray(image.resize((width, height)), dtype=np.float32) / 255
        return torch.from_numpy(small).permute(2, 0, 1)

    return preprocess
