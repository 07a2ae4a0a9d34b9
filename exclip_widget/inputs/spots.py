"""Spots: the part of an image that a model saw, found or checked by altering the image itself.

Test images may mislead: preprocessing may reject them, or crop each image to what it shows. So a few spots
of the user's own image are altered. A view holds if the pixels change exactly where it says that these spots
are, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from .preprocessing import Preprocess, check_pixels
from .view import Box, Part, on_edge

Point: TypeAlias = Float[np.ndarray, "2"]
"""x and y."""

PLACES = ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.5, 0.5))
"""Centres of the spots that check a view. A turned or mirrored view shows one of them elsewhere."""

SPOT = 1 / 8
"""Size of these spots. Like their centres, it is a fraction of the part of the image that is in view."""

LEAST_SIDE = 8
"""Smallest side of that part, in pixels of the image, in which spots can be told apart."""

GRIDS = (5, 9)
"""Numbers of spots, across and down, that are tried one by one to find a view."""

CHANGED, SLIGHTLY = 0.25, 0.05
"""Smallest change of a pixel that must not be elsewhere than a view says, and that is looked at in its spot.

Both are fractions of the largest change. Any pixel may change slightly, by the normalisation of its image.
"""

SAME = 1e-4
"""Largest change that does not count at all, as a fraction of the largest pixel."""

NEAR = 0.03
"""How far a spot may be from where the view says, as a fraction of the view; a pixel is always allowed."""

FITS = 5
"""How often to fit a common change of all pixels, each time without the quarter of them that fits worst."""

LEAST_CONTRAST = 64
"""Smallest range of an image's levels for which its darkest and brightest are clearly different."""


