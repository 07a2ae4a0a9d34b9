"""Regions of an image: from boxes, masks and polygons to patches, and from patches to pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from ..errors import ParameterError
from .origin import Crop, View

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels of the image; right and bottom excluded."""

Region: TypeAlias = Box | Sequence[Sequence[float]] | np.ndarray | None
"""Part of an image: a box, a polygon of (x, y) in pixels of the image, a mask of its pixels, bool,
(height, width), or a mask of patches, bool, (rows, columns). None for all patches."""

Size: TypeAlias = tuple[int, int]
"""Rows and columns of patches."""

COVERED = 0.5
"""Share of a patch that a mask of pixels must cover to select it."""

BEYOND = 1.0
"""How many pixels a box or polygon may reach beyond the image, as boxes from detectors do."""

EXPECTED = (
    "expected a box (left, top, right, bottom), a polygon of (x, y), or a bool mask of pixels or of patches"
)


def select_patches(region: Region, size: Size, view: View | None) -> Bool[np.ndarray, "rows columns"]:
    """Return which patches a region selects.

    A box selects every patch that it touches, a polygon those whose centres lie within (by the even-odd
    rule), and a mask of pixels those of which it covers at least half.

    Parameters
    ----------
    region : Region
        The region; None for all patches.
    size : (int, int)
        Rows and columns of patches.
    view : View or None
        Size of the image, and the part of it that the model saw.

    Raises
    ------
    ParameterError
        If the region selects no patch, lies outside, or is of another kind.

    Examples
    --------
    >>> select_patches((0, 0, 40, 20), (2, 2), View((80, 40)))
    array([[ True, False],
           [False, False]])
    """
    if region is None:
        return np.ones(size, bool)
    try:
        array = np.asarray(region)
    except ValueError:  # NumPy makes no array from lists of unequal lengths
        raise ParameterError(f"region={region!r} is not a known kind of region; {EXPECTED}") from None
    if array.dtype == bool and array.ndim == 2:
        return _patches_of_mask(array, size, view)
    numbers = array.astype(float) if array.dtype.kind in "iuf" and array.dtype != bool else np.empty(0)
    if numbers.shape == (4,) or (numbers.ndim == 2 and numbers.shape[1] == 2 and len(numbers) > 2):
        known = require_view(view)
        corners = numbers.reshape(-1, 2)
        _require_inside(region, corners, known)
        points = in_patches(corners, known, size)
        if numbers.ndim == 1:
            return _some(_touched(points, size), region, known, "touches no patch")
        return _some(_enclosed(points, size), region, known, "encloses the centre of no patch")
    what = f"{array.dtype} {array.shape}" if isinstance(region, np.ndarray) else f"{region!r:.80}"
    raise ParameterError(f"region={what} is not a known kind of region; {EXPECTED}")


def require_view(view: View | None) -> View:
    """Return the view of an image, if it is known.

    Raises
    ------
    ParameterError
        If the image was given as preprocessed pixels.
    """
    if view is None:
        raise ParameterError(
            "the image was given as preprocessed pixels, so nothing is known about the image itself; "
            "expected an explanation of the image, or a region as a bool mask of patches"
        )
    return view


def _require_inside(region: object, corners: Float[np.ndarray, "points 2"], view: View) -> None:
    width, height = view.size
    if not np.isfinite(corners).all():
        raise ParameterError(f"region={region!r} has numbers that are not finite; {EXPECTED}")
    if (corners < -BEYOND).any() or (corners > np.add(view.size, BEYOND)).any():
        raise ParameterError(
            f"region={region!r:.80} reaches beyond the image; expected pixels of an image of {width} x "
            f"{height}"
        )
    if len(corners) == 2 and not (corners[0] < corners[1]).all():
        raise ParameterError(f"region={region!r} is empty; expected left < right and top < bottom")


