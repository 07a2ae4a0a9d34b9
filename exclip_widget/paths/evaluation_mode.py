"""The state that torch and a model must be in while an explanation is computed, and back out of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

_turn = threading.RLock()


@contextmanager
def computing(model: nn.Module) -> Iterator[None]:
    """Whatever the caller's state is, compute in ours; entered anew for every piece of work.

    One piece at a time: a model's modes are its own, and the threads of several widgets may share it.
    """
    with _turn, ExitStack() as stack:
        stack.enter_context(_settled(model))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for device in {parameter.device.type for parameter in model.parameters()}:
            stack.enter_context(torch.autocast(device, enabled=False))
        if _compiled(model) and hasattr(torch.compiler, "set_stance"):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


SETTLED = {"training": False, "grad_checkpointing": False, "_compiled_call_impl": None}
"""Attributes of modules that must be so: no dropout, no second forward on the way back, nothing fused."""


@contextmanager
def _settled(model: nn.Module) -> Iterator[None]:
    """Every module of `model` in evaluation mode and run as written, each as it was afterwards."""
    changed: list[tuple[nn.Module, str, Any]] = []
    for module in model.modules():
        changed += [
            (module, name, vars(module)[name])
            for name, value in SETTLED.items()
            if vars(module).get(name, value) is not value
        ]
    for module, name, _ in changed:
        vars(module)[name] = SETTLED[name]
    try:
        yield
    finally:
        for module, name, value in changed:
            vars(module)[name] = value


def _compiled(model: nn.Module) -> bool:
    return any(
        hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules()
    )
