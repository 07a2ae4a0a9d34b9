"""Products through oneDNN equal torch's own, wherever they occur and whatever is differentiated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.oracle import assert_close
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of
from torch import Tensor, nn

from exclip_widget import explain
from exclip_widget.paths import onednn as products

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")


@pytest.fixture
def through_onednn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Use oneDNN on any processor with any torch, and record the shapes of its products."""
    asked: list[tuple[int, ...]] = []
    linear = products._linear

    def counted(x: Tensor, transposed: Tensor, bias: Tensor | None) -> Tensor:
        asked.append((*x.shape, transposed.shape[1]))
        return linear(x, transposed, bias)

    monkeypatch.setattr(products, "_onednn_is_faster", lambda: True)
    monkeypatch.setattr(products, "MODES_ALLOW_BRANCHES", True)
    monkeypatch.setattr(products, "_linear", counted)
    return asked


sizes = st.integers(0, 9)


@given(rows=sizes, inner=sizes, columns=sizes, turned=st.booleans(), seed=st.integers(0, 99))
def test_products_of_any_shape(rows: int, inner: int, columns: int, turned: bool, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    a = torch.randn(rows, inner, generator=random)
    b = (
        torch.randn(columns, inner, generator=random).T
        if turned
        else torch.randn(inner, columns, generator=random)
    )
    c = torch.randn(columns, generator=random)
    expected = [
        a @ b,
        torch.addmm(c, a, b),
        torch.addmm(c, a, b, beta=0.5, alpha=2),
        (a.double() @ b.double()),
    ]
    with products._Unfused(), products._ThroughOneDNN():  # on any processor
        found = [
            a @ b,
            torch.addmm(c, a, b),
            torch.addmm(c, a, b, beta=0.5, alpha=2),
            (a.double() @ b.double()),
        ]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_what_is_differentiated_twice(through_onednn: list[tuple[int, ...]]) -> None:
    net = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3))

    def twice() -> list[Tensor]:
        x = torch.linspace(-1, 1, 20).reshape(4, 5).requires_grad_()
        first = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)[0]
        each = torch.eye(20).reshape(20, 4, 5)
        batched = torch.autograd.grad(first, x, each, is_grads_batched=True, retain_graph=True)[0]
        return [first.detach(), torch.autograd.grad(first.square().sum(), x)[0], batched]

    expected = twice()
    assert not through_onednn
    with products.fast_products():
        found = twice()
    assert len(through_onednn) > 4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("processor", "faster"),
    [
        ({"architecture": "x86_64", "cpu_name": "AMD EPYC", "avx512_f": True}, True),
        ({"architecture": "x86_64", "cpu_name": "AMD EPYC", "avx512_f": False}, False),
        ({"architecture": "x86_64", "cpu_name": "Intel(R) Xeon(R)", "avx512_f": True}, False),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_the_processor_alone_decides(
    processor: dict[str, str | bool], faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor, raising=False)
    assert products._onednn_is_faster.__wrapped__() is faster


def test_a_torch_that_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert products._onednn_is_faster.__wrapped__() is False


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("name", ["plain", "openai"])
def test_explanations_are_the_same_either_way(
    name: str, layer: int, through_onednn: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = build(name), Image.fromarray(scene(3))
    options = {"method": "exclip", "text_layer": layer, "image_layer": layer, **inputs_of(model)}
    by_onednn = explain(model, image, "a red boat", **options)
    asked = len(through_onednn)
    assert asked > 20
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: False)
    by_torch = explain(build(name), image, "a red boat", **options)
    assert len(through_onednn) == asked
    assert_close(by_onednn.values, by_torch.values, 1e-4)
    assert np.isfinite(by_torch.values).all()
