"""The last block's short cut and short captions, on models with a part that differs from its library's.

Expected values come from the definition in float64, on a copy of the model with or without the oddity.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from support.definitions import assert_agree, definition
from support.oracle import relative_error
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from exclip_widget import Explainer, ModelError, explain
from exclip_widget.models import originals
from exclip_widget.models.as_written import is_as_written
from exclip_widget.paths import onednn

CAPTION = "a red boat and two dogs"
IMAGE = Image.fromarray(scene(0))
Block = open_clip.transformer.ResidualAttentionBlock


def assert_defined(model: nn.Module) -> None:
    found = explain(model, IMAGE, CAPTION, rule="right", steps=3, **inputs_of(model), method="exclip")
    assert_agree(found, definition(model, IMAGE, CAPTION, rule="right", steps=3), 1e-4)


def image_block(model: Any) -> Any:
    return model.visual.transformer.resblocks[-1]


def text_block(model: Any) -> Any:
    return model.transformer.resblocks[-1]


def _values_attend_to_themselves(_self: Any, q_x: Tensor, **_: Any) -> Tensor:
    return 0.3 * q_x.roll(1, 1) + 0.1 * q_x


def _attention(model: Any) -> None:
    block = image_block(model)
    block.attention = types.MethodType(_values_attend_to_themselves, block)


class _Shift(nn.Module):
    """An adapter that mixes tokens."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        batch, _, _ = x.shape
        y: Tensor = self.inner(x)
        return y + y.roll(1, 1) + 0.1 * batch / batch


def _adapter(model: Any) -> None:
    image_block(model).mlp = _Shift(image_block(model).mlp)


def _known_class_that_mixes_tokens(model: Any) -> None:
    image_block(model).mlp = nn.Sequential(nn.Softmax(1))


def _hook_on_tokens(model: Any) -> None:
    def hook(_: nn.Module, __: object, output: Tensor) -> Tensor:
        return torch.cat([output[:, :1] * 0, output[:, 1:]], 1)

    image_block(model).mlp.register_forward_hook(hook)


def _pre_hook(model: Any) -> None:
    text_block(model).ln_2.register_forward_pre_hook(lambda _, given: (0.5 * given[0],))


def _backward_hook(model: Any) -> None:
    def halve(_: nn.Module, given: Any, __: Any) -> Any:
        return tuple(None if one is None else 0.5 * one for one in given)

    image_block(model).mlp.register_full_backward_hook(halve)


class _Norm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return 0.4 * super().forward(x)


def _class_of_an_instance(model: Any) -> None:
    image_block(model).ln_1.__class__ = _Norm


class _Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1.7 * x


def _parametrisation(model: Any) -> None:
    nn.utils.parametrize.register_parametrization(image_block(model).attn, "in_proj_weight", _Scaled())


def _layer_scale_method(model: Any) -> None:
    image_block(model).ls_1.forward = lambda x: x * torch.linspace(0.2, 2, x.shape[-1])


def _global_pool(model: Any) -> None:
    pool = type(model.visual)._global_pool
    model.visual._global_pool = lambda x: (pool(model.visual, x)[0] + x[:, 1], x[:, 1:])


def _no_affine(model: Any) -> None:
    width = image_block(model).ln_1.normalized_shape
    image_block(model).ln_1 = nn.LayerNorm(width, elementwise_affine=False)


def _text_embedding_hook(model: Any) -> None:
    added = torch.linspace(-1, 1, 77)[:, None]
    model.token_embedding.register_forward_hook(lambda _, __, output: output + added)


def _text_block_hook(model: Any) -> None:
    def drop_last(_: nn.Module, __: object, output: Tensor) -> Tensor:
        return torch.cat([output[:, :-1], 0 * output[:, -1:]], 1)

    text_block(model).mlp.register_forward_hook(drop_last)


