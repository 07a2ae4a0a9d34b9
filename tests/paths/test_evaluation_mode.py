"""Whatever mode the model and torch are in, the model is explained as it is used."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.explaining import values_of, values_or_refusal
from support.oracle import assert_close
from support.zoo.inputs import picture
from support.zoo.models import build, open_clip_model
from support.zoo.weights import mild

from exclip_widget import ModelError
from exclip_widget.paths.evaluation_mode import evaluation_mode


@pytest.mark.parametrize("layer", [-1, 0])
def test_model_in_training_mode(layer: int) -> None:
    """Patches are dropped in training, but not in an explanation."""
    model = open_clip_model(vision={"patch_dropout": 0.5}, seed=1)
    options = {"model": model, "image_layer": layer, "text_layer": layer}
    expected = values_of(picture(), **options)
    model.train()
    model.visual.transformer.eval()
    np.testing.assert_array_equal(values_of(picture(), **options), expected)
    assert model.training
    assert model.visual.patch_dropout.training
    assert not model.visual.transformer.resblocks[0].training


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, torch.enable_grad, torch.set_grad_enabled]
)
@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize("name", ["plain", "openai"])
def test_gradient_modes(name: str, layer: int, context: Callable[..., Any]) -> None:
    options = {"model": build(name), "text_layer": layer, "image_layer": layer}
    expected = values_of(picture(), **options)
    with context(False) if context is torch.set_grad_enabled else context():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        np.testing.assert_array_equal(values_of(picture(), **options), expected)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before


def test_model_made_in_inference_mode() -> None:
    """Its parameters can never take part in autograd."""
    with torch.inference_mode():
        model = build("plain")
    assert all(parameter.is_inference() for parameter in model.parameters())
    outcome = values_or_refusal(ModelError, picture(), model=model)
    if isinstance(outcome, str):
        assert "inference" in outcome
        return
    np.testing.assert_allclose(outcome, values_of(picture()), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize("method", ["exclip", "frozen", "gradient"])
def test_weights_made_in_inference_mode_and_converted_later(method: str, layer: int) -> None:
    """They no longer count as made there, but still cannot take part in autograd."""
    model: Any = build("plain")
    norms = [block.ln_2 for block in (*model.transformer.resblocks, *model.visual.transformer.resblocks)]
    for norm in norms:
        with torch.inference_mode():
            norm.weight = torch.nn.Parameter(norm.weight.clone())
    model.double()
    assert not any(norm.weight.is_inference() for norm in norms)
    steps = 2 if method == "exclip" else None
    options = {"method": method, "text_layer": layer, "image_layer": layer, "steps": steps}
    found = values_of(picture(), model=model, **options)
    np.testing.assert_allclose(found, values_of(picture(), **options), rtol=1e-3, atol=1e-6)


def test_a_model_made_in_inference_mode_and_converted_later() -> None:
    """torch itself cannot run it any more, but a copy."""
    with torch.inference_mode():
        model = build("plain")
    model.double()
    with pytest.raises(ModelError, match=r"encoder fails, because .* inference mode.*copy\.deepcopy"):
        values_of(picture(), model=model)
    found = values_of(picture(), model=copy.deepcopy(model))
    np.testing.assert_allclose(found, values_of(picture()), rtol=1e-3, atol=1e-6)


def test_frozen_model() -> None:
    model = build("plain").requires_grad_(False)
    np.testing.assert_allclose(values_of(picture(), model=model), values_of(picture()), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "frozen"},
        {"method": "frozen", "rank": 2},
        {"method": "banzhaf", "samples": 32},
        {"image_reference": "noise"},
    ],
)
def test_another_default_dtype(options: dict[str, Any]) -> None:
    options = {"steps": None} | options if "method" in options else options
    expected = values_of(picture(), **options)
    torch.set_default_dtype(torch.float64)
    try:
        values = values_of(picture(), **options)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert_close(values, expected, 1e-6)


def test_under_autocast() -> None:
    """Autocast may lower the precision, but must not change the result."""
    model = mild(open_clip_model())
    expected = values_of(picture(), model=model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = values_of(picture(), model=model)
        assert torch.is_autocast_enabled("cpu")
    assert_close(values, expected, 5e-2)


@pytest.mark.parametrize("path", ["encode_image", "visual.forward", "visual.transformer.forward"])
def test_compiled_functions_on_instances(path: str) -> None:
    """Their code was compiled without our hooks, so it must not run."""
    expected = values_of(picture())
    model = build("plain")
    holder, _, name = path.rpartition(".")
    owner = model.get_submodule(holder)
    compiled = torch.compile(getattr(owner, name), backend="eager")
    setattr(owner, name, compiled)
    with torch.no_grad():
        model.encode_image(torch.zeros(1, 3, 32, 32))
    np.testing.assert_allclose(values_of(picture(), model=model), expected, atol=1e-6)
    assert getattr(owner, name) is compiled
    torch.compiler.reset()


def test_block_within_another() -> None:
    """The model stays in evaluation mode until the outermost block ends."""
    model = build("plain").train()
    with evaluation_mode(model):
        with torch.enable_grad(), evaluation_mode(model):
            assert not torch.is_grad_enabled()
        assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.modules())
    with evaluation_mode(model):
        assert not model.training
