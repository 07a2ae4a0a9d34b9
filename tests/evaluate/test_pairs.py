"""Labelled pairs: where phrases are, and what share of each patch shows them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.shapes import unchecked_arrays

from exclip_widget import CaptionError, ParameterError
from exclip_widget.datasets import Pair, Phrase
from exclip_widget.datasets.pairs import phrase_in
from exclip_widget.datasets.reports import MalformedError
from exclip_widget.evaluate import LabelledPair, Mention, cover, labelled, labelled_pair
from exclip_widget.results.rows import Tokens

IMAGE = Image.new("RGB", (40, 30))


def test_boxes_and_masks() -> None:
    mask = np.zeros((30, 40), bool)
    mask[5:7] = True
    pair = labelled_pair(IMAGE, "a red boat left of a dog", {"red boat": (1, 2, 4, 10), "dog": mask})
    boat, dog = pair.mentions
    assert (boat.span, dog.span) == ((2, 10), (21, 24))
    assert boat.mask.sum() == 3 * 8
    assert boat.mask[2:10, 1:4].all()
    np.testing.assert_array_equal(dog.mask, mask)


def test_tokens_of_a_mention() -> None:
    pair = labelled_pair(IMAGE, "a red boat", {"red boat": (0, 0, 9, 9)})
    rows = Tokens(
        "a red boat", ("<sot>", "a", "red", "bo", "at"), (None, (0, 1), (2, 5), (6, 8), (8, 10)), ()
    )
    assert pair.mentions[0].tokens_of(rows) == [2, 3, 4]


@pytest.mark.parametrize(
    ("caption", "phrase", "spans"),
    [
        ("a man and a woman", "man", [(2, 5)]),
        ("a woman", "man", []),
        ("a red boat", "a", [(0, 1)]),
        ("a cat's cat-flap", "cat", [(2, 5), (8, 11)]),
        ("Jets of 747s, and a 747", "747", [(20, 23)]),
        ("\u00e9t\u00e9, t\u00e9", "t\u00e9", [(5, 7)]),
        ("\u4e00\u53ea\u7ea2\u8239", "\u7ea2\u8239", [(2, 4)]),
        ("a boat (red)", "(red)", [(7, 12)]),
        ("aaa aa", "aa", [(4, 6)]),
    ],
)
def test_phrases_are_whole_words(caption: str, phrase: str, spans: list[tuple[int, int]]) -> None:
    """If the script has capitals; in Chinese, nothing is between words."""
    if len(spans) == 1:
        assert labelled_pair(IMAGE, caption, {phrase: (0, 0, 9, 9)}).mentions[0].span == spans[0]
        assert phrase_in(caption, phrase, [(0, 0, 9, 9)]).span == spans[0]
    else:
        said = f"occurs {len(spans)} times" if spans else "does not occur"
        with pytest.raises(ParameterError, match=said):
            labelled_pair(IMAGE, caption, {phrase: (0, 0, 9, 9)})
        with pytest.raises(MalformedError, match=said):
            phrase_in(caption, phrase, [(0, 0, 9, 9)])


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({}, "no phrase of 'a cat and a cat' is labelled"),
        ({"dog": (0, 0, 1, 1)}, "'dog' does not occur in the caption 'a cat and a cat'"),
        ({"cat": (0, 0, 1, 1)}, "'cat' occurs 2 times in the caption 'a cat and a cat'"),
        ({"": (0, 0, 1, 1)}, "'' does not occur in the caption"),
        ({"and": (0, 0, 41, 1)}, "the box (0, 0, 41, 1) of 'and' is not in the image"),
        ({"and": (3, 0, 3, 1)}, "expected left < right up to 40"),
        ({"and": (0, 0, float("nan"), 1)}, "is not in the image"),
        ({"and": (0, 0, 1)}, "(0, 0, 1) is not a place of 'and'"),
        ({"and": "left"}, "'left' is not a place of 'and'"),
        ({"and": "1234"}, "'1234' is not a place of 'and'"),
        ({"and": b"1234"}, "b'1234' is not a place of 'and'"),
        ({"and": ("1", "2", "3", "4")}, "('1', '2', '3', '4') is not a place of 'and'"),
        ([("and", (0, 0, 1, 1))], "places is a list; expected a mapping, such as {'red boat': (10, 10,"),
        ({3: (0, 0, 1, 1)}, "places has 3, an int; expected phrases of the caption"),
        ({"and": np.ones((3, 3), bool)}, "the mask of 'and' is bool (3, 3); expected bool (30, 40)"),
        ({"and": np.ones((30, 40))}, "the mask of 'and' is float64 (30, 40)"),
        ({"and": np.zeros((30, 40), bool)}, "the mask of 'and' is empty"),
    ],
)
def test_refused(places: object, message: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)):
        labelled_pair(IMAGE, "a cat and a cat", places)  # type: ignore[arg-type]


def test_a_caption_is_a_string() -> None:
    with pytest.raises(CaptionError, match=r"caption is a NoneType \(None\); expected a string"):
        labelled_pair(IMAGE, None, {"boat": (0, 0, 9, 9)})  # type: ignore[arg-type]


def test_a_box_may_be_of_any_numbers() -> None:
    expected = labelled_pair(IMAGE, "a boat", {"boat": (1, 2, 4, 10)}).mentions[0].mask
    for box in ([1, 2, 4, 10], np.array([1, 2, 4, 10]), np.float32([1, 2, 4, 10])):
        found = labelled_pair(IMAGE, "a boat", {"boat": box})  # type: ignore[dict-item]
        np.testing.assert_array_equal(found.mentions[0].mask, expected)


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.tuples(st.floats(-0.5, 0.9), st.floats(-0.5, 0.9), st.floats(0.1, 1.5), st.floats(0.1, 1.5)),
    st.integers(0, 2**31),
)
def test_cover_is_the_mean_of_a_fine_raster(
    rows: int, columns: int, view: tuple[float, float, float, float], seed: int
) -> None:
    mask = np.random.default_rng(seed).random((7, 5)) < 0.5
    found = cover(mask, view, (rows, columns))
    left, top, width, height = view
    fine = 240
    y = (top + height * (np.arange(rows * fine) + 0.5) / (rows * fine)) * 7
    x = (left + width * (np.arange(columns * fine) + 0.5) / (columns * fine)) * 5
    inside = ((y >= 0) & (y < 7))[:, None] & ((x >= 0) & (x < 5))
    shown = mask[np.clip(y.astype(int), 0, 6)[:, None], np.clip(x.astype(int), 0, 4)] & inside
    expected = shown.reshape(rows, fine, columns, fine).mean((1, 3))
    np.testing.assert_allclose(found, expected, atol=0.06)


def test_a_pair_of_a_data_set_is_labelled_by_its_boxes() -> None:
    image = Image.new("RGB", (20, 10))
    phrases = (
        Phrase("boat", (2, 6), ((0, 0, 2, 2), (1.5, 1, 4, 3.5))),
        Phrase("sea", (10, 13), ((18, 8, 40, 40),)),
        Phrase("a", (0, 1), ((30, 30, 40, 40), (-5, -5, -1, -1))),
    )
    found = labelled(Pair("1", "1", image, "a boat at sea", phrases))
    boat, sea = found.mentions  # boxes outside the image are left out
    expected = np.zeros((10, 20), bool)
    expected[:2, :2] = expected[1:4, 1:4] = True
    np.testing.assert_array_equal(boat.mask, expected)
    assert (sea.span, int(sea.mask.sum())) == ((10, 13), 4)
    with pytest.raises(ParameterError, match="no phrase of 'a boat'"):
        labelled(Pair("1", "1", image, "a boat"))


def test_masks_and_spans_made_by_hand() -> None:
    image = Image.new("RGB", (8, 6))
    LabelledPair(image, "a boat", (Mention((2, 6), np.ones((6, 8), bool)),))
    for span, mask, message in (
        ((2, 6), np.ones((8, 6), bool), r"is bool \(8, 6\); expected bool \(6, 8\)"),
        ((2, 6), np.ones((6, 8)), "is float64"),
        ((2, 9), np.ones((6, 8), bool), r"span \(2, 9\) is not in caption 'a boat', which has 6"),
    ):
        with unchecked_arrays(), pytest.raises(ParameterError, match=message):
            LabelledPair(image, "a boat", (Mention(span, mask),))
