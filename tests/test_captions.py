"""Captions through tokenizers of every kind: their own ids, pieces as people read them, and places."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import SmallTokenizer, clip

from exclip_widget.demo.picture_book import PictureBookTokenizer
from exclip_widget.errors import CaptionError, ParameterError
from exclip_widget.inputs.caption import Caption, read_caption
from exclip_widget.inputs.spans import origins
from exclip_widget.inputs.tokenizers import token_ids

WORDS = "a red boat café cat counter clockwise dog fish the tone two".split()
LETTERS = sorted(set("abcdefghijklmnopqrstuvwxyzABCDEIR019,.!'é кот שלום قط γάταςΣ 漢猫 नमस्ते") - {" "})
"""What the tokenizers of this module know. The rest is bytes, or unknown."""


@dataclass(frozen=True)
class Tower:
    """What a text tower says of the ids it takes; the last id that is no zero ends a caption."""

    context_length: int = 64
    padded: bool = False
    vocabulary: int = 60_000

    def end_of(self, ids: torch.Tensor) -> int:
        return int(ids.nonzero()[-1])


# ------------------------------------------------------------------------------------- tokenizers


def hugging_face(model: Any, single: str, parts: dict[str, Any], **special: str) -> Any:
    """A tokenizer of `transformers` that puts special tokens around a text, "$A", as in `single`."""
    import tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = tokenizers.Tokenizer(model)
    for part, value in parts.items():
        setattr(tokenizer, part, value)
    names = [(name, tokenizer.token_to_id(name)) for name in single.split() if name != "$A"]
    tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=names)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def unigram(pad: str = "<pad>") -> Any:
    """As T5 and SigLIP cut texts: unigrams after NFKC, white space marked before a word."""
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    scores = {"<pad>": 0, "</s>": 0, "<unk>": 0, "▁": -3}
    scores |= {f"▁{word}": -4 for word in WORDS} | dict.fromkeys(LETTERS, -9)
    parts = {
        "normalizer": normalizers.NFKC(),
        "pre_tokenizer": pre_tokenizers.Metaspace(),
        "decoder": decoders.Metaspace(),
    }
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": pad}
    return hugging_face(models.Unigram(list(scores.items()), unk_id=2), "$A </s>", parts, **special)


def byte_pairs(words: Iterable[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces and merges that make each of `words` from its letters, one letter after the other."""
    merges = {(word[:end], word[end]): None for word in words for end in range(1, len(word))}
    return list(map("".join, merges)), list(merges)


def byte_fallback() -> Any:
    """As Gemma and SigLIP 2 cut texts: byte pairs with marked spaces, bytes for unknown characters."""
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    pieces, merges = byte_pairs(["▁▁", *(f"▁{word}" for word in WORDS), *WORDS])
    rows = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    rows += ["▁", "\n", *LETTERS, *pieces]
    vocabulary = {piece: row for row, piece in enumerate(dict.fromkeys(rows))}
    parts = {
        "normalizer": normalizers.Replace(" ", "▁"),
        "pre_tokenizer": pre_tokenizers.Split(" ", "merged_with_previous"),
        "decoder": decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
    }
    special = {"eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    model = models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    return hugging_face(model, "$A <eos>", parts, **special)


def word_piece() -> Any:
    """As BERT cuts texts: lower case, without accents, what continues a word marked."""
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    letters = [letter for letter in LETTERS if letter.isalpha()]
    rows = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "cafe", "##s", *LETTERS, *(f"##{x}" for x in letters)]
    vocabulary = {piece: row for row, piece in enumerate(dict.fromkeys(rows))}
    parts = {
        "normalizer": normalizers.BertNormalizer(),
        "pre_tokenizer": pre_tokenizers.BertPreTokenizer(),
        "decoder": decoders.WordPiece(),
    }
    special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    # What CLIPS begins and ends texts with; to BERT itself they mean nothing.
    special |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    return hugging_face(models.WordPiece(vocabulary, unk_token="[UNK]"), "[CLS] $A [SEP]", parts, **special)


