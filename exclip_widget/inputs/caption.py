"""Captions: from text to token ids, and from each token back to the characters it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from ..errors import CaptionError, named_type
from ..results.rows import Tokens
from .pieces import PADDING, read_pieces
from .randomness import require_repeatable_ids
from .tokenizers import TextInput, Tokenizer, is_hugging_face, no_words, token_ids

CLASS_TOKEN = "<cls>"
"""Row of a class token that the tower itself appends."""

PROMPT = "<prompt>"
"""Row of tokens that the tower itself puts before or between those of the caption."""


@dataclass(frozen=True, eq=False)
class Caption:
    """A caption, tokenised for a text tower.

    Attributes
    ----------
    rows : Tokens
        The caption's tokens, which are the rows of its explanations.
    ids : Tensor
        Token ids that the tower runs on, (ids,). Padded to the context if the tower reads the padding;
        otherwise cut after the last token that counts.
    row_index : Tensor
        The row that each of the tower's tokens belongs to, (ids + appended,).
    """

    rows: Tokens
    ids: Int[Tensor, " ids"]
    row_index: Int[Tensor, " tokens"]

    def word_ids(self) -> Int[Tensor, " words"]:
        """Return the different ids that the caption's words consist of."""
        is_word = torch.tensor([word >= 0 for word in self.rows.words], device="cpu")
        ids: Tensor = self.ids[is_word[self.row_index[: len(self.ids)]]].unique()  # type: ignore[no-untyped-call]
        return ids

    def with_appended(self, count: int) -> Caption:
        """Return this caption with one more row for `count` tokens that the tower appends to it."""
        return self._with_row(CLASS_TOKEN, F.pad(self.row_index, (0, count), value=-1)) if count else self

    def placed(self, sources: Int[Tensor, " tokens"]) -> Caption:
        """Return this caption for a tower whose tokens come from ids in another way than one after another.

        Parameters
        ----------
        sources : Tensor
            Index of the id that each of the tower's tokens comes from; -1 for those that come from none.

        Raises
        ------
        CaptionError
            If the tower drops the caption's last word.
        """
        appended = len(self.row_index) - len(self.ids)
        if appended and bool((sources[-appended:] < 0).all()):
            known = torch.arange(len(self.ids), len(self.row_index), device="cpu")
            sources = torch.cat([sources[:-appended], known])
        index = self.row_index[sources].where(sources >= 0, -1)
        # A class token that the tower appends has a row after the words, whether it drops some or not.
        last = int(index[sources < len(self.ids)].max())
        if any(span is not None for span in self.rows.spans[last + 1 :]):
            raise CaptionError(
                f"the model drops {self.rows.texts[last + 1]!r} and what follows from caption "
                f"{self.rows.caption!r:.80}; shorten it"
            )
        last = int(index.max())
        read = replace(self, rows=self.rows.first(last + 1), row_index=index)
        added = (index < 0).nonzero()
        if not len(added):
            return read
        ends = bool((added > (index >= 0).nonzero().max()).all())
        return read._with_row(CLASS_TOKEN if ends else PROMPT, index)

    def _with_row(self, text: str, index: Int[Tensor, " tokens"]) -> Caption:
        """Return this caption with a row `text` before its padding, for all tokens whose `index` is -1."""
        rows = self.rows
        at = len(rows) - (rows.texts[-1] == PADDING.text)
        return replace(
            self,
            rows=Tokens(
                caption=rows.caption,
                texts=(*rows.texts[:at], text, *rows.texts[at:]),
                spans=(*rows.spans[:at], None, *rows.spans[at:]),
                words=(*rows.words[:at], -1, *rows.words[at:]),
            ),
            row_index=(index + (index >= at)).where(index >= 0, at),
        )


def read_caption(text: object, tokenizer: Tokenizer, tower: TextInput) -> Caption:
    """Tokenise `text` for `tower`.

    Parameters
    ----------
    text : str
        The caption.
    tokenizer : callable
        A tokenizer from open_clip or Hugging Face, OpenAI's `clip.tokenize`, or any other callable that
        returns the ids of a caption, (1, ids), padded to the context if the tower reads the padding.
    tower : TextInput
        The text tower that the ids are for.

    Raises
    ------
    CaptionError
        If `text` is not a string, has no words, does not fit the tower's context, or contains a special
        token.
    ParameterError
        If `tokenizer` is random, or returns anything other than ids that the tower takes.
    """
    if not isinstance(text, str):
        shown = " ".join(repr(text).split())
        raise CaptionError(f"caption is {named_type(text)} ({shown:.80}); expected a string")
    if not text.strip():
        raise CaptionError(f"caption {text!r} has no words")
    require_repeatable_ids(tokenizer, lambda caption: token_ids(caption, tokenizer, tower), text)
    ids = token_ids(text, tokenizer, tower)
    stop = _count_read(ids, tokenizer, tower)
    if len(set(ids[stop:].tolist())) > 1:  # not just padding
        raise CaptionError(
            f"the model pools caption {text!r:.80} at token {stop} of {len(ids)} and ignores those after "
            "it: either the caption contains an end-of-text token, or the tokenizer adds none and is not "
            "the model's own"
        )
    pieces = read_pieces(text, ids.tolist(), tokenizer, tower)[:stop]
    rows = [piece for piece in pieces if piece is not PADDING]
    if all(piece.word < 0 for piece in rows):
        raise no_words(text)
    real = torch.tensor([piece is not PADDING for piece in pieces], device="cpu")
    rows += [PADDING] * (not real.all())
    caption = Caption(
        rows=Tokens(
            caption=text,
            texts=tuple(piece.text for piece in rows),
            spans=tuple(piece.span for piece in rows),
            words=tuple(piece.word for piece in rows),
        ),
        ids=ids[:stop],
        row_index=torch.where(real, real.cumsum(0) - 1, real.sum()),
    )
    return caption.with_appended(tower.appended)


def has_same_ids(caption: Caption, tokenizer: Tokenizer, tower: TextInput) -> bool:
    """Return whether `tokenizer` still gives the ids of a caption, which takes less than reading it."""
    ids = token_ids(caption.rows.caption, tokenizer, tower)
    return torch.equal(ids[: _count_read(ids, tokenizer, tower)], caption.ids)


def _count_read(ids: Int[Tensor, " ids"], tokenizer: Tokenizer, tower: TextInput) -> int:
    """Return how many of a caption's ids the tower reads; those after them are the tokenizer's padding.

    Hugging Face's tokenizers gave none, and a model may pool at a token other than their last.
    """
    if not len(ids) or tower.padded or is_hugging_face(tokenizer):
        return len(ids)
    return tower.end_of(ids) + 1
