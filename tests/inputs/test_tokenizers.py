"""Tokenizers of every kind: their own ids, readable tokens, special tokens and padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from support.captions import (
    HUGGING_FACE,
    KINDS,
    Tower,
    byte_level,
    new_tokenizer,
    places,
    read,
    refusal,
    shown,
    specials,
    tokenizer,
    tower_of,
    wrapped,
)
from support.definitions import assert_agree, definition
from support.explaining import values_or_refusal
from support.zoo.inputs import picture, preprocess_to, scene
from support.zoo.models import build, preprocess_for
from support.zoo.openai import clip
from support.zoo.tokenizers import CONTEXT, SmallTokenizer

from exclip_widget import (
    CaptionError,
    DualEncoder,
    ExclipError,
    Explainer,
    ParameterError,
    explain,
)
from exclip_widget.demo.picture_book import PictureBookTokenizer
from exclip_widget.inputs.caption import read_caption
from exclip_widget.inputs.tokenizers import token_ids


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "open_clip",
            "the<The cat 's café<CAFÉ , two - tone boats ! i<İ \u0307<İ r<R �<漢+�<漢+�<漢+x �<🦊+�<🦊",
        ),
        ("clip", "the<The cat 's café<CAFÉ , two - tone boats ! i<İ \u0307<İ r<R �<漢+�<漢+�<漢+x �<🦊+�<🦊"),
        (
            "clip of transformers",
            "the<The cat 's café<CAFÉ , two - tone boats ! i<İ+\u0307<İ+r<R �<漢+�<漢+�<漢+x �<🦊+�<🦊",
        ),
        (
            "unigram",
            "_+<unk><T+h+e cat ' s _+C+A+<unk><FÉ , _+two <unk><- t+o+n+e boat+s ! "
            "_+<unk><İ+R _+漢+x <unk><🦊",
        ),
        (
            "byte fallback",
            "T+h+e cat ' s _+C+A+F+�<É+�<É , _+two - tone boat+s ! _+�<İ+�<İ+R _+漢+x �<🦊+�<🦊+�<🦊+�<🦊",
        ),
        ("word piece", "the<The cat ' s cafe<CAFÉ , two [UNK]<- tone boat+s ! i<İ+r<R 漢+[UNK]<x🦊"),
        (
            "byte level",
            "T+h+e cat ' s _+C+A+F+�<É+�<É , _+two - tone boat+s ! "
            "_+�<İ+�<İ+R _+�<漢+�<漢+�<漢+x �<🦊+�<🦊+�<🦊+�<🦊",
        ),
        (
            "slow bytes",
            "T+h+e _+c+a+t ' s _+C+A+F+�<É+�<É , _+_+t+w+o - t+o+n+e _+b+o+a+t+s ! "
            "_+�<İ+�<İ+R _+�<漢+�<漢+�<漢+x �<🦊+�<🦊+�<🦊+�<🦊",
        ),
        ("wrapped unigram", "the<The cat s café<CAFÉ two t+o+n+e boat+s _+i<İ+<unk><İ+r<R _+漢+x <unk><🦊"),
    ],
)
def test_pieces(name: str, expected: str, padded: bool) -> None:
    """Each token is shown without its tokenizer's marks, with its characters as written, words apart."""
    assert shown(read("The cat's CAFÉ,  two-tone boats! İR 漢x🦊", name, padded=padded)) == expected


AROUND = {
    "open_clip": ["<sot>", "<eot>"],
    "clip": ["<sot>", "<eot>"],
    "clip of transformers": ["<sot>", "<eot>"],
    "unigram": ["</s>"],
    "padded by its end": ["</s>"],
    "byte fallback": ["<eos>"],
    "word piece": ["[CLS]", "[SEP]"],
    "byte level": ["<s>", "</s>"],
    "slow unigram": [],
    "slow siglip": ["</s>"],
    "slow bytes": ["</s>"],
    "wrapped unigram": ["</s>"],
    "wrapped for SigLIP": ["</s>"],
    "wrapped word piece": ["[CLS]"],
    "wrapped byte level": ["<s>", "</s>"],
    "wrapped as CLIPS": ["[CLS]", "[SEP]", "[CLS]"],
}
"""The special tokens that each kind puts around a caption."""


