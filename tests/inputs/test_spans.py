"""Spans: the characters that each token came from, for tokenizers of every kind."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.captions import KINDS, MANY, PARTS, Tower, places, read, shown, tokenizer
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of

from exclip_widget import ExclipError, explain
from exclip_widget.errors import CaptionError
from exclip_widget.inputs.caption import read_caption
from exclip_widget.inputs.spans import align, origins


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        # Characters that tokenizers compose, decompose, lowercase and drop.
        ("cafe\u0301 red", "unigram", "café<cafe\u0301 red"),
        ("cafe\u0301 red", "clip of transformers", "café<cafe\u0301 red"),
        ("cafe\u0301 red", "open_clip", "café<cafe\u0301 red"),
        ("cafe\u0301 red", "word piece", "cafe<cafe\u0301 red"),
        ("cafe\u0301 red", "wrapped byte level", "café<cafe\u0301 red"),
        ("ﬁsh １ ¼", "unigram", "fish<ﬁsh _+1<１ _+1<¼+<unk><¼"),
        ("ﬁsh &amp; dogs", "open_clip", "fish<ﬁsh &<&amp; dogs"),
        ("cafÃ© red", "open_clip", "café<cafÃ© red"),
        ("RED İİ a", "word piece", "red<RED i<İ+i<İ a"),
        ("γάΤΑΣ", "open_clip", "�<γ+�<γ+�<ά+�<ά+�<Τ+�<Τ+�<Α+�<Α+�<Σ+�<Σ"),
        # Punctuation that a clean-up removes still separates words.
        ("two_tone, red-a", "wrapped unigram", "two tone red a"),
        ("-- a --", "wrapped unigram", "a"),
        # Right-to-left scripts, syllabic scripts, joined emoji.
        ("שלום, قط!", "unigram", "_+ש+ל+ו+ם , _+ق+ط !"),
        ("नमस्ते", "unigram", "_+न+म+स+्+त+े"),
        ("a 👩\u200d🚀 boat", "word piece", "a [UNK]<👩\u200d🚀 boat"),
        ("a❤\ufe0f boat", "unigram", "a <unk><❤\ufe0f boat"),
        # White space of every kind separates words and belongs to none.
        ("a\u00a0red\n boat\u3000a", "byte level", "a _+_+red _+boat _+_+_+a"),
        ("boat  ", "byte level", "boat+_+_"),
        ("two   dogs", "byte fallback", "two _+dog+s"),
    ],
)
def test_places(text: str, name: str, expected: str) -> None:
    assert shown(read(text, name)) == expected


@pytest.mark.parametrize("name", ["slow unigram", "slow siglip"])
def test_places_without_offsets(name: str) -> None:
    """Spans are inferred by tokenizing the parts of the caption."""
    caption = read("Two CATS, two dogs: 漢x猫 İ 🦊", name)
    pieces = zip(caption.rows.texts, places(caption), caption.rows.words, strict=True)
    words: dict[int, str] = {}
    for token, place, word in pieces:
        if word >= 0 and place is not None:
            words[word] = words.get(word, "") + place
            assert token == "<unk>" or token in (place, place.lower(), "i"), (token, place)
    expected = (
        "Two CATS , two dogs : 漢x猫 İ 🦊" if name == "slow unigram" else "Two CATS two dogs 漢x猫 İİ 🦊"
    )
    assert " ".join(words.values()) == expected


@pytest.mark.parametrize(
    ("text", "read", "expected"),
    [
        ("a&amp;b &lt", lambda text: text.replace("&amp;", "&").replace("&lt", "<"), "a &amp; b _ &lt"),
        ("ΟΔΟΣ α", str.lower, "Ο Δ Ο Σ _ α"),
        ("x cafÃ©s", lambda text: text.replace("Ã©", "é"), "x _ c a f Ã© s"),
        ("n\u0303n", lambda text: unicodedata.normalize("NFC", text), "n\u0303 n"),
        ("  one,  two ", lambda text: text.replace(",", "").strip(), "o n e _ _ t w o"),
        # Two words become one; a prefix makes it another text.
        ("ab cd ef", lambda text: text.replace("b c", "-"), "a ? d _ e f"),
        ("ab cd", lambda text: "a photo of " + text, "? _ ? ? ? ? ? _ ? ? _ ? ? _ ? ?"),
    ],
)
def test_origins(text: str, read: Callable[[str], str], expected: str) -> None:
    """Each character of a reading is traced to its source: `_` is white space, `?` an unknown source."""
    found = origins(text, read)
    assert len(found) == len(read(text))
    spelled = [
        text[slice(*span)] if span else "_" if char.isspace() else "?"
        for char, span in zip(read(text), found, strict=True)
    ]
    assert " ".join(spelled) == expected


@pytest.mark.parametrize(
    ("pieces", "own", "inside", "expected"),
    [
        ("xyabcz", "abc", (0, 0), [None, None, 0, 1, 2, None]),  # the only place needs no range
        ("ab-a", "a", (3, 4), [None, None, None, 0]),
        ("acd", "abcd", (0, 3), [0, 2, 3]),
        ("xyz", "abc", (0, 3), [None] * 3),
        ("abc", "", (0, 3), [None] * 3),
        ("", "abc", (0, 0), []),
    ],
)
def test_align(pieces: str, own: str, inside: tuple[int, int], expected: list[int | None]) -> None:
    assert align(pieces, own, lambda: inside) == expected


def bare(text: str, name: str) -> str:
    """Return a text's letters and signs without their case, accents and forms, or dropped punctuation."""
    # sentencepiece's mark for white space counts as white space if it is typed.
    plain = unicodedata.normalize(
        "NFKD", unicodedata.normalize("NFKC", text.replace("▁", " ")).lower()
    ).casefold()
    dropped = "MCZP" if name in ("wrapped unigram", "wrapped for SigLIP", "slow siglip") else "MCZ"
    kept = (char for char in plain if unicodedata.category(char)[0] not in dropped)
    return "".join(char for char in kept if dropped == "MCZ" or char not in "$+<=>^`|~")


