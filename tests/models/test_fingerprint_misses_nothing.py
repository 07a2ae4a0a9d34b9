"""A fingerprint changes with everything that an explanation depends on, or is None."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
import torch
from support.zoo.models import build
from torch import Tensor, nn
from torch.nn import functional as F

from exclip_widget.models.fingerprint import digest, fingerprint, outline


def taken(model: Any) -> object:
    found = fingerprint(model.visual.modules())
    assert found is not None
    assert found == fingerprint(model.visual.modules())
    return found


def _two_rows_exchanged(weight: Tensor) -> None:
    weight[[0, 1]] = weight[[1, 0]]


def _two_signs_exchanged(weight: Tensor) -> None:
    weight.view(-1)[:2] *= -1


def _one_bit(weight: Tensor) -> None:
    weight.view(torch.uint8).view(-1)[0] ^= 1


def _through_numpy(weight: Tensor) -> None:
    weight.view(torch.uint8).numpy().reshape(-1)[-1] ^= 1


EDITS = [_two_rows_exchanged, _two_signs_exchanged, _one_bit, _through_numpy]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_edit_behind_autograds_back(dtype: torch.dtype, edit: Callable[[Tensor], None]) -> None:
    model = build("plain").to(dtype)
    for path in ("positional_embedding", "transformer.resblocks.0.mlp.c_fc.weight"):
        before = taken(model)
        edit(model.visual.get_parameter(path).data)
        assert taken(model) != before


def _transposed(model: Any) -> None:
    weight = model.visual.transformer.resblocks[0].attn.out_proj.weight
    weight.data = weight.data.T


def _blocks_exchanged(model: Any) -> None:
    blocks = model.visual.transformer.resblocks
    blocks[0], blocks[1] = blocks[1], blocks[0]


def _another_activation(model: Any) -> None:
    model.visual.transformer.resblocks[0].mlp.gelu = nn.SiLU()


def _a_plain_attribute(model: Any) -> None:
    model.visual.noted = [1, {"two": 3.0}, torch.ones(2)]


def _a_setting(model: Any) -> None:
    model.visual.pool_type = "avg"


@pytest.mark.parametrize(
    "change", [_transposed, _blocks_exchanged, _another_activation, _a_plain_attribute, _a_setting]
)
def test_a_change_that_moves_no_byte(change: Callable[[Any], None]) -> None:
    model = build("plain")
    before, sketch = taken(model), outline(model.visual.modules())
    change(model)
    assert taken(model) != before
    assert outline(model.visual.modules()) != sketch


def test_what_a_partial_function_holds() -> None:
    """As the tanh of SigLIP's GELU in transformers does."""
    model = build("plain")
    part = model.visual.transformer.resblocks[0].mlp.gelu
    found = []
    for function in (
        partial(F.gelu, approximate="tanh"),
        partial(F.gelu, approximate="none"),
        partial(F.silu),
    ):
        part.act = function
        found.append(taken(model))
    assert len(set(map(repr, found))) == 3
    part.act = partial(lambda x: x)
    assert fingerprint(model.visual.modules()) is None


def test_a_plain_tensor_and_a_list_count() -> None:
    model = build("plain")
    _a_plain_attribute(model)
    before = taken(model)
    model.visual.noted[2].numpy()[1] = 5
    second = taken(model)
    assert second != before
    model.visual.noted.append(4)
    assert taken(model) != second


def _hook(model: Any) -> None:
    model.visual.ln_pre.register_forward_pre_hook(lambda *_: None)


def _method(model: Any) -> None:
    model.visual._embeds = model.visual._embeds


def _own_class(model: Any) -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    model.visual.patch_dropout = Own()


def _anything(model: Any) -> None:
    model.visual.noted = object()


def _quantised(model: Any) -> None:
    model.visual.noted = torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", [_hook, _method, _own_class, _anything, _quantised])