@pytest.mark.parametrize("name", KINDS)
def test_special_tokens_and_padding(name: str) -> None:
    """All padding forms one last token, which owns the remaining ids."""
    caption = read("a red boat", name, padded=True)
    assert specials(caption) == [*AROUND[name], "<pad>"]
    assert all(
        span is None for span, word in zip(caption.rows.spans, caption.rows.words, strict=True) if word < 0
    )
    last = len(caption.rows.texts) - 1
    assert caption.row_index.shape == caption.ids.shape == (tower_of(name).context_length,)
    expected = list(range(last)) + [last] * (len(caption.ids) - last)
    if name == "wrapped as CLIPS":  # Its class token comes after the padding.
        expected = [*range(last - 1), *[last] * (len(caption.ids) - last), last - 1]
    assert caption.row_index.tolist() == expected


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_padding_on_the_left(name: str) -> None:
    given = new_tokenizer(name)
    given.padding_side = "left"
    caption = read_caption("a red boat", given, tower_of(name, padded=True))
    last = len(caption.rows.texts) - 1
    assert caption.rows.texts[-1] == "<pad>"
    assert caption.row_index.tolist() == [last] * (len(caption.ids) - last) + list(range(last))


@pytest.mark.parametrize("name", [name for name in KINDS if not name.startswith("slow")])
def test_context_full_to_the_last_token(name: str) -> None:
    """No padding is left; one more token is refused with the number of tokens."""
    context = tower_of(name).context_length
    stripped = name == "wrapped word piece"  # of its end token, which takes up a place all the same
    words = ["a"] * (context - len(AROUND[name]) - stripped)
    caption = read(" ".join(words), name, padded=True)
    assert caption.ids.shape == (context,)
    assert ("<pad>" in caption.rows.texts) == stripped
    for padded in (False, True):
        with pytest.raises(CaptionError, match=str(context)) as refusal:
            read(" ".join([*words, "a"]), name, padded=padded)
        assert name == "clip" or f"takes {context + 1} tokens" in str(refusal.value)


def test_clip_is_clip_in_every_library() -> None:
    text = "Two Dogs, one café: the cat's nap!"
    first, *others = (read(text, name) for name in ("open_clip", "clip", "clip of transformers"))
    for other in others:
        assert (other.rows.texts, other.rows.spans, other.rows.words) == (
            first.rows.texts,
            first.rows.spans,
            first.rows.words,
        )
        torch.testing.assert_close(other.ids, first.ids)


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_truncation_of_its_own_is_not_obeyed(name: str) -> None:
    given = new_tokenizer(name)
    given.model_max_length = 6
    if given.is_fast:
        given.backend_tokenizer.enable_truncation(6)
    caption = read_caption("a red boat, a cat, a dog, a fish", given, tower_of(name))
    assert places(caption)[-1] == "fish" or "h" in str(places(caption)[-2:])


def test_no_token_to_pad_with() -> None:
    pytest.importorskip("transformers")
    given = byte_level()
    given.pad_token = None
    assert "padding" in refusal(ParameterError, "a boat", given, Tower(padded=True))
    assert read_caption("a boat", given, Tower()).rows.texts == ("<s>", "a", "boat", "</s>")


@pytest.mark.parametrize("name", ["unigram", "wrapped unigram", "open_clip"])
def test_ids_that_the_model_has_not(name: str) -> None:
    message = refusal(ParameterError, "a red boat", tokenizer(name), tower_of(name, vocabulary=3))
    assert "below 3" in message


