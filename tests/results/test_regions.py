"""Regions as boxes, polygons and masks, and where patches lie in the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.results import result_of, results

from exclip_widget import Explainer, ParameterError
from exclip_widget.demo import load
from exclip_widget.results import Interactions, View
from exclip_widget.results.regions import grow

# Patches of 20 x 20 pixels in an image of 80 x 60.
RESULT = result_of(rows=3, columns=4)


def patches_of(region: Any, result: Interactions = RESULT) -> list[int]:
    return np.flatnonzero(result.patches(region)).tolist()


def pixels(left: int, top: int, right: int, bottom: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize(
    ("region", "patches"),
    [
        ((0, 0, 20, 20), [0]),  # right and bottom are excluded
        ((0, 0, 20.01, 20), [0, 1]),
        ([19, 19, 21, 21], [0, 1, 4, 5]),
        (np.array([70, 50, 80.5, 60.9]), [11]),  # slightly over the edge, as detectors return it
        ((-0.5, -0.5, 1, 1), [0]),
        ([(0, 0), (40, 0), (40, 20), (0, 20)], [0, 1]),
        (np.array([[0, 0], [80, 0], [0, 60]]), [0, 1, 2, 4, 5, 8]),
        ([(0, 0), (80, 0), (80, 20), (20, 20), (20, 60), (0, 60)], [0, 1, 2, 3, 4, 8]),  # around a bend
        (pixels(0, 0, 10, 20), [0]),  # exactly half of it
        (pixels(0, 0, 40, 30), [0, 1, 4, 5]),
        (np.eye(3, 4, dtype=bool), [0, 5, 10]),
        (None, list(range(12))),
    ],
)
def test_patches(region: Any, patches: list[int]) -> None:
    assert patches_of(region) == patches
    assert patches_of(RESULT.patches(region)) == patches  # a mask of patches selects itself


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ((0, 0, 200, 20), "reaches beyond the image; expected pixels of an image of 80 x 60"),
        ((-9, 0, 20, 20), "reaches beyond"),
        ([(0, 0), (80, 0), (0, 90)], "reaches beyond"),
        ((20, 0, 20, 20), "is empty; expected left < right"),
        ((20, 20, 40, 0), "is empty"),
        ((0, 0, float("nan"), 20), "not finite"),
        ((0, 0, 20), "not a known kind of region; expected a box"),
        ([(0, 0), (10, 10)], "not a known kind of region"),
        ([(0, 0), (10, 10, 3)], "not a known kind of region"),
        ("boat", "'boat' is not a known kind of region"),
        (5, "not a known kind of region"),
        (np.ones((3, 4), int), r"region=int64 \(3, 4\) is not a known kind of region"),
        (np.ones((4, 3), bool), r"is a mask of \(4, 3\); expected \(3, 4\), .* or \(60, 80\)"),
        (np.zeros((3, 4), bool), "empty mask of patches"),
        (np.zeros((60, 80), bool), "empty mask of pixels"),
        (pixels(0, 0, 5, 5), "covers less than half of every patch"),
        ([(1, 1), (2, 1), (2, 2)], "encloses the centre of no patch"),
        ((True, False, True, True), "not a known kind of region"),
    ],
)
def test_what_cannot_be_used_is_refused(region: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        RESULT.patches(region)


def test_a_region_beside_what_the_model_saw() -> None:
    cropped = result_of(view=View((80, 60), (0.125, 0, 0.75, 1)))
    with pytest.raises(
        ParameterError, match="touches no patch; the model saw pixels 10 to 70 across and 0 to 60"
    ):
        cropped.patches((0, 0, 10, 60))
    assert patches_of((0, 0, 11, 60), cropped) == [0, 4, 8]


def test_without_a_view_only_masks_of_patches_are_known() -> None:
    unseen = result_of(view=None)
    assert patches_of(np.eye(3, 4, dtype=bool), unseen) == [0, 5, 10]
    for region in ((0, 0, 20, 20), [(0, 0), (40, 0), (40, 20)]):
        with pytest.raises(ParameterError, match="given as preprocessed pixels"):
            unseen.patches(region)
    with pytest.raises(ParameterError, match=r"expected \(3, 4\), one for each patch$"):
        unseen.patches(np.ones((60, 80), bool))
    with pytest.raises(ParameterError, match="given as preprocessed pixels"):
        _ = unseen.patch_boxes
    assert (unseen.image_size, unseen.crop) == (None, None)


def test_a_mask_that_could_be_either_is_refused() -> None:
    small = result_of(view=View((4, 3), (0.25, 0, 0.5, 1)))
    with pytest.raises(ParameterError, match="give a box"):
        small.patches(np.ones((3, 4), bool))


@given(results())
def test_a_patch_is_chosen_by_its_own_box(result: Interactions) -> None:
    width, height = result.image_size or (0, 0)
    boxes = result.patch_boxes
    for patch, (left, top, right, bottom) in enumerate(boxes.reshape(-1, 4)):
        inset = (right - left) / 8, (bottom - top) / 8
        box = (
            max(0, left + inset[0]),
            max(0, top + inset[1]),
            min(width, right - inset[0]),
            min(height, bottom - inset[1]),
        )
        if box[0] < box[2] and box[1] < box[3]:
            assert patches_of(box, result) == [patch]
            corners = [(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])]
            centre = (left + right) / 2, (top + bottom) / 2
            if box[0] < centre[0] < box[2] and box[1] < centre[1] < box[3]:
                assert patches_of(corners, result) == [patch]


@given(results(), st.data())
def test_a_polygon_is_what_a_ray_crosses_oddly(result: Interactions, data: st.DataObject) -> None:
    """Compare with a separately written ray test of every centre."""
    width, height = result.image_size or (0, 0)
    corner = st.tuples(st.floats(0, width), st.floats(0, height))
    path = data.draw(st.lists(corner, min_size=3, max_size=8))

    def inside(x: float, y: float) -> bool:
        odd = False
        for (x1, y1), (x2, y2) in zip(path, path[1:] + path[:1], strict=True):
            if (y1 <= y) != (y2 <= y) and x >= x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                odd = not odd
        return odd

    boxes = result.patch_boxes
    centres = np.stack([boxes[..., [0, 2]].mean(-1), boxes[..., [1, 3]].mean(-1)], -1)
    expected = np.apply_along_axis(lambda at: inside(*at), -1, centres)
    # A centre on the very edge, or in a sliver, may fall on either side by rounding.
    if expected.any():
        try:
            found = result.patches(path)
        except ParameterError:
            found = np.zeros_like(expected)
        for at in np.argwhere(found != expected):
            x, y = centres[tuple(at)]
            near = ((1e-6, 0), (-1e-6, 0), (0, 1e-6), (0, -1e-6))
            assert any(inside(x + dx, y + dy) != inside(x, y) for dx, dy in near)


def test_growing_follows_sides_and_never_the_edge() -> None:
    inside = {0, 1, 5, 4, 9, 12}
    assert grow(0, (4, 5), inside.__contains__) == [0, 1, 5]
    assert grow(4, (4, 5), inside.__contains__) == [4, 9]


def test_the_view_is_that_of_the_preprocessing() -> None:
    """If preprocessing crops the image, what is drawn in a patch's box lights up that patch."""
    book = load()
    explainer = Explainer(book.model, tokenizer=book.tokenizer, method="exclip")
    image = book.pages[0].image.resize((640, 480))
    result = explainer.explain(image, "a red boat")
    assert result.image_size == (640, 480)
    assert result.crop == pytest.approx((0.125, 0, 0.75, 1), abs=0.01)
    assert result.patch_boxes[0, 0] == pytest.approx((80, 0, 120, 40), abs=5)
    factors = explainer.image_factors(image)
    assert factors.view == result.view
    assert explainer.explain(explainer.read_image(image), "a red boat").view is None


def test_what_explained_is_kept() -> None:
    book = load()
    explainer = Explainer(book.model, tokenizer=book.tokenizer, steps=7, rule="midpoint", method="exclip")
    result = explainer.explain(book.pages[0].image, "a red boat")
    assert result.origin is not None
    assert result.origin.model == "CLIP"
    assert result.origin.options == {"steps": 7, "rule": "midpoint", "tolerance": None, "rank": None}
    from exclip_widget import __version__

    assert result.origin.version == __version__
    layers = explainer.explain_layers(book.pages[0].image, "a red boat", text_layers=[-1], image_layers=[-1])
    (at_layer,) = layers.values()
    assert (at_layer.origin, at_layer.view) == (result.origin, result.view)
