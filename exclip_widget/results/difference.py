"""The difference between the interactions of two captions of one image, aligned as in the widget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from .alignment import AlignedRows
from .rows import Span, Tokens
from .selection import text_of


def aligned(
    ours: Float[np.ndarray, "tokens ..."],
    theirs: Float[np.ndarray, "others ..."],
    pairs: Sequence[AlignedRows],
    sign: int = -1,
) -> Float[np.ndarray, "pairs ..."]:
    """Return the rows of `ours` plus `sign` times their counterparts; a row without one counts alone."""
    found = np.zeros((len(pairs), *ours.shape[1:]), np.float64)
    for place, (row, other) in enumerate(pairs):
        if row is not None:
            found[place] += ours[row]
        if other is not None:
            found[place] += sign * theirs[other].astype(np.float64)
    return found.astype(np.result_type(ours, theirs))


def difference_of(caption: Tokens, foil: Tokens, pairs: Sequence[AlignedRows]) -> Tokens:
    """Return the pairs as the tokens of a text of their own.

    Words that both share appear once. Others read "black − brown", "small" (only in the caption) or "− big"
    (only in the foil).

    Examples
    --------
    >>> caption = Tokens("red boat", ("red", "boat"), ((0, 3), (4, 8)), (0, 1))
    >>> foil = Tokens("big boat", ("big", "boat"), ((0, 3), (4, 8)), (0, 1))
    >>> difference_of(caption, foil, [(0, 0), (1, 1)]).caption
    'red − big boat'
    """
    sides = caption, foil
    # All tokens of words that are paired anywhere belong together.
    groups: list[tuple[tuple[set[int], set[int]], list[int]]] = []
    for place, pair in enumerate(pairs):
        words = [
            None if row is None or tokens.words[row] < 0 else tokens.words[row]
            for tokens, row in zip(sides, pair, strict=True)
        ]
        if words == [None, None]:
            continue  # special tokens
        group = next(
            (
                one
                for one in groups
                if any(word is not None and word in known for word, known in zip(words, one[0], strict=True))
            ),
            None,
        )
        if group is None:
            group = ((set(), set()), [])
            groups.append(group)
        group[1].append(place)
        for word, known in zip(words, group[0], strict=True):
            if word is not None:
                known.add(word)
    texts = [
        caption.texts[row] if row is not None else foil.texts[other if other is not None else 0]
        for row, other in pairs
    ]
    spans: list[Span | None] = [None] * len(pairs)
    numbers = [-1] * len(pairs)
    text = ""
    for number, (words_of_sides, places) in enumerate(groups):
        name = _name_of(
            *(_text_of(tokens, words) for tokens, words in zip(sides, words_of_sides, strict=True))
        )
        text += " " * bool(text)
        span = len(text), len(text) + len(name)
        text += name
        for place in places:
            texts[place], spans[place], numbers[place] = name, span, number
    return Tokens(text, tuple(texts), tuple(spans), tuple(numbers))


def _text_of(tokens: Tokens, words: set[int]) -> str:
    return " ".join(
        text_of(tokens, [row for row, number in enumerate(tokens.words) if number == word])
        for word in sorted(words)
    )


def _name_of(ours: str, theirs: str) -> str:
    if ours == theirs:
        return ours
    return " ".join(part for part in (ours, theirs and f"− {theirs}") if part)