def test_a_wrapper_that_gives_other_ids() -> None:
    given = wrapped("word piece")
    given.clean_fn = lambda text: text.replace("boat", "dog") if isinstance(text, str) else text
    given.tokenizer, honest = tokenizer("word piece"), given.tokenizer
    assert read_caption("a boat", given, Tower()).rows.texts == ("[CLS]", "a", "dog", "[SEP]")

    class Other(type(given)):
        def __call__(self, text: str) -> torch.Tensor:
            return super().__call__(text + " fish")[:, [0, 3, 2, 1, *range(4, 64)]]

    given.__class__ = Other
    given.tokenizer = honest
    caption = read_caption("a boat", given, Tower())
    assert caption.rows.texts == ("[CLS]", "fish", "dog", "a", "[SEP]")
    assert places(caption)[1] is None


def test_only_ids_are_told() -> None:
    """Spans are inferred by tokenizing the words one by one."""
    caption = read_caption("A red boat, a dog", SmallTokenizer(), Tower(SmallTokenizer.context_length))
    assert specials(caption) == ["<sot>", "<eot>"]
    assert places(caption)[1:-1] == ["A", "red", "boat", ",", "a", "dog"]
    assert caption.rows.texts[1] == caption.rows.texts[5] == f"[{caption.ids[1]}]"
    assert caption.rows.words == (-1, 0, 1, 2, 3, 4, 5, -1)


def test_only_the_ids_that_count() -> None:
    """A tower that does not read the padding needs none; one that does requires all of it."""

    def tokenize(text: str) -> torch.Tensor:
        row = SmallTokenizer()(text)
        return row[:, : int(row.argmax()) + 1]

    padded = read_caption("a red boat", SmallTokenizer(), Tower(SmallTokenizer.context_length))
    caption = read_caption("a red boat", tokenize, Tower(SmallTokenizer.context_length))
    assert (caption.rows.texts, caption.rows.spans) == (padded.rows.texts, padded.rows.spans)
    message = refusal(ParameterError, "a", tokenize, Tower(SmallTokenizer.context_length, padded=True))
    assert f"(1, {SmallTokenizer.context_length})" in message


@pytest.mark.parametrize("caption", ["a red boat", "boats"])
def test_no_end_for_a_model_that_pools_there(caption: str) -> None:
    """CLIP's start token has the next highest id, so the model would pool there and read no word."""

    def tokenize(text: str) -> torch.Tensor:
        ids = open_clip.tokenizer.tokenize(text)
        return torch.where(ids == ids.max(), 0, ids)

    model = build("plain")
    with pytest.raises(CaptionError, match=r"pools caption '.*boats?' at token 1 of 77.*tokenizer adds none"):
        explain(model, picture(), caption, tokenizer=tokenize, preprocess=preprocess_for(model))


def test_ids_without_values() -> None:
    with torch.device("meta"):
        message = refusal(ParameterError, "a boat", open_clip.tokenizer.tokenize, Tower())
    assert "meta device" in message


@pytest.mark.parametrize("kind", ["uint16", "uint32", "uint64", "int32", "int64"])
def test_ids_of_any_whole_type(kind: str) -> None:
    ids = open_clip.tokenize("a red boat")
    found = token_ids("a red boat", lambda _: ids.to(getattr(torch, kind)), Tower(77))
    assert found.dtype == torch.long
    assert found.tolist() == ids[0].tolist()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (torch.Tensor.to_sparse, "sparse_coo"),
        (lambda ids: torch.nested.nested_tensor([ids[0]], layout=torch.jagged), "nested"),
        (lambda ids: ids.to(torch.complex64), "complex64"),
        (lambda ids: ids.half(), "float16"),
        (lambda ids: ids > 0, "bool"),
        (lambda ids: -ids.short(), "from -4440 to"),
    ],
)
def test_ids_that_are_not_whole_numbers(change: Callable[[torch.Tensor], torch.Tensor], named: str) -> None:
    message = refusal(ParameterError, "a boat", lambda text: change(open_clip.tokenize(text)), Tower(77))
    assert named in message
    assert "expected whole numbers below" in message


def _broken(text: str) -> torch.Tensor:
    raise KeyError(text)


