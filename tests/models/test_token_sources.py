"""Each token at a text tower's first layer is shown as the word that it comes from, wherever it stands."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import MethodType
from typing import Any

import open_clip
import pytest
import torch
from support.zoo.families import family
from support.zoo.inputs import picture, preprocess_to
from support.zoo.models import build, inputs_of
from torch import Tensor, nn

from exclip_widget import CaptionError, DualEncoder, ExclipError, Interactions, explain
from exclip_widget.models.token_sources import token_sources
from exclip_widget.paths.cut import Layer

IDS = torch.tensor([9, 4, 4, 7, 2])
WORDS = torch.tensor([4, 7])


class Arranged(nn.Module):
    """A text tower that arranges its embedded tokens before the layer `rest`."""

    def __init__(self, arrange: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.embed, self.rest = nn.Embedding(49408, 6), nn.Linear(6, 6)
        self.arrange = arrange

    def forward(self, ids: Tensor) -> Tensor:
        return self.rest(self.arrange(self.embed(ids))).mean(1)


PROMPTS = torch.ones(1, 3, 6)


@pytest.mark.parametrize(
    ("arrange", "sources"),
    [
        pytest.param(lambda tokens: tokens, [0, 1, 2, 3, 4], id="in order"),
        pytest.param(
            lambda tokens: torch.cat([PROMPTS, tokens], 1), [-1, -1, -1, 0, 1, 2, 3, 4], id="before"
        ),
        pytest.param(
            lambda tokens: torch.cat([tokens, PROMPTS], 1), [0, 1, 2, 3, 4, -1, -1, -1], id="behind"
        ),
        pytest.param(lambda tokens: tokens[:, 1:], [1, 2, 3, 4], id="without the start"),
        pytest.param(lambda tokens: tokens.flip(1), [4, 3, 2, 1, 0], id="backwards"),
        pytest.param(lambda tokens: tokens[:, :4] + tokens[:, 1:], None, id="in pairs"),
        pytest.param(lambda tokens: tokens + tokens.mean(1, keepdim=True), None, id="with their mean"),
    ],
)
def test_sources(arrange: Callable[[Tensor], Tensor], sources: list[int] | None) -> None:
    tower = Arranged(arrange)
    found = token_sources(tower, Layer("rest", tower.rest), IDS, WORDS)
    assert (None if found is None else found.tolist()) == sources


def with_prompts(at: int) -> Any:
    """Return a model in which four learned vectors take the places from `at` on, as in CoOp."""
    model = build("plain")
    prompts = torch.randn(4, model.token_embedding.embedding_dim, generator=torch.Generator().manual_seed(5))

    def encode_text(self: Any, ids: Tensor, normalize: bool = False) -> Tensor:
        del normalize
        tokens = self.token_embedding(ids)
        given = tokens[:, :at], prompts.expand(len(ids), -1, -1), tokens[:, at:-4]
        tokens = torch.cat(given, 1) + self.positional_embedding
        tokens = self.ln_final(self.transformer(tokens, attn_mask=self.attn_mask))
        return tokens[torch.arange(len(ids)), ids.argmax(-1) + 4] @ self.text_projection

    model.encode_text = MethodType(encode_text, model)
    return model


def changed_words(result: Interactions) -> list[str]:
    """Return the words whose rows are not zero."""
    return [text for text, row in zip(result.tokens, abs(result.values).sum((1, 2)), strict=True) if row > 0]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("at", [1, 3])
def test_only_a_word_that_differs_from_the_reference_contributes(at: int, own: bool) -> None:
    model = with_prompts(at)
    options = {**inputs_of(model), "method": "exclip", "text_layer": 0, "text_reference": "a blue boat"}
    explained = model
    if own:
        explained = DualEncoder(
            model,
            encode_text=model.encode_text,
            encode_image=model.encode_image,
            text_layers=["transformer.resblocks.0"],
            image_layers=["visual.transformer.resblocks.0"],
            padded=True,
            context_length=77,
        )
    result = explain(explained, picture(), "a red boat", **options)
    assert changed_words(result) == ["red"]
    assert "<prompt>" in result.tokens
    assert abs(result.residual) < 1e-2


def argmax(ids: Tensor) -> Tensor:
    return ids.argmax(-1)


def first_end(ids: Tensor) -> Tensor:
    rows, places = (ids == ids.max()).nonzero(as_tuple=True)
    assert len(rows) == len(ids), "a caption without an end"
    assert (ids == 49407).any(1).all()
    return places


def with_start(ids: Tensor) -> Tensor:
    assert (ids[:, 0] == 49406).all(), "a caption without a start"
    return first_end(ids)


class CoOp(nn.Module):
    """Puts two learned vectors before the words, and two behind them or before them as well."""

    def __init__(self, find_end: Callable[[Tensor], Tensor], place: str) -> None:
        super().__init__()
        self.clip: Any = build("plain")
        self.prompts = nn.Parameter(torch.randn(1, 4, 24, generator=torch.Generator().manual_seed(0)))
        self.find_end, self.place = find_end, place

    def text(self, ids: Tensor) -> Tensor:
        end = int(self.find_end(ids)[0])
        embedded, prompts = self.clip.token_embedding(ids), self.prompts.expand(len(ids), -1, -1)
        before = {"front": 4, "middle": 2, "end": 0}[self.place]
        words = embedded[:, 1:end]
        parts = embedded[:, :1], prompts[:, :before], words, prompts[:, before:], embedded[:, end:-4]
        tokens = torch.cat(parts, 1) + self.clip.positional_embedding
        tokens = self.clip.ln_final(self.clip.transformer(tokens, attn_mask=self.clip.attn_mask))
        return tokens[:, end + 4] @ self.clip.text_projection


@pytest.mark.parametrize("find_end", [argmax, first_end, with_start])
@pytest.mark.parametrize("place", ["front", "middle", "end"])
def test_prompts_whose_place_depends_on_where_a_caption_ends(
    place: str, find_end: Callable[[Tensor], Tensor]
) -> None:
    """The ids of the start and the end cannot be replaced to see which tokens they make."""
    model = CoOp(find_end, place)
    described = DualEncoder(
        model,
        encode_text=model.text,
        encode_image=model.clip.encode_image,
        text_layers=["clip.transformer.resblocks.0"],
        image_layers=["clip.visual.transformer.resblocks.0"],
        context_length=77,
    )
    options = {"method": "exclip", "text_layer": 0, **inputs_of(model.clip)}
    result = explain(described, picture(), "a red boat", text_reference="a blue boat", **options)
    assert changed_words(result) == ["red"]
    longer = explain(described, picture(), "a red boat", text_reference="boat", **options)
    assert "<eot>" in changed_words(longer)
    assert "<prompt>" in result.tokens


@pytest.mark.parametrize("method", ["exclip", "frozen", "gradient"])
@pytest.mark.parametrize("layer", [0, -1])
def test_prompts_in_place_of_words(method: str, layer: int) -> None:
    """Words that only keep places for learned vectors have rows, but nothing to say."""
    model = build("plain")
    prompts = torch.randn(1, 2, 24, generator=torch.Generator().manual_seed(0))
    model.token_embedding.register_forward_hook(
        lambda _, __, given: torch.cat([given[:, :1], prompts.expand(len(given), -1, -1), given[:, 3:]], 1)
    )
    options = {"method": method, "text_layer": layer, **inputs_of(build("plain"))}
    result = explain(model, picture(), "x x a red boat", **options)
    assert result.tokens == ("<sot>", "x", "x", "a", "red", "boat", "<eot>", "<prompt>")
    assert not result.values[1:3].any()
    assert result.values[5].any()
    if method == "exclip":
        assert abs(result.residual) < 0.1


@pytest.mark.parametrize(
    ("arrange", "message"),
    [
        pytest.param(lambda tokens: tokens[:, :3], "drops 'boat' and what follows", id="drops a word"),
        pytest.param(
            lambda tokens: tokens[:, 1:] + tokens[:, :-1], "holds 4 tokens for a caption of 5", id="in pairs"
        ),
    ],
)
def test_fewer_tokens_than_words_are_refused(arrange: Callable[[Tensor], Tensor], message: str) -> None:
    text = Arranged(arrange)
    image = nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.Conv2d(6, 6, 1))
    model = DualEncoder(
        nn.ModuleDict({"text": text, "image": image}),
        encode_text=text,
        encode_image=lambda pixels: image(pixels).mean((2, 3)),
        text_layers=["text.rest"],
        image_layers=["image.1"],
    )
    with pytest.raises(ExclipError, match=message):
        explain(model, picture(), "a red boat", tokenizer=short_ids, preprocess=preprocess_to(16, 16))


class OlderCoCa(open_clip.CoCa):
    """Drops the last id to make room for its class token, as open_clip's own CoCa once did."""

    def encode_text(self, text: Tensor, normalize: bool = True) -> Tensor:
        found: Tensor = self.text(text[:, :-1])[0]
        return nn.functional.normalize(found, dim=-1) if normalize else found


@pytest.mark.parametrize("with_end", [False, True])
def test_a_class_token_does_not_hide_that_the_last_word_is_dropped(with_end: bool) -> None:
    this = family("open_clip CoCa")
    model = copy.deepcopy(this.model)
    model.__class__ = OlderCoCa
    length = model.text.context_length

    def tokenizer(caption: str) -> Tensor:
        return open_clip.tokenize([caption], length + 1)[:, :length]

    caption = " ".join(["boat"] * (length - 2 - with_end) + ["dog"])
    options = {**this.options, "tokenizer": tokenizer, "method": "similarity"}
    if with_end:
        assert explain(model, picture(), caption, **options).tokens[-3:] == ("dog", "<eot>", "<cls>")
    else:
        with pytest.raises(CaptionError, match="drops 'dog' and what follows"):
            explain(model, picture(), caption, **options)


def short_ids(caption: str) -> Tensor:
    """Return the ids of a caption without padding."""
    ids = open_clip.tokenize([caption])
    return ids[:, : int(ids.argmax()) + 1]
