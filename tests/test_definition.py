"""The engine against the definition, computed naively in float64 on the full context."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.definitions import assert_agree, captions_of, definition
from support.oracle import assert_close, explain_slowly, relative_error
from support.zoo.inputs import CAPTIONS, scene
from support.zoo.models import (
    MODELS,
    OPEN_CLIP_NAMES,
    UNUSUAL,
    build,
    inputs_of,
    open_clip_model,
    small_model,
)
from support.zoo.tokenizers import SMALL_CONTEXT
from torch import nn

from exclip_widget import ModelError, explain
from exclip_widget.paths.quadrature import RULES

CASES = ((1, 0, "arc-length", 5), (2, 1, "gauss-legendre", 3), (1, 2, "midpoint", 3), (0, 2, "right", 4))
"""Caption, image, rule, steps."""


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("caption", "seed", "rule", "steps"), CASES)
def test_float32(name: str, caption: int, seed: int, rule: str, steps: int) -> None:
    model, image = build(name), Image.fromarray(scene(seed))
    text = captions_of(name)[caption]
    found = explain(model, image, text, rule=rule, steps=steps, **inputs_of(model), method="exclip")
    assert_agree(found, definition(model, image, text, rule=rule, steps=steps), 1e-4)


@pytest.mark.parametrize("name", OPEN_CLIP_NAMES)
@pytest.mark.parametrize(("caption", "seed", "rule", "steps"), CASES[:2])
def test_float64(name: str, caption: int, seed: int, rule: str, steps: int) -> None:
    """In float64, the formula is exact: only casting the result to float32 adds an error."""
    model, image = build(name).double(), Image.fromarray(scene(seed))
    text = captions_of(name)[caption]
    found = explain(model, image, text, rule=rule, steps=steps, **inputs_of(model), method="exclip")
    assert_agree(found, definition(model, image, text, rule=rule, steps=steps), 1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["plain", "openai"])
def test_one_step(name: str, rule: str) -> None:
    model, image = build(name), Image.fromarray(scene(1))
    found = explain(model, image, CAPTIONS[1], rule=rule, steps=1, **inputs_of(model), method="exclip")
    assert_agree(found, definition(model, image, CAPTIONS[1], rule=rule, steps=1), 1e-4)


def test_defaults() -> None:
    """By default, ten steps along the curve of embeddings, at the last block."""
    model, image = build("plain"), Image.fromarray(scene(1))
    found = explain(model, image, CAPTIONS[1], **inputs_of(model), method="exclip")
    assert (found.rule, found.steps) == ("arc-length", 10)
    truth = definition(model, image, CAPTIONS[1], rule="arc-length", steps=10)
    assert_agree(found, truth, 1e-4)


@pytest.mark.parametrize(
    ("name", "caption", "tokens"),
    [
        ("plain", "red boat " * 37 + "house", 77),
        ("openai", "red boat " * 37 + "house", 77),
        ("small vocabulary", "boat " * (SMALL_CONTEXT - 2), SMALL_CONTEXT),
    ],
)
def test_caption_that_fills_the_context(name: str, caption: str, tokens: int) -> None:
    """Nothing follows EOT in the longest caption, so nothing can be cut off."""
    model, image = build(name), Image.fromarray(scene(2))
    found = explain(model, image, caption, rule="right", steps=2, **inputs_of(model), method="exclip")
    assert found.values.shape[0] == tokens
    assert_agree(found, definition(model, image, caption, rule="right", steps=2), 1e-4)


@pytest.mark.parametrize("layers", [(0, 0), (0, -1), (-1, 0), (1, 1), (-3, -2)])
@pytest.mark.parametrize("name", ["openai, deep", "three blocks", "three blocks, float64"])
def test_any_layer(name: str, layers: tuple[int, int]) -> None:
    """The definition holds wherever the towers are cut."""
    if name == "openai, deep":
        model = build(name)
    else:
        model = open_clip_model(vision={"layers": 3}, text={"layers": 3}, custom_text=True)
    tolerance = 1e-4
    if name.endswith("float64"):
        model, tolerance = model.double(), 1e-6
    image, (text_layer, image_layer) = Image.fromarray(scene(1)), layers
    options = {"text_layer": text_layer, "image_layer": image_layer, "steps": 2}
    found = explain(model, image, CAPTIONS[1], method="exclip", **options, **inputs_of(model))
    truth = definition(model, image, CAPTIONS[1], rule="arc-length", steps=2, layers=layers)
    assert_agree(found, truth, tolerance)


def _changed(output: Any) -> Any:
    """Return a part's inputs or output, changed in a way that no normalisation can undo."""
    if isinstance(output, tuple):
        return (_changed(output[0]), *output[1:])
    return output.roll(1, -1) if output.is_floating_point() else output


