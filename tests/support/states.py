"""States users' models may be in: hooks, patches, adapters, dtypes, modes and edits, drawn at random.

Each state is a function that changes a model and returns a description of the change. Values are compared
with the changed model's own two encoders, so no state needs an oracle of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

State = Callable[[nn.Module, random.Random], str]


def _modules(model: nn.Module, *kinds: type[nn.Module]) -> dict[str, nn.Module]:
    return {
        name: part for name, part in model.named_modules() if name and isinstance(part, kinds or nn.Module)
    }


class NotHereError(Exception):
    """The model has no module or tensor of the kind that a state needs."""


def _some(found: dict[str, Any], draw: random.Random) -> tuple[str, Any]:
    if not found:
        raise NotHereError
    name = draw.choice(sorted(found))
    return name, found[name]


def _scaled(output: Any, factor: float) -> Any:
    """Scale a module's output: the tensor itself, or the first element of a tuple."""
    if isinstance(output, Tensor) and output.is_floating_point():
        return output * factor
    if isinstance(output, tuple) and output:
        return (_scaled(output[0], factor), *output[1:])
    return output


def _set(model: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, part)


# -------------------------------------------------------------------------------------- hooks and patches


def forward_hook(model: nn.Module, draw: random.Random) -> str:
    name, part = _some(_modules(model), draw)
    factor = draw.choice((0.5, 1.5))
    part.register_forward_hook(lambda _module, _args, output: _scaled(output, factor))
    return f"a forward hook at {name}"


def forward_pre_hook(model: nn.Module, draw: random.Random) -> str:
    name, part = _some(_modules(model, nn.Linear, nn.LayerNorm), draw)
    part.register_forward_pre_hook(lambda _module, args: tuple(_scaled(value, 1.5) for value in args))
    return f"a forward pre-hook at {name}"


def watching_hook(model: nn.Module, draw: random.Random) -> str:
    name, part = _some(_modules(model), draw)
    part.register_forward_hook(lambda *_: None)
    return f"a hook that only watches, at {name}"


def backward_hook(model: nn.Module, draw: random.Random) -> str:
    name, part = _some(_modules(model, nn.Linear), draw)
    part.register_full_backward_hook(lambda *_: None)
    return f"a full backward hook at {name}"


def own_forward(model: nn.Module, draw: random.Random) -> str:
    name, part = _some(_modules(model, nn.Linear, nn.LayerNorm, nn.GELU, nn.Embedding), draw)
    before = part.forward
    part.forward = lambda *args, **kwargs: _scaled(before(*args, **kwargs), 0.7)  # type: ignore[method-assign]
    return f"a forward of its own at {name}"


METHODS_CALLED = (
    "attention",
    "_pool",
    "_embeds",
    "_global_pool",
    "encode_image",
    "encode_text",
    "get_image_features",
    "get_text_features",
    "forward_features",
    "forward_head",
    "forward",
)


def own_method(model: nn.Module, draw: random.Random) -> str:
    found = {
        f"{name}.{method}".lstrip("."): (part, method)
        for name, part in model.named_modules()
        for method in METHODS_CALLED
        if callable(getattr(part, method, None)) and not (method == "forward" and not name)
    }
    name, (part, method) = _some(found, draw)
    before = getattr(part, method)
    if isinstance(before, nn.Module):
        raise NotHereError
    setattr(part, method, lambda *args, **kwargs: _scaled(before(*args, **kwargs), 1.3))
    return f"a method of its own, {name}"


# --------------------------------------------------------------------------------------- other modules


