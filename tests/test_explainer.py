"""The explainer: lists of layers, refinement in steps, and no graphs left in memory."""

from __future__ import annotations

import copy
import functools
import gc
import threading
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from support.definitions import assert_agree, definition
from support.explaining import CAPTION, IMAGE
from support.oracle import Truth, assert_close, relative_error
from support.zoo.families import family
from support.zoo.inputs import CAPTIONS, scene
from support.zoo.models import build, inputs_of, open_clip_model, openai_model, preprocess_for
from torch import nn

from exclip_widget import (
    DualEncoder,
    Explainer,
    IntegratedJacobians,
    ModelError,
    ParameterError,
    explain,
    explain_layers,
    interactions_of,
)
from exclip_widget.methods import METHODS


def test_by_default() -> None:
    """The default is frozen gates at the first text and second image block; see docs/evaluation.md."""
    model = build("plain")
    chosen = {"method": "frozen", "text_layer": 0, "image_layer": 1, **inputs_of(model)}
    assert explain(model, IMAGE, CAPTION, **inputs_of(model)) == explain(model, IMAGE, CAPTION, **chosen)
    with pytest.raises(ParameterError, match="steps=10 is an option of method 'exclip', not of 'frozen'"):
        explain(model, IMAGE, CAPTION, steps=10, **inputs_of(model))


@pytest.mark.parametrize("method", METHODS)
def test_a_list_of_layers_is_each_of_them(method: str) -> None:
    """A list of layers takes as many passes as one layer and gives what each layer gives alone."""
    model = build("openai, deep")
    options = {"method": method, **inputs_of(model)}
    passes: list[str] = []
    for name in ("visual.transformer.resblocks.0", "transformer.resblocks.0"):
        block = model.get_submodule(name)
        block.register_forward_pre_hook(lambda _, _args, name=name: passes.append(name))
    text_layers, image_layers = [0, -1], [2, "visual.transformer.resblocks.0", 1]
    together = explain_layers(
        model, IMAGE, CAPTION, text_layers=text_layers, image_layers=image_layers, **options
    )
    assert list(together) == [(text, image) for text in text_layers for image in image_layers]
    if method == "exclip":
        del passes[:]
        explainer = Explainer(model, **options)
        layers = [explainer._towers.image.layer(which) for which in image_layers]
        explainer._image_sides([explainer.read_image(IMAGE)], layers)
        # The image, its reference, and copies that show where the patches are, because of the hook above.
        assert passes == ["visual.transformer.resblocks.0"] * 3
    for (text_layer, image_layer), result in together.items():
        alone = explain(model, IMAGE, CAPTION, text_layer=text_layer, image_layer=image_layer, **options)
        assert_close(result.values, alone.values, 1e-4)
        assert (result.text_layer, result.image_layer) == (alone.text_layer, alone.image_layer)


def test_layers_of_a_residual_network_have_grids_of_their_own() -> None:
    model = openai_model(
        vision_layers=(1, 1, 1, 1), vision_width=16, vision_patch_size=None, image_resolution=64
    )
    inputs = inputs_of(model)
    result = explain_layers(model, IMAGE, "a boat", text_layers=[-1], steps=3, **inputs, method="exclip")
    assert list(result) == [(-1, 0), (-1, 1), (-1, 2), (-1, 3)]  # all layers, unless some are named
    assert [one.values.shape[1:] for one in result.values()] == [(16, 16), (16, 16), (8, 8), (4, 4)]
    assert not any(one.cls.any() for one in result.values())


@functools.cache
def _openai_boat(layers: tuple[int, int]) -> Truth:
    image, rule = Image.fromarray(scene(1)), "arc-length"
    return definition(build("openai"), image, "a boat", rule=rule, steps=10, layers=layers)


@pytest.mark.parametrize("layers", [(-1, -1), (0, 0)])
@pytest.mark.parametrize("frames", [1, 4, 10, 40])
@pytest.mark.parametrize("memory", [None, 1])
def test_refined_in_steps(frames: int, layers: tuple[int, int], memory: int | None) -> None:
    """The result depends neither on the number of estimates nor on the memory limit."""
    model, image = build("openai"), Image.fromarray(scene(1))
    options = {"text_layer": layers[0], "image_layer": layers[1], "steps": 10}
    options |= {"memory": memory} if memory else {}
    explainer = Explainer(model, method="exclip", **options, **inputs_of(model))
    *early, last = (found for (found,) in explainer.refine([explainer.text_factors("a boat")], image, frames))
    assert len(early) < 10
    assert len(early) + 1 == 10 or memory is None
    assert_agree(last, _openai_boat(layers), 1e-4)
    for estimate in early:
        assert estimate.values.shape == last.values.shape
        assert np.isfinite(estimate.values).all()
        assert (estimate.total, estimate.similarity) == (last.total, last.similarity)
    if early:
        assert relative_error(early[-1].values, last.values) < 1