@pytest.mark.parametrize("name", KINDS)
@MANY
@given(parts=st.lists(st.sampled_from(PARTS), min_size=1, max_size=12))
def test_letters_are_those_of_the_caption(name: str, parts: list[str]) -> None:
    """Every token has the letters of its span, and every letter of the caption is in some token."""
    text = "".join(parts)
    try:
        caption = read(text, name)
    except CaptionError:
        return
    found = list(zip(caption.rows.texts, caption.rows.spans, caption.rows.words, strict=True))
    unknown = getattr(getattr(tokenizer(name), "tokenizer", tokenizer(name)), "unk_token", None)
    for token, span, word in found:
        if word < 0 or token == unknown or "\ufffd" in token:
            continue
        if span is None:
            assert not bare(token, name) or token == " "
        else:
            letters = bare(text[slice(*span)], name)
            assert bare(token, name) in letters
            # Only characters that become several letters or bytes belong to several tokens.
            shared = sum(
                other is not None and other[0] < span[1] and span[0] < other[1] for _, other, _ in found
            )
            assert bare(token, name) == letters or shared > 1
            assert shared == 1 or not text[slice(*span)].isascii()
    covered = {at for _, span, _ in found if span for at in range(*span)}
    missed = [char for at, char in enumerate(text) if char.isalnum() and at not in covered]
    assert not missed
    # White space separates words and belongs to none.
    ends: dict[int, int] = {}
    for _, span, word in found:
        if span:
            between = text[ends.get(word, span[0]) : span[0]]
            assert not any(map(str.isspace, between))
            ends[word] = span[1]


def test_pieces_in_one_place_are_one_word() -> None:
    """Only "dogs'" as a whole is known to be three ids, so none of them has a place of its own."""
    given = tokenizer("unigram")

    def tokenize(text: str) -> torch.Tensor:
        return torch.tensor([given(text)["input_ids"]])

    caption = read_caption("dogs' boat", tokenize, Tower())
    assert places(caption) == ["dogs'", "dogs'", "dogs'", "boat", None]
    assert caption.rows.words == (0, 0, 0, 1, -1)


def test_spans_point_into_the_caption_as_written() -> None:
    """Tokens are lower-case pieces of words; spans refer to the caption as written."""
    caption = "  The Counterclockwise   DOG's nap!"
    model, image = build("plain"), Image.fromarray(scene(1))
    found = explain(model, image, caption, steps=1, **inputs_of(model), method="exclip")
    assert found.caption == caption
    for token, span in zip(found.tokens[1:-1], found.spans[1:-1], strict=True):
        assert span is not None
        assert caption[span[0] : span[1]].lower() == token


ANY_TEXT_MODEL = build("one block")
ANY_TEXT_IMAGE = Image.fromarray(scene(0))
ANY_TEXT_OPTIONS = inputs_of(ANY_TEXT_MODEL) | {"method": "exclip"}


@settings(max_examples=40, deadline=None, database=None)
@given(st.text(min_size=1, max_size=12))
def test_spans_of_any_text(caption: str) -> None:
    """Any text gives an explanation whose parts fit together, or the caption is refused."""
    try:
        found = explain(ANY_TEXT_MODEL, ANY_TEXT_IMAGE, caption, rule="right", steps=1, **ANY_TEXT_OPTIONS)
    except ExclipError:
        return
    assert found.caption == caption
    assert len(found.tokens) == len(found.spans) == found.values.shape[0] == found.cls.shape[0]
    assert np.isfinite(found.values).all()
    last = 0
    for span in found.spans:
        if span is not None:
            start, end = span
            assert last <= start < end <= len(caption)
            last = start
