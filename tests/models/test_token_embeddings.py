"""Text towers whose token embedding somebody has replaced: by an adapter, or by a module of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.cuts import picture
from support.definitions import assert_agree
from support.oracle import explain_slowly
from support.zoo.inputs import preprocess_to
from support.zoo.models import build, inputs_of
from support.zoo.tokenizers import SMALL_VOCABULARY, SmallTokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from exclip_widget import DualEncoder, ModelError, explain

CAPTION = "a red boat"


class Table(nn.Module):
    """An embedding with rows for a few more ids, under the usual name."""

    def __init__(self, own: nn.Embedding) -> None:
        super().__init__()
        self.weight, self.more = own.weight, nn.Parameter(torch.randn(3, own.embedding_dim))

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, torch.cat([self.weight, self.more]))


class Unnamed(nn.Module):
    """An embedding that does not show how many ids it takes."""

    def __init__(self, own: nn.Embedding) -> None:
        super().__init__()
        self.table = own.weight

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.table)


class Adapted(nn.Module):
    """An embedding with a low-rank addition, as PEFT makes it."""

    __module__ = "peft.tuners.lora.layer"

    def __init__(self, own: nn.Embedding) -> None:
        super().__init__()
        self.base_layer = own
        self.down, self.up = nn.Embedding(own.num_embeddings, 2), nn.Linear(2, own.embedding_dim, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.base_layer(ids) + self.up(self.down(ids))
        return found


def replace_embedding(model: Any, kind: type[nn.Module]) -> None:
    text = getattr(model, "text", model)
    text.token_embedding = kind(text.token_embedding)


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("kind", [Table, Unnamed, Adapted])
@pytest.mark.parametrize("name", ["plain", "custom text", "openai"])
def test_agrees_with_the_definition(name: str, kind: type[nn.Module], layer: int) -> None:
    model = build(name)
    options = inputs_of(model)
    replace_embedding(model, kind)
    inputs = options["preprocess"](picture()), options["tokenizer"](CAPTION)
    options |= {"method": "exclip", "rule": "right", "steps": 2, "text_layer": layer, "image_layer": layer}
    found = explain(model, picture(), CAPTION, **options)
    assert_agree(found, explain_slowly(model, *inputs, rule="right", steps=2, layers=(layer, layer)), 1e-4)


def test_an_adapter_leaves_the_tokenizer_known() -> None:
    model = build("plain")
    replace_embedding(model, Adapted)
    found = explain(model, picture(), CAPTION, preprocess=preprocess_to(32, 32))
    assert found.tokens == ("<sot>", "a", "red", "boat", "<eot>")


def test_a_module_of_ones_own_leaves_it_unknown() -> None:
    model = build("plain")
    replace_embedding(model, Unnamed)
    with pytest.raises(ModelError, match=r"unknown number of rows, not CLIP's 49408; pass tokenizer="):
        explain(model, picture(), CAPTION, preprocess=preprocess_to(32, 32))


class WithPositions(nn.Module):
    """A model whose first embedding is for the positions of patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.places = nn.Conv2d(3, 8, 8, 8), nn.Embedding(12, 8)
        self.words, self.mix = nn.Embedding(SMALL_VOCABULARY, 8), nn.Linear(8, 8)

    def image(self, pixels: Tensor) -> Tensor:
        patches: Tensor = self.patches(pixels).flatten(2).mT
        pooled: Tensor = self.mix(patches + self.places.weight).tanh().mean(1)
        return pooled

    def text(self, ids: Tensor) -> Tensor:
        pooled: Tensor = self.mix(self.words(ids)).tanh().mean(1)
        return pooled


def test_positions_are_not_taken_for_the_vocabulary() -> None:
    model = WithPositions()
    layers = {"text_layers": ["mix"], "image_layers": ["mix"]}
    own = DualEncoder(model, encode_text=model.text, encode_image=model.image, **layers)
    found = explain(own, picture(), CAPTION, tokenizer=SmallTokenizer(), preprocess=preprocess_to(24, 32))
    assert found.values.shape[1:] == (3, 4)
