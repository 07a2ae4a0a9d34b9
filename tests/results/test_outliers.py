"""Outlier patches: the rule that finds them, their line in the receipt, and results without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.outliers import with_long_patches
from support.results import result_of, results

from exclip_widget import Explainer, ParameterError, demo, interactions_of
from exclip_widget.results import Interactions
from exclip_widget.results.outliers import find_outliers


def norms_of(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Return norms like those of a tower's patches: about 10, within 20 percent."""
    return 10 * (1 + 0.1 * np.random.default_rng(seed).standard_normal((rows, columns)).clip(-2, 2))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 10])
@pytest.mark.parametrize("size", [(7, 7), (14, 14), (16, 16)])
def test_finds_each_of_several(size: tuple[int, int], count: int) -> None:
    norms = norms_of(*size)
    wanted = np.zeros(size, bool)
    wanted.flat[np.random.default_rng(1).choice(norms.size, count, replace=False)] = True
    norms[wanted] *= np.linspace(5, 40, count) if count else 1
    np.testing.assert_array_equal(find_outliers(norms), wanted)


def test_several_that_are_equal_do_not_hide_each_other() -> None:
    """Three equal outliers among 49 patches are less than four deviations from the mean of all."""
    norms = norms_of(7, 7)
    norms[2, 2:5] = 60
    assert (norms[2, 2] - norms.mean()) / norms.std() < 4
    assert np.argwhere(find_outliers(norms)).tolist() == [[2, 2], [2, 3], [2, 4]]


def test_a_plain_background_raises_no_alarm() -> None:
    norms = np.ones((7, 7))
    norms[3, 3] = 1.9  # beyond any number of deviations, because they are 0
    assert not find_outliers(norms).any()
    norms[3, 3] = 2.1
    assert find_outliers(norms).sum() == 1


def test_what_is_long_where_many_are_is_none() -> None:
    """Many are above twice the median, yet within four deviations of the patches that are not outliers."""
    norms = np.exp(np.random.default_rng(0).standard_normal((14, 14)))
    found = find_outliers(norms)
    others = norms[~found]
    assert (norms > 2 * np.median(norms)).sum() > 20 > found.sum()
    np.testing.assert_array_equal(found, norms > others.mean() + 4 * others.std())


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1)])
def test_small_grids(size: tuple[int, int]) -> None:
    assert not find_outliers(np.ones(size)).any()
    assert not find_outliers(np.zeros(size)).any()


def test_zeros_are_no_norm_to_compare_with() -> None:
    norms = np.zeros((4, 4))
    norms[0, 0] = 1
    assert not find_outliers(norms).any()


@given(st.integers(0, 2**16), st.floats(1e-3, 1e3))
def test_the_unit_of_norms_does_not_matter(seed: int, unit: float) -> None:
    norms = norms_of(5, 6, seed)
    norms[seed % 5, seed % 6] *= 1 + seed % 7
    np.testing.assert_array_equal(find_outliers(norms), find_outliers(unit * norms))


# ------------------------------------------------------------------------------------------------ results