def _some(
    found: Bool[np.ndarray, "rows columns"], region: object, view: View, what: str
) -> Bool[np.ndarray, "rows columns"]:
    if not found.any():
        left, top, right, bottom = (round(float(edge), 1) for edge in view_box(view))
        raise ParameterError(
            f"region={region!r:.80} {what}; the model saw pixels {left:g} to {right:g} across and {top:g} to "
            f"{bottom:g} down"
        )
    return found


def _patches_of_mask(
    mask: Bool[np.ndarray, "down across"], size: Size, view: View | None
) -> Bool[np.ndarray, "rows columns"]:
    of_pixels = view is not None and mask.shape == view.size[::-1]
    if mask.shape == size:
        if view is not None and of_pixels and view.crop != (0, 0, 1, 1):
            raise ParameterError(
                f"region={mask.shape} is the shape of the patches and of the image, which are not the same "
                "here; give a box"
            )
        if not mask.any():
            raise ParameterError("region is an empty mask of patches; expected at least one patch in it")
        return mask.copy()
    if view is None or not of_pixels:
        pixels = "" if view is None else f", or {view.size[::-1]}, one for each pixel of the image"
        raise ParameterError(f"region is a mask of {mask.shape}; expected {size}, one for each patch{pixels}")
    if not mask.any():
        raise ParameterError("region is an empty mask of pixels; expected at least one pixel in it")
    found: Bool[np.ndarray, "rows columns"] = cover(mask, view.crop, size) >= COVERED
    return _some(found, mask.shape, view, "covers less than half of every patch")


# ------------------------------------------------------------------------- on the grid, as the widget does


def in_patches(
    points: Float[np.ndarray, "points 2"], view: View, size: Size
) -> Float[np.ndarray, "points 2"]:
    """Convert points (x, y) in pixels of the image to columns and rows of the grid."""
    left, top, width, height = view.crop
    rows, columns = size
    fractions = (points / view.size - (left, top)) / (width, height)
    placed: Float[np.ndarray, "points 2"] = fractions * (columns, rows)
    return placed


def _touched(corners: Float[np.ndarray, "2 2"], size: Size) -> Bool[np.ndarray, "rows columns"]:
    found = np.zeros(size, bool)
    (left, top), (right, bottom) = corners
    # The end is excluded: a box up to the edge of a patch does not touch the next one.
    across, down = (
        slice(max(0, int(np.floor(start))), max(0, int(np.ceil(end))))
        for start, end in ((left, right), (top, bottom))
    )
    found[down, across] = True
    return found


def _enclosed(path: Float[np.ndarray, "points 2"], size: Size) -> Bool[np.ndarray, "rows columns"]:
    """Return the patches whose centres lie within a closed path, by the even-odd rule."""
    rows, columns = size
    found = np.zeros(size, bool)
    centres = np.arange(columns) + 0.5
    (x1, y1), (x2, y2) = path.T, np.roll(path, -1, axis=0).T
    for row in range(rows):
        y = row + 0.5
        crossed = (y1 <= y) != (y2 <= y)
        at = x1[crossed] + (y - y1[crossed]) / (y2[crossed] - y1[crossed]) * (x2[crossed] - x1[crossed])
        # A centre is inside if an odd number of edges is crossed on the way to it.
        found[row] = (at[:, None] <= centres).sum(0) % 2 == 1
    return found


def grow(seed: int, size: Size, passes: Callable[[int], bool]) -> list[int]:
    """Return the patches that pass and are connected to `seed` side by side, sorted."""
    rows, columns = size
    found, queue = {seed}, [seed]
    while queue:
        patch = queue.pop()
        row, column = divmod(patch, columns)
        near = [
            (patch - columns, row > 0),
            (patch + columns, row < rows - 1),
            (patch - 1, column > 0),
            (patch + 1, column < columns - 1),
        ]
        for other, there in near:
            if there and other not in found and passes(other):
                found.add(other)
                queue.append(other)
    return sorted(found)


# ------------------------------------------------------------------------------------------- on the image


