"""Nothing that is cached for a model outlives its weights and settings."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
from PIL import Image
from support.definitions import assert_agree, definition
from support.explaining import CAPTION, IMAGE
from support.oracle import relative_error
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of, small_model
from torch import nn

from exclip_widget import (
    ModelError,
    explain,
)


def test_nothing_kept_outlives_a_change_of_the_model() -> None:
    """However weights or settings are changed, the next explanation is of the changed model."""
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
        before = explain(model, IMAGE, CAPTION, **inputs, method="exclip").values
        change(model)
        change(never_run)
        after = explain(model, IMAGE, CAPTION, **inputs, method="exclip").values
        np.testing.assert_array_equal(
            after, explain(never_run, IMAGE, CAPTION, **inputs, method="exclip").values
        )
        assert relative_error(after, before) > 1e-4, change.__name__


def _through_copy(parameter: nn.Parameter) -> None:
    with torch.no_grad():
        parameter.mul_(-0.7)


def _through_data(parameter: nn.Parameter) -> None:
    parameter.data.mul_(-0.7)


def _by_assignment(parameter: nn.Parameter) -> None:
    parameter.data = parameter.data * -0.7


def _one_element(parameter: nn.Parameter) -> None:
    parameter.data.view(-1)[-2] += 3


@pytest.mark.parametrize("change", [_through_copy, _through_data, _by_assignment, _one_element])
def test_changed_weights_are_seen(change: Callable[[nn.Parameter], None]) -> None:
    """Activations cached by one explanation must not outlive the model's weights."""
    model, image = build("plain"), Image.fromarray(scene(0))
    arguments = {"steps": 3, "rule": "right"}
    for path in (None, "positional_embedding", "visual.transformer.resblocks.0.mlp.c_fc.weight"):
        if path is not None:
            change(model.get_parameter(path))
        found = explain(model, image, "a red boat", method="exclip", **arguments, **inputs_of(model))
        assert_agree(found, definition(model, image, "a red boat", **arguments), 1e-4)


def _hook(part: nn.Module) -> None:
    part.register_forward_hook(lambda _module, _args, output: output.roll(1, -1))


def _hooked_below(model: nn.Module) -> None:
    _hook(model.visual.conv1)


def _hooked_in_text(model: nn.Module) -> None:
    _hook(model.transformer.resblocks[0].mlp.c_fc)


def _other_activation(model: nn.Module) -> None:
    model.visual.transformer.resblocks[0].mlp.gelu = nn.Tanh()


def _other_epsilon(model: nn.Module) -> None:
    model.transformer.resblocks[0].ln_2.eps = 0.5


def _other_mask(model: nn.Module) -> None:
    model.attn_mask[3, 1] = -torch.inf


@pytest.mark.parametrize(
    "change", [_hooked_below, _hooked_in_text, _other_activation, _other_epsilon, _other_mask]
)
def test_a_model_changed_otherwise_is_seen(change: Callable[[nn.Module], None]) -> None:
    """A model is more than its weights: hooks, settings and buffers count, too."""
    model, image = build("plain"), Image.fromarray(scene(0))
    options = {"steps": 3, "rule": "right"}
    explain(model, image, "a red boat", method="exclip", **options, **inputs_of(model))
    change(model)
    try:
        found = explain(model, image, "a red boat", method="exclip", **options, **inputs_of(model))
    except ModelError:
        return
    assert_agree(found, definition(model, image, "a red boat", **options), 1e-4)


@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize(
    "context",
    [
        torch.inference_mode,
        torch.no_grad,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    ],
    ids=["inference mode", "no grad", "autocast"],
)
def test_where_it_was_first_used_leaves_no_trace(
    context: Callable[[], AbstractContextManager[None]], layer: int
) -> None:
    """Cached activations have full precision and work with autograd, whatever mode they are first used in."""
    model, image = build("plain"), Image.fromarray(scene(0))
    options = {"text_layer": layer, "image_layer": layer, "steps": 2} | inputs_of(model)
    with context():
        explain(model, image, "a red boat", method="exclip", **options)
    found = explain(model, image, "a red boat", method="exclip", **options)
    truth = definition(model, image, "a red boat", rule="arc-length", steps=2, layers=(layer, layer))
    assert_agree(found, truth, 1e-4)


def test_changed_precision_is_seen() -> None:
    model, image = build("plain"), Image.fromarray(scene(0))
    explain(model, image, "a red boat", steps=3, **inputs_of(model), method="exclip")
    model.double()
    found = explain(model, image, "a red boat", steps=3, **inputs_of(model), method="exclip")
    truth = definition(model, image, "a red boat", rule="arc-length", steps=3)
    assert_agree(found, truth, 1e-6)


def test_one_model_after_another() -> None:
    """A new model may have the address of a deleted one, but must not get its cached activations."""
    image = Image.fromarray(scene(0))
    for seed in range(6):
        model = small_model(seed)
        found = explain(model, image, "a boat", steps=2, rule="right", **inputs_of(model), method="exclip")
        assert_agree(found, definition(model, image, "a boat", rule="right", steps=2), 1e-4)
        del model
        gc.collect()
