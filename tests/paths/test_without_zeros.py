"""Products that leave out zeros equal the full products."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from exclip_widget.paths.without_zeros import WithoutZeros, nothing_like


@pytest.fixture
def multiplied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Size, torch.Size]]:
    """Return a list that records the shapes of the factors of every product."""
    shapes: list[tuple[torch.Size, torch.Size]] = []
    product = torch.mm

    def counted(left: Tensor, right: Tensor) -> Tensor:
        shapes.append((left.shape, right.shape))
        return product(left, right)

    monkeypatch.setattr(torch, "mm", counted)
    return shapes


@pytest.mark.parametrize("held", [0, 1, 2, 3])
def test_what_comes_back_to_a_packed_projection(held: int) -> None:
    """The product is complete with nothing, one third, two thirds and everything held."""
    back, weight = torch.randn(5, 12), torch.randn(12, 4)
    back[:, : 4 * held] = 0
    expected = back @ weight
    with WithoutZeros():
        found = back @ weight
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rows", [[], [0], [0, 33], [10, 11, 12], [22], range(66), range(0, 66, 2)])
def test_rows_of_which_few_are_not_zero(rows: Sequence[int]) -> None:
    back, weight = torch.zeros(66, 8), torch.randn(8, 5)
    back[list(rows)] = torch.randn(len(rows), 8)
    with WithoutZeros():
        found = back @ weight
    torch.testing.assert_close(found, back @ weight)


def test_only_what_is_not_zero_is_multiplied(multiplied: list[tuple[torch.Size, torch.Size]]) -> None:
    back, weight = torch.zeros(66, 12), torch.randn(12, 4)
    back[7, 8:] = 1
    packed = torch.zeros(66, 12)
    packed[:, 8:] = 1
    with WithoutZeros():
        torch.ops.aten.mm(back, torch.randn(12, 3))
        torch.ops.aten.mm(packed, weight)
    assert multiplied == [((1, 12), (12, 3)), ((66, 4), (4, 4))]


def test_nothing_stays_nothing() -> None:
    x, nothing = torch.randn(2, 3, 4), nothing_like(torch.randn(2, 3, 4))
    grad = torch.ops.aten.gelu_backward
    with WithoutZeros():
        left, right = torch.bmm(nothing, torch.randn(2, 4, 5)), torch.bmm(torch.randn(2, 5, 3), nothing)
        through = grad(nothing, x)
    assert (left.shape, right.shape, through.shape) == ((2, 3, 5), (2, 5, 4), (2, 3, 4))
    assert not any(found.any() for found in (left, right, through))
    # Nothing else is mistaken for zeros.
    ones = torch.ones(()).expand(2, 3, 4)
    with WithoutZeros():
        assert torch.equal(grad(ones, x), torch.autograd.functional.vjp(F.gelu, x, ones)[1])
