"""Blocks of a transformer, whatever somebody has done to some of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.cuts import picture
from support.zoo.families import family
from torch import Tensor, nn

from exclip_widget import ModelError, explain
from exclip_widget.models.blocks import find_blocks
from exclip_widget.models.towers import find_towers

FAMILIES = [
    "transformers CLIP",
    "transformers SigLIP",
    "transformers SigLIP 2",
    "open_clip, BERT",
    "open_clip, XLM-RoBERTa",
]
SIDES = [(name, "text") for name in FAMILIES] + [(name, "image") for name in FAMILIES[:3]]
FEW = [("transformers CLIP", "image"), ("transformers SigLIP", "text"), ("open_clip, BERT", "text")]
EXCLIP: dict[str, Any] = {"method": "exclip", "steps": 2}


def changed(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)


class Steered(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.vector = inner, nn.Parameter(torch.tensor(0.3))

    def change(self, tokens: Tensor) -> Tensor:
        return tokens + self.vector

    def forward(self, *args: Any, **options: Any) -> Any:
        return changed(self.inner(*args, **options), self.change)


class Adapted(Steered):
    """A block and a list of like modules."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        width = max(part.normalized_shape[0] for part in inner.modules() if isinstance(part, nn.LayerNorm))
        self.adapters = nn.ModuleList(nn.Linear(width, width) for _ in range(9))

    def change(self, tokens: Tensor) -> Tensor:
        return tokens + torch.stack([adapter(tokens).tanh() for adapter in self.adapters]).sum(0)


class Mixture(nn.Module):
    """A part of a block with more experts than there are blocks."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.experts = nn.ModuleList(copy.deepcopy(part) for _ in range(9))

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.stack([expert(tokens) for expert in self.experts]).mean(0)


def blocks_of(this: Any, side: str) -> tuple[str, ...]:
    found: tuple[str, ...] = this.text_layers if side == "text" else this.image_layers
    return found


def replace_at(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


@pytest.mark.parametrize(
    ("name", "side", "wrapper", "at", "options"),
    [
        *((*one, Adapted, -1, EXCLIP) for one in SIDES),
        *((*one, Steered, 0, {"method": "frozen"}) for one in FEW),
    ],
)
def test_a_wrapped_block_is_explained_as_the_same_change_by_a_hook(
    name: str, side: str, wrapper: type[Steered], at: int, options: dict[str, Any]
) -> None:
    this = family(name)
    path = blocks_of(this, side)[at]
    wrapped, hooked = copy.deepcopy(this.model), copy.deepcopy(this.model)
    torch.manual_seed(0)
    block = wrapper(wrapped.get_submodule(path)).eval()
    replace_at(wrapped, path, block)
    hooked.get_submodule(path).register_forward_hook(lambda _, __, output: changed(output, block.change))
    found, expected = (
        explain(model, picture(), "a red boat", **options, **this.options) for model in (wrapped, hooked)
    )
    assert (found.text_layer, found.image_layer) == (expected.text_layer, expected.image_layer)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5 * np.abs(expected.values).max())
    assert found.similarity == pytest.approx(expected.similarity, abs=1e-6)
    assert found.residual == pytest.approx(expected.residual, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "side", "part"),
    [
        ("transformers CLIP", "text", "mlp"),
        ("transformers SigLIP", "image", "mlp"),
        ("open_clip, BERT", "text", "intermediate"),
    ],
)
def test_experts_are_not_taken_for_blocks(name: str, side: str, part: str) -> None:
    """Experts that are all alike compute what one of them does."""
    this = family(name)
    model = copy.deepcopy(this.model)
    for path in blocks_of(this, side):
        replace_at(model, f"{path}.{part}", Mixture(model.get_submodule(f"{path}.{part}")))
    assert tuple(at.name for at in getattr(find_towers(model), side).layers) == blocks_of(this, side)
    found, expected = (
        explain(one, picture(), "a red boat", **EXCLIP, **this.options) for one in (model, this.model)
    )
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4 * np.abs(expected.values).max())


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part, self.experts = Part(), nn.ModuleList(Part() for _ in range(5))


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(4, 4)


class Other(nn.Module):
    """A block with nothing in common with the others."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.TransformerEncoderLayer(4, 1) for _ in range(5))


class Tower(nn.Module):
    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({str(at): part for at, part in enumerate(parts)})


def test_blocks_at_a_place_that_is_not_known() -> None:
    blocks = [Block(), Steered(Block()), Adapted(nn.Sequential(Block(), nn.LayerNorm(4)))]
    heads = nn.ModuleList(nn.Linear(4, 4) for _ in range(12))
    for kind in (nn.ModuleList, lambda given: nn.Sequential(*given)):
        listed = kind(blocks)
        assert find_blocks("text", Tower(heads, listed)) == blocks
        assert find_blocks("text", nn.Sequential(nn.Embedding(9, 4), Tower(listed), heads[0])) == blocks
        assert find_blocks("text", Tower(nn.Sequential(Tower(listed)))) == blocks
        with pytest.raises(ModelError, match="no layers were found"):
            find_blocks("text", Tower(listed), without=listed.modules())


@pytest.mark.parametrize("blocks", [[Block(), Block(), Other()], [nn.Linear(4, 4), nn.Linear(4, 4)], []])
@pytest.mark.parametrize("kind", [nn.ModuleList, lambda given: nn.Sequential(*given)])
def test_what_may_be_no_blocks_is_refused(kind: Any, blocks: list[nn.Module]) -> None:
    with pytest.raises(ModelError, match=r"no layers .* image tower, a .*Tower; .*DualEncoder, with image_l"):
        find_blocks("image", Tower(kind(blocks)))


def test_a_transformers_model_without_blocks_is_refused_in_words() -> None:
    this = family("transformers SigLIP")
    model = copy.deepcopy(this.model)
    model.vision_model.encoder.layers = nn.ModuleList()
    with pytest.raises(ModelError, match="no layers were found in the image tower"):
        find_towers(model)