class Spot(NamedTuple):
    """A part of an image that is altered, in pixels of the image."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, eq=False)
class Trial:
    """An image and the pixels that `preprocess` gave for it, to compare with those of altered images."""

    preprocess: Preprocess
    image: Image.Image
    pixels: Float[Tensor, "1 3 height width"]

    def repeats(self) -> bool:
        """Return whether `preprocess` gives the same pixels again."""
        again = self._preprocessed(self.image.copy())
        return again is not None and not self._matters(np.abs(again - self._own).max())

    def holds(self, box: Box) -> bool:
        """Return whether spots of the image are seen where a view says, and no other change is.

        Some of them may be hidden, but not all of a row or a column. If too little of the image is in view
        for spots, nothing contradicts the view.
        """
        left, top, right, bottom = _on_image(box, self.image.size)
        width, height = right - left, bottom - top
        if min(width, height) < LEAST_SIDE:
            return True
        spots = [_spot_at(left + x * width, top + y * height, SPOT * width, SPOT * height) for x, y in PLACES]
        windows = [self._window(spot, box) for spot in spots]
        elsewhere = np.ones(self._own.shape[1:], bool)
        for window in windows:
            elsewhere[window] = False
        seen = self._change(spots, elsewhere)
        if seen is None or seen[elsewhere].max(initial=0) > CHANGED * seen.max():
            return False
        allowed = np.maximum(NEAR * np.array(seen.shape[::-1]), 1)
        found = []
        for place, spot, window in zip(PLACES, spots, windows, strict=True):
            if not (seen[window] > CHANGED * seen.max()).any():
                continue  # it is hidden
            corner = np.array([window[1].start, window[0].start])
            distance = corner + _centre(seen[window]) - self._in_view(self._centre_of(spot), box)
            if (np.abs(distance) > allowed).any():
                return False
            found.append(place)
        # One place on an axis does not tell how much of it is in view.
        return min(len({place[axis] for place in found}) for axis in (0, 1)) > 1

    def _window(self, spot: Spot, box: Box) -> tuple[slice, slice]:
        """Return the rows and columns of the pixels in which a view may show a spot."""
        start, end = (self._in_view(np.array(corner), box) for corner in (spot[:2], spot[2:]))
        margin = np.maximum((end - start) / 2, 1.5)  # resampling blurs
        left, top = np.maximum(np.floor(start - margin), 0).astype(int).tolist()
        right, bottom = np.maximum(np.ceil(end + margin), 0).astype(int).tolist()
        return slice(top, bottom), slice(left, right)

    def _in_view(self, point: Point | Int[np.ndarray, "2"], box: Box) -> Point:
        """Convert a point in pixels of the image to one in the pixels that the model sees."""
        shown: np.ndarray = (point / self.image.size - np.array(box[:2])) / box[2:] * self._own.shape[:0:-1]
        return shown

    def find(self) -> Box | None:
        """Return the part that the pixels show, found by altering one spot after another; None if unknown.

        A spot that makes preprocessing crop elsewhere changes pixels all over, and is ignored.
        """
        width, height = self.image.size
        for count in GRIDS:
            places = [(step + 0.5) / count for step in range(count)]
            pairs = []
            for x, y in product(places, places):
                spot = _spot_at(x * width, y * height, width / count / 2, height / count / 2)
                seen = self._change([spot])
                if seen is not None and _is_one_place(seen > CHANGED * seen.max()):
                    pairs.append((self._centre_of(spot) / (width, height), _centre(seen) / seen.shape[::-1]))
            box = _fitted(pairs, self.pixels.shape[:1:-1])
            if box is not None and self.holds(box):
                return box
        return None

    def _change(
        self, spots: Sequence[Spot], elsewhere: Bool[np.ndarray, "rows columns"] | None = None
    ) -> Float[np.ndarray, "rows columns"] | None:
        """Return how much each pixel changes with these spots, 0 if slightly; None if nothing shows.

        Give the pixels that are `elsewhere` if they are known.
        """
        altered = self.image.copy()
        for spot in spots:
            altered.paste(self._pattern(spot), spot)
        pixels = self._preprocessed(altered)
        if pixels is None:
            return None
        change = np.sum([_unexplained(*both, elsewhere) for both in zip(self._own, pixels, strict=True)], 0)
        most = change.max()
        return np.where(change > SLIGHTLY * most, change, 0) if self._matters(most) else None

    def _preprocessed(self, image: Image.Image) -> Float[np.ndarray, "3 rows columns"] | None:
        """Return the pixels of an image that may be changed; None if they are not of the same kind."""
        height, width = self.pixels.shape[2:]
        try:
            return _as_array(check_pixels(self.preprocess(image), (height, width)))
        except Exception:
            return None

    @cached_property
    def _own(self) -> Float[np.ndarray, "3 rows columns"]:
        return _as_array(self.pixels)

    def _matters(self, change: float) -> bool:
        return bool(change > SAME * np.abs(self._own).max())

    @cached_property
    def _levels(self) -> tuple[Int[np.ndarray, "3"], Int[np.ndarray, "3"]]:
        """The darkest and the brightest level of each channel of the image; black and white if it is flat."""
        low, high = np.array(self.image.getextrema()).T
        is_flat = high - low < LEAST_CONTRAST
        return np.where(is_flat, 0, low), np.where(is_flat, 255, high)

    def _pattern(self, spot: Spot) -> Image.Image:
        """Return four tiles, dark and bright in turn: they differ from anything, and are centred on the spot.

        They are as dark and as bright as the image is, so that stretching its contrast changes nothing.
        """
        low, high = self._levels
        width, height = spot.right - spot.left, spot.bottom - spot.top
        bright = np.logical_xor.outer(2 * np.arange(height) < height, 2 * np.arange(width) < width)
        return Image.fromarray(np.where(bright[..., None], high, low).astype(np.uint8))

    def _centre_of(self, spot: Spot) -> Point:
        """Return the centre of what a spot changes in the image, in pixels."""
        before, after = (np.asarray(part, float) for part in (self.image.crop(spot), self._pattern(spot)))
        centre: np.ndarray = np.array(spot[:2]) + _centre(np.abs(after - before).sum(2))
        return centre


def _as_array(pixels: Float[Tensor, "1 3 rows columns"]) -> Float[np.ndarray, "3 rows columns"]:
    array: np.ndarray = pixels.detach().cpu().double()[0].numpy()
    return array


def _unexplained(
    before: Float[np.ndarray, "rows columns"],
    after: Float[np.ndarray, "rows columns"],
    elsewhere: Bool[np.ndarray, "rows columns"] | None,
) -> Float[np.ndarray, "rows columns"]:
    """Return how much each pixel of a channel changes, beyond a gain and an offset for the whole image.

    Preprocessing may normalise each image by its own brightness, which spots alter. The pixels `elsewhere`
    show how; if they are not known, those that a common change explains best.
    """
    terms, change = np.stack([before.ravel(), np.ones(before.size)], 1), (after - before).ravel()
    kept = np.ones(before.size, bool) if elsewhere is None else elsewhere.ravel()
    for _ in range(FITS if elsewhere is None else 1):
        fit = np.linalg.lstsq(terms[kept], change[kept], rcond=None)[0]
        rest: np.ndarray = np.abs(change - terms @ fit)
        kept = rest <= np.quantile(rest, 0.75)
    return rest.reshape(before.shape)


def _spot_at(x: float, y: float, width: float, height: float) -> Spot:
    """Return a spot with its centre at (x, y), of at least a pixel."""
    left, top = round(x - width / 2), round(y - height / 2)
    return Spot(left, top, left + max(1, round(width)), top + max(1, round(height)))


def _on_image(box: Box, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of what a view shows of the image itself, in pixels."""
    ends = np.clip([box[:2], np.add(box[:2], box[2:])], 0, 1) * size
    left, top, right, bottom = ends.ravel().tolist()
    return left, top, right, bottom


def _centre(weights: Float[np.ndarray, "rows columns"]) -> Point:
    """Return the centre of gravity."""
    down, across = (np.arange(count) + 0.5 for count in weights.shape)
    moments = [(weights.sum(0) * across).sum(), (weights.sum(1) * down).sum()]
    centre: np.ndarray = np.array(moments) / weights.sum()
    return centre


def _is_one_place(change: Bool[np.ndarray, "rows columns"]) -> bool:
    """Return whether all changes are close together, and none is cut off."""
    for places, count in zip(np.nonzero(change), change.shape, strict=True):
        if places.min() == 0 or places.max() == count - 1 or np.ptp(places) > count / 2:
            return False
    return True


def _fitted(pairs: Sequence[tuple[Point, Point]], view: Sequence[int]) -> Box | None:
    """Return the view that shows points of an image at others, all as fractions; None if there is none.

    As in Theil and Sen's regression, the median of all pairs' slopes ignores a few that are wrong.
    """
    parts: list[Part] = []
    for axis in (0, 1):
        points = [(image[axis], seen[axis]) for image, seen in pairs]
        slopes = [
            (b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if abs(b[0] - a[0]) > 0.05
        ]
        slope = np.median(slopes) if slopes else 0.0
        if slope <= 0:
            return None
        start = np.median([image - seen / slope for image, seen in points])
        parts.append(on_edge((float(start), float(1 / slope)), view[axis]))
    (left, width), (top, height) = parts
    return left, top, width, height
