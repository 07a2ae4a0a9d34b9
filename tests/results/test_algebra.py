"""Heat, tint, receipts and differences: parts add up to wholes."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.results import result_of, results
from support.shapes import unchecked_arrays

from exclip_widget import Explainer, ParameterError, demo
from exclip_widget.results import Grid, Interactions, Origin, View
from exclip_widget.results.receipt import Receipt

RESULT = result_of()
ORIGIN = RESULT.origin
assert ORIGIN is not None


def some(data: st.DataObject, count: int) -> list[int]:
    return sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))


@given(results(), st.data())
def test_sums_are_plain_loops(result: Interactions, data: st.DataObject) -> None:
    count, rows, columns = result.values.shape
    words = some(data, count)
    region = np.zeros((rows, columns), bool)
    region.flat[some(data, rows * columns)] = True
    for row in range(rows):
        for column in range(columns):
            expected = sum(float(result.values[word, row, column]) for word in words)
            assert result.heat(words)[row, column] == pytest.approx(expected, abs=1e-12)
    for token in range(count):
        expected = sum(float(value) for value in result.values[token][region])
        assert result.tint(region)[token] == pytest.approx(expected, abs=1e-12)
    assert result.between(words, region) == pytest.approx(result.heat(words)[region].sum(), abs=1e-12)
    assert result.between(words, region) == pytest.approx(result.tint(region)[words].sum(), abs=1e-12)


@given(results(), st.data())
def test_parts_add_up_to_wholes(result: Interactions, data: st.DataObject) -> None:
    count, rows, columns = result.values.shape
    words = some(data, count)
    others = [row for row in range(count) if row not in words]
    region = np.zeros((rows, columns), bool)
    region.flat[some(data, rows * columns)] = True
    everything = result.values.sum(dtype=np.float64)
    if others:
        np.testing.assert_allclose(
            result.heat(words) + result.heat(others), result.heat(slice(None)), atol=1e-12
        )
    if not region.all():
        np.testing.assert_allclose(result.tint(region) + result.tint(~region), result.tint(), atol=1e-12)
        assert result.between(words, region) + result.between(words, ~region) == pytest.approx(
            result.between(words), abs=1e-12
        )
    assert result.between(slice(None)) == pytest.approx(everything, abs=1e-12)
    receipt = result.receipt(words, region)
    assert sum(receipt.parts.values()) == pytest.approx(result.similarity, abs=1e-12)
    assert receipt.parts["selection"] == pytest.approx(result.between(words, region), abs=1e-12)
    assert list(receipt.parts) == ["selection", "rest", "special", "class", "reference", "residual"]


def test_numbers_that_round_to_zero_have_no_minus_sign() -> None:
    receipt = Receipt("red × 1 patch", {"selection": -1e-6, "rest": -0.5}, -0.5)
    assert str(receipt).splitlines() == [
        "red × 1 patch          +0.0000",
        "other words × patches  -0.5000",
        "similarity             -0.5000",
    ]


def test_a_receipt_of_a_method_that_knows_no_sum() -> None:
    receipt = result_of(total=float("nan")).receipt("red boat", (0, 0, 20, 20))
    assert list(receipt.parts) == ["selection", "rest", "special", "class", "unexplained"]
    assert sum(receipt.parts.values()) == pytest.approx(receipt.similarity, abs=1e-12)
    assert receipt.label == "red boat × 1 patch"


def test_a_receipt_is_printed() -> None:
    printed = str(RESULT.receipt("red boat", (0, 0, 40, 20))).splitlines()
    assert [line.split("  ")[0].strip() for line in printed] == [
        "red boat × 2 patches",
        "other words × patches",
        "special tokens",
        "class token",
        "reference terms",
        "quadrature residual",
        "similarity",
    ]
    numbers = [float(line.split()[-1]) for line in printed]
    assert sum(numbers[:-1]) == pytest.approx(numbers[-1], abs=6e-4)
    assert RESULT.receipt().label == "caption × image"


def test_special_tokens_may_be_selected() -> None:
    receipt = RESULT.receipt(slice(None))
    assert receipt.parts["special"] == pytest.approx(0, abs=1e-12)
    assert receipt.parts["selection"] == pytest.approx(RESULT.values.sum(dtype=np.float64))


# ------------------------------------------------------------------------------------------ strongest pairs


def pictured(*rows: str, caption: str) -> Interactions:
    """Return interactions written as digits, in units of a hundredth."""
    values = np.array(
        [
            [list(map(int, line.replace("-", " -").replace(".", " ").split())) for line in row.split("/")]
            for row in rows
        ]
    )
    nothing = np.zeros((1, *values.shape[1:]))
    full = (np.concatenate([nothing, values, nothing]) / 100).astype(np.float32)
    return result_of(
        caption,
        rows=values.shape[1],
        columns=values.shape[2],
        values=full,
        cls=np.zeros(len(full), np.float32),
    )


BOAT = "3.8.0.0.0.0/8.8.0.0.0.6/3.0.0.0.6.6/0.0.0.0.0.0"
RED = "0.4.0.0.0.0/4.4.0.0.0.0/0.0.0.0.0.0/0.0.0.0.0.0"
SEA = "0.0.-5.-5.0.0/0.0.0.0.0.0/0.0.0.0.0.0/0.0.0.0.0.0"


def test_the_strongest_pairs() -> None:
    result = pictured(RED, BOAT, SEA, caption="red boat sea")
    positive, negative = result.strongest(3)
    assert [(pair.text, pair.words, np.flatnonzero(pair.region).tolist()) for pair in positive] == [
        ("red boat", (1, 2), [1, 6, 7]),
        ("boat", (2,), [11, 16, 17]),
    ]
    assert [(pair.text, np.flatnonzero(pair.region).tolist()) for pair in negative] == [("sea", [2, 3])]
    assert negative[0].value == pytest.approx(-0.1)
    assert repr(positive[0]) == "Pair('red boat' × 3 patches: +0.3600)"
    assert len(result.strongest(1).positive) == 1


HALF = "2.4.0.0.0.0/4.4.0.0.0.0/0.0.0.0.0.0/0.0.0.0.0.0"
QUARTER = "0.3.0.0.0.0/3.3.0.0.0.0/0.0.0.0.0.0/0.0.0.0.0.0"
TENTH = "0.2.0.0.0.0/1.0.0.0.0.0/0.0.0.0.0.0/0.0.0.0.0.0"
WHOLE = "3.8.0.0.0.0/8.8.0.0.0.0/3.0.0.0.0.0/0.0.0.0.0.0"


@pytest.mark.parametrize(
    ("caption", "pictures", "expected"),
    [
        # The region is that of "boat": 8, 8 and 8. A word before it needs half of that, one after it a tenth.
        ("big boat", (HALF, WHOLE), ["big boat"]),
        ("big boat", (TENTH, WHOLE), ["boat"]),
        ("boat trip", (WHOLE, TENTH), ["boat trip"]),
        ("boat trip", (WHOLE, "0.1.0.0.0.0/1.0.0.0.0.0/0.0.0.0.0.0/0.0.0.0.0.0"), ["boat"]),
        # Function words and punctuation marks join no phrase, and nothing joins across them.
        ("on boat and red", (QUARTER, WHOLE, QUARTER, QUARTER), ["boat", "red"]),
        ("boat , boat", (WHOLE, QUARTER, WHOLE), ["boat", "boat"]),
        # They form a pair by themselves if they reach half of the strongest pair.
        ("boat left", (HALF, WHOLE), ["left", "boat"]),
        ("boat left", (WHOLE, HALF), ["boat", "left"]),
        ("boat left", (WHOLE, QUARTER), ["boat"]),
        ("left right", (WHOLE, WHOLE), ["left", "right"]),
    ],
)
def test_phrases_end_where_noun_phrases_do(
    caption: str, pictures: tuple[str, ...], expected: list[str]
) -> None:
    positive, negative = pictured(*pictures, caption=caption).strongest(3)
    assert [pair.text for pair in positive] == expected
    assert not negative


@given(results(), st.integers(1, 9))
def test_pairs_are_what_they_say(result: Interactions, count: int) -> None:
    for sign, pairs in zip((1, -1), result.strongest(count), strict=True):
        assert len(pairs) <= count
        strengths = [sign * pair.value for pair in pairs]
        assert strengths == sorted(strengths, reverse=True)
        for pair in pairs:
            assert sign * pair.value > 0
            assert pair.value == pytest.approx(result.between(pair.words, pair.region), abs=1e-9)
            assert not set(pair.words) & {0, len(result.tokens) - 1}
            assert "a" not in pair.text.split() or pair.text == "a"
        for at, pair in enumerate(pairs):
            for other in pairs[:at]:
                assert not (set(pair.words) & set(other.words) and (pair.region & other.region).any())


def test_nothing_has_no_strongest_pair() -> None:
    nothing = result_of(values=np.zeros_like(RESULT.values))
    assert nothing.strongest() == ((), ())
    with pytest.raises(ParameterError, match="k=0 is not a whole number of at least 1"):
        RESULT.strongest(0)


# ------------------------------------------------------------------------------------------- the difference


def test_a_difference_is_caption_minus_foil() -> None:
    one, other = result_of("a black dog runs", seed=1), result_of("a small brown dog", seed=2)
    found = one - other
    assert found.caption == "a black − small − brown dog runs"
    assert found.foil == "a small brown dog"
    assert found.values.sum(dtype=np.float64) == pytest.approx(
        one.values.sum(dtype=np.float64) - other.values.sum(dtype=np.float64), abs=1e-6
    )
    np.testing.assert_allclose(found.heat("a"), one.heat("a") - other.heat("a"), atol=1e-7)
    assert found.similarity == pytest.approx(one.similarity - other.similarity)
    assert sum(found.receipt().parts.values()) == pytest.approx(found.similarity)
    assert "difference of similarities" in repr(found)
    assert repr(one).count("difference") == 0


def test_replaced_words_stand_beside_each_other() -> None:
    one, other = result_of("a black dog runs", seed=1), result_of("a brown dog", seed=2)
    found = one - other
    assert found.caption == "a black − brown dog runs"
    assert found.tokens == ("<sot>", "a", "black − brown", "dog", "runs", "<eot>")
    np.testing.assert_allclose(
        found.heat("black − brown"), one.heat("black") - other.heat("brown"), atol=1e-7
    )
    np.testing.assert_allclose(found.heat("runs"), one.heat("runs"), atol=1e-7)
    assert (other - one).caption == "a brown − black dog − runs"
    np.testing.assert_allclose((other - one).heat("− runs"), -one.heat("runs"), atol=1e-7)


@given(results(), results())
def test_differences_add_up(one: Interactions, other: Interactions) -> None:
    other = result_of(other.caption, rows=one.grid.rows, columns=one.grid.columns, view=one.view, seed=3)
    found = one - other
    np.testing.assert_allclose(
        found.heat(slice(None)), one.heat(slice(None)) - other.heat(slice(None)), atol=1e-6
    )
    assert float(found.cls.sum()) == pytest.approx(float(one.cls.sum() - other.cls.sum()), abs=1e-6)
    back = other - one
    assert back.similarity == pytest.approx(-found.similarity)


def test_a_caption_less_itself_is_nothing() -> None:
    found = RESULT - RESULT
    assert not found.values.any()
    assert found.caption == RESULT.caption
    assert found.rows == RESULT.rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 4}, "grid=Grid"),
        ({"method": "frozen"}, "method='exclip', and 'frozen' for the foil"),
        ({"text_layer": "other"}, "text_layer="),
        ({"view": View((10, 10))}, r"image_size=\(80, 60\), and \(10, 10\) for the foil"),
        ({"view": View((80, 60), (0, 0, 0.5, 1))}, "crop="),
        ({"origin": Origin("Other")}, "model='CLIP', and 'Other' for the foil"),
        (
            {"origin": replace(ORIGIN, options={})},
            "options={'steps': 10, .*}, and {} for the foil",
        ),
        ({"origin": replace(ORIGIN, weights="ff")}, "weights='00', and 'ff' for the foil"),
        (
            {"origin": replace(ORIGIN, references={"image_reference": "blur", "text_reference": None})},
            "image_reference='zeros', and 'blur' for the foil",
        ),
        (
            {"origin": replace(ORIGIN, references={"text_reference": "a photo"})},
            "text_reference=None, and 'a photo' for the foil",
        ),
        ({"foil": "a dog"}, "the foil is already a difference"),
    ],
)
def test_what_is_no_foil_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        _ = RESULT - result_of(**changes)
    with pytest.raises(TypeError):
        _ = RESULT - 1  # type: ignore[operator]


@pytest.mark.parametrize("changes", [{"weights": None}, {"references": {}}, {"references": {"seed": 1}}])
def test_what_one_of_two_results_does_not_know_is_not_compared(changes: dict[str, Any]) -> None:
    """Results that were saved by earlier versions have neither weights nor references."""
    older = result_of("a blue boat", origin=replace(ORIGIN, **changes))
    assert (RESULT - older).foil == "a blue boat"
    assert (older - RESULT).origin == older.origin


def test_another_image_of_the_same_size_is_refused() -> None:
    images = [Image.new("RGB", (80, 60), color) for color in ("teal", "navy")]
    one, other = (result_of(view=View.of(image)) for image in images)
    with pytest.raises(ParameterError, match="another image of the same size: its pixels differ"):
        _ = one - other
    same = one - result_of("a blue boat", view=View.of(images[0].copy()))
    assert same.foil == "a blue boat"
    # For results that were saved before hashes existed, only the size is known.
    assert (one - RESULT).view == one.view


def test_explanations_of_two_images_have_no_difference() -> None:
    book = demo.load()
    explainer = Explainer(book.model, tokenizer=book.tokenizer)
    image = book.pages[0].image
    other = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    one = explainer.explain(image, "a red boat")
    with pytest.raises(ParameterError, match="another image of the same size"):
        _ = one - explainer.explain(other, "a red boat")
    # The same pixels, given as an array.
    again = one - explainer.explain(np.asarray(image), "a red boat")
    assert not again.values.any()


def test_own_terms_and_errors_of_a_difference() -> None:
    """Own terms are differences, too; the error is bounded by the sum of both errors."""
    book = demo.load()
    explainer = Explainer(book.model, tokenizer=book.tokenizer, method="exclip")
    image = book.pages[0].image
    one, other = (explainer.explain(image, caption) for caption in ("a red boat", "a big blue boat"))
    found = one - other
    for result in (one, other, found):
        assert result.token_terms is not None
        assert result.patch_terms is not None
        everything = (
            result.values.sum(dtype=np.float64)
            + result.cls.sum()
            + result.token_terms.sum()
            + result.patch_terms.sum()
            + result.cls_term
            + result.reference_term
        )
        assert everything == pytest.approx(result.similarity, abs=2e-3)
    noisy = [
        Explainer(book.model, tokenizer=book.tokenizer, method="banzhaf", samples=16).explain(image, caption)
        for caption in ("a red boat", "a blue boat")
    ]
    difference = noisy[0] - noisy[1]
    assert difference.error is not None
    assert noisy[0].error is not None
    assert noisy[1].error is not None
    np.testing.assert_allclose(difference.error, noisy[0].error + noisy[1].error, rtol=1e-6)


# ------------------------------------------------------------------------------------------- the object


def test_a_result_cannot_be_assigned_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        RESULT.values[0, 0, 0] = 1
    with pytest.raises(AttributeError):
        RESULT.similarity = 1.0  # type: ignore[misc]
    values = RESULT.values.copy()
    result_of(values=values)
    values[0] = 0  # the caller's own array stays writeable
    options: dict[str, Any] = {"steps": 10}
    origin = Origin("CLIP", options, "1.0")
    options["steps"] = 20
    changes: list[Callable[[Any], object]] = [
        lambda given: given.update(steps=20),
        lambda given: given.pop("steps"),
        lambda given: given.__setitem__("steps", 20),
        lambda given: given.__ior__({"steps": 20}),
        lambda given: given.clear(),
    ]
    copies = (copy.deepcopy(origin), pickle.loads(pickle.dumps(origin)), Origin(**asdict(origin)))
    for one in (origin, *copies):
        assert one == Origin("CLIP", {"steps": 10}, "1.0")
        assert json.dumps(one.options) == '{"steps": 10}'
        for change in changes:
            with pytest.raises(TypeError, match="cannot be changed"):
                change(one.options)


def test_equal_results_are_equal() -> None:
    assert result_of() == RESULT
    assert hash(result_of()) == hash(RESULT)
    assert result_of(total=float("nan")) == result_of(total=float("nan"))
    assert result_of(seed=1) != RESULT
    assert result_of(view=None) != RESULT
    assert RESULT != 1


def test_a_result_is_sent_to_another_process() -> None:
    result = demo.example()
    sent = pickle.loads(pickle.dumps(result))
    assert sent == result
    assert sent.crop == result.crop
    with pytest.raises(ValueError, match="read-only"):
        sent.values[:] = 7


def test_not_finite_is_said() -> None:
    for name, place in (("values", (1, 0, 0)), ("cls", (1,))):
        array = getattr(RESULT, name).copy()
        array[place] = np.nan
        broken = result_of(**{name: array})
        for use in (broken.heat, broken.tint, broken.between, broken.strongest, broken.receipt):
            with pytest.raises(ParameterError, match=r"1 of 117 interactions of .* are not finite"):
                use()


@pytest.mark.parametrize("name", ["values", "cls"])
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    with unchecked_arrays():
        with pytest.raises(ParameterError, match=rf"{name} is .*; expected \("):
            result_of(**{name: getattr(RESULT, name)[:3]})
        with pytest.raises(ParameterError, match="values is"):
            result_of(grid=Grid(4, 3, 1))
