"""Alignment: which tokens of a caption stand for which of its foil."""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import groupby, zip_longest

from ..results.rows import Tokens

Pair = tuple[int | None, int | None]


def aligned(caption: Tokens, foil: Tokens) -> list[Pair]:
    """Every row of both once, in reading order: pairs, and those with nothing to stand beside.

    Words that are the same pair up, and words that were replaced pair up in their order. Within a pair of
    words the same goes for their pieces.
    """
    words, others = _words(caption), _words(foil)
    pairs: list[Pair] = []
    matcher = SequenceMatcher(None, _spelled(caption, words), _spelled(foil, others), autojunk=False)
    for _, start, end, other_start, other_end in matcher.get_opcodes():
        for rows, other_rows in zip_longest(words[start:end], others[other_start:other_end], fillvalue=()):
            pairs += zip_longest(rows, other_rows)
    return pairs


def _words(tokens: Tokens) -> list[tuple[int, ...]]:
    """Rows of each word; a special token is one by itself."""
    rows = range(len(tokens.tokens))
    by_word = groupby(rows, lambda row: (tokens.words[row], row if tokens.words[row] < 0 else None))
    return [tuple(group) for _, group in by_word]


def _spelled(tokens: Tokens, words: list[tuple[int, ...]]) -> list[tuple[str, ...]]:
    return [tuple(tokens.tokens[row].casefold() for row in rows) for rows in words]
