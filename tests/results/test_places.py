"""Boxes, masks and points in pixels of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.results import result_of, results

from exclip_widget import Explainer, ParameterError, demo
from exclip_widget.results import Interactions, View


def lit(*patches: tuple[int, int, float], view: View | None = View((80, 60))) -> Interactions:  # noqa: B008
    """Return a result of 3 x 4 patches whose only values are these, for the word "boat"."""
    values = np.zeros((4, 3, 4), np.float32)
    for row, column, value in patches:
        values[2, row, column] = value
    return result_of("a boat", values=values, view=view)


TWO = lit((0, 0, 0.8), (0, 1, 0.5), (2, 3, 1.0), (1, 2, 0.4), (2, 0, -3.0))


def test_boxes() -> None:
    found = TWO.boxes("boat")
    np.testing.assert_array_equal(found.boxes, [[0, 0, 40, 20], [60, 40, 80, 60]])
    np.testing.assert_allclose(found.values, [1.3, 1.0])
    assert found.rule == (
        "patches with at least 0.5 of the strongest one's 1; those connected side by side are one place; "
        "a box is the outer edges of the patches of a place, cut at the image"
    )


def test_points() -> None:
    found = TWO.points("boat")
    np.testing.assert_array_equal(found.points, [[70, 50], [10, 10]])
    np.testing.assert_allclose(found.values, [1.0, 0.8])
    assert "centre of the strongest patch" in found.rule


def test_mask() -> None:
    found = TWO.mask("boat")
    expected = np.zeros((60, 80), bool)
    expected[:20, :40] = expected[40:, 60:] = True
    np.testing.assert_array_equal(found.mask, expected)
    assert np.flatnonzero(found.patches).tolist() == [0, 1, 11]
    assert "pixel is in the mask if its centre lies in" in found.rule


def test_a_lower_threshold_takes_more() -> None:
    assert len(TWO.boxes("boat", threshold=0.9).boxes) == 1
    assert len(TWO.boxes("boat", threshold=0.4).boxes) == 3
    assert len(TWO.points("boat", threshold=1).points) == 1


def test_nothing_positive_is_no_place() -> None:
    nothing = lit((0, 0, -1.0))
    assert nothing.boxes("boat").boxes.shape == (0, 4)
    assert nothing.points("boat").points.shape == (0, 2)
    assert not nothing.mask("boat").mask.any()
    assert nothing.mask("boat").rule.startswith("no patch in the image has a positive value")


def test_padding_is_no_place() -> None:
    """A padded view extends beyond the image, and the strongest patch may lie in the padding."""
    padded = lit((0, 0, 9.0), (1, 1, 1.0), view=View((80, 20), (0, -1, 1, 3)))
    np.testing.assert_array_equal(padded.boxes("boat").boxes, [[20, 0, 40, 20]])
    assert padded.mask("boat").mask.sum() == 400
    np.testing.assert_array_equal(padded.points("boat").points, [[30, 10]])


@pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan"), "half", True, None])
def test_what_is_no_share_is_refused(threshold: Any) -> None:
    for method in (TWO.boxes, TWO.mask, TWO.points):
        with pytest.raises(ParameterError, match="threshold="):
            method("boat", threshold=threshold)


def test_without_a_view_there_are_no_pixels() -> None:
    for method in (lit(view=None).boxes, lit(view=None).mask, lit(view=None).points):
        with pytest.raises(ParameterError, match="given as preprocessed pixels"):
            method("boat")


@given(results(), st.floats(0.05, 1))
def test_they_agree(result: Interactions, threshold: float) -> None:
    """Every pixel of the mask lies in a box, every point in the mask and in a box of its own."""
    options = {"threshold": threshold}
    boxes, mask, points = result.boxes(**options), result.mask(**options), result.points(**options)
    assert len(boxes.boxes) == len(points.points)
    width, height = result.image_size or (0, 0)
    across, down = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    covered = np.zeros((height, width), bool)
    for left, top, right, bottom in boxes.boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        # A centre may lie on an edge, where rounding decides.
        near = 1e-9
        covered |= (
            (left - near <= across) & (across < right + near) & (top - near <= down) & (down < bottom + near)
        )
    assert not (mask.mask & ~covered).any()
    heat = result.heat()
    assert all(value <= heat.max() + 1e-12 for value in points.values)
    for x, y in points.points:
        assert any(
            left <= x <= right and top <= y <= bottom for left, top, right, bottom in boxes.boxes.tolist()
        )
    edges = result.patch_boxes
    for (row, column), taken in np.ndenumerate(mask.patches):
        left, top, right, bottom = edges[row, column]
        inside = (left <= across) & (across < right) & (top <= down) & (down < bottom)
        if inside.any():
            near = (
                np.isclose(across, left)
                | np.isclose(across, right)
                | np.isclose(down, top)
                | np.isclose(down, bottom)
            )
            assert (mask.mask[inside & ~near] == taken).all()


def test_the_boat_of_the_book_is_in_its_box() -> None:
    """At an early layer, the strongest box lies on the boat that was drawn."""
    book = demo.load()
    page = book.pages[0]
    explainer = Explainer(book.model, tokenizer=book.tokenizer, image_layer=1, method="exclip")
    found = explainer.explain(page.image, page.caption).boxes("red boat").boxes[0]
    centre = 0.27 * page.image.width, 0.40 * page.image.height
    assert found[0] - 60 < centre[0] < found[2] + 60
    assert found[1] - 60 < centre[1] < found[3] + 60