CHANGES = [
    *(_attention, _adapter, _known_class_that_mixes_tokens, _hook_on_tokens, _pre_hook, _backward_hook),
    *(_class_of_an_instance, _parametrisation, _layer_scale_method, _no_affine),
    *(_text_embedding_hook, _text_block_hook),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_part_that_is_not_the_librarys_own(change: Callable[[Any], None]) -> None:
    model = build("plain")
    change(model)
    assert_defined(model)


def test_a_pool_that_reads_patches() -> None:
    model = build("plain")
    _global_pool(model)
    found = explain(model, IMAGE, CAPTION, **inputs_of(model), method="exclip")
    inputs = inputs_of(model)
    with torch.no_grad():
        text = model.encode_text(inputs["tokenizer"](CAPTION))
        image = model.encode_image(inputs["preprocess"](IMAGE)[None])
    assert found.similarity == pytest.approx(float(torch.cosine_similarity(text, image)), abs=1e-5)


@contextmanager
def replaced(holder: Any, name: str, new: Any) -> Iterator[None]:
    old = vars(holder)[name]
    setattr(holder, name, new)
    try:
        yield
    finally:
        setattr(holder, name, old)


def _half_of(function: Callable[..., Any]) -> Callable[..., Any]:
    def half(*args: Any, **kwargs: Any) -> Any:
        found = function(*args, **kwargs)
        return (0.5 * found[0], *found[1:]) if isinstance(found, tuple) else 0.5 * found

    return half


PATCHES = {
    "a method of the class": (Block, "attention", _half_of(Block.attention)),
    "that says it is the original": (
        *(Block, "attention"),
        functools.wraps(Block.attention)(_half_of(Block.attention)),
    ),
    "a class of torch": (nn.Linear, "forward", _half_of(nn.Linear.forward)),
    "attention's function": (
        *(F, "scaled_dot_product_attention"),
        _half_of(F.scaled_dot_product_attention),
    ),
    "another function of torch": (
        *(F, "multi_head_attention_forward"),
        _half_of(F.multi_head_attention_forward),
    ),
    "a function that a function of torch calls": (torch, "layer_norm", _half_of(torch.layer_norm)),
    "the library's pool": (
        *(open_clip.model, "text_global_pool"),
        _half_of(open_clip.model.text_global_pool),
    ),
}


@pytest.mark.parametrize("by_onednn", [False, True])
@pytest.mark.parametrize("patch", PATCHES)
def test_a_patch_anywhere(patch: str, by_onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "_onednn_is_faster", lambda: by_onednn)
    model = build("plain")
    plain = explain(model, IMAGE, CAPTION, rule="right", steps=3, **inputs_of(model), method="exclip")
    with replaced(*PATCHES[patch]):
        assert_defined(model)
    again = explain(model, IMAGE, CAPTION, rule="right", steps=3, **inputs_of(model), method="exclip")
    np.testing.assert_array_equal(again.values, plain.values)


def test_other_code_in_a_function_of_the_library() -> None:
    """Only the gradient changes, so a check of values cannot see it."""
    model = build("plain")
    with replaced(Block, "attention", torch.no_grad()(Block.attention)):
        found = explain(model, IMAGE, CAPTION, **inputs_of(model), method="exclip")
    assert not found.values.any(), "nothing but the pooled row's residual stream is differentiated"


def test_hooks_on_every_module() -> None:
    model = build("plain")

    def louder(module: nn.Module, _: object, output: Tensor) -> Tensor | None:
        return 1.3 * output if isinstance(module, nn.GELU) else None

    handle = nn.modules.module.register_module_forward_hook(louder)
    try:
        assert_defined(model)
    finally:
        handle.remove()


def test_what_comes_after_the_explainer_is_seen() -> None:
    model, changed = build("plain"), build("plain")
    inputs = inputs_of(model)
    explainer = Explainer(model, steps=3, **inputs, method="exclip")
    before = explainer.explain(IMAGE, CAPTION)
    for one in (model, changed):
        _attention(one)
        _pre_hook(one)
    found = explainer.explain(IMAGE, CAPTION)
    np.testing.assert_array_equal(
        found.values, explain(changed, IMAGE, CAPTION, steps=3, **inputs, method="exclip").values
    )
    assert relative_error(found.values, before.values) > 1e-2


@pytest.mark.parametrize("change", [_pre_hook, _text_embedding_hook, _text_block_hook])
def test_padding_that_is_not_read_has_no_row(change: Callable[[Any], None]) -> None:
    model = build("plain")
    tokens = explain(model, IMAGE, CAPTION, **inputs_of(model), method="exclip").tokens
    change(model)
    for method in ("exclip", "frozen", "similarity", "gradient", "banzhaf"):
        assert explain(model, IMAGE, CAPTION, method=method, **inputs_of(model)).tokens == tokens


def test_padding_that_is_read_has_a_row() -> None:
    model = build("plain")

    def mix(_: nn.Module, __: object, output: Tensor) -> Tensor:
        return output + output.mean(1, keepdim=True)

    text_block(model).mlp.register_forward_hook(mix)
    found = explain(model, IMAGE, CAPTION, steps=3, rule="right", **inputs_of(model), method="exclip")
    assert found.tokens[-1] == "<pad>"
    assert_agree(found, definition(model, IMAGE, CAPTION, rule="right", steps=3), 1e-4)


def test_the_librarys_own_pass_runs_once_for_each_state() -> None:
    """The check costs one pass of each tower, then nothing until the model changes."""
    model = build("plain")
    explainer = Explainer(model, steps=3, **inputs_of(model), method="exclip")
    explainer.explain(IMAGE, CAPTION)
    passes = []
    with pytest.MonkeyPatch.context() as patch:
        own = type(model).encode_text
        patch.setattr("exclip_widget.models.shortcuts._are_equal", lambda *_: passes.append(1) or True)
        explainer.explain(IMAGE, "another caption")
        explainer.explain(Image.fromarray(scene(1)), CAPTION)
        assert not passes
        text_block(model).ln_2.eps = 0.1
        explainer.explain(IMAGE, CAPTION)
        assert passes
        assert type(model).encode_text is own


STAND_INS = {
    "an object": (F, "layer_norm", functools.partial(F.layer_norm)),
    "another function of torch": (F, "layer_norm", F.group_norm),
    "inside a function of torch": (torch, "layer_norm", torch.group_norm),
    "a whole module": (open_clip.transformer, "F", types.SimpleNamespace(**vars(F))),
    "a module of somebody's own": (open_clip.transformer, "F", types.ModuleType("torch.nn.functional")),
}


@pytest.mark.parametrize("patch", STAND_INS)
def test_a_stand_in_of_any_kind(patch: str) -> None:
    norm = open_clip.transformer.LayerNorm(8)
    assert is_as_written(norm)
    with replaced(*STAND_INS[patch]):
        assert not is_as_written(norm)
    assert is_as_written(norm)


@pytest.mark.parametrize("kind", [Tensor, nn.Parameter])
def test_a_patched_method_of_tensors(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    assert originals.is_torch_itself()
    monkeypatch.setattr(kind, "softmax", _half_of(Tensor.softmax), raising=False)
    assert not originals.is_torch_itself()


def test_attention_with_a_patched_method_of_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handwritten last block calls `Tensor.softmax`, and the model does not."""
    model = build("plain")
    plain = explain(model, IMAGE, CAPTION, **inputs_of(model), method="exclip")
    monkeypatch.setattr(Tensor, "softmax", _half_of(Tensor.softmax), raising=False)
    patched = explain(model, IMAGE, CAPTION, **inputs_of(model), method="exclip")
    assert patched.similarity == pytest.approx(plain.similarity, abs=1e-5)


class _LouderFunction(TorchFunctionMode):
    by = 0.5

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found * self.by if func is F.gelu else found


class _LouderOperation(TorchDispatchMode):
    by = 0.5

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found * self.by if func is torch.ops.aten.gelu.default else found


@pytest.mark.parametrize(
    ("mode", "method"),
    [(_LouderFunction, "exclip"), (_LouderFunction, "frozen"), (_LouderOperation, "exclip")],
)
def test_a_mode_that_changes(mode: Any, method: str) -> None:
    model, louder = build("plain"), mode()
    inputs = inputs_of(model)
    explain(model, IMAGE, CAPTION, method=method, **inputs)
    for louder.by in (0.5, 2.0):
        with louder:
            found = explain(model, IMAGE, CAPTION, method=method, **inputs)
            with torch.no_grad():
                text = model.encode_text(inputs["tokenizer"](CAPTION))
                image = model.encode_image(inputs["preprocess"](IMAGE)[None])
        assert found.similarity == pytest.approx(float(torch.cosine_similarity(text, image)), abs=1e-5)


def test_a_mode_below_autograd_is_refused_if_a_residual_would_not_show_it() -> None:
    """Autograd does not know what such a mode changes, so the derivatives are those of another model."""
    model = build("plain")
    with _LouderOperation(), pytest.raises(ModelError, match=r"autograd's derivative .* differs"):
        explain(model, IMAGE, CAPTION, method="frozen", **inputs_of(model))


def test_a_default_device_is_no_such_mode() -> None:
    model = build("plain")
    with torch.device("cpu"):
        assert Explainer(model, **inputs_of(model)).fingerprint() is not None


def test_a_mask_that_changes_behind_autograds_back() -> None:
    model, changed = build("plain"), build("plain")
    explainer = Explainer(model, **inputs_of(model), method="exclip", steps=3)
    explainer.explain(IMAGE, CAPTION)
    for one in (model, changed):
        one.attn_mask.data.zero_()
    expected = explain(changed, IMAGE, CAPTION, **inputs_of(model), method="exclip", steps=3)
    np.testing.assert_allclose(explainer.explain(IMAGE, CAPTION).values, expected.values, atol=1e-6)