@pytest.mark.parametrize("tokenizer", [_broken, preprocess_to(32, 32), lambda: None])
def test_tokenizer_that_raises(tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(ParameterError, match=r"tokenizer raised \w+ for caption 'a boat'") as found:
        read_caption("a boat", tokenizer, Tower(77))
    assert "open_clip.get_tokenizer" in str(found.value)
    assert found.value.__cause__ is not None


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_processor_as_a_tokenizer(kind: type[Exception]) -> None:
    """Some take the caption for the path of an image, and the decoder raises a RuntimeError."""

    class Processor:
        image_processor = tokenizer = None

        def __call__(self, _: Any) -> Any:
            raise kind("Incorrect image source.")

    message = refusal(ParameterError, "a boat", Processor(), Tower(77))
    assert "Incorrect image source" in message
    assert "pass it as processor=, or its .tokenizer as tokenizer=" in message


def test_caption_that_the_tokenizer_finds_too_long() -> None:
    message = refusal(CaptionError, "a boat " * 999, clip.tokenize, Tower(77))
    assert "too long for context length 77" in message


@pytest.mark.parametrize(
    ("name", "around"),
    [
        ("unigram", ["<eot>", "<pad>"]),
        ("padded by its end", ["<eot>", "<pad>"]),
        ("word piece", ["<sot>", "<eot>", "<pad>"]),
        ("byte fallback", ["<eot>", "<pad>"]),
    ],
)
def test_hidden_in_a_function(name: str, around: list[str]) -> None:
    """The ids of the empty caption are special, and an id repeated at the end is padding."""
    given = tokenizer(name)

    def tokenize(text: str) -> torch.Tensor:
        encoded = given(text, padding="max_length", max_length=64, truncation=True)
        return torch.tensor([encoded["input_ids"]])

    caption = read_caption("two red dogs", tokenize, Tower(padded=True))
    known = read("two red dogs", name, padded=True)
    assert specials(caption) == around
    assert caption.ids.tolist() == known.ids.tolist()
    assert caption.row_index.tolist() == known.row_index.tolist()


def test_the_picture_books_tokenizer() -> None:
    given = PictureBookTokenizer()
    for padded in (False, True):
        caption = read_caption("a red zeppelin", given, Tower(given.context_length, padded))
        assert caption.rows.texts == ("<sot>", "a", "red", "zeppelin", "<eot>") + ("<pad>",) * padded
        assert places(caption)[1:4] == ["a", "red", "zeppelin"]


def test_ids_of_the_empty_caption() -> None:
    """An empty caption cannot be explained, but a reference may be made from its ids."""
    pytest.importorskip("transformers")
    assert token_ids("", tokenizer("clip of transformers"), Tower()).tolist() == [49406, 49407]
    assert token_ids("", tokenizer("clip of transformers"), Tower(padded=True)).shape == (64,)
    assert token_ids("", tokenizer("open_clip"), Tower(77)).shape == (77,)
    assert token_ids("", tokenizer("slow unigram"), Tower()).shape == (0,)


def _ids(*values: int, length: int = CONTEXT) -> torch.Tensor:
    row = torch.zeros(1, length, dtype=torch.long)
    row[0, : len(values)] = torch.tensor(values)
    return row


@pytest.mark.parametrize(
    "tokenizer",
    [
        lambda _: "ids",
        lambda _: None,
        lambda _: [[49406, 320, 49407]],
        lambda _: _ids(49406, 320, 49407)[0, :0],
        lambda _: _ids(49406, 320, 49407, length=CONTEXT + 1),
        lambda _: _ids(49406, 320, 49407).repeat(2, 1),
        lambda _: _ids(49406, 320, 49408),
        lambda _: _ids(-1, 320, 49407),
        lambda _: _ids(49406, 320, 49407) + 0.5,
        lambda _: _ids(0),
    ],
    ids=["str", "None", "list", "empty", "long", "two", "beyond", "negative", "float", "no eot"],
)
def test_tokenizer_that_gives_nonsense(tokenizer: Callable[[str], Any]) -> None:
    """It gives a clear error, or an explanation if the ids can be made out."""
    outcome = values_or_refusal(ExclipError, picture(), tokenizer=tokenizer)
    if isinstance(outcome, str):
        assert "token" in outcome.lower()
    else:
        assert np.isfinite(outcome).all()


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [
        ("plain", open_clip.tokenize),
        ("openai", clip.tokenize),
        ("small vocabulary", lambda text: SmallTokenizer()(f"{text}")),
    ],
)
def test_a_tokenizer_may_be_a_plain_function(name: str, tokenizer: object) -> None:
    """The ids that open and close the caption are then taken from the caption's own ids."""
    model, image = build(name), Image.fromarray(scene(0))
    inputs = {"preprocess": preprocess_for(model), "tokenizer": tokenizer}
    found = explain(model, image, "a red boat", steps=3, rule="right", **inputs, method="exclip")
    assert (found.tokens[0], found.tokens[-1], len(found.tokens)) == ("<sot>", "<eot>", 5)
    assert_agree(found, definition(model, image, "a red boat", rule="right", steps=3), 1e-4)


