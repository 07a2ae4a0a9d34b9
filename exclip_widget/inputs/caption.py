"""Captions: from text to token ids, and from each token back to the characters it came from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import CaptionError
from ..results.rows import Span
from .tokenizers import PADDING, Intake, Tokenizer, clip_tokenizer, no_words, read_pieces, token_ids

__all__ = ["Caption", "Span", "Tokenizer", "clip_tokenizer", "read_caption", "token_ids"]


@dataclass(frozen=True)
class Caption:
    """A caption as its tokens, special ones included.

    Attributes
    ----------
    text : str
        The caption as it was given.
    ids : torch.Tensor
        Token ids that the tower runs on, long, (ids,): padded to the context where the tower reads the
        padding; nothing after the last token that counts where it does not.
    tokens : tuple of str
        The tokenizer's own pieces, as people read them, between its special tokens; those of CLIP are
        `<sot>` and `<eot>`. Where there is padding, one last token `<pad>` stands for all of it.
    spans : tuple of (int, int) or None
        Which characters `text[start:end]` each token came from; None for special tokens, for pieces of
        white space alone, and where the tokenizer's clean-up changed the text beyond recognition.
    words : tuple of int
        Number of the word that each token is a piece of, from 0; -1 for special tokens. White space
        belongs to the word that it comes before.
    owners : torch.Tensor
        Which of `tokens` each of `ids` belongs to, long, (ids,).
    """

    text: str
    ids: torch.Tensor
    tokens: tuple[str, ...]
    spans: tuple[Span | None, ...]
    words: tuple[int, ...]
    owners: torch.Tensor


def read_caption(text: object, tokenizer: Tokenizer, tower: Intake) -> Caption:
    """Tokenize `text` for `tower`.

    Parameters
    ----------
    text : str
        The caption.
    tokenizer : callable
        One of open_clip's, OpenAI's `clip.tokenize`, one of Hugging Face's, or any other callable that
        gives the ids of a caption, (1, ids), padded to the context where the tower reads the padding.
    tower : Intake
        The text tower that they are for.

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
    if len(ids) and not tower.padded:
        ids = ids[: tower.end_of(ids) + 1]
    pieces = read_pieces(text, ids.tolist(), tokenizer, tower)
    tokens = [piece for piece in pieces if piece is not PADDING]
    if len(pieces) != len(ids) or all(piece.word < 0 for piece in tokens):
        raise no_words(text)
    real = torch.tensor([piece is not PADDING for piece in pieces])
    tokens += [PADDING] * (not real.all())
    return Caption(
        text=text,
        ids=ids,
        tokens=tuple(piece.text for piece in tokens),
        spans=tuple(piece.span for piece in tokens),
        words=tuple(piece.word for piece in tokens),
        owners=torch.where(real, real.cumsum(0) - 1, real.sum()),
    )
