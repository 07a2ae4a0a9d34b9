"""Alignment of a caption with its foil."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.widgets import book

from exclip_widget import Explainer
from exclip_widget.results.alignment import AlignedRows, align_rows
from exclip_widget.results.rows import Tokens

EXPLAINER = Explainer(book().model, tokenizer=book().tokenizer, method="exclip")
IMAGE = book().pages[0].image


def tokens_of(caption: str) -> Tokens:
    return EXPLAINER.read_caption(caption).rows


def in_words(caption: str, foil: str) -> list[tuple[str | None, str | None]]:
    one, other = tokens_of(caption), tokens_of(foil)
    return [
        (None if row is None else one.texts[row], None if there is None else other.texts[there])
        for row, there in align_rows(one, other)
    ]


def test_a_replaced_word_stands_beside_its_replacement() -> None:
    found = in_words("a black dog runs", "a brown dog runs")
    assert found[0] == ("<sot>", "<sot>")
    assert ("black", "brown") in found
    assert found[-1] == ("<eot>", "<eot>")
    assert all(one == other for one, other in found if one != "black")


def test_words_replaced_in_a_row_pair_up_in_their_order() -> None:
    found = in_words("one red boat here", "two yellow fish here")
    assert found[1:-2] == [("one", "two"), ("red", "yellow"), ("boat", "fish")]


def test_what_was_added_or_left_out_stands_alone() -> None:
    assert (None, "big") in in_words("a red boat", "a big red boat")
    assert ("red", None) in in_words("a red boat", "a boat")
    assert in_words("a red boat", "a red boat and a sun")[-4:-1] == [
        (None, "and"),
        (None, "a"),
        (None, "sun"),
    ]


def test_pieces_of_words_pair_up_within_them() -> None:
    one, other = tokens_of("a butterflyish dog"), tokens_of("a dogfishish dog")
    assert len(one) > 5
    pairs = align_rows(one, other)
    assert pairs[-2] == (len(one) - 2, len(other) - 2)  # the dog


def test_case_makes_no_other_word() -> None:
    assert all(one is not None and other is not None for one, other in in_words("A Red boat", "a red Boat"))


# The long word is many tokens, so it occurs only as often as the picture book's context of 32 allows.
words = st.lists(
    st.sampled_from(["a", "red", "boat", "fish", "two", "supercalifragilistic", "."]), min_size=1, max_size=9
).filter(lambda found: found.count("supercalifragilistic") <= 4)


@given(words, words)
def test_every_row_of_both_comes_once_and_in_order(caption: list[str], foil: list[str]) -> None:
    one, other = tokens_of(" ".join(caption)), tokens_of(" ".join(foil))
    pairs: list[AlignedRows] = align_rows(one, other)
    assert [row for row, _ in pairs if row is not None] == list(range(len(one)))
    assert [row for _, row in pairs if row is not None] == list(range(len(other)))
    assert (None, None) not in pairs
    assert pairs[-1] == (len(one) - 1, len(other) - 1)


@pytest.mark.parametrize("caption", ["a red boat", "two yellow fish left of a sun"])
def test_a_caption_is_its_own_counterpart(caption: str) -> None:
    tokens = tokens_of(caption)
    assert align_rows(tokens, tokens) == [(row, row) for row in range(len(tokens))]
