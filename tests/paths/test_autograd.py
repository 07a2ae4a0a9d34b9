"""Gradients of several cotangents: together if torch can, otherwise one after another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

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