def view_box(view: View) -> Box:
    """Return what the model saw as a box in pixels of the image.

    Examples
    --------
    >>> view_box(View((640, 480), (0.125, 0, 0.75, 1)))
    (80.0, 0.0, 560.0, 480.0)
    """
    left, top, width, height = view.crop
    across, down = view.size
    edges = left * across, top * down, (left + width) * across, (top + height) * down
    return float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3])


def patch_boxes(view: View, size: Size) -> Float[np.ndarray, "rows columns 4"]:
    """Return left, top, right and bottom of each patch, in pixels of the image.

    Patches reach beyond the image if preprocessing pads it.

    Examples
    --------
    >>> patch_boxes(View((80, 40)), (2, 2))[1, 0].tolist()
    [0.0, 20.0, 40.0, 40.0]
    """
    rows, columns = size
    left, top, right, bottom = view_box(view)
    across = left + (right - left) * np.arange(columns + 1) / columns
    down = top + (bottom - top) * np.arange(rows + 1) / rows
    boxes = np.empty((rows, columns, 4))
    boxes[..., 0], boxes[..., 2] = across[:-1], across[1:]
    boxes[..., 1], boxes[..., 3] = down[:-1, None], down[1:, None]
    return boxes


def mask_of_boxes(
    boxes: Iterable[Sequence[float]], size: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """Return which pixels of an image are touched by boxes. Parts beyond the image are ignored.

    Parameters
    ----------
    boxes : iterable of (float, float, float, float)
        Left, top, right and bottom, in pixels; right and bottom excluded.
    size : (int, int)
        Width and height of the image.

    Examples
    --------
    >>> mask_of_boxes([(-1, 0, 1.5, 1)], (3, 2)).astype(int).tolist()
    [[1, 1, 0], [0, 0, 0]]
    """
    mask = np.zeros((size[1], size[0]), bool)
    for left, top, right, bottom in boxes:
        down = slice(max(0, int(np.floor(top))), max(0, int(np.ceil(bottom))))
        mask[down, max(0, int(np.floor(left))) : max(0, int(np.ceil(right)))] = True
    return mask


def cover(
    mask: Bool[np.ndarray, "height width"], view: Crop, grid: Size
) -> Float[np.ndarray, "rows columns"]:
    """Return the share of each patch that a mask covers.

    Parameters
    ----------
    mask : np.ndarray
        Pixels of the image.
    view : Crop
        Left, top, width and height of what the model sees, as fractions of the image. What lies beyond
        the image counts as not covered.
    grid : (int, int)
        Rows and columns of patches.

    Examples
    --------
    >>> cover(np.array([[True, False]]), (0, 0, 1, 1), (1, 2))
    array([[1., 0.]])
    """
    left, top, width, height = view
    sums = np.pad(mask.cumsum(0).cumsum(1), ((1, 0), (1, 0))).astype(np.float64)
    edges = (
        (start + extent * np.arange(count + 1) / count) * side
        for start, extent, count, side in zip((top, left), (height, width), grid, mask.shape, strict=True)
    )
    down, across = edges
    # The integral of a mask is linear between whole pixels, and constant beyond the image.
    at_rows = _between(sums, down)
    at_both = _between(at_rows.T, across).T
    shown = np.diff(np.diff(at_both, axis=0), axis=1)
    patch = (down[1] - down[0]) * (across[1] - across[0])
    share: np.ndarray = np.clip(shown / patch, 0, 1)
    return share


def _between(sums: Float[np.ndarray, "lines others"], edges: Float[np.ndarray, " edges"]) -> np.ndarray:
    """Return rows of `sums` interpolated at fractional places; beyond the ends, the rows at the ends."""
    places = np.clip(edges, 0, len(sums) - 1)
    low = np.minimum(places.astype(int), len(sums) - 2)
    part = (places - low)[:, None]
    between: np.ndarray = sums[low] * (1 - part) + sums[low + 1] * part
    return between
