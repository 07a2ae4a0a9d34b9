"""Models that pool a caption at a token of their own choice, with tokenizers that are functions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
from support.zoo.families import family
from support.zoo.inputs import picture, preprocess_to
from support.zoo.weights import draw
from torch import Tensor
from torch.nn import functional as F

from exclip_widget import classify, explain
from exclip_widget.models.towers import find_towers

CONTEXT = 10
CAPTIONS = ("a red boat", "boat red a", "one two three four five six seven eight")
END = {"before padding": 1, "separator": 102}


def _id_of(word: str, ids: range) -> int:
    return ids[sum(map(ord, word)) % len(ids)]


class BeforePadding(open_clip.CLIP):
    """Pools at the number of ids above 1, as MetaCLIP's TokCLIP does: 0 is padding, and 1 the end."""

    pooled: Callable[[Tensor], Tensor] = staticmethod(lambda ids: (ids > 1).sum(-1))

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        x = self.token_embedding(text) + self.positional_embedding
        x = self.ln_final(self.transformer(x, attn_mask=self.attn_mask))
        found: Tensor = x[torch.arange(len(x)), type(self).pooled(text)] @ self.text_projection
        return F.normalize(found, dim=-1) if normalize else found


class AtSeparator(BeforePadding):
    """Pools at BERT's [SEP]."""

    pooled = staticmethod(lambda ids: (ids == END["separator"]).int().argmax(-1))


def _model(kind: type[BeforePadding]) -> Any:
    vision = {"layers": 2, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32}
    text = {"layers": 2, "width": 24, "heads": 3, "vocab_size": 1000, "context_length": CONTEXT}
    return draw(kind(12, vision, text), 5)


def _tokenizer(start: list[int], end: int) -> Callable[[str], Tensor]:
    def ids_of(caption: str) -> Tensor:
        words = [_id_of(word, range(200, 1000)) for word in caption.split()]
        ids = [*start, *words, end]
        return torch.tensor([ids + [0] * (CONTEXT - len(ids))])

    return ids_of


@pytest.mark.parametrize("caption", CAPTIONS)
@pytest.mark.parametrize(
    ("kind", "start", "end"),
    [
        (BeforePadding, [], "before padding"),
        (BeforePadding, [300], "before padding"),
        (AtSeparator, [101], "separator"),
    ],
)
def test_the_token_that_the_model_pools_is_the_one_explained(
    kind: type[BeforePadding], start: list[int], end: str, caption: str
) -> None:
    model, tokenizer = _model(kind), _tokenizer(start, END[end])
    options: dict[str, Any] = {"tokenizer": tokenizer, "preprocess": preprocess_to(32, 32)}
    pixels = preprocess_to(32, 32)(picture())
    with torch.no_grad():
        text, image = model.encode_text(tokenizer(caption)), model.encode_image(pixels[None])
    expected = float(F.cosine_similarity(text, image))
    for method in ("frozen", "exclip", "similarity"):
        found = explain(model, pixels, caption, method=method, **options)
        assert found.similarity == pytest.approx(expected, abs=1e-5)
        assert found.tokens[len(start) + len(caption.split())] == "<eot>"
    ranked = classify(model, pixels, CAPTIONS, **options)
    assert ranked.similarities[CAPTIONS.index(caption)] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", ["frozen", "similarity"])
def test_features_that_pool_elsewhere(method: str) -> None:
    this = family("transformers CLIP")
    model = copy.deepcopy(this.model)

    def features(input_ids: Tensor, **_: Any) -> Tensor:
        states = model.text_model(input_ids).last_hidden_state
        found: Tensor = model.text_projection(
            states[torch.arange(len(states)), (input_ids == 7).int().argmax(-1)]
        )
        return found

    model.get_text_features = features

    def tokenizer(caption: str) -> Tensor:
        words = [_id_of(word, range(20, 80)) for word in caption.split()]
        return torch.tensor([[9, *words, 7, 0, 0]])

    caption = CAPTIONS[0]
    inputs = this.options["processor"](images=picture(), return_tensors="pt")
    with torch.no_grad():
        text = features(tokenizer(caption))
        image = model.get_image_features(inputs["pixel_values"])
    image = getattr(image, "pooler_output", image)
    found = explain(model, picture(), caption, method=method, **this.options | {"tokenizer": tokenizer})
    assert found.similarity == pytest.approx(float(F.cosine_similarity(text, image)), abs=1e-5)
    assert len(found.tokens) == 5


def test_a_librarys_own_tower_is_not_run_to_find_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    model = draw(
        open_clip.CLIP(
            12,
            {"layers": 1, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32},
            {"layers": 1, "width": 24, "heads": 3},
        ),
        5,
    )
    tower = find_towers(model).text.settled()

    def run(_: Tensor) -> None:
        raise AssertionError("the model was run")

    monkeypatch.setattr(model, "encode_text", run)
    assert tower.end_of(open_clip.tokenize(["a red boat"])[0]) == 4