def byte_level() -> Any:
    """As RoBERTa cuts texts: byte pairs of bytes, white space among them."""
    from tokenizers import decoders, models, pre_tokenizers

    def spelled(word: str) -> str:
        return pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(word)[0][0]

    pieces, merges = byte_pairs(spelled(word) for form in (" {}", "{}") for word in map(form.format, WORDS))
    rows = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *pieces]
    vocabulary = {piece: row for row, piece in enumerate(dict.fromkeys(rows))}
    parts = {
        "pre_tokenizer": pre_tokenizers.ByteLevel(add_prefix_space=False),
        "decoder": decoders.ByteLevel(),
    }
    special = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return hugging_face(models.BPE(vocabulary, merges), "<s> $A </s>", parts, **special)


def clip_of_transformers() -> Any:
    """CLIP's own tokenizer in the version of `transformers`: the same vocabulary in other files."""
    from transformers import CLIPTokenizerFast

    own = open_clip.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(piece, piece): row for piece, row in own.encoder.items()}
    merges = "\n".join(["#version: 0.2", *map(" ".join, own.bpe_ranks)])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        (Path(folder) / "merges.txt").write_text(merges, encoding="utf-8")
        return CLIPTokenizerFast.from_pretrained(folder)


def of_sentencepiece(make: Callable[[str], Any]) -> Any:
    """A tokenizer in Python, made of a model file that sentencepiece itself trained."""
    sentencepiece = pytest.importorskip("sentencepiece")
    lines = [" ".join(WORDS), "two cats, two dogs! the cat's", "кот שלום قط γάτας 漢猫 नमस्ते"] * 20
    options = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "minloglevel": 3}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spiece.model"
        with path.open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=file,
                vocab_size=100,
                hard_vocab_limit=False,
                **options,
            )
        return make(str(path))


def slow_unigram() -> Any:
    """It tells no offsets and adds nothing to a text."""
    from transformers import BertGenerationTokenizer

    special = dict.fromkeys(["bos_token", "eos_token", "sep_token"], "</s>")
    return of_sentencepiece(lambda path: BertGenerationTokenizer(path, **special))


def slow_siglip() -> Any:
    """SigLIP's own: lower case, no punctuation, padded by its end of text."""
    pytest.importorskip("google.protobuf")
    from transformers import SiglipTokenizer

    return of_sentencepiece(SiglipTokenizer)


def slow_bytes() -> Any:
    """Every byte a piece; decoded on its own, part of a character is nothing at all."""
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer()


def wrapped(name: str, **options: Any) -> Any:
    """open_clip's tokenizer around one of `transformers`."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer(name).save_pretrained(folder)
        return open_clip.tokenizer.HFTokenizer(folder, context_length=64, **options)


def wrapped_for_siglip() -> Any:
    """open_clip's other one, which takes its files from the net; it cleans a text and does not say how."""
    wrapper = object.__new__(open_clip.tokenizer.SigLipTokenizer)
    wrapper.tokenizer, wrapper.context_length = tokenizer("padded by its end"), 64
    return wrapper


KINDS: dict[str, Callable[[], Any]] = {
    "open_clip": open_clip.SimpleTokenizer,
    "clip": lambda: clip.tokenize,
    "clip of transformers": clip_of_transformers,
    "unigram": unigram,
    "padded by its end": lambda: unigram(pad="</s>"),
    "byte fallback": byte_fallback,
    "word piece": word_piece,
    "byte level": byte_level,
    "slow unigram": slow_unigram,
    "slow siglip": slow_siglip,
    "slow bytes": slow_bytes,
    "wrapped unigram": lambda: wrapped("padded by its end", clean="canonicalize"),
    "wrapped for SigLIP": wrapped_for_siglip,
    "wrapped word piece": lambda: wrapped("word piece", strip_sep_token=True),
    "wrapped byte level": lambda: wrapped("byte level"),
    "wrapped as CLIPS": lambda: wrapped("word piece", tokenizer_mode="clips"),
}
OWN = ("open_clip", "clip")
WRAPPED = tuple(name for name in KINDS if name.startswith("wrapped"))
HUGGING_FACE = tuple(name for name in KINDS if name not in OWN + WRAPPED)


@functools.cache
def tokenizer(name: str) -> Any:
    """A tokenizer of a kind, made once."""
    if name not in OWN:
        pytest.importorskip("transformers")
    return KINDS[name]()


def tower_of(name: str, **options: Any) -> Tower:
    """A tower whose context is that of the tokenizer."""
    return Tower(**({"context_length": 77 if name in OWN else 64} | options))


def read(text: str, name: str, **options: Any) -> Caption:
    """A caption through the tokenizer of a kind."""
    return read_caption(text, tokenizer(name), tower_of(name, **options))