@pytest.mark.parametrize("estimates", [0, 2.5, "4"])
def test_the_number_of_estimates_is_a_whole_number(estimates: Any) -> None:
    explainer = Explainer(build("openai"), **inputs_of(build("openai")))
    with pytest.raises(ParameterError, match=f"estimates={estimates!r} is not a whole number of at least 1"):
        explainer.refine([explainer.text_factors("a boat")], Image.fromarray(scene(1)), estimates)


def new_graphs() -> int:
    """Count live tensors with autograd history that were created since `gc.freeze()`."""
    gc.collect()
    tensors = (held for held in gc.get_objects() if type(held) is torch.Tensor)
    return sum(_has_history(tensor) for tensor in tensors)


def _has_history(tensor: torch.Tensor) -> bool:
    try:
        return tensor.grad_fn is not None
    except RuntimeError:  # an undefined tensor that torch itself created
        return False


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_stays_behind(method: str, layer: int) -> None:
    model, image = build("plain"), Image.fromarray(scene(3))
    options = {"method": method, "text_layer": layer, "image_layer": layer, **inputs_of(model)}
    gc.freeze()  # going through the objects of all imported modules takes seconds
    try:
        explainer = Explainer(model, **options)
        for caption in CAPTIONS:
            explainer.explain(image, caption)
            interactions_of(explainer.text_factors(caption), explainer.image_factors(image))
        assert new_graphs() == 0
        _history = torch.ones(2, requires_grad=True) * 2
        assert new_graphs() == 1
    finally:
        gc.unfreeze()


def test_one_model_many_pictures_and_captions() -> None:
    """Earlier explanations do not affect later ones, even if only one input changes."""
    model = open_clip_model(seed=3)
    for seed, caption in [(0, "a boat"), (1, "a boat"), (1, "a red house"), (0, "a boat")]:
        image = Image.fromarray(scene(seed))
        found = explain(model, image, caption, steps=2, rule="right", **inputs_of(model), method="exclip")
        assert_agree(found, definition(model, image, caption, rule="right", steps=2), 1e-4)


def test_explaining_again_by_another_method_looks_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("openai, deep")
    explainer = Explainer(model, steps=7, **inputs_of(model), method="exclip")
    monkeypatch.setattr("exclip_widget.explainer.find_towers", lambda _: pytest.fail("looked up"))
    other = explainer.with_method("gradient", image_layer=0)
    assert (other.method.name, other.layers) == ("gradient", (1, 0))
    assert (explainer.method, explainer.layers) == (IntegratedJacobians(steps=7), (2, 2))
    again = other.with_method("exclip")
    assert again.method == IntegratedJacobians(steps=7)  # remembered for when the method is chosen again
    np.testing.assert_array_equal(
        again.explain(IMAGE, CAPTION).values, explainer.explain(IMAGE, CAPTION).values
    )


class Rewording:
    """A tokenizer that starts to read one word as another."""

    def __init__(self, word: str, other: str) -> None:
        self.rewords = False
        self._words = word, other

    def __call__(self, text: str) -> torch.Tensor:
        return open_clip.tokenize([text.replace(*self._words) if self.rewords else text])


@pytest.mark.parametrize("method", ["frozen", "exclip"])
def test_the_reference_is_tokenised_with_the_tokenizer_of_now(method: str) -> None:
    model, tokenizer = build("plain"), Rewording("photo", "boat")
    options = inputs_of(model) | {"method": method, "tokenizer": tokenizer}
    explainer = Explainer(model, text_reference="a photo", **options)
    before = explainer.explain(IMAGE, CAPTION)
    tokenizer.rewords = True
    expected = explain(model, IMAGE, CAPTION, text_reference="a boat", **options)
    assert relative_error(before.values, expected.values) > 0.01
    assert_close(explainer.explain(IMAGE, CAPTION).values, expected.values, 1e-5)


OPTIONS = {"text_layer": 0, "image_layer": 1, "image_reference": "blur", "steps": 3, "seed": 5}


def _with_a_lambda(model: nn.Module) -> Explainer:
    """Return an explainer that cannot be pickled, with options unlike the default ones."""
    inputs = inputs_of(model)
    inputs |= {"preprocess": lambda image: preprocess_for(model)(image)}
    return Explainer(model, method="exclip", **inputs, **OPTIONS)


