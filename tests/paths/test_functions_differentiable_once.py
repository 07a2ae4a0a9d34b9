"""Derivatives through code that runs twice, or can be differentiated only once or not at all."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from support.oracle import relative_error
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from exclip_widget import Interactions, ModelError, explain, explain_layers
from exclip_widget.paths import onednn

IMAGE = Image.fromarray(scene(0))


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return x.tanh()


class _Marked(_Function):
    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * (1 - context.saved_tensors[0].tanh() ** 2)


class _Constant(_Function):
    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        with torch.no_grad():
            return gradient * (1 - context.saved_tensors[0].tanh() ** 2)


class _ThroughNumPy(_Function):
    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        slope = 1 - context.saved_tensors[0].detach().tanh() ** 2
        return torch.from_numpy(gradient.detach().numpy() * slope.numpy())


class _Fails(_Function):
    @staticmethod
    def backward(*_: Any) -> Tensor:
        raise KeyError("no way back")


class _Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = torch.cond(x.sum() > 1e9, lambda x: 0 * x, lambda x: x.tanh(), (x,))
        return result


def _activation(function: type[torch.autograd.Function]) -> Callable[[], nn.Module]:
    class Activation(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = function.apply(x)
            return result

    return Activation


def _with(activation: Callable[[], nn.Module]) -> Any:
    model: Any = build("plain")
    for block in (*model.visual.transformer.resblocks, *model.transformer.resblocks):
        block.mlp.gelu = activation()
    return model


def _explained(model: nn.Module, layer: int, **options: Any) -> Interactions:
    options = {"method": "exclip", "text_layer": layer, "image_layer": layer, "steps": 4} | options
    return explain(model, IMAGE, "a red boat", **options, **inputs_of(build("plain")))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize("function", [_Marked, _Constant, _ThroughNumPy])
def test_as_by_the_function_that_can_be_differentiated_twice(
    function: type[torch.autograd.Function], layer: int
) -> None:
    found, expected = _explained(_with(_activation(function)), layer), _explained(_with(nn.Tanh), layer)
    assert relative_error(found.values, expected.values) < 1e-4
    assert found.residual == pytest.approx(expected.residual, abs=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("by_onednn", [False, True])
def test_a_branch_of_torchs_own_operators(by_onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On some processors, products go through oneDNN, in a mode that old versions of torch refuse here."""
    monkeypatch.setattr(onednn, "_onednn_is_faster", lambda: by_onednn)
    found, expected = _explained(_with(_Branches), 0), _explained(_with(nn.Tanh), 0)
    assert relative_error(found.values, expected.values) < 1e-4


@pytest.mark.filterwarnings("ignore")
def test_branches_have_no_gate() -> None:
    with pytest.raises(
        ModelError, match=r"gate of torch's operator 'cond' is not known.*'exclip', 'gradient'"
    ):
        _explained(_with(_Branches), 0, method="frozen", steps=None)
    assert _explained(_with(_Branches), 0, method="gradient", steps=None).values.any()


def test_no_way_back_is_one_error() -> None:
    with pytest.raises(ModelError, match=r"cannot be differentiated.*no way back.*'banzhaf'"):
        _explained(_with(_activation(_Fails)), 0)


def _checkpointed(use_reentrant: bool) -> Any:
    model: Any = build("plain")

    def forward(self: Any, x: Tensor, attn_mask: Tensor | None = None) -> Any:
        def run(x: Tensor) -> Tensor:
            for block in self.resblocks:
                x = block(x, attn_mask=attn_mask)
            return x

        return checkpoint(run, x, use_reentrant=use_reentrant)

    for transformer in (model.visual.transformer, model.transformer):
        transformer.forward = types.MethodType(forward, transformer)
    return model


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("layer", [-1, 0])
def test_blocks_that_run_again_backwards(layer: int, steps: int) -> None:
    """The cut lies inside the part that runs again; with one node, even its shapes are the input's."""
    found = _explained(_checkpointed(False), layer, steps=steps)
    expected = _explained(build("plain"), layer, steps=steps)
    assert relative_error(found.values, expected.values) < 1e-4


@pytest.mark.parametrize("layer", [-1, 0])
def test_blocks_that_run_again_backwards_with_gates_held(layer: int) -> None:
    """They attend as in the recorded pass, which does not fuse attention because its weights are gates."""
    frozen = {"method": "frozen", "steps": None}
    found, expected = (_explained(model, layer, **frozen) for model in (_checkpointed(False), build("plain")))
    assert relative_error(found.values, expected.values) < 1e-4
    layers = {"text_layers": [layer], "image_layers": [0, -1], "method": "frozen"}
    together = explain_layers(
        _checkpointed(False), IMAGE, "a red boat", **layers, **inputs_of(build("plain"))
    )
    for (_, image_layer), one in together.items():
        alone = _explained(build("plain"), layer, image_layer=image_layer, **frozen)
        assert relative_error(one.values, alone.values) < 1e-4


@pytest.mark.parametrize("method", ["exclip", "frozen"])
def test_a_block_that_detaches_is_one_error(method: str) -> None:
    model: Any = build("plain")
    block = model.visual.transformer.resblocks[1]
    forward = block.forward
    block.forward = lambda x, attn_mask=None: forward(x.detach(), attn_mask)
    with pytest.raises(ModelError, match=r"cannot be differentiated: something .* detaches"):
        _explained(model, 0, method=method, steps=None)
    with pytest.raises(ModelError, match=r"cannot be differentiated: something .* detaches"):
        explain_layers(model, IMAGE, "a red boat", method=method, **inputs_of(build("plain")))


@pytest.mark.filterwarnings("ignore:None of the inputs")
def test_reentrant_checkpoints_are_refused() -> None:
    with pytest.raises(ModelError, match="use_reentrant=False"):
        _explained(_checkpointed(True), 0)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_memory_that_has_run_out_is_not_tried_again(error: Exception) -> None:
    calls = []

    class Full(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.requires_grad:
                calls.append(len(x))
                raise error
            return x.tanh()

    model: Any = build("plain")
    model.visual.transformer.resblocks[-1].mlp.gelu = Full()
    with pytest.raises(type(error)) as raised:
        _explained(model, -1)
    assert raised.value is error
    assert len(calls) == 1