def _filling(tokenizer: Callable[[str], torch.Tensor]) -> Callable[[str], torch.Tensor]:
    """Return a tokenizer that gives the same ids as another, in one tensor that every call overwrites."""
    ids = tokenizer("").clone()
    return lambda text: ids.copy_(tokenizer(text))


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [("plain", open_clip.tokenize), ("openai", clip.tokenize), ("small vocabulary", SmallTokenizer())],
)
def test_a_tokenizer_that_fills_one_tensor(name: str, tokenizer: Callable[[str], torch.Tensor]) -> None:
    model, image = build(name), Image.fromarray(scene(0))
    options = {"preprocess": preprocess_for(model), "text_reference": "a photo"}
    filled, fresh = (Explainer(model, tokenizer=one, **options) for one in (_filling(tokenizer), tokenizer))
    assert filled.explain(image, "a red boat") == fresh.explain(image, "a red boat")
    captions = ["a red boat", "two dogs", "a house"]
    similarities = [one.classify(image, captions).similarities for one in (filled, fresh)]
    np.testing.assert_array_equal(*similarities)
    read = filled.read_captions(captions)
    assert all(one is again for one, again in zip(read, filled.read_captions_again(read), strict=True))


class _Words(torch.nn.Module):
    """A user's own encoders: a caption is the mean of its words' embeddings."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(99, 8)
        self.mix = torch.nn.Linear(8, 8)
        self.conv = torch.nn.Conv2d(3, 8, 8, 8)
        self.deep = torch.nn.Conv2d(8, 8, 1)

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        return self.mix(self.embedding(ids)).tanh().mean(1)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.deep(self.conv(pixels)).tanh().mean((2, 3))


@pytest.mark.parametrize("start", [(), (1,), (1, 3)])
@pytest.mark.parametrize("end", [(), (2,)])
def test_a_tokenizer_of_words_with_any_special_tokens(start: tuple[int, ...], end: tuple[int, ...]) -> None:
    """At either end, tokens that an empty caption gets too are special; the others are words."""

    def tokenize(text: str) -> torch.Tensor:
        words = [5 + sum(map(ord, word)) % 90 for word in text.split()]
        return torch.tensor([[*start, *words, *end]], dtype=torch.long)

    model = _Words()
    own = DualEncoder(
        model,
        encode_text=model.encode_text,
        encode_image=model.encode_image,
        text_layers=["mix"],
        image_layers=["deep"],
    )
    image = Image.fromarray(scene(0)).resize((32, 32))
    found = explain(
        own,
        image,
        "a red boat",
        tokenizer=tokenize,
        preprocess=preprocess_to(32, 32),
        steps=40,
        method="exclip",
    )
    assert len(found.tokens) == len(start) + 3 + len(end)
    assert found.words == (*(-1 for _ in start), 0, 1, 2, *(-1 for _ in end))
    assert [found.caption[slice(*span)] for span in found.spans if span] == ["a", "red", "boat"]
    assert found.residual < 1e-3
