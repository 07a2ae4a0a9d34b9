"""An explanation leaves the user's model and all global state unchanged."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.shapes import unchecked_arrays
from support.snapshots import unchanged
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of, open_clip_model, preprocess_for
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from exclip_widget import ModelError, explain

CAPTION = "a red boat"
NAMES = ("plain", "custom text", "openai")


def prepared(name: str) -> nn.Module:
    """Return a model as unlike a fresh one as possible, with mixed modes, stored gradients and hooks."""
    model = build(name)
    model.train()
    model.visual.transformer.resblocks[0].eval()
    for index, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(index % 3 != 0)
        if index % 3 == 1:
            parameter.grad = torch.full_like(parameter, 0.5)
    model.register_forward_hook(lambda *_: None)
    model.register_full_backward_hook(lambda *_: None)
    return model


def picture() -> Image.Image:
    return Image.fromarray(scene(0))


@pytest.mark.parametrize("layers", [(-1, -1), (0, 0), (-1, 0), (0, -1)])
@pytest.mark.parametrize("name", NAMES)
def test_after_success(name: str, layers: tuple[int, int]) -> None:
    model = prepared(name)
    options = {"text_layer": layers[0], "image_layer": layers[1], "steps": 3}
    with unchanged(model):
        explain(model, picture(), CAPTION, method="exclip", **options, **inputs_of(model))
    assert model.training


@pytest.mark.parametrize("method", ["frozen", "exclip", "gradient", "similarity", "banzhaf"])
def test_the_default_device_is_another(method: str) -> None:
    """New tensors name their device explicitly; "meta" stands for any device that the model is not on."""
    model, fresh = build("plain"), build("plain")
    options: dict[str, Any] = inputs_of(model) | {"method": method}
    tokenize = options["tokenizer"]
    ids = {text: tokenize(text) for text in (CAPTION, "")}
    options["tokenizer"] = lambda text: ids[text].clone()
    expected = explain(model, picture(), CAPTION, **options)
    with torch.device("meta"):
        found = explain(fresh, picture(), CAPTION, **options)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_after_success_in_other_precision(dtype: torch.dtype) -> None:
    model = build("plain").to(dtype)
    with unchanged(model):
        explain(model, picture(), CAPTION, steps=3, **inputs_of(model), method="exclip")


@pytest.mark.parametrize("kind", ["math", "flash"])
@pytest.mark.parametrize("name", NAMES)
def test_flags_the_user_has_set_stay_set(name: str, kind: str) -> None:
    """Flags are restored to their previous values, not to the defaults."""
    model = prepared(name)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    enable = getattr(torch.backends.cuda, f"enable_{kind}_sdp")
    try:
        torch.backends.mha.set_fastpath_enabled(not fast_path)
        enable(False)
        with torch.no_grad(), unchanged(model):
            explain(model, picture(), CAPTION, steps=3, **inputs_of(model), method="exclip")
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        enable(True)


def test_input_is_left_alone() -> None:
    model, image, array = build("plain"), picture(), scene(0)
    pixels = image.tobytes()
    explain(model, image, CAPTION, steps=1, **inputs_of(model), method="exclip")
    explain(model, array, CAPTION, steps=1, **inputs_of(model), method="exclip")
    assert image.tobytes() == pixels
    assert image.mode == "RGB"
    np.testing.assert_array_equal(array, scene(0))


def test_result_holds_nothing_of_the_graph() -> None:
    """A result is plain numbers, so keeping it does not keep the model's gradients alive."""
    model = build("plain")
    found = explain(model, picture(), CAPTION, steps=2, **inputs_of(model), method="exclip")
    for name in ("values", "cls"):
        array = getattr(found, name)
        assert type(array) is np.ndarray
        assert array.flags.c_contiguous
    for name in ("similarity", "total", "residual"):
        assert type(getattr(found, name)) is float


def test_model_can_be_trained_on_afterwards() -> None:
    model = build("plain").train()
    explain(model, picture(), CAPTION, steps=2, **inputs_of(model), method="exclip")
    pixels, ids = preprocess_for(model)(picture())[None], inputs_of(model)["tokenizer"](CAPTION)
    (model.encode_image(pixels) @ model.encode_text(ids).T).sum().backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if n != "logit_scale")


class Stopped(Exception):  # noqa: N818
    """Raised by a test to end an explanation."""


def _raise(error: type[BaseException]) -> Callable[..., Any]:
    def function(*_: Any, **__: Any) -> Any:
        raise error("on purpose")

    return function


