"""Views: which part of an image a preprocessing function shows, found by trying it out.

The function is given images that are black before an edge and white after it, and the edge is located in its
output. Two edges in view determine where the view begins and ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from ..errors import ParameterError

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, width and height of a view, as fractions of the image."""

Part: TypeAlias = tuple[float, float]
"""Start and extent of a view on one axis, as fractions of the image."""

MOST_TRUE_PIXELS = 2**19
"""Up to this many pixels, preprocessing is tried on images of the requested size."""

TRIED_PIXELS = 2**16
"""Approximate number of pixels of the test images otherwise."""

LEAST_TRUE_SIDE, LEAST_TRIED_SIDE = 64, 8
"""Smallest allowed shorter side of a test image of the requested size, and of any other size."""

LONGEST = 32
"""Largest aspect ratio on which preprocessing is tried, if longer images can be extrapolated from it."""

SAME = 0.02
"""Largest difference, as a fraction of the view, between two views that count as the same."""

MOST_STEPS = 24
"""How often to halve the range in which an edge may lie: enough for any image that fits in memory."""

FAR_ENOUGH = 0.2
"""Distance between two edges, as a fraction of the view, that is enough to locate both its ends well."""

ALMOST_CONSTANT = 0.05
"""How far a channel must reach, as a fraction of the one that reaches furthest, to be looked at."""

TILTED = 0.05
"""Smallest difference between the upper and lower lines of an upright edge, in brightness, that is a turn."""


def find_view(preprocess: Callable[[Image.Image], Tensor], size: tuple[int, int]) -> Box:
    """Return which part of an image of `size` (width, height) `preprocess` shows.

    Exceptions from `preprocess` are passed on.

    Raises
    ------
    ParameterError
        If it mirrors or turns the image, or changes what it shows, such as to its edges.
    """
    if size[0] * size[1] <= MOST_TRUE_PIXELS and min(size) >= LEAST_TRUE_SIDE:
        return View(preprocess, size).box
    box = _box_of_shape(preprocess, size)
    # A crop of a fixed number of pixels, rather than a fraction, can only be found at the actual size.
    return View(preprocess, size).box if box is None else box