def places(caption: Caption) -> list[str | None]:
    """The characters that each token came from."""
    return [span and caption.text[slice(*span)] for span in caption.spans]


def shown(caption: Caption) -> str:
    """Its pieces, spelled `piece` or `piece<characters` where those differ, its words apart."""
    words: dict[int, list[str]] = {}
    for token, place, word in zip(caption.tokens, places(caption), caption.words, strict=True):
        piece = token.replace(" ", "_")
        words.setdefault(word, []).append(piece if place in (token, None) else f"{piece}<{place}")
    return " ".join("+".join(pieces) for word, pieces in words.items() if word >= 0)


def specials(caption: Caption) -> list[str]:
    return [token for token, word in zip(caption.tokens, caption.words, strict=True) if word < 0]


# ------------------------------------------------------------------------------- examples, by kind


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
    """Each piece without its tokenizer's marks, with its characters as written, words apart."""
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
"""Special tokens of each kind, as they are spelled."""


@pytest.mark.parametrize("name", KINDS)
def test_special_tokens_and_padding(name: str) -> None:
    """All padding is one last token, which owns the rest of the ids."""
    caption = read("a red boat", name, padded=True)
    assert specials(caption) == [*AROUND[name], "<pad>"]
    assert all(span is None for span, word in zip(caption.spans, caption.words, strict=True) if word < 0)
    last = len(caption.tokens) - 1
    assert caption.owners.shape == caption.ids.shape == (tower_of(name).context_length,)
    expected = list(range(last)) + [last] * (len(caption.ids) - last)
    if name == "wrapped as CLIPS":  # Its class token comes after the padding.
        expected = [*range(last - 1), *[last] * (len(caption.ids) - last), last - 1]
    assert caption.owners.tolist() == expected


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_padding_on_the_left(name: str) -> None:
    given = tokenizer(name)
    side, given.padding_side = given.padding_side, "left"
    try:
        caption = read("a red boat", name, padded=True)
    finally:
        given.padding_side = side
    last = len(caption.tokens) - 1
    assert caption.tokens[-1] == "<pad>"
    assert caption.owners.tolist() == [last] * (len(caption.ids) - last) + list(range(last))


@pytest.mark.parametrize("name", [name for name in KINDS if not name.startswith("slow")])
def test_context_full_to_the_last_token(name: str) -> None:
    """No padding is left; one piece more is refused with the number of tokens."""
    context = tower_of(name).context_length
    stripped = name == "wrapped word piece"  # of its end, which has had its place all the same
    words = ["a"] * (context - len(AROUND[name]) - stripped)
    caption = read(" ".join(words), name, padded=True)
    assert caption.ids.shape == (context,)
    assert ("<pad>" in caption.tokens) == stripped
    for padded in (False, True):
        with pytest.raises(CaptionError, match=str(context)) as refusal:
            read(" ".join([*words, "a"]), name, padded=padded)
        assert name == "clip" or f"takes {context + 1} tokens" in str(refusal.value)


def test_clip_is_clip_in_every_library() -> None:
    text = "Two Dogs, one café: the cat's nap!"
    first, *others = (read(text, name) for name in ("open_clip", "clip", "clip of transformers"))
    for other in others:
        assert (other.tokens, other.spans, other.words) == (first.tokens, first.spans, first.words)
        torch.testing.assert_close(other.ids, first.ids)


# ------------------------------------------------------------------------------------------ places


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        # What tokenizers compose, decompose, lower and drop.
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
        # Punctuation that a clean-up takes away still parts words.
        ("two_tone, red-a", "wrapped unigram", "two tone red a"),
        ("-- a --", "wrapped unigram", "a"),
        # Scripts from right to left, scripts of syllables, joined emoji.
        ("שלום, قط!", "unigram", "_+ש+ל+ו+ם , _+ق+ط !"),
        ("नमस्ते", "unigram", "_+न+म+स+्+त+े"),
        ("a 👩\u200d🚀 boat", "word piece", "a [UNK]<👩\u200d🚀 boat"),
        ("a❤\ufe0f boat", "unigram", "a <unk><❤\ufe0f boat"),
        # White space of every kind parts words and is none.
        ("a\u00a0red\n boat\u3000a", "byte level", "a _+_+red _+boat _+_+_+a"),
        ("boat  ", "byte level", "boat+_+_"),
        ("two   dogs", "byte fallback", "two _+dog+s"),
    ],
)
def test_places(text: str, name: str, expected: str) -> None:
    assert shown(read(text, name)) == expected


