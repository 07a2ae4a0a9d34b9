"""Words selected by phrase, position and expression."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.results import result_of, results, tokens_of

from exclip_widget import ParameterError
from exclip_widget.results import Interactions, Tokens
from exclip_widget.results.selection import rows_of_words, select_rows, text_of

RESULT = result_of("a black dog chases a dog-fish")
#  0 <sot>, 1 a, 2 black, 3 dog, 4 chases, 5 a, 6 dog, 7 fish, 8 <eot>; "dog-fish" is one word


class Foreign:
    """An array of another library, which NumPy can read but which has no `tolist`."""

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = numbers

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        del dtype, copy
        return np.array(self._numbers)


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ("black dog", (2, 3)),
        ("Black  DOG", (2, 3)),
        ("chases", (4,)),
        ("dog-fish", (6, 7)),
        ("fish", (7,)),  # a token, because no whole word matches
        ("dog", (3,)),  # the whole word, not the token
        ("<eot>", (8,)),
        (2, (2,)),
        (-1, (8,)),
        (np.int64(2), (2,)),
        (slice(1, 4), (1, 2, 3)),
        (slice(None, None, -4), (0, 4, 8)),
        (re.compile("dog"), (3, 6)),
        (re.compile(r"\ba\b"), (1, 5)),
        (re.compile("bl"), (2,)),
        (["chases", 2, slice(0, 1), re.compile("fish"), ["black dog"]], (0, 2, 3, 4, 7)),
        (range(1, 4), (1, 2, 3)),
        ((2, "chases"), (2, 4)),
        (np.array([3, 2, 3]), (2, 3)),
        (np.array([[3], [-1]], np.int8), (3, 8)),
        (np.array(2), (2,)),
        (np.array("black dog"), (2, 3)),
        (np.array(["black", "dog-fish"]), (2, 6, 7)),
        (torch.tensor([3, 2, 3]), (2, 3)),
        (torch.tensor(-1), (8,)),
        ([torch.tensor(2), np.array(3), "chases"], (2, 3, 4)),
        (Foreign([1, 2]), (1, 2)),
        (None, (1, 2, 3, 4, 5, 6, 7)),
    ],
)
def test_rows(words: Any, rows: tuple[int, ...]) -> None:
    found = RESULT[words]
    assert found == rows
    assert all(type(row) is int for row in found)
    assert RESULT[found] == rows  # rows select themselves


def test_words_outside_the_caption() -> None:
    """Words that a tokenizer adds have no place in the caption, but a text of their own."""
    texts = ("<sot>", "photo", "of", "a", "dog", "<eot>")
    spans = (None, None, None, (0, 1), (2, 5), None)
    tokens = Tokens("a dog", texts, spans, (-1, 0, 1, 2, 3, -1))
    assert select_rows(tokens, "photo") == (1,)
    assert select_rows(tokens, "a dog") == (3, 4)
    assert text_of(tokens, (1, 2, 3, 4)) == "photo of … a dog"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "cat",
            r"'cat' is not in the caption 'a black dog chases a dog-fish'; its tokens are 0 '<sot>', 1 'a'",
        ),
        ("black cat", "is not in the caption"),
        ("lack dog", "begins or ends inside a token"),
        ("", "is an empty phrase"),
        ("  ", "is an empty phrase"),
        (9, "words=9 is not a token of .*; expected 0 to 8, or -1 to -9 from the end"),
        (-10, "words=-10 is not a token"),
        (slice(4, 4), "chooses no token"),
        (slice("a", "b"), "is not a slice of tokens"),
        ([], r"words=\[\] chooses no token"),
        (re.compile("cat"), "matches no token"),
        (re.compile("x*"), "matches no token"),
        (re.compile(b"dog"), "is an expression of bytes"),
        (True, "words=True is a bool; expected a phrase"),
        (np.array([True, False]), "is a bool"),
        (np.array(True), "words=True is a bool"),
        (torch.tensor([True, False]), "words=True is a bool"),
        (1.0, "words=1.0 is a float"),
        (np.array([1.0]), "words=1.0 is a float"),
        (torch.tensor(1.0), "words=1.0 is a float"),
        (torch.tensor(9), "words=9 is not a token"),
        (torch.tensor(1, device="meta"), "is a Tensor whose values cannot be read"),
        (np.array([], int), "chooses no token"),
        (torch.tensor([]), "chooses no token"),
        (np.array(None), "None in a list"),
        (b"dog", "is a bytes"),
        ({"dog": 1}, "is a dict"),
        ([None], "None in a list"),
    ],
)
def test_what_chooses_nothing_is_refused(words: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        _ = RESULT[words]


def test_a_phrase_that_occurs_twice_names_its_places_and_how_to_choose() -> None:
    with pytest.raises(ParameterError) as refusal:
        _ = RESULT["a"]
    assert str(refusal.value) == (
        "words='a' is in the caption 2 times: rows [1] ([a] black dog c); rows [5] ( dog chases [a] "
        "dog-fish); choose one with a longer phrase or with its rows, as in [1], or all of them with [1, 5]"
    )
    assert RESULT[[1, 5]] == (1, 5)


def test_places_that_overlap_are_places() -> None:
    with pytest.raises(ParameterError, match="2 times"):
        _ = result_of("no no no")["no no"]


def test_markup_and_signs_of_expressions_are_text() -> None:
    result = result_of("<b> (a+b)* \\d .")
    assert result["<b>"] == (1,)
    assert result["(a+b)*"] == (2,)
    assert result["\\d"] == (3,)
    assert result["."] == (4,)


def test_a_word_of_the_caption_goes_before_a_special_token() -> None:
    assert result_of("say <eot> twice")["<eot>"] == (2,)


def test_words_without_known_places_are_chosen_by_index() -> None:
    tokens = Tokens("x", ("<sot>", "q", "r", "<eot>"), (None,) * 4, (-1, 0, 0, -1))
    assert select_rows(tokens, None) == (1, 2)
    assert text_of(tokens, (1, 2)) == "qr"
    with pytest.raises(ParameterError, match="1 'q', 2 'r'"):
        select_rows(tokens, "x")


def test_scripts_without_spaces_are_chosen_by_pieces() -> None:
    tokens = Tokens("黑色的狗", ("黑色", "的", "狗"), ((0, 2), (2, 3), (3, 4)), (0, 0, 0))
    assert select_rows(tokens, "狗") == (2,)
    assert select_rows(tokens, "黑色的") == (0, 1)
    assert select_rows(tokens, "黑色的狗") == (0, 1, 2)


@given(results(), st.data())
def test_every_word_is_found_by_what_it_says(result: Interactions, data: st.DataObject) -> None:
    words = rows_of_words(result.rows)
    assert sorted(row for rows in words for row in rows) == list(result[None])
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    rows = tuple(row for word in words[first : last + 1] for row in word)
    phrase = text_of(result.rows, rows)
    assert phrase == " ".join(result.caption.split()[first : last + 1])
    spoken = result.caption.split()
    if sum(spoken[at : at + last - first + 1] == spoken[first : last + 1] for at in range(len(spoken))) == 1:
        assert result[phrase] == rows
    else:
        with pytest.raises(ParameterError, match="times"):
            _ = result[phrase]


def test_a_selection_in_words() -> None:
    tokens = tokens_of("a red boat")
    assert text_of(tokens, (0, 1, 3, 4)) == "<sot> … a … boat … <eot>"


def test_a_result_is_not_iterated_over() -> None:
    with pytest.raises(TypeError):
        iter(RESULT)  # type: ignore[call-overload]