def _box_of_shape(preprocess: Callable[[Image.Image], Tensor], shape: tuple[int, int]) -> Box | None:
    """Return the part shown of images of a shape (width, height); None if it varies with their size."""
    across, down = shape
    short, long = min(shape), max(shape)
    if long > LONGEST * short:
        # A preprocessing that scales the shorter side would make such an image enormous.
        one, twice = (
            _box_of_shape(preprocess, (factor, 1) if across > down else (1, factor))
            for factor in (LONGEST // 2, LONGEST)
        )
        box = _continued(one, twice, math.log2(long / short / LONGEST)) if one and twice else None
        if box is not None:
            return box
    side = max(LEAST_TRIED_SIDE, 2 * round(short * (TRIED_PIXELS / (across * down)) ** 0.5 / 2))
    # As exactly as whole pixels allow.
    large, small = (
        View(preprocess, (round(across * part / short), round(down * part / short))).box
        for part in (side, side // 2)
    )
    tolerance = SAME * np.array(large[2:] * 2)
    return large if (np.abs(np.subtract(large, small)) <= tolerance).all() else None


def _continued(one: Box, twice: Box, doublings: float) -> Box | None:
    """Extrapolate to a shape that is this many doublings longer than that of `twice`.

    On each axis, the part must grow or shrink in proportion to the image's length, or keep its extent, while
    its start, middle or end stays in place. None if it does anything else.
    """
    parts = []
    for axis in (0, 1):
        start, extent = twice[axis], twice[2 + axis]
        growth = math.log2(extent / one[2 + axis])
        anchors = (0.0, 0.5, 1.0)
        moved = [abs(start + at * extent - one[axis] - at * one[2 + axis]) / extent for at in anchors]
        if abs(growth - round(growth)) > SAME or abs(growth) > 1.5 or min(moved) > SAME:
            return None
        fixed = anchors[int(np.argmin(moved))]
        then = extent * 2 ** (round(growth) * doublings)
        parts.append((start + fixed * (extent - then), then))
    (left, width), (top, height) = parts
    return left, top, width, height


class View:
    """The part that `preprocess` shows of images of one size.

    Parameters
    ----------
    preprocess : callable
        From an image to pixels, (3, height, width).
    size : (int, int)
        Width and height of the images.
    """

    def __init__(self, preprocess: Callable[[Image.Image], Tensor], size: tuple[int, int]) -> None:
        self._preprocess = preprocess
        self._size = size
        black = self._seen(np.zeros((1, 1)))
        gain = self._seen(np.full((1, 1), 255)) - black
        self._channel = _varying(np.abs(gain).max((1, 2)))
        self._black, self._gain = black[self._channel], gain[self._channel]
        reach = np.abs(self._gain).max()
        # If each image is normalised by itself, one of a single colour may come out as anything.
        self._calibrated = bool(np.isfinite(reach) and reach > 0)
        self._shown = np.abs(self._gain) > reach / 2  # the rest is padding

    @property
    def box(self) -> Box:
        """The part of the image that is in view."""
        parts = (on_edge(self._part(axis), self._shown.shape[1 - axis]) for axis in (0, 1))
        (left, width), (top, height) = parts
        return left, top, width, height

    def _part(self, axis: int) -> Part:
        """Return the start and extent of the view on axis 0 (left to right) or 1 (top to bottom).

        The whole image if they cannot be determined.
        """
        side = self._size[axis]
        edges: dict[int, float] = {}
        for edge in self._edges(axis, edges):
            edges[edge] = self._place(axis, edge)
        seen = sorted((edge, place) for edge, place in edges.items() if math.isfinite(place))
        if len(seen) < 2:
            self._require_unturned(axis, list(edges)[:2])
            return self._part_by_padding(axis)
        (first, start), (last, end) = seen[0], seen[-1]
        if end < start - SAME:
            raise _not_upright()
        if end <= start:
            return 0.0, 1.0
        extent = (last - first) / (end - start) / side
        return first / side - start * extent, extent

    def _edges(self, axis: int, places: dict[int, float]) -> Iterator[int]:
        """Yield edges to look for, until two of those in `places` are in view and far enough apart."""
        side = self._size[axis]
        if side < 2:
            return
        # Both are in view if the view is as large as it can be, in the middle or everywhere.
        quarter = max(1, round(min(self._size) / 4))
        yield from {min(max(side // 2 + step, 1), side - 1) for step in (-quarter, quarter)}
        if not self._calibrated:  # black and white look alike, so nothing shows where the view is
            tried = (side * odd // 2**depth for depth in range(1, 5) for odd in range(1, 2**depth, 2))
            for edge in tried:
                if any(map(math.isfinite, places.values())):
                    break
                if 0 < edge < side and edge not in places:
                    yield edge
        for _ in range(MOST_STEPS):
            seen = [edge for edge, place in places.items() if math.isfinite(place)]
            ends = [places[edge] for edge in seen]
            if seen and max(ends) - min(ends) >= FAR_ENOUGH:
                return
            before = [edge for edge, place in places.items() if place == math.inf]
            behind = [edge for edge, place in places.items() if place == -math.inf]
            low, high = max(before, default=0), min(behind, default=side)
            if seen and min(ends) > 0.5:
                high = min(seen)
            elif seen:
                low = max(seen)
            middle = (low + high) // 2
            if not low < middle < high:
                return
            yield middle

    def _require_unturned(self, axis: int, edges: list[int]) -> None:
        """Refuse a view in which edges across an axis move along the other one."""
        if self._calibrated:  # `_require_upright` has compared its lines
            return
        places = []
        for edge in edges:
            lines, _, start, count = self._lines(1 - axis, self._seen_edge(axis, edge))
            places.append((start + (1 - np.median(lines, axis=0)).sum()) / count)
        if len(places) == 2 and np.ptp(places) > SAME:
            raise _not_upright()

    def _place(self, axis: int, edge: int) -> float:
        """Return where the view shows an edge, as a fraction of the view.

        Infinity if only white is seen, minus infinity if only black, and NaN for anything else.
        """
        lines, shown, start, count = self._lines(axis, self._seen_edge(axis, edge))
        profile = np.median(lines, axis=0)
        if not (np.isfinite(profile).all() and len(profile)):
            # The edge is outside the view, but nothing shows on which side.
            return -math.inf if edge > self._size[axis] / 2 else math.inf
        _require_upright(lines, shown)
        if profile.min() > 0.5 or profile.max() < 0.5:
            return math.inf if profile[0] > 0.5 else -math.inf
        if profile[0] > 0.5 or profile[-1] < 0.5:  # no edge at all
            return math.nan
        # Blurring an edge does not change the amount of black.
        return (start + float((1 - profile).sum())) / count

    def _lines(
        self, axis: int, seen: Float[np.ndarray, "channels rows columns"]
    ) -> tuple[Float[np.ndarray, "lines pixels"], Bool[np.ndarray, "lines pixels"], int, int]:
        """Return lines along an axis: their brightness (0 to 1), and which of their pixels are not padding.

        Where they start follows, and the length of the view.
        """
        count = seen.shape[2 - axis]
        if self._calibrated:
            rows, columns = (np.flatnonzero(self._shown.any(across)) for across in (1, 0))
            inside = np.ix_(rows, columns)
            shown = self._shown[inside]
            level = ((seen[self._channel] - self._black) / np.where(self._shown, self._gain, 1))[inside]
            profile = np.median(level, axis=axis)
            if profile.min() > -0.6 and profile.max() < 1.6:
                level, shown = (level, shown) if axis == 0 else (level.T, shown.T)
                return level, shown, int((columns, rows)[axis][0]), count
            self._calibrated = False  # the gain was only rounding error
        strongest = seen[_varying(np.ptp(seen, axis=(1, 2)))]
        lines = strongest if axis == 0 else strongest.T
        lines = lines[np.ptp(lines, axis=1) >= np.ptp(lines, axis=1).max() / 2]
        first, last = np.median(lines, axis=0)[[0, -1]]
        lines = (lines - first) / (last - first if abs(last - first) > 1e-3 else np.nan)
        return lines, np.ones_like(lines, bool), 0, count

    def _part_by_padding(self, axis: int) -> Part:
        """Return the start and extent of a view that shows padding on both sides of the image."""
        shown = np.flatnonzero(self._shown.any(axis))
        count = self._shown.shape[1 - axis]
        if not self._calibrated or len(shown) in (0, count):
            return 0.0, 1.0
        pixels = int(shown[-1] - shown[0]) + 1
        return -int(shown[0]) / pixels, count / pixels

    def _seen_edge(self, axis: int, edge: int) -> Float[np.ndarray, "channels rows columns"]:
        """Return the output for an image that is black before an edge and white after it."""
        levels = np.where(np.arange(self._size[axis]) < edge, 0, 255)
        return self._seen(levels.reshape((1, -1) if axis == 0 else (-1, 1)))

    def _seen(self, levels: np.ndarray) -> Float[np.ndarray, "channels rows columns"]:
        """Return the output for an image of grey `levels`."""
        width, height = self._size
        grey = np.broadcast_to(levels, (height, width)).astype(np.uint8)
        pixels = self._preprocess(Image.fromarray(grey).convert("RGB"))
        # A copy, because it may fill the same tensor each time.
        seen: np.ndarray = pixels.detach().to("cpu", torch.double, copy=True).flatten(0, -3).numpy()
        return seen


def on_edge(part: Part, pixels: int) -> Part:
    """Move the ends of a part, which is seen in so many pixels, onto the image's edges if nearly there."""
    start, extent = part
    near = extent / pixels  # an edge is located to a pixel at best
    ends = [round(end) if min(abs(end), abs(end - 1)) < near else end for end in (start, start + extent)]
    return float(ends[0]), float(ends[1] - ends[0])


def _varying(reaches: Float[np.ndarray, " channels"]) -> int:
    """Return the first channel that is not almost constant beside the others."""
    reaches = np.nan_to_num(reaches)
    return int((reaches >= ALMOST_CONSTANT * reaches.max()).argmax())


def _require_upright(
    lines: Float[np.ndarray, "lines pixels"], shown: Bool[np.ndarray, "lines pixels"]
) -> None:
    """Refuse lines across an edge if they show white before black, or the edge in different places."""
    white = np.median(lines, axis=0) > 0.5
    mirrored = white[0] and not white[-1] and np.count_nonzero(np.diff(white)) == 1
    third = math.ceil(len(lines) / 3)
    ends = slice(None, third), slice(-third, None)
    both = np.logical_and(*(shown[end].mean(0) > 0.5 for end in ends))
    masked = np.ma.array(lines, mask=~shown)
    upper, lower = (np.ma.median(masked[end], axis=0)[both] for end in ends)  # type: ignore[no-untyped-call]
    if mirrored or (both.any() and np.abs(upper - lower).mean() > TILTED):
        raise _not_upright()


def _not_upright() -> ParameterError:
    return ParameterError(
        "preprocess mirrors or turns the image, or changes what it shows, such as to its edges, so it is "
        "unknown where in the image a patch is; pass preprocessing that only resizes, crops, pads or "
        "normalises, and change the image itself before"
    )
