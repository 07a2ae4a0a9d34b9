"""Frozen gates are those of the pass that computes the embedding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from PIL import Image
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of
from torch.nn import functional as F

from exclip_widget import Interactions, ModelError, explain
from exclip_widget.paths.cut import Cut

IMAGE = Image.fromarray(scene(0))


def _explained(model: Any) -> Interactions:
    return explain(model, IMAGE, "a red boat", method="frozen", **inputs_of(model))


@pytest.fixture
def replaced_attention(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    own = F.multi_head_attention_forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        out, weights = own(*args, **kwargs)
        return 1.3 * out, weights

    monkeypatch.setattr(F, "multi_head_attention_forward", scaled)
    fast = torch.backends.mha.get_fastpath_enabled()
    yield
    torch.backends.mha.set_fastpath_enabled(fast)


@pytest.mark.usefixtures("replaced_attention")
def test_a_function_that_torchs_fast_path_goes_past() -> None:
    """Torch's fast path skips a function that a user has replaced, except if it records a gradient."""
    model = build("plain")
    with pytest.raises(ModelError, match=r"differs by .* while autograd records it.*set_fastpath_enabled"):
        _explained(model)
    torch.backends.mha.set_fastpath_enabled(False)
    inputs = inputs_of(model)
    with torch.no_grad():
        text = model.encode_text(inputs["tokenizer"]("a red boat"))
        image = model.encode_image(inputs["preprocess"](IMAGE)[None])
    assert _explained(model).similarity == pytest.approx(float(F.cosine_similarity(text, image)), abs=1e-5)


@pytest.mark.parametrize("tower", ["transformer", "visual.transformer"])
def test_code_that_asks_whether_it_is_recorded(tower: str) -> None:
    model: Any = build("plain")
    block = model.get_submodule(tower).resblocks[1]
    block.mlp.register_forward_hook(lambda _, __, out: out * (1.5 if torch.is_grad_enabled() else 1))
    with pytest.raises(ModelError, match="while autograd records it"):
        _explained(model)


def test_rounding_is_not_other_code() -> None:
    model: Any = build("plain")
    block = model.visual.transformer.resblocks[1]
    rounded = torch.autocast("cpu", torch.bfloat16)(block.forward)
    block.forward = lambda *args, **kwargs: rounded(*args, **kwargs).float()
    assert _explained(model).residual == pytest.approx(0, abs=1e-5)


def test_a_librarys_own_tower_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, passes = build("plain"), []
    run = Cut.__call__

    def counted(cut: Cut, tokens: Any) -> Any:
        passes.append(cut)
        return run(cut, tokens)

    monkeypatch.setattr(Cut, "__call__", counted)
    _explained(model)
    once = len(passes)
    model.visual.ln_post.register_forward_hook(lambda *_: None)
    passes.clear()
    _explained(model)
    assert len(passes) == once + 4  # without recording, and with tokens that are moved, three times
