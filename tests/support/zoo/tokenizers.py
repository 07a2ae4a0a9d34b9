"""Tokenizers for the tiny models, built from the words of a few sentences so that nothing is downloaded."""

from __future__ import annotations

import functools
import json
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

CLIP_VOCABULARY = 49408
CONTEXT = 77
Tokenize = Callable[[str], Tensor]
SMALL_VOCABULARY = 64
SMALL_CONTEXT = 12
"""Context length of the text towers that leave it open."""


@functools.cache
def clip_tokenizer() -> Tokenize:
    """Return CLIP's byte-pair tokenizer."""
    return open_clip.SimpleTokenizer()


class SmallTokenizer:
    """Words hashed into a small vocabulary; its last two ids open and close a caption."""

    vocab_size = SMALL_VOCABULARY
    context_length = SMALL_CONTEXT
    sot_token_id = SMALL_VOCABULARY - 2
    eot_token_id = SMALL_VOCABULARY - 1

    def __call__(self, texts: str | list[str]) -> Tensor:
        """Return the ids of one caption, padded with zeros: (1, context)."""
        (text,) = [texts] if isinstance(texts, str) else texts
        words = re.findall(r"\w+|[^\w\s]", text.lower())
        pieces = [1 + sum(map(ord, word)) % (self.sot_token_id - 1) for word in words]
        ids = torch.zeros(1, self.context_length, dtype=torch.long)
        row = torch.tensor([self.sot_token_id, *pieces, self.eot_token_id])
        ids[0, : len(row)] = row
        return ids


SENTENCES = (
    "a red boat left of two yellow fish",
    "two dogs and one cat in a small house",
    "a photo of a green house under the blue sky",
    "the cat is on the mat, the dog is in the house",
)

WORDS = sorted({word for sentence in SENTENCES for word in sentence.replace(",", "").split()})
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz,.!?'")


def merges_of(words: Iterable[tuple[str, ...]]) -> list[tuple[str, str]]:
    """Return byte-pair merges that build words from the left. A trainer would break ties at random."""
    merges = {}
    for first, *rest in words:
        for symbol in rest:
            merges[first, symbol] = None
            first += symbol
    return list(merges)


def vocabulary_of(pieces: Iterable[str]) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}


@functools.cache
def hugging_face_clip_tokenizer() -> transformers.CLIPTokenizer:
    """Make a tokenizer like CLIP's: every byte, a few merges, and the tokens around a caption as last ids."""
    merges = merges_of((*word[:-1], word[-1] + "</w>") for word in WORDS)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge) for merge in merges)]
    vocabulary = vocabulary_of([*pieces, "<|startoftext|>", "<|endoftext|>"])
    if int(transformers.__version__.split(".")[0]) >= 5:
        return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=SMALL_CONTEXT)
    # Older versions are built from files.
    folder = Path(tempfile.mkdtemp())
    files = folder / "vocab.json", folder / "merges.txt"
    files[0].write_text(json.dumps(vocabulary))
    files[1].write_text("\n".join(["#version: 0.2", *(" ".join(merge) for merge in merges)]))
    return transformers.CLIPTokenizerFast(*map(str, files), model_max_length=SMALL_CONTEXT)


@functools.cache
def siglip_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Make a tokenizer that follows SigLIP's rules: lower case, unigrams, one token to end and pad a caption.

    `SiglipTokenizer` itself needs sentencepiece and protobuf; a processor works the same with either.
    """
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    pieces += [(f"▁{word}", -4.0) for word in WORDS if len(word) != 3]  # three-letter words take two pieces
    pieces += [(f"▁{word[:2]}", -4.5) for word in WORDS if len(word) == 3]
    pieces += [(letter, -8.0) for letter in ("▁", *LETTERS)]
    scores = dict(pieces)
    spoken = Tokenizer(models.Unigram(list(scores.items()), unk_id=2))
    spoken.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    spoken.pre_tokenizer = pre_tokenizers.Metaspace()
    spoken.decoder = decoders.Metaspace()
    spoken.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=spoken,
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        model_max_length=SMALL_CONTEXT,
        model_input_names=["input_ids"],
    )


@functools.cache
def siglip2_tokenizer() -> transformers.Siglip2Tokenizer:
    """Make a tokenizer like SigLIP 2's (Gemma's): one token ends a caption, another pads it on the right."""
    if not hasattr(transformers, "Siglip2Tokenizer"):
        pytest.skip("transformers before 5 has no Siglip2Tokenizer")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    # A space belongs to the word before it.
    merges = merges_of((*word, "▁") for word in WORDS)
    pieces = [*special, "▁", *LETTERS, *("".join(merge) for merge in merges)]
    return transformers.Siglip2Tokenizer(
        vocab=vocabulary_of(pieces),
        merges=merges,
        padding_side="right",
        add_eos_token=True,
        add_bos_token=False,
        model_max_length=SMALL_CONTEXT,
        model_input_names=["input_ids"],
    )


@functools.cache
def bert_tokenizer(kind: str) -> transformers.PreTrainedTokenizerFast:
    """Make a tokenizer of a small vocabulary with BERT's or RoBERTa's special tokens around a caption."""
    if kind == "bert":
        special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    else:
        special = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    pieces = [*special.values(), *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]
    spoken = Tokenizer(models.WordPiece(vocabulary_of(pieces), unk_token=special["unk"]))
    spoken.normalizer = normalizers.BertNormalizer()
    spoken.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, last = special["cls"], special["sep"]
    spoken.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        special_tokens=[(token, pieces.index(token)) for token in (first, last)],
    )
    names = {f"{name}_token": token for name, token in special.items()}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=spoken, model_max_length=SMALL_CONTEXT, **names
    )


def saved_tokenizer(tokenizer: Any, **options: Any) -> open_clip.tokenizer.HFTokenizer:
    """Save a tokenizer to a folder and load it as open_clip does."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return open_clip.tokenizer.HFTokenizer(folder, context_length=SMALL_CONTEXT, **options)


class OwnTokenizer:
    """Words hashed into a few ids; 1 ends a caption, and 0 pads it to eight."""

    vocabulary = 40

    def __call__(self, caption: str) -> Tensor:
        ids = torch.zeros(1, 8, dtype=torch.long)
        words = caption.split()
        for place, word in enumerate(words):
            ids[0, place] = 2 + sum(map(ord, word)) % (self.vocabulary - 2)
        ids[0, len(words)] = 1
        return ids