class Adapter(nn.Module):
    """A bottleneck in parallel with a module, like those that adapters and LoRA add."""

    def __init__(self, inner: nn.Module, width: int, seed: int) -> None:
        super().__init__()
        self.inner = inner
        generator = torch.Generator().manual_seed(seed)
        weight = next(inner.parameters())
        self.down = nn.Parameter(torch.randn(width, 2, generator=generator).to(weight) * 0.3)
        self.up = nn.Parameter(torch.randn(2, width, generator=generator).to(weight) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out + out @ self.down @ self.up


def adapter(model: nn.Module, draw: random.Random) -> str:
    name, part = _some(_modules(model, nn.LayerNorm), draw)
    _set(model, name, Adapter(part, part.normalized_shape[-1], draw.randrange(100)))  # type: ignore[arg-type]
    return f"an adapter around {name}"


class Doubled(nn.Linear):
    """A user-defined kind of linear layer."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def own_class(model: nn.Module, draw: random.Random) -> str:
    exact = {name: part for name, part in _modules(model, nn.Linear).items() if type(part) is nn.Linear}
    name, part = _some(exact, draw)
    part.__class__ = Doubled
    return f"a class of its own at {name}"


def other_activation(model: nn.Module, draw: random.Random) -> str:
    found = {
        name: part
        for name, part in _modules(model).items()
        if type(part).__name__ in ("GELU", "QuickGELU", "ReLU", "GELUActivation", "QuickGELUActivation")
    }
    name, _ = _some(found, draw)
    _set(model, name, nn.Tanh())
    return f"another activation at {name}"


def dropped_layer(model: nn.Module, draw: random.Random) -> str:
    name, _ = _some(_modules(model, nn.LayerNorm), draw)
    _set(model, name, nn.Identity())
    return f"no normalisation at {name}"


def parametrized(model: nn.Module, draw: random.Random) -> str:
    name, part = _some(_modules(model, nn.Linear), draw)
    kind = draw.choice((parametrizations.weight_norm, parametrizations.spectral_norm))
    kind(part)
    return f"{kind.__name__} at {name}"


def pruned(model: nn.Module, draw: random.Random) -> str:
    name, part = _some(_modules(model, nn.Linear), draw)
    prune.random_unstructured(part, "weight", 0.5)
    return f"half of the weights pruned at {name}"


# --------------------------------------------------------------------------------------- modes and dtypes


def training(model: nn.Module, draw: random.Random) -> str:
    name, part = _some(_modules(model), draw)
    part.train()
    return f"{name} in training mode"


def frozen(model: nn.Module, draw: random.Random) -> str:
    del draw
    model.requires_grad_(False)
    return "all weights frozen"


def half_precision(model: nn.Module, draw: random.Random) -> str:
    dtype = draw.choice((torch.bfloat16, torch.float16))
    model.to(dtype)
    return f"in {dtype}"


def double_precision(model: nn.Module, draw: random.Random) -> str:
    del draw
    model.double()
    return "in float64"


def made_in_inference_mode(model: nn.Module, draw: random.Random) -> str:
    name, part = _some(_modules(model, nn.Linear, nn.LayerNorm), draw)
    with torch.inference_mode():
        part.weight = nn.Parameter(part.weight.clone(), requires_grad=False)  # type: ignore[assignment]
    return f"weights made in inference mode at {name}"


# ------------------------------------------------------------------------------------------------ weights


def _weights(model: nn.Module, draw: random.Random) -> tuple[str, Tensor]:
    found = {
        name: weight
        for name, weight in model.named_parameters()
        if weight.is_floating_point() and weight.ndim > 1 and "scale" not in name
    }
    return _some(found, draw)


def swapped_rows(model: nn.Module, draw: random.Random) -> str:
    name, weight = _weights(model, draw)
    with torch.no_grad():
        weight.data.copy_(weight.data.flip(0))
    return f"rows swapped in {name}"


def one_element(model: nn.Module, draw: random.Random) -> str:
    name, weight = _weights(model, draw)
    with torch.no_grad():
        weight.data.view(-1)[draw.randrange(weight.numel())] += 1
    return f"one element changed in {name}"


def replaced_weight(model: nn.Module, draw: random.Random) -> str:
    name, weight = _weights(model, draw)
    weight.data = weight.data * 1.25
    return f"other data in {name}"


def odd_buffer(model: nn.Module, draw: random.Random) -> str:
    name, part = _some(_modules(model), draw)
    buffer = draw.choice(
        (
            torch.zeros(3, dtype=torch.complex64),
            torch.zeros(3, dtype=torch.float8_e4m3fn),
            torch.eye(3).to_sparse(),
            torch.zeros(0),
            torch.zeros(2, dtype=torch.bool),
        )
    )
    part.register_buffer("a_buffer_of_the_owner", buffer)
    return f"a buffer of {buffer.dtype}, {buffer.layout} at {name}"


STATES: tuple[State, ...] = (
    forward_hook,
    forward_pre_hook,
    watching_hook,
    backward_hook,
    own_forward,
    own_method,
    adapter,
    own_class,
    other_activation,
    dropped_layer,
    parametrized,
    pruned,
    training,
    frozen,
    half_precision,
    double_precision,
    made_in_inference_mode,
    swapped_rows,
    one_element,
    replaced_weight,
    odd_buffer,
)

# ----------------------------------------------------------------------------------------------- wrappers


class Holder(nn.Module):
    """A wrapper that forwards every call, like those of distributed training and PEFT."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


WRAPPERS: tuple[Callable[[nn.Module], Any], ...] = (
    lambda model: model,
    lambda model: model,
    lambda model: model,
    nn.DataParallel,
    Holder,
)
