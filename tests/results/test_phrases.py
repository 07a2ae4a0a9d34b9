"""Which words join no phrase."""

from __future__ import annotations

import pytest
from support.results import result_of, tokens_of

from exclip_widget.results import Tokens
from exclip_widget.results.phrases import FUNCTION_WORDS, is_function_word, stand_alone


def alone_in(caption: str) -> list[str]:
    tokens = tokens_of(caption, special=False)
    return [text for text, alone in zip(tokens.texts, stand_alone(tokens), strict=True) if alone]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red boat left of two yellow fish", ["a", "left", "of"]),
        ("The dog is ON the sofa , and a cat 's toy ( new ) .", "The is ON the , and a ( ) .".split()),
        ("two dogs", []),
        # Words that only begin or end like function words.
        ("Ana into Toby orchid inn theory", ["into"]),
        # Apostrophes and signs that are not punctuation may be part of phrases.
        ("it 's ’ 🐕 + é", ["it"]),
        # In other languages, only punctuation is recognised.
        ("ein rotes Boot links von zwei Fischen", []),
        ("红 船 ， 两 条 鱼 。", ["，", "。"]),
        ("لعبة ، سمكة", ["،"]),
    ],
)
def test_function_words_and_punctuation_stand_alone(caption: str, expected: list[str]) -> None:
    assert alone_in(caption) == expected


def test_all_pieces_of_a_word_are_what_the_word_is() -> None:
    """The word "into" may be cut into "in" and "to", and "inn" into "in" and "n"."""
    spans = (0, 2), (2, 4), (5, 7), (7, 8)
    assert stand_alone(Tokens("into inn", ("in", "to", "in", "n"), spans, (0, 0, 1, 1))) == [
        *(True, True),
        *(False, False),
    ]


def test_hyphens_hold_a_phrase_together() -> None:
    assert [is_function_word(sign) for sign in ("-", "‐", "–", "—")] == [False, False, True, True]


def test_words_without_a_place_are_known_by_their_pieces() -> None:
    tokens = Tokens("?", ("wi", "th", "boat", ""), (None,) * 4, (0, 0, 1, 2))
    assert stand_alone(tokens) == [True, True, False, True]


def test_in_a_difference_both_words_must_stand_alone() -> None:
    found = result_of("a boat on two red seas") - result_of("the dog under the blue sea")
    alone = dict(zip(found.tokens, stand_alone(found.rows), strict=True))
    assert alone == {
        "<sot>": True,
        "a − the": True,
        "boat − dog": False,
        "on − under": True,
        "two − the": False,
        "red − blue": False,
        "seas − sea": False,
        "<eot>": True,
    }


def test_the_list_is_in_the_form_that_words_are_compared_in() -> None:
    assert all(is_function_word(word) and word == word.casefold() for word in FUNCTION_WORDS)
