"""Places in an image that words refer to: boxes, masks and points in pixels, from a heat map.

All three follow one rule. The patches with at least a share `threshold` of the strongest patch's value are
taken, and those that are connected side by side are one place. A threshold of one half gives the full width
at half maximum, which the strongest pairs also use; class activation maps are commonly cut at a fifth (Zhou
et al., CVPR 2016, Section 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ..checks import positive_number
from ..errors import ParameterError
from .origin import View
from .regions import grow, patch_boxes


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes around what words refer to, strongest first.

    Attributes
    ----------
    boxes : np.ndarray
        Left, top, right and bottom in pixels of the image, float64, (boxes, 4); right and bottom excluded.
    values : np.ndarray
        The interaction of the words with the patches of each box, float64, (boxes,).
    rule : str
        How they were found.
    """

    boxes: Float[np.ndarray, "boxes 4"]
    values: Float[np.ndarray, " boxes"]
    rule: str


@dataclass(frozen=True, eq=False)
class Mask:
    """The part of the image that words refer to.

    Attributes
    ----------
    mask : np.ndarray
        Which pixels of the image it covers, bool, (height, width).
    patches : np.ndarray
        Which patches it covers, bool, (rows, columns).
    rule : str
        How it was found.
    """

    mask: Bool[np.ndarray, "height width"]
    patches: Bool[np.ndarray, "rows columns"]
    rule: str


@dataclass(frozen=True, eq=False)
class Points:
    """Points on what words refer to, strongest first.

    Attributes
    ----------
    points : np.ndarray
        x and y in pixels of the image, float64, (points, 2).
    values : np.ndarray
        The interaction of the words with the patch of each point, float64, (points,).
    rule : str
        How they were found.
    """

    points: Float[np.ndarray, "points 2"]
    values: Float[np.ndarray, " points"]
    rule: str


def boxes_of(heat: Float[np.ndarray, "rows columns"], view: View, threshold: float) -> Boxes:
    """Return a box around each place of a heat map: the outer edges of its patches, clipped to the image."""
    places, rule = _places_of(heat, view, threshold)
    edges = _cut_at_image(patch_boxes(view, _size(heat)).reshape(-1, 4), view)
    boxes = [np.concatenate([edges[place, :2].min(0), edges[place, 2:].max(0)]) for place in places]
    sums = np.array([heat.ravel()[place].sum() for place in places])
    order = np.argsort(-sums, kind="stable")
    return Boxes(
        np.array(boxes).reshape(-1, 4)[order],
        sums[order],
        f"{rule}; a box is the outer edges of the patches of a place, cut at the image",
    )


def mask_of(heat: Float[np.ndarray, "rows columns"], view: View, threshold: float) -> Mask:
    """Return the pixels whose centres lie in the patches of all places of a heat map."""
    places, rule = _places_of(heat, view, threshold)
    patches = np.zeros(heat.shape, bool)
    for place in places:
        patches.flat[place] = True
    width, height = view.size
    edges = patch_boxes(view, _size(heat))
    rows, seen_down = _patch_of_each_pixel(height, edges[:, 0, 1], float(edges[-1, 0, 3]))
    columns, seen_across = _patch_of_each_pixel(width, edges[0, :, 0], float(edges[0, -1, 2]))
    seen = np.logical_and.outer(seen_down, seen_across)
    return Mask(
        patches[np.ix_(rows, columns)] & seen,
        patches,
        f"{rule}; a pixel is in the mask if its centre lies in a patch of a place",
    )


def _patch_of_each_pixel(
    pixels: int, starts: Float[np.ndarray, " patches"], end: float
) -> tuple[Int[np.ndarray, " pixels"], Bool[np.ndarray, " pixels"]]:
    """Return the patch that each pixel's centre lies in along one axis, and whether it lies in any."""
    centres = np.arange(pixels) + 0.5
    found = np.searchsorted(starts, centres, side="right") - 1
    return np.maximum(found, 0), (found >= 0) & (centres < end)


def points_of(heat: Float[np.ndarray, "rows columns"], view: View, threshold: float) -> Points:
    """Return the centre of the strongest patch of each place of a heat map."""
    places, rule = _places_of(heat, view, threshold)
    edges = _cut_at_image(patch_boxes(view, _size(heat)).reshape(-1, 4), view)
    peaks = np.array([place[int(heat.ravel()[place].argmax())] for place in places], int)
    values = heat.ravel()[peaks]
    order = np.argsort(-values, kind="stable")
    centres = (edges[peaks, :2] + edges[peaks, 2:]) / 2
    return Points(
        centres[order], values[order], f"{rule}; a point is the centre of the strongest patch of a place"
    )


def _size(heat: Float[np.ndarray, "rows columns"]) -> tuple[int, int]:
    return heat.shape[0], heat.shape[1]


def _cut_at_image(edges: Float[np.ndarray, "patches 4"], view: View) -> Float[np.ndarray, "patches 4"]:
    cut: np.ndarray = np.clip(edges, 0, np.array(view.size * 2, float))
    return cut


def _places_of(
    heat: Float[np.ndarray, "rows columns"], view: View, threshold: float
) -> tuple[list[list[int]], str]:
    """Return the patches of each place, and the rule in words."""
    share = positive_number("threshold", threshold)
    if share > 1:
        raise ParameterError(f"threshold={threshold!r} is more than 1; expected a share of the maximum")
    size = _size(heat)
    edges = _cut_at_image(patch_boxes(view, size).reshape(-1, 4), view)
    # Preprocessing may pad, and patches beyond the image are not places in it.
    inside = (edges[:, 0] < edges[:, 2]) & (edges[:, 1] < edges[:, 3])
    values = np.where(inside, heat.ravel(), -np.inf)
    most = float(values.max(initial=-np.inf))
    if most <= 0:
        return [], "no patch in the image has a positive value, so there is no place"
    taken = values >= share * most
    places: list[list[int]] = []
    left = taken.copy()
    while left.any():
        place = grow(int(left.argmax()), size, lambda patch: bool(taken[patch]))
        left[place] = False
        places.append(place)
    return places, (
        f"patches with at least {share:g} of the strongest one's {most:.3g}; those connected side by side "
        "are one place"
    )
