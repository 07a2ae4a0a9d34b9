"""States in which no model can be explained: each gives one error that says what to do."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.explaining import CAPTION, IMAGE
from support.zoo.models import build, inputs_of
from torch import Tensor, func, nn

from exclip_widget import Explainer, ModelError, explain

MODEL = build("plain")


@pytest.mark.parametrize("method", ["frozen", "exclip", "similarity"])
def test_a_lazy_module_is_named_and_stays_as_it_is(method: str) -> None:
    model: Any = copy.deepcopy(MODEL)
    model.visual.transformer.resblocks[0].mlp.c_fc = nn.LazyLinear(64)
    with pytest.raises(ModelError, match=r"resblocks\.0\.mlp\.c_fc\.weight' .* lazy; run the model once"):
        explain(model, IMAGE, CAPTION, method=method, **inputs_of(MODEL))
    assert isinstance(model.visual.transformer.resblocks[0].mlp.c_fc, nn.LazyLinear)


def _as_gradient(step: Callable[[], object]) -> None:
    def transformed(x: Tensor) -> Tensor:
        step()
        return x * x

    func.grad(transformed)(torch.tensor(1.0))


def _as_batch(step: Callable[[], object]) -> None:
    def transformed(x: Tensor) -> Tensor:
        step()
        return x

    func.vmap(transformed)(torch.zeros(2))


@pytest.mark.parametrize("transform", [_as_gradient, _as_batch])
def test_a_function_that_torch_transforms(transform: Callable[[Callable[[], object]], None]) -> None:
    inputs = inputs_of(MODEL)
    explainer = Explainer(MODEL, **inputs)
    for step in (
        lambda: explain(MODEL, IMAGE, CAPTION, **inputs),
        lambda: explainer.explain(IMAGE, CAPTION),
        lambda: explainer.classify(IMAGE, [CAPTION]),
    ):
        with pytest.raises(ModelError, match=r"inside a function that torch\.func transforms.*outside"):
            transform(step)


def test_weights_of_a_functional_call() -> None:
    """Nothing is transformed there, so the weights that are given are those explained."""
    given = {name: 1.1 * weight.detach() for name, weight in MODEL.named_parameters()}
    other = copy.deepcopy(MODEL)
    other.load_state_dict(given, strict=False)
    expected = explain(other, IMAGE, CAPTION, **inputs_of(MODEL))

    class Explained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = MODEL

        def forward(self) -> object:
            return explain(self.model, IMAGE, CAPTION, **inputs_of(MODEL)).values

    found = func.functional_call(Explained(), {f"model.{name}": one for name, one in given.items()}, ())
    np.testing.assert_allclose(found, expected.values, atol=1e-6)


def test_hooks_on_saved_tensors_that_are_disabled() -> None:
    options: dict[str, Any] = {"image_layer": 0, "text_layer": 0, **inputs_of(MODEL)}
    expected = explain(MODEL, IMAGE, CAPTION, method="frozen", **options)
    with torch.autograd.graph.disable_saved_tensors_hooks("not here"):
        found = explain(MODEL, IMAGE, CAPTION, method="frozen", **options)
        with pytest.raises(ModelError, match=r"hooks .* are disabled here \(not here\).*explain outside"):
            explain(MODEL, IMAGE, CAPTION, method="exclip", **options)
    assert found.similarity == expected.similarity


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (lambda model: (model, None, None), "unpack it and pass the model in it"),
        (lambda _: "ViT-B-32", "load the model first"),
        (lambda _: Path("model.pt"), "load the model first"),
        (lambda model: model.state_dict(), "by load_state_dict(...) and pass the model"),
        (lambda model: dict(model.state_dict()), "by load_state_dict(...) and pass the model"),
        (type, "pass a model of this class"),
        (lambda _: 3, "wrap any other in DualEncoder"),
    ],
)
def test_what_is_no_model_is_refused_with_what_to_do(given: Callable[[Any], Any], advice: str) -> None:
    with pytest.raises(ModelError, match=re.escape(advice)):
        Explainer(given(build("plain")))