def test_there_is_none_if_changes_could_not_be_seen(change: Callable[[Any], None]) -> None:
    model = build("plain")
    change(model)
    assert fingerprint(model.visual.modules()) is None
    assert outline(model.visual.modules()) is None


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(
    "buffer",
    [
        torch.polar(torch.ones(4), torch.arange(4.0)),
        torch.ones(4, dtype=torch.complex64).conj(),
        torch.ones(4).to(torch.float8_e4m3fn),
        torch.eye(4).to_sparse(),
        torch.ones(4, dtype=torch.uint16),
        torch.full((2,), torch.nan),
        torch.zeros(0),
        torch.ones(1).expand(4),
        torch.tensor(3.0),
    ],
    ids=["complex", "conjugate", "fp8", "sparse", "uint16", "nan", "empty", "expanded", "number"],
)
def test_unusual_tensors(buffer: Tensor) -> None:
    model = build("plain")
    model.visual.register_buffer("noted", buffer)
    before = taken(model)
    model.visual.noted = torch.ones(3)
    assert taken(model) != before


def test_a_digest_is_of_values_shape_and_dtype() -> None:
    x = torch.arange(12.0).reshape(3, 4)
    assert digest(x) == digest(x.T.contiguous().T)
    others = [x.T, x.reshape(4, 3), x.double(), x.flip(0), x[:2]]
    assert len({digest(x), *map(digest, others)}) == 6
    np.testing.assert_array_equal(x, torch.arange(12.0).reshape(3, 4))


def test_a_mask_that_changes_behind_autograds_back_changes_the_outline() -> None:
    model = build("plain")
    for change in (lambda mask: mask.data.zero_(), lambda mask: mask.numpy().fill(1)):
        sketch = outline(model.modules())
        assert sketch is not None
        change(model.attn_mask)
        assert outline(model.modules()) != sketch


def test_two_storages_that_start_at_one_address() -> None:
    model = build("plain")
    whole = model.visual.positional_embedding.detach().numpy().copy()
    model.visual.positional_embedding.data = torch.from_numpy(whole)
    model.visual.register_buffer("first_row", torch.from_numpy(whole[:1]))
    before = taken(model)
    whole[3:] *= 2
    assert taken(model) != before


def test_a_setting_of_the_class() -> None:
    class_of = type(build("plain").visual)
    model = build("plain")
    before = taken(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_of, "proj", torch.ones(32, 12), raising=False)
        assert fingerprint(model.visual.modules()) is None, "the class's attribute hides the parameter"
    assert taken(model) == before


def test_what_pickle_notes_of_a_class_is_no_change() -> None:
    """It caches the slots of each class in an attribute of the class."""
    model = build("plain")
    before = outline(model.modules())
    for kind in (Tensor, nn.Parameter):
        copyreg._slotnames(kind)
    assert before is not None
    assert outline(model.modules()) == before


@pytest.fixture
def precision() -> Iterator[Callable[[str, str], None]]:
    """Return a function that sets one of torch's newer precisions of float32, restored afterwards."""
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("torch has no such settings before version 2.9")
    before: list[tuple[Any, str]] = []

    def change(path: str, value: str) -> None:
        place = attrgetter(path)(torch.backends) if path else torch.backends
        before.append((place, place.fp32_precision))
        place.fp32_precision = value

    yield change
    for place, value in reversed(before):
        place.fp32_precision = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", "tf32"),
        ("cuda.matmul", "tf32"),
        ("cudnn", "ieee"),
        ("cudnn.conv", "ieee"),
        ("cudnn.rnn", "ieee"),
        ("mkldnn.matmul", "bf16"),
        ("mkldnn.conv", "bf16"),
    ],
)
def test_a_newer_setting_of_precision_counts(
    precision: Callable[[str, str], None], path: str, value: str
) -> None:
    # Once one of these is set, torch raises an error on reading its older settings.
    model = build("plain")
    before = taken(model)
    precision(path, value)
    assert taken(model) != before


def test_an_older_setting_of_precision_counts() -> None:
    model, allowed = build("plain"), torch.backends.cuda.matmul.allow_tf32
    before = taken(model)
    try:
        torch.backends.cuda.matmul.allow_tf32 = not allowed
        assert taken(model) != before
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