@pytest.mark.parametrize("error", [Stopped, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("keyword", ["preprocess", "tokenizer"])
@pytest.mark.parametrize("name", NAMES)
def test_after_an_error_in_what_the_user_gave(name: str, keyword: str, error: type[BaseException]) -> None:
    model = prepared(name)
    inputs = inputs_of(model) | {keyword: _raise(error)}
    with unchanged(model), pytest.raises((error, ValueError)):
        explain(model, picture(), CAPTION, steps=2, **inputs, method="exclip")


@pytest.mark.parametrize("name", NAMES)
def test_after_a_picture_without_numbers(name: str) -> None:
    model = prepared(name)
    inputs = inputs_of(model) | {"preprocess": lambda _: torch.full((3, 32, 32), torch.nan)}
    with unchanged(model), pytest.raises(ValueError, match="preprocess"):
        explain(model, picture(), CAPTION, steps=2, **inputs, method="exclip")


PLACES = (
    "visual.conv1",
    "visual.transformer.resblocks.0",
    "visual.transformer.resblocks.1",
    "visual.transformer.resblocks.1.ln_1",
    "visual.ln_post",
    "token_embedding",
    "transformer.resblocks.0.mlp.c_proj",
    "transformer.resblocks.1.ln_2",
    "ln_final",
)


def _place(model: nn.Module, place: str) -> nn.Module:
    """Return a submodule by name, whether or not the model's text tower is a separate module."""
    in_text = hasattr(model, "text") and not place.startswith("visual.")
    return (model.text if in_text else model).get_submodule(place)


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_after_an_error_inside_the_model(name: str, place: str, error: type[BaseException]) -> None:
    """A model that cannot run cannot be explained either; a patched part may be refused."""
    model = prepared(name)
    _place(model, place).forward = _raise(error)
    with unchanged(model), pytest.raises((error, ModelError)):
        explain(model, picture(), CAPTION, steps=2, **inputs_of(model), method="exclip")


class _Fuse(nn.Module):
    """An activation that raises an error after some calls."""

    def __init__(self, activation: nn.Module, calls: int, error: type[BaseException]) -> None:
        super().__init__()
        self.activation, self.calls, self.error = activation, [calls], error

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] -= 1
        if self.calls[0] < 0:
            raise self.error("on purpose")
        return self.activation(x)


@pytest.mark.parametrize(("error", "layer"), [(Stopped, -1), (KeyboardInterrupt, -1), (Stopped, 0)])
@pytest.mark.parametrize("calls", [0, 1, 2])
@pytest.mark.parametrize(
    "block",
    [
        "visual.transformer.resblocks.0",
        "visual.transformer.resblocks.1",
        "transformer.resblocks.0",
        "transformer.resblocks.1",
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_stopped_in_the_middle(
    name: str, block: str, calls: int, error: type[BaseException], layer: int
) -> None:
    """An error or the stop button may end it at any depth, in the first pass or a later one."""
    model = prepared(name)
    mlp = _place(model, block).mlp
    mlp.gelu = _Fuse(mlp.gelu, calls, error)
    options = {"text_layer": layer, "image_layer": layer, "steps": 2}
    with unchanged(model), contextlib.suppress(error, ModelError):
        explain(model, picture(), CAPTION, method="exclip", **options, **inputs_of(model))


class _Operations(TorchFunctionMode):
    """Counts torch's operations and raises at a given one."""

    def __init__(self, last: int | None = None, error: type[BaseException] = Stopped) -> None:
        super().__init__()
        self.count, self.last, self.error = 0, last, error

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        self.count += 1
        if self.count == self.last:
            raise self.error("on purpose")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize("name", NAMES)
def test_stopped_at_any_operation(name: str, layer: int) -> None:
    """Stopping at any operation, first to last, does not affect the next explanation."""
    model = prepared(name)
    inputs = inputs_of(model) | {"text_layer": layer, "image_layer": layer, "steps": 2}
    expected = explain(model, picture(), CAPTION, **inputs, method="exclip").values
    with unchecked_arrays(), _Operations() as all_:
        explain(model, picture(), CAPTION, **inputs, method="exclip")
    with unchanged(model), unchecked_arrays():
        for index, last in enumerate(np.linspace(1, all_.count, 16).astype(int)):
            error = KeyboardInterrupt if index % 2 else Stopped
            with pytest.raises(error), _Operations(int(last), error):
                explain(model, picture(), CAPTION, **inputs, method="exclip")
            found = explain(model, picture(), CAPTION, **inputs, method="exclip").values
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("method", ["exclip", "frozen"])
def test_a_copy_made_in_the_middle_is_explained_as_the_model_is(method: str) -> None:
    """As another thread may make one, such as to average weights, while a widget computes."""
    model = build("plain")
    options = inputs_of(model) | {"method": method, "text_layer": 0, "image_layer": 0}
    expected = explain(model, picture(), CAPTION, **options).values
    copies: list[nn.Module] = []

    def copy_once(*_: object) -> None:
        if not copies:
            copies.append(copy.deepcopy(model))

    # Within the blocks that are cut at, in either tower.
    for block in (model.transformer.resblocks[0], model.visual.transformer.resblocks[0]):
        copies.clear()
        with block.ln_1.register_forward_hook(copy_once):
            explain(model, picture(), CAPTION, **options)
        found = explain(copies[0], picture(), CAPTION, **options).values
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_works_again_after_an_error(name: str) -> None:
    """An error leaves no half-finished state for the next explanation."""
    model = build(name)
    expected = explain(build(name), picture(), CAPTION, steps=2, **inputs_of(model), method="exclip").values
    activation = model.visual.transformer.resblocks[1].mlp.gelu
    model.visual.transformer.resblocks[1].mlp.gelu = _Fuse(activation, 0, Stopped)
    with pytest.raises((Stopped, ModelError)):
        explain(model, picture(), CAPTION, steps=2, **inputs_of(model), method="exclip")
    model.visual.transformer.resblocks[1].mlp.gelu = activation
    found = explain(model, picture(), CAPTION, steps=2, **inputs_of(model), method="exclip")
    np.testing.assert_array_equal(found.values, expected)


def test_two_explanations_at_once() -> None:
    """A widget computes in a worker thread: one thread must not swap modes and flags under another."""
    model = open_clip_model(vision={"patch_dropout": 0.5}, seed=1)
    expected = explain(model, picture(), CAPTION, steps=2, **inputs_of(model), method="exclip").values
    model.train()
    wrong: list[float] = []

    def work() -> None:
        for _ in range(6):
            values = explain(model, picture(), CAPTION, steps=2, **inputs_of(model), method="exclip").values
            wrong.append(float(np.abs(values - expected).max()))

    with unchanged(model):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(wrong) == 24
    assert max(wrong) <= 1e-5
