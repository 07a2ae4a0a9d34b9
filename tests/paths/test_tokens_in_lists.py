"""Blocks that take and give their tokens in a list or a tuple, next to other things."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.cuts import picture
from support.definitions import assert_agree, definition
from support.zoo.models import build, inputs_of
from torch import Tensor, nn

from exclip_widget import ModelError, explain

CAPTION = "a red boat"


class State(NamedTuple):
    prompts: list[Tensor]
    tokens: Tensor


def _in_list(block: nn.Module, given: list[Any]) -> list[Any]:
    """Run a block as MaPLe does: on tokens, prompts and a counter, of which it makes a new list."""
    tokens, prompts, counter = given
    return [block(tokens), prompts, counter + 1]


def _into_the_same_list(block: nn.Module, given: list[Any]) -> list[Any]:
    given[0] = block(given[0])
    given[2] += 1
    return given


def _in_tuple(block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return block(given[0]), None


def _in_named_tuple(block: nn.Module, given: State) -> State:
    return State(given.prompts, block(given.tokens))


def _nested(block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return None, [block(given[1][0])]


KINDS: dict[str, tuple[Any, Any, Any]] = {
    "list": (_in_list, lambda tokens: [tokens, [], 0], lambda given: given[0]),
    "changed list": (_into_the_same_list, lambda tokens: [tokens, [], 0], lambda given: given[0]),
    "tuple": (_in_tuple, lambda tokens: (tokens, None), lambda given: given[0]),
    "named tuple": (_in_named_tuple, lambda tokens: State([], tokens), lambda given: given.tokens),
    "nested": (_nested, lambda tokens: (None, [tokens]), lambda given: given[1][0]),
}


class Block(nn.Module):
    def __init__(self, block: nn.Module, kind: str) -> None:
        super().__init__()
        self.block, self.kind = block, kind

    def forward(self, given: Any) -> Any:
        return KINDS[self.kind][0](self.block, given)


class Blocks(nn.Module):
    def __init__(self, blocks: nn.Module, kind: str) -> None:
        super().__init__()
        self.resblocks, self.kind = nn.Sequential(*(Block(block, kind) for block in blocks)), kind  # type: ignore[attr-defined]

    def forward(self, tokens: Tensor) -> Tensor:
        _, pack, unpack = KINDS[self.kind]
        given = pack(tokens)
        out = self.resblocks(given)
        found: Tensor = unpack(given if self.kind == "changed list" else out)
        return found


def _packed(kind: str) -> Any:
    model: Any = copy.deepcopy(build("openai"))
    for tower in (model, model.visual):
        tower.transformer = Blocks(tower.transformer.resblocks, kind)
    return model.eval()


@pytest.mark.parametrize("kind", ["list", "nested"])
def test_interactions_are_those_of_the_definition(kind: str) -> None:
    plain, model = build("openai"), _packed(kind)
    options: dict[str, Any] = {"rule": "right", "steps": 3}
    expected = definition(plain, picture(), CAPTION, **options)
    found = explain(model, picture(), CAPTION, method="exclip", **options, **inputs_of(plain))
    assert_agree(found, expected, 1e-4)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        *(("frozen", kind) for kind in KINDS),
        *((one, "list") for one in ("gradient", "similarity", "banzhaf")),
    ],
)
def test_every_method_gives_what_it_gives_for_blocks_that_take_tensors(method: str, kind: str) -> None:
    plain, model = build("openai"), _packed(kind)
    options: dict[str, Any] = {"method": method, **inputs_of(plain)}
    options |= {"samples": 16} if method == "banzhaf" else {}
    for layer in ({"text_layer": 0}, {"image_layer": "output"}):
        expected = explain(plain, picture(), CAPTION, **options, **layer)
        found = explain(model, picture(), CAPTION, **options, **layer)
        assert found.similarity == pytest.approx(expected.similarity, abs=1e-5)
        scale = np.abs(expected.values).max()
        # Wrapped blocks show no mask, so the padding is run. It has a row of its own, the last.
        values = found.values[: len(expected.values)]
        np.testing.assert_allclose(values, expected.values, atol=1e-4 * scale)


class Other(Block):
    """A block that takes its tokens in a dict."""

    def forward(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"tokens": self.block(given["tokens"])}


class Others(Blocks):
    def forward(self, tokens: Tensor) -> Tensor:
        given: Any = {"tokens": tokens}
        for block in self.resblocks:
            given = Other(block.block, "")(given) if not isinstance(block, Other) else block(given)
        found: Tensor = given["tokens"]
        return found


@pytest.mark.parametrize(("layer", "verb"), [(0, "takes"), ("output", "gives")])
def test_blocks_that_take_something_else_are_named(layer: Any, verb: str) -> None:
    model: Any = copy.deepcopy(build("openai"))
    blocks = Others(model.visual.transformer.resblocks, "")
    blocks.resblocks = nn.Sequential(*(Other(block.block, "") for block in blocks.resblocks))  # type: ignore[attr-defined]
    model.visual.transformer = blocks
    name = "output" if layer == "output" else r"visual\.transformer\.resblocks\.0"
    expected = rf"layer '{name}', an? \S*Other, {verb} a dict; expected tokens.*choose another layer"
    with pytest.raises(ModelError, match=expected):
        explain(model.eval(), picture(), CAPTION, image_layer=layer, method="similarity", **inputs_of(model))
