"""Foil alignment: which tokens of a caption correspond to which tokens of its foil."""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import groupby, zip_longest
from typing import TypeAlias

from .rows import Tokens

AlignedRows: TypeAlias = tuple[int | None, int | None]
"""A row of the caption and one of the foil; None for a row without a counterpart."""


def align_rows(caption: Tokens, foil: Tokens) -> list[AlignedRows]:
    """Return every row of both once, in reading order, paired with its counterpart.

    Identical words are paired, and so are words that replace each other, in order. Within a pair of words,
    their tokens are paired in order.
    """
    words, others = _rows_of_words(caption), _rows_of_words(foil)
    aligned: list[AlignedRows] = []
    matcher = SequenceMatcher(None, _spellings(caption, words), _spellings(foil, others), autojunk=False)
    for _, start, end, other_start, other_end in matcher.get_opcodes():
        for rows, other_rows in zip_longest(words[start:end], others[other_start:other_end], fillvalue=()):
            aligned += zip_longest(rows, other_rows)
    return aligned


def _rows_of_words(tokens: Tokens) -> list[tuple[int, ...]]:
    """Return the rows of each word; a special token counts as a word of its own."""
    rows = range(len(tokens))
    by_word = groupby(rows, lambda row: (tokens.words[row], row if tokens.words[row] < 0 else None))
    return [tuple(group) for _, group in by_word]


def _spellings(tokens: Tokens, words: list[tuple[int, ...]]) -> list[tuple[str, ...]]:
    return [tuple(tokens.texts[row].casefold() for row in rows) for rows in words]
