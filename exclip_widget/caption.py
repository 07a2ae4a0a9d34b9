"""Captions: from text to token ids, and from each token back to the characters it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import open_clip
import regex
import torch

from .errors import CaptionError, ParameterError
from .towers import TextTower

Tokenizer: TypeAlias = Callable[..., torch.Tensor]
Span: TypeAlias = tuple[int, int]

START, END = "<sot>", "<eot>"


@dataclass(frozen=True)
class Caption:
    """A caption as its tokens, from start-of-text to end-of-text.

    Attributes
    ----------
    text : str
        The caption as it was given.
    ids : torch.Tensor
        Token ids, long, (tokens,): nothing after the end-of-text token.
    tokens : tuple of str
        The tokenizer's own pieces; `<sot>` first and `<eot>` last.
    spans : tuple of (int, int) or None
        Which characters `text[start:end]` each token came from; None for special tokens, and where
        the tokenizer's clean-up changed the text beyond recognition.
    words : tuple of int
        Number of the word that each token is a piece of, from 0; -1 for special tokens.
    """

    text: str
    ids: torch.Tensor
    tokens: tuple[str, ...]
    spans: tuple[Span | None, ...]
    words: tuple[int, ...]


def read_caption(text: object, tokenizer: Tokenizer, tower: TextTower) -> Caption:
    """Tokenize `text` for `tower`.

    Raises
    ------
    CaptionError
        Where `text` is not a string, has no words, does not fit the tower's context, or spells a
        special token.
    ParameterError
        Where `tokenizer` gives something else than ids that the tower takes.
    """
    if not isinstance(text, str):
        shown = " ".join(repr(text).split())
        raise CaptionError(f"caption is a {type(text).__name__} ({shown:.80}); expected a string")
    if not text.strip():
        raise CaptionError(f"caption {text!r} has no words")
    ids = token_ids(text, tokenizer, tower)
    ids = ids[: tower.end_of(ids) + 1]
    content = ids[1:-1].tolist()
    words = _bpe_words(tokenizer, text, content)
    if words is None:
        words = _decoded_words(tokenizer, content)
    length = sum(map(len, words)) + 2
    if length > tower.context_length:
        raise CaptionError(
            f"caption takes {length} tokens, start and end included; the model's context is "
            f"{tower.context_length}: {text!r:.80}"
        )
    if length != len(ids) or length == 2:
        raise CaptionError(f"caption {text!r:.80} has no words, or a special token among them")
    pieces = [piece.decode(errors="replace") for word in words for piece in word]
    numbers = [number for number, word in enumerate(words) for _ in word]
    return Caption(
        text=text,
        ids=ids,
        tokens=(START, *pieces, END),
        spans=(None, *_align(text, words), None),
        words=(-1, *numbers, -1),
    )


def token_ids(text: str, tokenizer: Tokenizer, tower: TextTower) -> torch.Tensor:
    """Ids of `text`, padded to the tower's context length, long, (context_length,).

    Raises
    ------
    CaptionError, ParameterError
        As `read_caption` says.
    """
    try:
        ids: object = tokenizer(text)
    except RuntimeError as error:  # OpenAI's clip.tokenize says so when a caption is too long.
        raise CaptionError(str(error)) from None
    expected = f"expected whole numbers below {tower.vocabulary}, shape (1, {tower.context_length})"
    if not isinstance(ids, torch.Tensor):
        raise ParameterError(f"tokenizer gave a {type(ids).__name__} for one caption; {expected}")
    if ids.shape != (1, tower.context_length) or ids.is_floating_point():
        raise ParameterError(f"tokenizer gave {ids.dtype} of shape {tuple(ids.shape)}; {expected}")
    if ids.min() < 0 or ids.max() >= tower.vocabulary:
        raise ParameterError(f"tokenizer gave ids from {ids.min()} to {ids.max()}; {expected}")
    return ids[0].long().cpu()


@cache
def clip_tokenizer(context_length: int = 77) -> open_clip.SimpleTokenizer:
    """The byte-pair tokenizer that OpenAI's models and most of open_clip's share."""
    return open_clip.SimpleTokenizer(context_length=context_length)


def _bpe_words(tokenizer: Any, text: str, ids: Sequence[int]) -> list[list[bytes]] | None:
    """Words, each as its pieces, by CLIP's byte-pair rules; None where `tokenizer` follows others.

    A piece is bytes, because it may end within a character.
    """
    if not hasattr(tokenizer, "bpe"):
        # A bare function such as clip.tokenize: the same ids, as far as they go, mean the same rules.
        tokenizer = clip_tokenizer()
        if tokenizer.encode(text)[: len(ids)] != ids:
            return None
    clean = getattr(tokenizer, "clean_fn", clip_tokenizer().clean_fn)
    words = []
    for word in regex.findall(tokenizer.pat, clean(text)):
        symbols = "".join(tokenizer.byte_encoder[byte] for byte in word.encode())
        pieces = tokenizer.bpe(symbols).removesuffix("</w>").split(" ")
        words.append([bytes(tokenizer.byte_decoder[symbol] for symbol in piece) for piece in pieces])
    return words


def _decoded_words(tokenizer: Any, ids: Sequence[int]) -> list[list[bytes]]:
    """Each id a word of its own, as the tokenizer spells it, or as its number if it cannot."""
    decode = getattr(tokenizer, "decode", lambda numbers: f"[{numbers[0]}]")
    return [[decode([number]).strip().encode()] for number in ids]


def _align(text: str, words: Sequence[Sequence[bytes]]) -> list[Span | None]:
    """Where in `text` each piece stands, read from left to right, whatever the case of letters."""
    letters = [(letter, at) for at, char in enumerate(text) if not char.isspace() for letter in char.lower()]
    stream = "".join(letter for letter, _ in letters)
    spans: list[Span | None] = []
    position = 0
    for pieces in words:
        word = b"".join(pieces).decode(errors="replace").lower()
        found = stream.find(word, position) if word else -1
        if found < 0:
            spans += [None] * len(pieces)
            continue
        position = found + len(word)
        origin = [at for letter, at in letters[found:position] for _ in letter.encode()]
        for piece in pieces:
            covered, origin = origin[: len(piece)], origin[len(piece) :]
            spans.append((covered[0], covered[-1] + 1) if covered else None)
    return spans
