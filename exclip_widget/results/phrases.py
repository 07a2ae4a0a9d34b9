"""Where phrases end: at function words and punctuation marks, which are never part of one.

This is a list of English words, not a grammar. There is no list for other languages, so their words are
joined by their interactions alone.
"""

from __future__ import annotations

from .rows import Tokens
from .selection import rows_of_words, text_of

FUNCTION_WORDS = frozenset(
    (
        # Articles and other determiners, but not numbers: "two fish" says more than "fish".
        "a an the this that these those my your his her its our their whose "
        # Prepositions, and the words that begin "left of" and "next to".
        "about above across after against along amid among around as at atop before behind below beneath "
        "beside besides between beyond by down during except for from in inside into left like near next of "
        "off on onto out outside over past per right than through throughout to toward towards under "
        "underneath until up upon via with within without "
        # Conjunctions.
        "and because but if nor or so than though when where whereas while yet "
        # Pronouns.
        "he here i it me she them there they us we what which who whom you "
        # Copulas, auxiliaries and their negation.
        "am are be been being can could did do does had has have is may might must not should was were will "
        "would"
    ).split()
)
"""English words that end a phrase, in lower case."""

MARKS = ',.;:!?…()[]{}"“”„«»&/|–—−،؛؟।，。、；：！？「」『』（）《》'
"""Characters that end a phrase: punctuation marks, except hyphens and apostrophes, which occur within words,
and the minus sign between a caption's word and its foil's."""


def stand_alone(tokens: Tokens) -> list[bool]:
    """Return which tokens join no phrase: special ones, and those of function words and punctuation marks.

    Examples
    --------
    >>> texts = "a", "boat", "on", "water"
    >>> stand_alone(Tokens("a boat on water", texts, ((0, 1), (2, 6), (7, 9), (10, 15)), (0, 1, 2, 3)))
    [True, False, True, False]
    """
    alone = [True] * len(tokens)
    for rows in rows_of_words(tokens):
        ends = is_function_word(text_of(tokens, rows))
        for row in rows:
            alone[row] = ends
    return alone


def is_function_word(text: str) -> bool:
    """Return whether each word of a text is a function word or consists of punctuation marks only.

    Words of a difference read "on − under", so a text may contain two.

    Examples
    --------
    >>> is_function_word("Of"), is_function_word("on − under"), is_function_word("a − two")
    (True, True, False)
    """
    words = (word.strip(MARKS).casefold() for word in text.split())
    return all(not word or word in FUNCTION_WORDS for word in words)
