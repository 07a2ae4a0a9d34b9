"""Snapshots of a model's whole state, and of torch's, to compare before and after."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from support.shapes import unchecked_arrays


def _version(tensor: Tensor) -> int | None:
    """Return autograd's count of changes; None if it keeps none, as for values made in inference mode."""
    try:
        return tensor._version
    except RuntimeError:
        return None


def _tensor_state(tensor: Tensor) -> tuple[Any, ...]:
    grad = tensor.grad
    plain = tensor.layout == torch.strided
    return (
        id(tensor),
        tensor.data_ptr() if plain else None,
        tensor.dtype,
        str(tensor.device),
        tuple(tensor.shape),
        tensor.requires_grad,
        _version(tensor),
        tensor.data.reshape(-1).view(torch.uint8).numpy().tobytes() if plain else str(tensor),
        None if grad is None else (id(grad), grad._version, grad.numpy().tobytes()),
        len(tensor._backward_hooks or {}),
    )


def _module_state(module: nn.Module) -> dict[str, Any]:
    """Return everything except parameters and buffers: training mode, hooks and all attributes."""
    state: dict[str, Any] = {"class": type(module), "training": module.training}
    for name, value in vars(module).items():
        if "hooks" in name:
            state[name] = [(key, id(hook)) for key, hook in value.items()]
        elif isinstance(value, (bool, int, float, str, tuple, type(None))):
            state[name] = value
        elif isinstance(value, Tensor):  # pruning and weight norm make one in every pass
            state[name] = value.detach().reshape(-1).view(torch.uint8).numpy().tobytes()
        elif isinstance(value, dict):
            state[name] = [(key, id(item)) for key, item in value.items()]
        else:
            state[name] = id(value)
    return state


def model_state(model: nn.Module) -> dict[str, Any]:
    """Return everything about a model that a caller could notice."""
    state: dict[str, Any] = {n: _module_state(m) for n, m in model.named_modules()}
    state |= {f"parameter {n}": _tensor_state(p) for n, p in model.named_parameters()}
    state |= {f"buffer {n}": _tensor_state(b) for n, b in model.named_buffers()}
    return state


def global_state() -> dict[str, Any]:
    """Return every global setting of torch, NumPy and Pillow that an explanation could change."""
    module = torch.nn.modules.module
    state = {
        "mha fast path": torch.backends.mha.get_fastpath_enabled(),
        "grad": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "anomaly mode": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "torch random": torch.get_rng_state().numpy().tobytes(),
        "numpy random": np.random.get_state()[1].tobytes(),  # noqa: NPY002
        "python random": random.getstate(),
        "numpy errors": np.geterr(),
        "largest picture": Image.MAX_IMAGE_PIXELS,
    }
    for kind in ("flash", "mem_efficient", "math", "cudnn"):
        state[f"sdp {kind}"] = getattr(torch.backends.cuda, f"{kind}_sdp_enabled")()
    for name in vars(module):
        if name.startswith("_global_") and "hooks" in name:
            hooks = getattr(module, name)
            state[name] = len(hooks) if hasattr(hooks, "__len__") else hooks
    return state


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Check that the body changes nothing about the model or the global settings."""
    before, globals_before = model_state(model), global_state()
    with unchecked_arrays():  # because beartype draws entries at random
        yield
    after, globals_after = model_state(model), global_state()
    changed = [name for name, state in globals_before.items() if globals_after.get(name) != state]
    assert not changed, f"{', '.join(changed)} changed"
    assert globals_after.keys() == globals_before.keys()
    assert after.keys() == before.keys()
    for name, state in before.items():
        assert after[name] == state, f"{name} has changed"
