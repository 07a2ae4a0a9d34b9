"""Weights that are not torch's own tensors, as libraries for quantisation make them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from support.explaining import CAPTION, IMAGE
from support.zoo.models import build, inputs_of
from torch import Tensor, nn
from torch.nn import functional as F

from exclip_widget import ModelError, explain
from exclip_widget.models.towers import find_towers


class WeightOnly(Tensor):
    """A weight that linear layers use as it is, through code of its own."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear:
            given, weight, *bias = args
            return F.linear(cls.prepared(given), weight.as_subclass(Tensor), *bias, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)

    @staticmethod
    def prepared(given: Tensor) -> Tensor:
        return given


class Dynamic(WeightOnly):
    """A weight for which linear layers round what they are given to 8 bits."""

    @staticmethod
    def prepared(given: Tensor) -> Tensor:
        scale = given.abs().amax(-1, keepdim=True) / 127
        return (given / scale).round().detach() * scale


def _with_weights(model: Any, kind: type[Tensor]) -> Any:
    """Return a copy of a model whose linear layers have weights of this kind."""
    found = copy.deepcopy(model)
    for part in found.modules():
        if type(part) is nn.Linear:
            part.weight = nn.Parameter(part.weight.detach().as_subclass(kind), requires_grad=False)
    return found


@pytest.mark.parametrize("name", ["plain", "openai"])
@pytest.mark.parametrize("method", ["gradient", "frozen", "exclip"])
def test_weights_that_run_their_own_code_are_differentiated_if_they_can_be(name: str, method: str) -> None:
    model = build(name)
    options = inputs_of(model) | {"method": method, "text_layer": 0, "image_layer": 0}
    expected = explain(model, IMAGE, CAPTION, **options).values
    found = explain(_with_weights(model, WeightOnly), IMAGE, CAPTION, **options).values
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["plain", "openai"])
def test_weights_that_round_activations_have_no_gradient(name: str) -> None:
    model = _with_weights(build(name), Dynamic)
    towers = find_towers(model)
    assert not towers.image.is_own
    assert not towers.text.is_own
    options = inputs_of(model) | {"text_layer": 0, "image_layer": 0}
    with pytest.raises(ModelError, match=r"autograd's derivative from layer|the embedding jumps"):
        explain(model, IMAGE, CAPTION, method="gradient", **options)
