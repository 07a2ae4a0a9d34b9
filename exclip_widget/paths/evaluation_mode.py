"""Evaluation mode: the state of torch and of a model while explanations are computed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from types import FunctionType
from typing import Any

import torch
from torch import nn

from .interruption import between_passes

FORK_WAIT_S = 60.0
"""How long a fork waits for a computation in another thread to restore the model's state."""

_lock = threading.RLock()
_forks = threading.local()
_devices: dict[int, set[str]] = {}
"""Types of the devices of each model, by its id, that the thread with the lock has in evaluation mode."""


def _before_fork() -> None:
    _forks.held = _lock.acquire(timeout=FORK_WAIT_S)


def _after_fork_in_parent() -> None:
    if _forks.held:
        _lock.release()


def _after_fork_in_child() -> None:
    # The thread that holds the lock does not exist in the child, and would never release it.
    global _lock
    if _forks.held:
        _lock.release()
    else:
        _lock = threading.RLock()
        _devices.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Run a block with `model` in evaluation mode, without gradients or autocast, then restore everything.

    Only one thread at a time may do so: modes belong to the model, which several widgets' threads may share.
    A block within another block of the same model leaves the model as it is. Ctrl-C ends it where nothing
    is left half restored; see `between_passes`.
    """
    with _lock, between_passes(), ExitStack() as stack:
        if id(model) not in _devices:
            modules = list(model.modules())
            _devices[id(model)] = _device_types(modules)
            stack.callback(_devices.pop, id(model), None)
            stack.enter_context(_forced(modules))
            # Hooks do not run in compiled code. Otherwise torch compiles what it needs to, as for torch.cond.
            if _is_compiled(modules) and hasattr(torch.compiler, "set_stance"):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for device in _devices[id(model)]:
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


FORCED = {"training": False, "grad_checkpointing": False, "_compiled_call_impl": None, "checkpoint_fn": _call}
"""Attributes of modules during a computation: no dropout, no recomputed forward pass, nothing compiled."""


@contextmanager
def _forced(modules: list[nn.Module]) -> Iterator[None]:
    """Run a block with the attributes of every module set as in `FORCED`, then restore them."""
    changed: list[tuple[nn.Module, str, Any]] = []
    for module in modules:
        attributes = vars(module)
        for name, value in FORCED.items():
            before = attributes.get(name, value)
            if before is not value:
                changed.append((module, name, before))
    for module, name, _ in changed:
        vars(module)[name] = FORCED[name]
    try:
        yield
    finally:
        for module, name, value in changed:
            vars(module)[name] = value


def _device_types(modules: list[nn.Module]) -> set[str]:
    """Return the types of the devices that hold weights."""
    return {
        weight.device.type
        for module in modules
        for weight in module._parameters.values()
        if weight is not None
    }


def _is_compiled(modules: list[nn.Module]) -> bool:
    """Return whether a model runs code compiled by torch: a module, or a function in place of a method."""
    values = chain.from_iterable(vars(module).values() for module in modules)
    return any("_orig_mod" in module._modules for module in modules) or any(
        hasattr(value, COMPILED) for value in values if isinstance(value, FunctionType)
    )


COMPILED = "_torchdynamo_orig_callable"
"""Attribute of functions that `torch.compile` has made."""
