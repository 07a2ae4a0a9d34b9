"""Spans: which characters of a caption each character of its cleaned-up or tokenised form came from."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Sequence
from difflib import SequenceMatcher
from functools import cache
from operator import eq

import regex

from ..results.rows import Span

SPLITS = tuple(map(regex.compile, (r"\S+", r"\X", r"(?s:.)")))
"""Ways to split a text, from coarse to fine: words, letters with their marks, characters."""

MOST_HALVINGS = 8
"""At how many places to try splitting a text in two, if it does not read the same as its parts."""

RUN = regex.compile(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}\p{Cf}]*|[^\s\p{L}\p{N}]+")
"""A word, by default: a run of letters and digits with their marks and joiners, or of other signs."""


def origins(text: str, read: Callable[[str], str]) -> list[Span | None]:
    """Return which characters `text[start:end]` each character of `read(text)` came from.

    Nothing is known about `read`, which may be a clean-up or a tokenizer. But if the parts of a text read
    the same separately as together, each character came from the part that yields it. So the text is split
    more and more finely while that holds.

    Returns
    -------
    list of (int, int) or None
        One for each character of `read(text)`, in order. None for white space, and if no split works.
    """

    @cache
    def read_once(part: str) -> str:
        return "".join(read(part).split())

    def letters(span: Span) -> str:
        return read_once(text[slice(*span)])

    def hold(parts: Sequence[Span], whole: Span) -> bool:
        return alike("".join(map(letters, parts)), letters(whole))

    def traced(span: Span, splits: Sequence[regex.Pattern[str]]) -> list[Span | None]:
        if alike(letters(span), text[slice(*span)]):
            return [(at, at + 1) for at in range(*span)]
        for depth, split in enumerate(splits):
            parts = [match.span() for match in split.finditer(text, *span)]
            if hold(parts, span):
                return [origin for part in parts for origin in traced(part, splits[depth + 1 :])]
            # Some parts belong together: separate them from the others.
            by_distance = sorted(range(1, len(parts)), key=lambda at: abs(2 * at - len(parts)))
            for at in by_distance[:MOST_HALVINGS]:
                halves = (span[0], parts[at][0]), (parts[at][0], span[1])
                if hold(halves, span):
                    return [origin for half in halves for origin in traced(half, splits[depth:])]
        # Better no span than one over several words.
        return [span if len(text[slice(*span)].split()) == 1 else None] * len(letters(span))

    found = iter(traced((0, len(text)), SPLITS))
    return [None if char.isspace() else next(found) for char in read(text)]


def alike(text: str, other: str) -> bool:
    """Return whether two texts have the same letters, one by one, ignoring case, accents and form."""
    return len(text) == len(other) and all(map(eq, map(_bare, text), map(_bare, other)))


@cache
def _bare(char: str) -> str:
    """Return `char` in lower case and its plainest form, without accents; empty for a lone mark."""
    plain = unicodedata.normalize("NFKD", char)
    return "".join(part for part in plain if not unicodedata.category(part).startswith("M")).casefold()


def align(
    pieces: Sequence[Hashable], own: Sequence[Hashable], inside: Callable[[], Span]
) -> list[int | None]:
    """Return which of a caption's `own` pieces each of `pieces` is; None for text that is not the caption's.

    Parameters
    ----------
    pieces, own : sequence
        Pieces as a tokenizer gives them, which may add, drop or change some, and those of the caption alone.
    inside : callable
        Gives the range of `pieces` in which the caption is. It is asked only if that is in doubt.
    """
    pieces, own, size = list(pieces), list(own), len(own)
    places = [at for at in range(len(pieces) - size + 1) if pieces[at : at + size] == own]
    start, stop = (places[0], places[0] + size) if len(places) == 1 else inside()
    found: list[int | None] = [None] * len(pieces)
    matcher = SequenceMatcher(None, pieces[start:stop], own, autojunk=False)
    for at, first, count in matcher.get_matching_blocks():
        found[start + at : start + at + count] = range(first, first + count)
    return found


def hull(spans: Sequence[Span | None]) -> Span | None:
    """Return the span from the first known one of `spans`, which are in order, to the last."""
    known = [span for span in spans if span is not None]
    return (known[0][0], known[-1][1]) if known else None


def with_marks(text: str, spans: Sequence[Span | None]) -> list[Span | None]:
    """Return `spans`, each extended over the marks of its last letter, unless another span claims them.

    A tokenizer that composes a letter and its accent, or drops the accent, reports only the letter's place.
    """
    claimed = {at for span in spans if span is not None for at in range(*span)}
    reach: dict[int, int] = {}
    for letter in regex.finditer(r"\X", text):
        end = letter.end()
        for at in reversed(range(*letter.span())):
            if at in claimed:
                reach[at + 1], end = end, at
    return [span and (span[0], reach[span[1]]) for span in spans]


def number_words(text: str, spans: Sequence[Span | None]) -> list[int]:
    """Return the index of the word that each of `spans` is a piece of; None is a word of its own.

    A piece continues a word if it begins in the run of letters, or of other signs, in which the piece before
    it ended. So white space always separates words, whatever the tokenizer considers a word.
    """
    runs = {at: number for number, run in enumerate(RUN.finditer(text)) for at in range(*run.span())}
    numbers: list[int] = []
    before: Span | None = None
    for span in spans:
        joined = span and before and (span[0] < before[1] or runs.get(span[0]) == runs.get(before[1] - 1))
        numbers.append(numbers[-1] + (not joined) if numbers else 0)
        before = span
    return numbers
