"""Words of a caption, chosen by their text or their position: from phrases and indices to rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import index
from typing import Any, TypeAlias

import numpy as np

from ..errors import ParameterError, named_type
from .rows import Span, Tokens

Words: TypeAlias = "str | int | slice | re.Pattern[str] | Sequence[Words] | None"
"""Words of a caption: a phrase, the index of a row, a slice of rows, a compiled regular expression, or a list
of those. None for all words, without special tokens."""

Rows: TypeAlias = tuple[int, ...]
"""Rows of a result, in reading order and without repeats."""


def rows_of_words(tokens: Tokens) -> list[Rows]:
    """Return the rows of each word, in reading order. Special tokens are not words.

    Examples
    --------
    >>> rows_of_words(Tokens("a dogfish", ("<sot>", "a", "dog", "fish"), (None,) * 4, (-1, 0, 1, 1)))
    [(1,), (2, 3)]
    """
    words: dict[int, list[int]] = {}
    for row, word in enumerate(tokens.words):
        if word >= 0:
            words.setdefault(word, []).append(row)
    return [tuple(rows) for rows in words.values()]


def text_of(tokens: Tokens, rows: Sequence[int]) -> str:
    """Return the text of rows: the caption from the first to the last of a run, with " … " between runs.

    Examples
    --------
    >>> tokens = Tokens("a red boat", ("a", "red", "boat"), ((0, 1), (2, 5), (6, 10)), (0, 1, 2))
    >>> text_of(tokens, (1, 2)), text_of(tokens, (0, 2))
    ('red boat', 'a … boat')
    """
    runs: list[list[int]] = []
    placed = {tokens.words[row] for row, span in enumerate(tokens.spans) if span is not None}

    def kind(row: int) -> tuple[bool, bool]:
        return tokens.words[row] < 0, tokens.words[row] in placed

    for row in rows:
        if runs and row == runs[-1][-1] + 1 and kind(row) == kind(row - 1):
            runs[-1].append(row)
        else:
            runs.append([row])
    return " … ".join(_text_of_run(tokens, run) for run in runs)


def _text_of_run(tokens: Tokens, run: list[int]) -> str:
    known = [span for row in run if (span := tokens.spans[row]) is not None]
    if not known:
        # Special tokens are kept apart, and pieces of one word are joined.
        by_word = groupby(run, lambda row: tokens.words[row] if tokens.words[row] >= 0 else -1 - row)
        return " ".join("".join(tokens.texts[row] for row in rows) for _, rows in by_word)
    return tokens.caption[known[0][0] : known[-1][1]]


def select_rows(tokens: Tokens, words: Words) -> Rows:
    """Return the rows of words, sorted and without repeats.

    Raises
    ------
    ParameterError
        If they are not in the caption, are in it more than once, or select nothing.

    Examples
    --------
    >>> tokens = Tokens("a red boat", ("a", "red", "boat"), ((0, 1), (2, 5), (6, 10)), (0, 1, 2))
    >>> select_rows(tokens, "red boat"), select_rows(tokens, [-1, "a"])
    ((1, 2), (0, 2))
    """
    found = tuple(sorted(set(_rows_of(tokens, words))))
    if not found:
        raise ParameterError(f"words={words!r} chooses no token; {_choices(tokens)}")
    return found


def _rows_of(tokens: Tokens, words: object) -> Iterable[int]:
    if words is None:
        return [row for row, word in enumerate(tokens.words) if word >= 0]
    if isinstance(words, str):
        return _rows_of_phrase(tokens, words)
    if isinstance(words, re.Pattern):
        return _rows_of_pattern(tokens, words)
    if isinstance(words, slice):
        return _rows_of_slice(tokens, words)
    if hasattr(words, "__array__"):
        return _rows_of(tokens, _not_none(as_list("words", words, EXPECTED)))
    if isinstance(words, Iterable) and not isinstance(words, (bytes, dict)):
        return [row for one in words for row in _rows_of(tokens, _not_none(one))]
    return [_row_of_index(tokens, words)]


def as_list(name: str, array: Any, expected: str) -> object:
    """Return an array or a tensor as nested lists, or as a number if it has no axes.

    Raises
    ------
    ParameterError
        If its values cannot be read.
    """
    try:
        # A tensor's own `tolist` also reads one that is on a GPU.
        return array.tolist() if hasattr(array, "tolist") else np.asarray(array).tolist()
    except Exception as error:
        raise ParameterError(
            f"{name} is {named_type(array)} whose values cannot be read ({error!s:.200}); {expected}"
        ) from error


def _not_none(word: object) -> object:
    if word is None:
        raise ParameterError(f"words has None in a list; {EXPECTED}")
    return word


EXPECTED = (
    "expected a phrase of the caption, the index of a token, a slice, a compiled regular expression, or a "
    "list of those"
)


def _row_of_index(tokens: Tokens, given: object) -> int:
    count = len(tokens)
    try:
        if isinstance(given, (bool, np.bool_)):
            raise TypeError
        row = index(given)  # type: ignore[arg-type]  # raises if it is not a number
    except TypeError:
        raise ParameterError(f"words={given!r} is {named_type(given)}; {EXPECTED}") from None
    if not -count <= row < count:
        raise ParameterError(
            f"words={row} is not a token of {tokens.caption!r}; expected 0 to {count - 1}, or -1 to {-count} "
            "from the end"
        )
    return row % count


def _rows_of_slice(tokens: Tokens, given: slice) -> Iterable[int]:
    try:
        return range(len(tokens))[given]
    except (TypeError, ValueError) as error:
        raise ParameterError(f"words={given!r} is not a slice of tokens ({error}); {EXPECTED}") from None


def _rows_of_pattern(tokens: Tokens, pattern: re.Pattern[str]) -> list[int]:
    """Return the rows that matches of `pattern` touch."""
    if not isinstance(pattern.pattern, str):
        raise ParameterError(f"words={pattern!r} is an expression of bytes; expected one of a string")
    places = [match.span() for match in pattern.finditer(tokens.caption) if match.group()]
    rows = [
        row
        for row, span in enumerate(tokens.spans)
        if span is not None and any(span[0] < end and start < span[1] for start, end in places)
    ]
    if not rows:
        raise ParameterError(f"words={pattern!r} matches no token of the caption; {_choices(tokens)}")
    return rows


def _rows_of_phrase(tokens: Tokens, phrase: str) -> Sequence[int]:
    wanted = phrase.split()
    if not wanted:
        raise ParameterError(f"words={phrase!r} is an empty phrase; {_choices(tokens)}")
    # A lookahead also finds places that overlap.
    spelled = r"\s+".join(map(re.escape, wanted))
    matches = [
        match.span(1) for match in re.finditer(f"(?=({spelled}))", tokens.caption, re.IGNORECASE | re.DOTALL)
    ]
    words = {tokens.words[rows[0]]: rows for rows in rows_of_words(tokens)}
    spans = {word: span for word, rows in words.items() if (span := _hull(tokens, rows)) is not None}
    whole = _within(matches, spans)
    if whole:
        (place,) = _only(tokens, phrase, whole)
        return [row for word in whole[place] for row in words[word]]
    pieces = _within(
        matches,
        {row: span for row, span in enumerate(tokens.spans) if span is not None and tokens.words[row] >= 0},
    )
    if pieces:
        (place,) = _only(tokens, phrase, pieces)
        return pieces[place]
    # Special tokens, and words that the tokenizer has added.
    outside = [row for row, text in enumerate(tokens.texts) if tokens.spans[row] is None and text == phrase]
    if outside:
        return outside
    if matches and spans:
        raise ParameterError(
            f"words={phrase!r} is in {tokens.caption!r}, but begins or ends inside a token; "
            f"{_choices(tokens)}"
        )
    raise ParameterError(f"words={phrase!r} is not in the caption {tokens.caption!r}; {_choices(tokens)}")


def _hull(tokens: Tokens, rows: Rows) -> Span | None:
    known = [span for row in rows if (span := tokens.spans[row]) is not None]
    return (min(start for start, _ in known), max(end for _, end in known)) if known else None


def _within(matches: list[Span], spans: dict[int, Span]) -> dict[Span, list[int]]:
    """Return the spans within each match, for matches that begin and end where spans do."""
    starts, ends = {start for start, _ in spans.values()}, {end for _, end in spans.values()}
    return {
        match: [which for which, (start, end) in spans.items() if match[0] <= start and end <= match[1]]
        for match in matches
        if match[0] in starts and match[1] in ends
    }


def _only(tokens: Tokens, phrase: str, places: dict[Span, list[int]]) -> list[Span]:
    """Return the only place of a phrase.

    Raises
    ------
    ParameterError
        If there are several. The message lists them, and says how to choose one.
    """
    if len(places) == 1:
        return list(places)
    listed, each = [], []
    for start, end in places:
        rows = [
            row
            for row, span in enumerate(tokens.spans)
            if span is not None and start <= span[0] and span[1] <= end
        ]
        before, after = tokens.caption[max(0, start - 12) : start], tokens.caption[end : end + 12]
        listed.append(f"rows {rows} ({before}[{tokens.caption[start:end]}]{after})")
        each.append(rows)
    everything = sorted({row for rows in each for row in rows})
    raise ParameterError(
        f"words={phrase!r} is in the caption {len(places)} times: {'; '.join(listed)}; choose one with a "
        f"longer phrase or with its rows, as in {each[0]}, or all of them with {everything}"
    )


def _choices(tokens: Tokens) -> str:
    listed = ", ".join(f"{row} {text!r}" for row, text in enumerate(tokens.texts))
    return f"its tokens are {listed}"
