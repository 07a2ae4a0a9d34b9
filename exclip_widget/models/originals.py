"""Whether torch's functions and its tensors' methods are still those that this package was imported with.

Libraries and handwritten code call them by name, so a replacement shows in no module and no class. Modes of
torch come before every call, whatever its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._device import DeviceContext

_PRINTING = {"__repr__", "__format__"}
"""Methods of tensors that other packages replace, and no computation calls."""


def _functions_of(module: ModuleType) -> dict[str, Any]:
    """Return the functions in a module of torch that compute something."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, BuiltinFunctionType)
        or (isinstance(value, FunctionType) and value.__module__ in _COMPUTING)
    }


_COMPUTING = (F.__name__, "torch.functional")
"""Modules with functions in Python that compute something, rather than load, save or compile."""

_FUNCTIONS = {module: _functions_of(module) for module in (torch, F)}

_METHODS = {
    kind: {name: value for name, value in vars(kind).items() if name not in _PRINTING}
    for kind in (Tensor, nn.Parameter)
}


def is_torch_itself() -> bool:
    """Return whether calls of torch's functions and methods run torch's own, and nothing comes between."""
    return (
        not _is_mode_active()
        and all(_has(vars(module), functions) for module, functions in _FUNCTIONS.items())
        and all(_has(vars(kind), methods) for kind, methods in _METHODS.items())
        and not any(_hides_more(kind, methods) for kind, methods in _METHODS.items())
    )


def _is_mode_active() -> bool:
    """Return whether a mode intercepts torch's functions, other than the one that sets a default device."""
    functions = range(torch._C._len_torch_function_stack())
    return torch._C._len_torch_dispatch_stack() > 0 or any(
        type(torch._C._get_function_stack_at(at)) is not DeviceContext for at in functions
    )


def _has(namespace: Mapping[str, Any], originals: dict[str, Any]) -> bool:
    # Lists are compared in C, item by item, by identity first: a thousand take a few microseconds.
    return list(map(namespace.get, originals)) == list(originals.values())


def _hides_more(kind: type, originals: dict[str, Any]) -> bool:
    """Return whether a class has been given a method that hides one of its bases'."""
    added = {name: value for name, value in vars(kind).items() if name not in originals}
    # Pickle, for one, notes the slots of a class in an attribute of it.
    methods = {name for name, value in added.items() if callable(value) or hasattr(type(value), "__get__")}
    return any(hasattr(base, name) for name in methods - _PRINTING for base in kind.__bases__)