class _Wrapper(nn.Module):
    """A module that replaces another one and calls it, as adapters and quantised layers do."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("part"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return _changed(self.part(*args, **kwargs))


def _hook(part: nn.Module) -> None:
    part.register_forward_hook(lambda _module, _args, output: _changed(output))


def _pre_hook(part: nn.Module) -> None:
    part.register_forward_pre_hook(lambda _, args: _changed(args))


def _forward_of_its_own(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return _changed(type(self).forward(self, *args, **kwargs))


def _patch(part: nn.Module) -> None:
    # Bound to the part, so that the oracle's copy runs the copy's weights.
    part.forward = types.MethodType(_forward_of_its_own, part)


def _subclass(part: nn.Module) -> None:
    # In float32, both packages' normalisations are the same as torch's.
    base = nn.LayerNorm if isinstance(part, nn.LayerNorm) else type(part)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return _changed(base.forward(self, *args, **kwargs))

    part.__class__ = type(f"Changed{base.__name__}", (base,), {"forward": forward})


PARTS = (
    "visual.conv1",
    "visual.ln_pre",
    "visual.transformer",
    "visual.transformer.resblocks.0",
    "visual.transformer.resblocks.0.mlp.c_fc",
    "visual.transformer.resblocks.1",
    "visual.transformer.resblocks.1.ln_1",
    "visual.transformer.resblocks.1.attn",
    "visual.transformer.resblocks.1.mlp",
    "visual.transformer.resblocks.1.mlp.gelu",
    "visual.ln_post",
    "visual",
    "token_embedding",
    "transformer",
    "transformer.resblocks.0.ln_2",
    "transformer.resblocks.1",
    "transformer.resblocks.1.attn",
    "transformer.resblocks.1.mlp.c_proj",
    "ln_final",
)


@pytest.mark.parametrize("change", [_hook, _pre_hook, _Wrapper, _patch, _subclass])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ["plain", "openai"])
def test_a_changed_part_is_explained_rightly_or_refused(
    name: str, part: str, change: Callable[[nn.Module], nn.Module | None]
) -> None:
    """With hooks, adapters or patched methods, the model that is explained is the model that runs."""
    model, image = build(name), Image.fromarray(scene(3))
    inputs = inputs_of(model)
    changed = change(model.get_submodule(part))
    if changed is not None:
        model.set_submodule(part, changed)
    try:
        found = explain(model, image, "a red boat", steps=2, **inputs, method="exclip")
    except ModelError:
        return
    picture, ids = inputs["preprocess"](image), inputs["tokenizer"]("a red boat")
    truth = explain_slowly(model, picture, ids, rule="arc-length", steps=2)
    assert_agree(found, truth, 1e-4)


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_tower_is_explained_rightly_or_refused(name: str) -> None:
    """Silently wrong numbers are the one outcome that is not allowed."""
    model, image = UNUSUAL[name](), Image.fromarray(scene(3))
    try:
        found = explain(model, image, CAPTIONS[1], steps=3, **inputs_of(model), method="exclip")
    except ModelError:
        return
    truth = definition(model, image, CAPTIONS[1], rule="arc-length", steps=3)
    assert_agree(found, truth, 1e-4)


@settings(max_examples=20, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**16),
    words=st.lists(st.sampled_from("a red boat left of two yellow fish".split()), min_size=1),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    layers=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    cuts=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    heads=st.sampled_from([1, 2, 4]),
    scale=st.sampled_from([None, 0.1]),
    rule=st.sampled_from(RULES),
    steps=st.integers(1, 6),
)
def test_any_configuration(
    seed: int,
    words: list[str],
    grid: tuple[int, int],
    layers: tuple[int, int],
    cuts: tuple[int, int],
    heads: int,
    scale: float | None,
    rule: str,
    steps: int,
) -> None:
    """Depth, layer, heads, grid, caption, rule and steps, in any combination."""
    caption = " ".join(words[: SMALL_CONTEXT - 2])
    size = (8 * grid[0], 8 * grid[1])
    vision = {
        "image_size": size,
        "layers": layers[0],
        "head_width": 32 // heads,
        "ls_init_value": scale,
    }
    model = small_model(seed, vision=vision, text={"layers": layers[1]}).double()
    image = Image.fromarray(scene(seed))
    image_layer, text_layer = (-min(cut, depth) for cut, depth in zip(cuts, layers, strict=True))
    options = {"rule": rule, "steps": steps}
    found = explain(
        model,
        image,
        caption,
        method="exclip",
        text_layer=text_layer,
        image_layer=image_layer,
        **options,
        **inputs_of(model),
    )
    assert found.values.shape[1:] == grid
    truth = definition(model, image, caption, layers=(text_layer, image_layer), **options)
    assert_agree(found, truth, 1e-6)


def test_row_zero_is_the_top() -> None:
    """If position does not matter, turning the image upside down turns the values upside down."""
    model: nn.Module = build("plain")
    with torch.no_grad():
        model.visual.positional_embedding[1:] = model.visual.positional_embedding[1]
        model.visual.conv1.weight.copy_(model.visual.conv1.weight.mean(dim=2, keepdim=True))
    image = Image.fromarray(scene(1, size=(32, 32)))
    turned = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    upright = explain(model, image, "a boat", **inputs_of(model), method="exclip").values
    below = explain(model, turned, "a boat", **inputs_of(model), method="exclip").values
    assert_close(below[:, ::-1], upright, 1e-4)
    assert relative_error(below, upright) > 0.1


def test_same_input_same_numbers() -> None:
    model, image = build("plain"), Image.fromarray(scene(1))
    first, second = (
        explain(model, image, CAPTIONS[1], **inputs_of(model), method="exclip") for _ in range(2)
    )
    np.testing.assert_array_equal(first.values, second.values)