@pytest.mark.parametrize("name", ["slow unigram", "slow siglip"])
def test_places_without_offsets(name: str) -> None:
    """Told from what the tokenizer makes of the parts of the caption."""
    caption = read("Two CATS, two dogs: 漢x猫 İ 🦊", name)
    pieces = zip(caption.tokens, places(caption), caption.words, strict=True)
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
        # Two words become one, and the whole text another.
        ("ab cd ef", lambda text: text.replace("b c", "-"), "a ? d _ e f"),
        ("ab cd", lambda text: "a photo of " + text, "? _ ? ? ? ? ? _ ? ? _ ? ? _ ? ?"),
    ],
)
def test_origins(text: str, read: Callable[[str], str], expected: str) -> None:
    """Where each character of a reading came from, `_` for its white space and `?` where that is lost."""
    found = origins(text, read)
    assert len(found) == len(read(text))
    spelled = [
        text[slice(*span)] if span else "_" if char.isspace() else "?"
        for char, span in zip(read(text), found, strict=True)
    ]
    assert " ".join(spelled) == expected


# -------------------------------------------------------------------------------------- properties

PARTS = [*WORDS, *LETTERS, "Dogs", "BOAT", " ", " ", "  ", "\n", "\t", "\u00a0", "\u3000"]
PARTS += [
    "-",
    "_",
    ":",
    "##",
    "▁",
    "Ġ",
    "&",
    "É",
    "İ",
    "ß",
    "Œ",
    "①",
    "１",
    "Ⅷ",
    "e\u0301",
    "\u0301",
    "\u0302",
]
PARTS += ["각", "\u1100\u1161", "한", "か\u3099", "ｶﾞ", "क्षि", "กำ", "لا", "\u200f", "\u200d", "\ufe0f"]
PARTS += ["🦊", "👩\u200d🚀", "❤\ufe0f", "🇩🇪", "𝔸"]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=12).map("".join), st.text(max_size=12)
)
MANY = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def bare(text: str, name: str) -> str:
    """Its letters and signs, whatever their case, accents and forms; no punctuation where that is dropped."""
    # Who types sentencepiece's mark of white space has typed white space.
    plain = unicodedata.normalize(
        "NFKD", unicodedata.normalize("NFKC", text.replace("▁", " ")).lower()
    ).casefold()
    dropped = "MCZP" if name in ("wrapped unigram", "wrapped for SigLIP", "slow siglip") else "MCZ"
    kept = (char for char in plain if unicodedata.category(char)[0] not in dropped)
    return "".join(char for char in kept if dropped == "MCZ" or char not in "$+<=>^`|~")


def own_ids(text: str, name: str, padded: bool) -> list[int]:
    """What a tower of a model's own library would be given."""
    given = tokenizer(name)
    if name not in HUGGING_FACE:
        (row,) = given(text).tolist()
        return row if padded else row[: Tower().end_of(torch.tensor(row)) + 1]
    padding = {"padding": "max_length", "max_length": tower_of(name).context_length} if padded else {}
    ids: list[int] = given(text, **padding)["input_ids"]
    return ids if padded else ids[: Tower().end_of(torch.tensor(ids)) + 1]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", KINDS)
@MANY
@given(text=TEXTS)
def test_any_text(name: str, padded: bool, text: str) -> None:
    """Whatever is typed: parts that fit together and the tokenizer's own ids, or a refusal."""
    try:
        caption = read(text, name, padded=padded)
    except CaptionError:
        return
    assert caption.ids.tolist() == own_ids(text, name, padded)
    count = len(caption.tokens)
    assert len(caption.spans) == len(caption.words) == count
    assert caption.owners.dtype == caption.ids.dtype == torch.long
    assert caption.owners.shape == caption.ids.shape
    assert sorted(set(caption.owners.tolist())) == list(range(count))
    numbers = [word for word in caption.words if word >= 0]
    assert numbers[0] == 0
    assert all(after - before in (0, 1) for before, after in pairwise(numbers))
    last = (0, 0)
    for token, span, word in zip(caption.tokens, caption.spans, caption.words, strict=True):
        assert token
        if span is not None:
            assert word >= 0
            assert 0 <= span[0] < span[1] <= len(text)
            assert last <= span
            assert text[slice(*span)].strip()
            last = span


