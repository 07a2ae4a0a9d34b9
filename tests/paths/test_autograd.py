"""Gradients of several cotangents: together if torch can, otherwise one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.oracle import assert_close
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of
from torch import Tensor, nn

from exclip_widget import explain
from exclip_widget.paths.autograd import gradients

X = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
COTANGENTS = torch.linspace(1, -2, 24, dtype=torch.float64).reshape(2, 3, 4)


class Doubled(torch.autograd.Function):
    """A function that does not support several cotangents at once, and counts its backward calls."""

    asked = 0

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(_: Any, grad: Tensor) -> Tensor:
        Doubled.asked += 1
        return 2 * torch.from_numpy(grad.numpy())  # NumPy cannot read several at once


def test_each_is_as_by_itself() -> None:
    x = X.clone().requires_grad_()
    net = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4), nn.GELU()).double()
    y = net(x)
    (found,) = gradients(y, [x], COTANGENTS)
    assert found is not None
    for one, cotangent in zip(found, COTANGENTS, strict=True):
        torch.testing.assert_close(one, torch.autograd.grad(y, x, cotangent, retain_graph=True)[0])


def test_what_takes_one_at_a_time_only() -> None:
    x = X.clone().requires_grad_()
    (found,) = gradients(Doubled.apply(x), [x], COTANGENTS)
    assert found is not None
    torch.testing.assert_close(found, 2 * COTANGENTS)
    assert Doubled.asked >= 2


def test_an_input_that_nothing_comes_back_to() -> None:
    x, other = X.clone().requires_grad_(), X.clone().requires_grad_()
    found = gradients(2 * x, [x, other], COTANGENTS, allow_unused=True)
    assert found[0] is not None
    assert found[1] is None
    found = gradients(Doubled.apply(x), [x, other], COTANGENTS, allow_unused=True)
    assert found[0] is not None
    assert found[1] is None
    with pytest.raises(RuntimeError, match="not have been used"):
        gradients(2 * x, [other], COTANGENTS)


def test_out_of_memory_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def full(*_: Any, **options: Any) -> None:
        calls.append(options)
        raise torch.OutOfMemoryError("full")

    x = X.clone().requires_grad_()
    y = 2 * x
    monkeypatch.setattr(torch.autograd, "grad", full)
    with pytest.raises(torch.OutOfMemoryError):
        gradients(y, [x], COTANGENTS)
    assert len(calls) == 1


def by_func(x: Tensor) -> Tensor:
    return torch.func.grad(lambda y: (0.35 * y * y).sum())(x)


def by_forward_mode(x: Tensor) -> Tensor:
    factor: Tensor = torch.func.jacfwd(lambda scale: 0.7 * x * scale)(torch.ones((), dtype=x.dtype))
    return factor


def by_autograd(x: Tensor) -> Tensor:
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().requires_grad_()
        return torch.autograd.grad((0.35 * y * y).sum(), y, create_graph=True)[0]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch.func.jacfwd imports it
@pytest.mark.parametrize("derive", [by_func, by_forward_mode, by_autograd])
def test_a_block_that_takes_derivatives(derive: Callable[[Tensor], Tensor]) -> None:
    def values(change: Callable[[Tensor], Tensor]) -> np.ndarray:
        model = build("plain")
        model.visual.transformer.resblocks[1].register_forward_hook(lambda *given: change(given[2]))
        options = {"method": "exclip", "text_layer": 1, "image_layer": 1, **inputs_of(model)}
        found: np.ndarray = explain(model, Image.fromarray(scene(0)), "two red boats", **options).values
        return found

    assert_close(values(derive), values(lambda x: 0.7 * x), 1e-4)
