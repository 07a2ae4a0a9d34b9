"""Tokenizers of every kind in use, and captions read with them."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from exclip_widget.errors import CaptionError, ParameterError
from exclip_widget.inputs.caption import Caption, read_caption
from support.zoo.openai import clip

WORDS = "a red boat café cat counter clockwise dog fish the tone two".split()
LETTERS = sorted(set("abcdefghijklmnopqrstuvwxyzABCDEIR019,.!'é кот שלום قط γάταςΣ 漢猫 नमस्ते") - {" "})
"""Vocabulary of this module's tokenizers. Any other character becomes bytes or an unknown token."""


@dataclass(frozen=True)
class Tower:
    """What a text tower reports about the ids it takes. The last nonzero id ends a caption."""

    context_length: int = 64
    padded: bool = False
    vocabulary: int = 60_000
    appended: int = 0

    def end_of(self, ids: torch.Tensor) -> int:
        return int(ids.nonzero()[-1])


def hugging_face(model: Any, single: str, parts: dict[str, Any], **special: str) -> Any:
    """Make a `transformers` tokenizer that adds special tokens around a text, "$A", as in `single`."""
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
    """Make a tokenizer that splits as T5 and SigLIP do: unigrams after NFKC, a marker before each word."""
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
    """Return the pieces and merges that build each of `words` from its letters, one at a time."""
    merges = {(word[:end], word[end]): None for word in words for end in range(1, len(word))}
    return list(map("".join, merges)), list(merges)


def byte_fallback() -> Any:
    """Make a tokenizer that splits as Gemma and SigLIP 2 do: byte pairs, and bytes for unknown characters."""
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
    """Make a tokenizer that splits as BERT does: lower case, no accents, continuations of a word marked."""
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
    # CLIPS begins and ends texts with these; BERT itself does not use them.
    special |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    return hugging_face(models.WordPiece(vocabulary, unk_token="[UNK]"), "[CLS] $A [SEP]", parts, **special)


def byte_level() -> Any:
    """Make a tokenizer that splits as RoBERTa does: byte pairs over bytes, including white space."""
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
    """Return the `transformers` version of CLIP's tokenizer: the same vocabulary, read from other files."""
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
    """Make a tokenizer with `make` from a model file trained by sentencepiece."""
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
    """Return a tokenizer that reports no offsets and adds no special tokens."""
    from transformers import BertGenerationTokenizer

    special = dict.fromkeys(["bos_token", "eos_token", "sep_token"], "</s>")
    return of_sentencepiece(lambda path: BertGenerationTokenizer(path, **special))


def slow_siglip() -> Any:
    """Return SigLIP's own tokenizer: lower case, no punctuation, padded with its end-of-text token."""
    pytest.importorskip("google.protobuf")
    from transformers import SiglipTokenizer

    return of_sentencepiece(SiglipTokenizer)


def slow_bytes() -> Any:
    """Return a tokenizer whose tokens are bytes; part of a character decodes to an empty string."""
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer()


def wrapped(name: str, **options: Any) -> Any:
    """Return one of the `transformers` tokenizers, wrapped by open_clip."""
    with tempfile.TemporaryDirectory() as folder:
        # A new one, as one that has read a caption would save how that was padded.
        new_tokenizer(name).save_pretrained(folder)
        return open_clip.tokenizer.HFTokenizer(folder, context_length=64, **options)


def wrapped_for_siglip() -> Any:
    """Return open_clip's SigLIP tokenizer, which cleans texts, without downloading its files."""
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
    """Return the tokenizer of a kind, made only once: tests that change one need a new one."""
    return new_tokenizer(name)


def new_tokenizer(name: str) -> Any:
    """Return a tokenizer of a kind that a test may change."""
    if name not in OWN:
        pytest.importorskip("transformers")
    return KINDS[name]()


def tower_of(name: str, **options: Any) -> Tower:
    """Return a tower whose context length matches the tokenizer's."""
    return Tower(**({"context_length": 77 if name in OWN else 64} | options))


def read(text: str, name: str, **options: Any) -> Caption:
    """Read a caption with the tokenizer of a kind."""
    return read_caption(text, tokenizer(name), tower_of(name, **options))


def places(caption: Caption) -> list[str | None]:
    """Return the characters that each token came from."""
    return [span and caption.rows.caption[slice(*span)] for span in caption.rows.spans]


def shown(caption: Caption) -> str:
    """Spell out a caption's words, each token as `piece`, or as `piece<characters` if they differ."""
    words: dict[int, list[str]] = {}
    for token, place, word in zip(caption.rows.texts, places(caption), caption.rows.words, strict=True):
        piece = token.replace(" ", "_")
        words.setdefault(word, []).append(piece if place in (token, None) else f"{piece}<{place}")
    return " ".join("+".join(pieces) for word, pieces in words.items() if word >= 0)


def specials(caption: Caption) -> list[str]:
    return [token for token, word in zip(caption.rows.texts, caption.rows.words, strict=True) if word < 0]


def refusal(kind: type[Exception], text: str, given: Any, tower: Tower) -> str:
    """Return the error's message, after checking that it is short and of exactly the documented class."""
    with pytest.raises((CaptionError, ParameterError)) as found:
        read_caption(text, given, tower)
    assert type(found.value) is kind
    assert len(str(found.value)) < 300
    return str(found.value)


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