@pytest.mark.parametrize("name", KINDS)
@MANY
@given(parts=st.lists(st.sampled_from(PARTS), min_size=1, max_size=12))
def test_letters_are_those_of_the_caption(name: str, parts: list[str]) -> None:
    """Every piece has the letters of its characters, every letter of the caption is in some piece."""
    text = "".join(parts)
    try:
        caption = read(text, name)
    except CaptionError:
        return
    found = list(zip(caption.tokens, caption.spans, caption.words, strict=True))
    unknown = getattr(getattr(tokenizer(name), "tokenizer", tokenizer(name)), "unk_token", None)
    for token, span, word in found:
        if word < 0 or token == unknown or "\ufffd" in token:
            continue
        if span is None:
            assert not bare(token, name) or token == " "
        else:
            letters = bare(text[slice(*span)], name)
            assert bare(token, name) in letters
            # Only the characters that become several letters, or bytes, are of several pieces.
            shared = sum(
                other is not None and other[0] < span[1] and span[0] < other[1] for _, other, _ in found
            )
            assert bare(token, name) == letters or shared > 1
            assert shared == 1 or not text[slice(*span)].isascii()
    covered = {at for _, span, _ in found if span for at in range(*span)}
    missed = [char for at, char in enumerate(text) if char.isalnum() and at not in covered]
    assert not missed
    # White space parts words, and is none.
    ends: dict[int, int] = {}
    for _, span, word in found:
        if span:
            between = text[ends.get(word, span[0]) : span[0]]
            assert not any(map(str.isspace, between))
            ends[word] = span[1]


# ---------------------------------------------------------------------------------------- refusals


def refusal(kind: type[Exception], text: str, given: Any, tower: Tower) -> str:
    """The message of the refusal; short, and of the class that is documented."""
    with pytest.raises((CaptionError, ParameterError)) as found:
        read_caption(text, given, tower)
    assert type(found.value) is kind
    assert len(str(found.value)) < 300
    return str(found.value)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", [name for name in KINDS if name != "clip"])
def test_caption_of_ten_thousand_characters(name: str, padded: bool) -> None:
    """Refused at once, with its number of tokens; none is ever cut in silence."""
    start = time.perf_counter()
    message = refusal(CaptionError, "a boat " * 1429, tokenizer(name), tower_of(name, padded=padded))
    assert time.perf_counter() - start < 5
    context = tower_of(name).context_length
    assert f"the model's context is {context}" in message
    assert int(message.split()[2]) > 2000


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_truncation_of_its_own_is_not_obeyed(name: str) -> None:
    given = tokenizer(name)
    longest, given.model_max_length = given.model_max_length, 6
    try:
        if given.is_fast:
            given.backend_tokenizer.enable_truncation(6)
        caption = read("a red boat, a cat, a dog, a fish", name)
    finally:
        given.model_max_length = longest
    assert places(caption)[-1] == "fish" or "h" in str(places(caption)[-2:])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a </s> b", "unigram"),
        ("a </s> b", "slow siglip"),
        ("a [SEP] b", "word piece"),
        ("a [PAD]", "wrapped word piece"),
        ("a<|endoftext|>b", "clip of transformers"),
        ("!!!", "wrapped unigram"),
        ("?", "slow siglip"),
        ("&nbsp;", "wrapped unigram"),
        ("\x00", "word piece"),
    ],
)
def test_no_words_or_a_special_token(text: str, name: str) -> None:
    assert "words" in refusal(CaptionError, text, tokenizer(name), tower_of(name))


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_half_a_character(name: str) -> None:
    """A lone surrogate, as it comes from text cut by UTF-16 units, is no text to these."""
    assert "surrogate" in refusal(CaptionError, "a \ud83e boat", tokenizer(name), tower_of(name))


def test_no_token_to_pad_with() -> None:
    pytest.importorskip("transformers")
    given = byte_level()
    given.pad_token = None
    assert "padding" in refusal(ParameterError, "a boat", given, Tower(padded=True))
    assert read_caption("a boat", given, Tower()).tokens == ("<s>", "a", "boat", "</s>")