def test_a_shallow_copy_shares_the_model() -> None:
    model = build("plain")
    explainer = _with_a_lambda(model)
    before = explainer.explain(IMAGE, CAPTION).values
    other = copy.copy(explainer)
    assert other.model is model
    np.testing.assert_array_equal(other.explain(IMAGE, CAPTION).values, before)
    assert other.with_method("gradient").with_method("exclip").method == explainer.method
    with torch.no_grad():
        model.text_projection.mul_(-1)
    np.testing.assert_allclose(other.explain(IMAGE, CAPTION).values, -before, atol=1e-6)


def test_a_deep_copy_has_a_model_of_its_own() -> None:
    model: Any = build("plain")
    explainer = _with_a_lambda(model)
    both = copy.deepcopy({"explainer": explainer, "model": model})
    other = both["explainer"]
    assert other.model is both["model"]
    assert other.model is not model
    before = explainer.explain(IMAGE, CAPTION).values
    with torch.no_grad():
        model.text_projection.mul_(-1)
    np.testing.assert_array_equal(other.explain(IMAGE, CAPTION).values, before)
    assert repr(other) == repr(explainer)
    assert other.with_method("gradient").with_method("exclip").method == explainer.method


@pytest.mark.parametrize("name", ["transformers CLIP", "OpenAI ResNet"])
def test_every_library_can_be_copied(name: str) -> None:
    this = family(name)
    explainer = Explainer(this.explained(this.model), method="exclip", steps=2, **this.options)
    expected = explainer.explain(IMAGE, "a red boat").values
    for other in (copy.copy(explainer), copy.deepcopy(explainer)):
        np.testing.assert_array_equal(other.explain(IMAGE, "a red boat").values, expected)


def _encode_text(model: Any, ids: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model.encode_text(ids)
    return found


def _own(model: Any, encode_text: Any) -> Explainer:
    own = DualEncoder(
        model,
        encode_text=encode_text,
        encode_image=model.encode_image,
        text_layers=["transformer.resblocks.0"],
        image_layers=["visual.transformer.resblocks.0"],
        padded=True,
    )
    return Explainer(own, **inputs_of(model), method="exclip", steps=2)


def test_a_deep_copy_of_a_dual_encoder_runs_the_copy() -> None:
    model: Any = build("plain")
    explainer = _own(model, functools.partial(_encode_text, model))
    before = explainer.explain(IMAGE, CAPTION).values
    other = copy.deepcopy(explainer)
    with torch.no_grad():
        model.text_projection.mul_(-1)
    assert other.model is not model
    np.testing.assert_array_equal(other.explain(IMAGE, CAPTION).values, before)


def test_what_cannot_be_copied_is_named() -> None:
    model: Any = build("plain")
    explainer = _own(model, lambda ids: model.encode_text(ids))
    assert copy.copy(explainer).model is model
    with pytest.raises(ParameterError, match="encode_text is a function, which a copy would still run on"):
        copy.deepcopy(explainer)
    explainer = _with_a_lambda(model)
    explainer.preprocess = functools.partial(print, threading.Lock())
    with pytest.raises(ParameterError, match="preprocess cannot be copied"):
        copy.deepcopy(explainer)
    model.kept = model.text_projection * 2  # autograd's tensors cannot be copied
    with pytest.raises(ModelError, match="model cannot be copied"):
        copy.deepcopy(explainer)


def test_reprs_are_one_informative_line() -> None:
    model = build("plain")
    explainer = Explainer(model, **inputs_of(model), method="exclip")
    assert repr(explainer) == (
        "Explainer(CLIP: 'exclip' at 'transformer.resblocks.1' and 'visual.transformer.resblocks.1')"
    )
    assert repr(explainer.text_factors("a boat")) == (
        "Factors('a boat': 4 tokens x 12, 'exclip' at 'transformer.resblocks.1', 10 steps)"
    )
    assert repr(explainer.image_factors(IMAGE)) == (
        "Factors(image: 17 tokens x 12, 'exclip' at 'visual.transformer.resblocks.1', 10 steps)"
    )
    own = DualEncoder(
        torch.nn.Sequential(torch.nn.Linear(2, 2)),
        encode_text=abs,
        encode_image=abs,
        text_layers=["0"],
        image_layers=["0"],
    )
    assert repr(own) == "DualEncoder(Sequential: 1 text layers, 1 image layers)"