def with_outliers(result: Interactions, seed: int = 0) -> Interactions:
    """Return the same result with own terms and errors, and with up to half of its patches as outliers."""
    rng = np.random.default_rng(seed)
    _, rows, columns = result.values.shape
    outliers = np.zeros((rows, columns), bool)
    outliers.flat[rng.permutation(rows * columns)[: rng.integers(0, (rows * columns + 1) // 2)]] = True
    return result_of(
        result.caption,
        rows=rows,
        columns=columns,
        seed=seed,
        error=rng.random(result.values.shape).astype(np.float32),
        token_terms=rng.standard_normal(len(result.rows)).astype(np.float32),
        patch_terms=rng.standard_normal((rows, columns)).astype(np.float32),
        cls_term=0.25,
        outliers=outliers,
    )


@given(results(), st.integers(0, 2**16), st.booleans())
def test_sums_stay_without_outliers(drawn: Interactions, seed: int, spread: bool) -> None:
    before = with_outliers(drawn, seed)
    after = before.without_outliers(spread=spread)
    np.testing.assert_allclose(
        after.values.sum((1, 2)) + after.cls, before.values.sum((1, 2)) + before.cls, atol=1e-6
    )
    assert after.own_sums == pytest.approx(before.own_sums, abs=1e-5)
    assert after.residual == pytest.approx(before.residual, abs=1e-4)
    assert after.values.dtype == after.cls.dtype == after.patch_terms.dtype == np.float32
    assert not after.values[:, before.outliers].any()
    assert not after.patch_terms[before.outliers].any()
    assert not after.outliers.any()
    others = ~before.outliers
    if spread:
        np.testing.assert_array_equal(after.cls, before.cls)
        assert after.cls_term == before.cls_term
        raised = (after.values - before.values)[:, others]
        np.testing.assert_allclose(raised, np.repeat(raised[:, :1], others.sum(), 1), atol=1e-6)
    else:
        np.testing.assert_array_equal(after.values[:, others], before.values[:, others])
        np.testing.assert_array_equal(after.error[:, others], before.error[:, others])
    assert after.without_outliers() is after


def test_a_result_that_knows_none_stays_itself() -> None:
    result = result_of()
    assert result.outliers is None
    assert result.without_outliers() is result


@given(results(), st.integers(0, 2**16))
def test_the_receipt_adds_up_with_its_line(drawn: Interactions, seed: int) -> None:
    result = with_outliers(drawn, seed)
    receipt = result.receipt()
    assert sum(receipt.parts.values()) == pytest.approx(result.similarity, abs=1e-6)
    assert ("outlier" in receipt.parts) == result.outliers.any()
    if not result.outliers.any():
        return
    words = np.array(result.words) >= 0
    assert list(receipt.parts)[:4] == ["selection", "rest", "outlier", "special"]
    assert receipt.parts["outlier"] == pytest.approx(result.values[words][:, result.outliers].sum(), abs=1e-6)
    assert receipt.parts["rest"] == pytest.approx(0, abs=1e-6)
    # Selected patches no longer count in the line of outliers.
    everything = result.receipt(region=np.ones_like(result.outliers))
    assert everything.parts["outlier"] == pytest.approx(0, abs=1e-9)
    assert everything.parts["selection"] == pytest.approx(result.between(), abs=1e-6)
    chosen = result.receipt(0 if len(result.rows) < 2 else 1, result.outliers)
    row = result.values[1 if len(result.rows) > 1 else 0]
    assert chosen.parts["selection"] == pytest.approx(row[result.outliers].sum(), abs=1e-6)
    assert chosen.parts["selection"] + chosen.parts["outlier"] == pytest.approx(
        receipt.parts["outlier"], abs=1e-6
    )


def test_a_difference_hides_the_outliers_of_both_or_of_neither() -> None:
    outliers = np.zeros((3, 4), bool)
    outliers[1, 2] = True
    one, foil = (result_of(caption, outliers=outliers) for caption in ("a red boat", "a blue boat"))
    both = one.without_outliers() - foil.without_outliers()
    np.testing.assert_allclose(both.heat(), (one - foil).without_outliers().heat(), atol=1e-6)
    with pytest.raises(ParameterError, match="are hidden in the first result and not in the foil; call"):
        one.without_outliers() - foil
    with pytest.raises(ParameterError, match="are hidden in the foil and not in the first result; call"):
        one - foil.without_outliers()
    assert (one.without_outliers() - result_of("a blue boat")).outliers is not None  # unknown in the foil


def test_the_receipt_has_no_line_without_outliers() -> None:
    outliers = np.zeros((3, 4), bool)
    outliers[1, 2] = True
    result = result_of(outliers=outliers)
    assert "outlier patches" in str(result.receipt())
    for other in (result_of(), result_of(outliers=~outliers & outliers), result.without_outliers()):
        assert "outlier" not in str(other.receipt())


def test_a_difference_keeps_the_outliers_of_its_image() -> None:
    outliers = np.zeros((3, 4), bool)
    outliers[1, 2] = True
    one, foil = result_of(outliers=outliers), result_of("a red boat on a red sea", outliers=outliers)
    difference = one - foil
    np.testing.assert_array_equal(difference.outliers, outliers)
    assert difference.receipt().parts["outlier"] == pytest.approx(
        one.receipt().parts["outlier"] - foil.receipt().parts["outlier"], abs=1e-6
    )
    np.testing.assert_array_equal((result_of() - foil).outliers, outliers)


def test_figures_have_a_ring_around_each() -> None:
    outliers = np.zeros((3, 4), bool)
    outliers[[0, 2], [3, 1]] = True
    rings = result_of(outliers=outliers).plot().collections
    assert len(rings) == 2  # white on black
    for ring in rings:
        assert sorted(ring.get_offsets().tolist()) == [[30.0, 50.0], [70.0, 10.0]]
    assert not result_of().plot().collections


# ------------------------------------------------------------------------------------------- a real tower

BOOK = demo.load()
PATCHES = (30, 77)


@pytest.mark.parametrize("method", ["frozen", "exclip", "similarity", "gradient"])
def test_patches_that_a_tower_makes_long_are_found_by_either_road(method: str) -> None:
    options: dict[str, Any] = {"steps": 2} if method == "exclip" else {}
    explainer = Explainer(
        with_long_patches(PATCHES, block=3), tokenizer=BOOK.tokenizer, method=method, image_layer=4, **options
    )
    image, caption = BOOK.pages[0].image, BOOK.pages[0].caption
    result = explainer.explain(image, caption)
    assert np.flatnonzero(result.outliers).tolist() == list(PATCHES)
    factors = explainer.image_factors(image)
    text = explainer.text_factors(caption)
    assert text.outliers is None
    by_factors = interactions_of(text, factors)
    for found in (factors.outliers, by_factors.outliers, explainer.image_factors([image])[0].outliers):
        np.testing.assert_array_equal(found, result.outliers)
    assert result.receipt().parts["outlier"] == pytest.approx(result.between(None, result.outliers), abs=1e-6)
    hidden = result.without_outliers()
    assert not hidden.heat()[result.outliers].any()
    assert hidden.residual == pytest.approx(result.residual, abs=1e-4, nan_ok=True)


def test_they_are_those_of_the_layer() -> None:
    explainer = Explainer(with_long_patches(PATCHES), tokenizer=BOOK.tokenizer)
    found = explainer.explain_layers(
        BOOK.pages[0].image, "a red boat", text_layers=[0], image_layers=[0, 1, "output"]
    )
    counts = {image: int(result.outliers.sum()) for (_, image), result in found.items()}
    assert counts[0] == 0
    assert counts[1] == len(PATCHES)


def test_the_model_that_ships_has_none() -> None:
    explainer = Explainer(BOOK.model, tokenizer=BOOK.tokenizer)
    for page in BOOK.pages[:3]:
        found = explainer.explain_layers(page.image, page.caption, text_layers=[0])
        assert len(found) == 6
        assert not any(result.outliers.any() for result in found.values())