@pytest.mark.parametrize("name", ["unigram", "wrapped unigram", "open_clip"])
def test_ids_that_the_model_has_not(name: str) -> None:
    message = refusal(ParameterError, "a red boat", tokenizer(name), tower_of(name, vocabulary=3))
    assert "below 3" in message


def test_a_wrapper_that_gives_other_ids() -> None:
    given = wrapped("word piece")
    given.clean_fn = lambda text: text.replace("boat", "dog") if isinstance(text, str) else text
    given.tokenizer, honest = tokenizer("word piece"), given.tokenizer
    assert read_caption("a boat", given, Tower()).tokens == ("[CLS]", "a", "dog", "[SEP]")

    class Other(type(given)):
        def __call__(self, text: str) -> torch.Tensor:
            return super().__call__(text + " fish")[:, [0, 3, 2, 1, *range(4, 64)]]

    given.__class__ = Other
    given.tokenizer = honest
    assert "other ids" in refusal(ParameterError, "a boat", given, Tower())


# ----------------------------------------------------------------------------- any other callable


def test_only_ids_are_told() -> None:
    """Places are told from what the tokenizer makes of the words one by one."""
    caption = read_caption("A red boat, a dog", SmallTokenizer(), Tower(SmallTokenizer.context_length))
    assert specials(caption) == ["<sot>", "<eot>"]
    assert places(caption)[1:-1] == ["A", "red", "boat", ",", "a", "dog"]
    assert caption.tokens[1] == caption.tokens[5] == f"[{caption.ids[1]}]"
    assert caption.words == (-1, 0, 1, 2, 3, 4, 5, -1)


def test_only_the_ids_that_count() -> None:
    """A tower that does not read the padding needs none; one that does takes no less than all."""

    def tokenize(text: str) -> torch.Tensor:
        row = SmallTokenizer()(text)
        return row[:, : int(row.argmax()) + 1]

    padded = read_caption("a red boat", SmallTokenizer(), Tower(SmallTokenizer.context_length))
    caption = read_caption("a red boat", tokenize, Tower(SmallTokenizer.context_length))
    assert (caption.tokens, caption.spans) == (padded.tokens, padded.spans)
    message = refusal(ParameterError, "a", tokenize, Tower(SmallTokenizer.context_length, padded=True))
    assert f"(1, {SmallTokenizer.context_length})" in message


def test_pieces_in_one_place_are_one_word() -> None:
    """Of "dogs'" only the whole is known to be three ids: no id has a place of its own there."""
    given = tokenizer("unigram")

    def tokenize(text: str) -> torch.Tensor:
        return torch.tensor([given(text)["input_ids"]])

    caption = read_caption("dogs' boat", tokenize, Tower())
    assert places(caption) == ["dogs'", "dogs'", "dogs'", "boat", None]
    assert caption.words == (0, 0, 0, 1, -1)


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
    """What surrounds the empty caption is special, and one id over and over at the end is padding."""
    given = tokenizer(name)

    def tokenize(text: str) -> torch.Tensor:
        encoded = given(text, padding="max_length", max_length=64, truncation=True)
        return torch.tensor([encoded["input_ids"]])

    caption = read_caption("two red dogs", tokenize, Tower(padded=True))
    known = read("two red dogs", name, padded=True)
    assert specials(caption) == around
    assert caption.ids.tolist() == known.ids.tolist()
    assert caption.owners.tolist() == known.owners.tolist()


def test_the_picture_books_tokenizer() -> None:
    given = PictureBookTokenizer()
    for padded in (False, True):
        caption = read_caption("a red zeppelin", given, Tower(given.context_length, padded))
        assert caption.tokens == ("<sot>", "a", "red", "zeppelin", "<eot>") + ("<pad>",) * padded
        assert places(caption)[1:4] == ["a", "red", "zeppelin"]


def test_ids_of_the_empty_caption() -> None:
    """A reference may be made of it, where it is no caption of its own."""
    pytest.importorskip("transformers")
    assert token_ids("", tokenizer("clip of transformers"), Tower()).tolist() == [49406, 49407]
    assert token_ids("", tokenizer("clip of transformers"), Tower(padded=True)).shape == (64,)
    assert token_ids("", tokenizer("open_clip"), Tower(77)).shape == (77,)
    assert token_ids("", tokenizer("slow unigram"), Tower()).shape == (0,)


def test_transformers_is_not_required() -> None:
    script = "import sys; sys.modules['transformers'] = None; import exclip_widget.inputs.caption"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
