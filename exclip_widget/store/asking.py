"""Queries over a whole store, answered while its factors stream through matrix products."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..errors import ParameterError
from ..results.origin import View
from ..results.pairs import HALF
from ..results.regions import cover, grow, mask_of_boxes, patch_boxes
from ..results.rows import Grid, Span
from ..results.selection import Rows
from .parts import Part, outliers_of, view_of


@dataclass(frozen=True, eq=False)
class Match:
    """An image and the region of it that responds most strongly to a phrase.

    Attributes
    ----------
    image_id : str
        Id of the image.
    value : float
        What the image was ranked by: the interaction of the phrase with its strongest patch, or with all of
        its patches.
    heat : np.ndarray
        The phrase's interaction with each patch, float32, (rows, columns).
    region : np.ndarray
        The patches connected to the strongest one that have at least half its value, bool, (rows, columns).
    box : (float, float, float, float) or None
        Left, top, right and bottom around the region, in pixels of the image; None if the image was given as
        preprocessed pixels.
    """

    image_id: str
    value: float
    heat: Float[np.ndarray, "rows columns"]
    region: Bool[np.ndarray, "rows columns"]
    box: tuple[float, float, float, float] | None

    def __repr__(self) -> str:
        return f"Match({self.image_id!r}: {self.value:+z.4f})"


@dataclass(frozen=True)
class Ranked:
    """A pair, and the value by which it was ranked.

    Attributes
    ----------
    caption_id, image_id : str
        Ids of the pair.
    value : float
        What it was ranked by.
    words : str
        The words in question; empty if all of them are.
    rows : tuple of int
        Rows of these words in the caption.
    foil_id : str or None
        The foil in question, if there is one.
    boxes : tuple of (float, float, float, float)
        The boxes in question, in pixels of the image.
    span : (int, int) or None
        Where these words are in the caption, ``caption[start:end]``; None if all of them are in question.
    """

    caption_id: str
    image_id: str
    value: float
    words: str = ""
    rows: Rows = ()
    foil_id: str | None = None
    boxes: tuple[tuple[float, ...], ...] = ()
    span: Span | None = None


COLUMNS = ("id", "values", "embedding", "rows", "columns", "first", "size", "crop", "digest", "outliers")
"""The columns of an image that queries read."""


class Images(NamedTuple):
    """Images that were read together, with their factors stacked.

    Attributes
    ----------
    part, start : int
        Index of the part that they are from, and of their first row in it.
    values : np.ndarray
        Factors as stored, (factors of all images, embed).
    starts : np.ndarray
        Where the factors of each image begin, and where the last ones end, (images + 1,).
    grids : list of Grid
        The patches of each image.
    columns : mapping
        Everything else, by column.
    """

    part: int
    start: int
    values: Float[np.ndarray, "all embed"]
    starts: Int[np.ndarray, " images+1"]
    grids: list[Grid]
    columns: dict[str, list[Any]]

    def view(self, row: int) -> View | None:
        """Return the view of an image."""
        return view_of(*(self.columns[name][row] for name in ("size", "crop", "digest")))

    def outliers(self, row: int) -> Bool[np.ndarray, "rows columns"] | None:
        """Return which patches of an image are outliers; None if the store has no record of them."""
        kept = self.columns.get("outliers")
        return None if kept is None else outliers_of(kept[row], self.grids[row])

    def patches(self, row: int) -> slice:
        """Return where the patches of an image are in `values`."""
        first = int(self.starts[row]) + self.grids[row].first
        return slice(first, first + len(self.grids[row]))


def stream_images(parts: list[Part]) -> Iterator[Images]:
    """Yield the images of parts, in the groups in which they are read.

    Raises
    ------
    FileError
        If a part is damaged.
    """
    for number, part in enumerate(parts):
        start = 0
        for batch in part.groups(COLUMNS):
            values, starts = part.values(batch)
            with part.errors():
                rest = batch.drop_columns(["values"]).to_pydict()
                grids = [Grid(*one) for one in zip(rest["rows"], rest["columns"], rest["first"], strict=True)]
                for grid, count in zip(grids, np.diff(starts), strict=True):
                    if grid.first < 0 or len(grid) < 1 or grid.first + len(grid) > count:
                        raise ValueError(f"an image has {count} factors for {len(grid)} patches")
            yield Images(number, start, values, starts, grids, rest)
            start += len(grids)


def strongest(
    images: Iterator[Images], query: Float[np.ndarray, " embed"], top: int, by: str, known: Any
) -> list[Match]:
    """Return the images that respond most strongly to a phrase, strongest first; see `Store.find`.

    Parameters
    ----------
    images : iterator of Images
        All images.
    query : np.ndarray
        The phrase's factors, summed.
    top : int
        How many to return at most.
    by : {"patch", "image"}
        Whether the strongest patch counts or the sum of all patches.
    known : callable
        Takes a part, a row and an id, and returns whether the row is the one that counts for the id.
    """
    best: list[tuple[float, int, Match]] = []
    seen = 0
    for some in images:
        heats = responses(some, query)
        values = _by_image(heats, some, np.maximum if by == "patch" else np.add)
        # Look only at those that may still be among the best.
        least = best[0][0] if len(best) == top else -np.inf
        for row in np.flatnonzero(values > least):
            value, key = float(values[row]), some.columns["id"][row]
            if (len(best) == top and value <= best[0][0]) or not known(some.part, some.start + row, key):
                continue
            found = _match(some, int(row), value, heats)
            heapq.heappush(best, (value, -seen - int(row), found))
            if len(best) > top:
                heapq.heappop(best)
        seen += len(values)
    return [match for _, _, match in sorted(best, key=lambda one: one[:2], reverse=True)]


def heat_maps(
    images: Iterator[Images], query: Float[np.ndarray, " embed"], known: Any
) -> Iterator[tuple[str, Float[np.ndarray, "rows columns"]]]:
    """Yield the id and the heat map of each image; see `Store.heats` and, for the arguments, `strongest`."""
    for some in images:
        heats = responses(some, query)
        for row, (key, grid) in enumerate(zip(some.columns["id"], some.grids, strict=True)):
            if known(some.part, some.start + row, key):
                yield key, heats[some.patches(row)].reshape(grid.rows, grid.columns)


HALF_TO_SINGLE = 2.0**112
"""Ratio of the smallest normal numbers of float16 and float32."""

ROWS_A_BLOCK = 2048
"""Rows that are widened at a time: 4 MB at 512 dimensions, which stay in the processor's cache."""


def responses(images: Images, query: Float[np.ndarray, " embed"]) -> Float[np.ndarray, " all"]:
    """Return the products of the factors of images with a phrase's.

    Raises
    ------
    ParameterError
        If the phrase's have another number of dimensions.
    """
    width = images.values.shape[1]
    if len(query) != width:
        raise ParameterError(
            f"the phrase's factors have {len(query)} dimensions, and the store's {width}; expected factors "
            "by the same model"
        )
    return products(images.values, query)


def products(
    values: Float[np.ndarray, "all embed"], query: Float[np.ndarray, " embed"]
) -> Float[np.ndarray, " all"]:
    """Return the products of factors with a phrase's, in float32.

    The bits of a float16, moved to their places in a float32, are the same number up to a power of two, by
    which the query is multiplied. That is exact, and several times faster than NumPy's own conversion.

    Examples
    --------
    >>> products(np.array([[0.5, -2.0]], np.float16), np.array([1, 3], np.float32))
    array([-5.5], dtype=float32)
    """
    if values.dtype != np.float16:
        found: np.ndarray = values.astype(np.float32, copy=False) @ query
        return found
    bits = values.view(np.int16)
    scaled = query * np.float32(HALF_TO_SINGLE)
    found = np.empty(len(values), np.float32)
    block = np.empty((min(ROWS_A_BLOCK, len(values)), values.shape[1]), np.int32)
    for start in range(0, len(values), ROWS_A_BLOCK):
        some = bits[start : start + ROWS_A_BLOCK]
        wide = block[: len(some)]
        np.copyto(wide, some)  # the sign bit fills the upper half,
        np.left_shift(wide, 13, out=wide)
        np.bitwise_and(wide, np.int32(-0x70002000), out=wide)  # of which only one bit is left
        found[start : start + ROWS_A_BLOCK] = wide.view(np.float32) @ scaled
    return found


def _by_image(
    of_rows: Float[np.ndarray, "all ..."], images: Images, function: np.ufunc
) -> Float[np.ndarray, "images ..."]:
    """Reduce the values of each image's patches with a function."""
    ends = [images.patches(row) for row in range(len(images.grids))]
    edges = np.array([(one.start, one.stop) for one in ends]).ravel()
    padded = np.concatenate([of_rows, np.zeros_like(of_rows[:1])])  # `reduceat` takes no edge at the end
    found: np.ndarray = function.reduceat(padded, edges)[::2]
    return found


def _match(images: Images, row: int, value: float, heats: Float[np.ndarray, " all"]) -> Match:
    grid = images.grids[row]
    flat = heats[images.patches(row)]
    size = grid.rows, grid.columns
    peak = int(flat.argmax())
    region = np.zeros(len(flat), bool)
    region[peak] = True
    region[grow(peak, size, lambda patch: bool(flat[patch] >= HALF * flat[peak] > 0))] = True
    view, box = images.view(row), None
    if view is not None:
        edges = patch_boxes(view, size)[region.reshape(size)]
        (left, top), (right, bottom) = edges[:, :2].min(0).tolist(), edges[:, 2:].max(0).tolist()
        box = (left, top, right, bottom)
    return Match(images.columns["id"][row], value, flat.reshape(size).copy(), region.reshape(size), box)


class Sums(NamedTuple):
    """Sums of the factors of each image: over its patches, and over its other tokens."""

    patches: Float[np.ndarray, "images embed"]
    others: Float[np.ndarray, "images embed"]


def sums_of(images: Images) -> Sums:
    """Return the sums of the factors of each image."""
    values = images.values.astype(np.float32)
    everything: np.ndarray = np.add.reduceat(values, images.starts[:-1])
    of_patches = _by_image(values, images, np.add)
    return Sums(of_patches, everything - of_patches)


def special_share(
    text: Float[np.ndarray, "rows embed"],
    is_word: Bool[np.ndarray, " rows"],
    patches: Float[np.ndarray, " embed"],
    others: Float[np.ndarray, " embed"],
) -> float:
    """Return the share of the interactions that special tokens carry, in the caption or in the image.

    It compares two magnitudes: of the sum over all words and patches, and of the sum over all other pairs.

    Examples
    --------
    >>> one = np.ones(1)
    >>> special_share(np.array([[1.0], [2.0]]), np.array([False, True]), 2 * one, one)
    0.555...
    """
    words = text[is_word].sum(0)
    of_words = float(words @ patches)
    of_specials = float((text.sum(0) - words) @ patches + text.sum(0) @ others)
    return share_of(of_specials, of_words)


def outlier_share(words: Float[np.ndarray, " patches"], outliers: Bool[np.ndarray, " patches"]) -> float:
    """Return the share of all words' interactions that outlier patches carry.

    It compares two magnitudes: of the sum over outlier patches, and of the sum over all others.

    Examples
    --------
    >>> outlier_share(np.array([3.0, -1.0, 2.0]), np.array([True, False, False]))
    0.75
    """
    return share_of(float(words[outliers].sum()), float(words[~outliers].sum()))


def share_of(part: float, rest: float) -> float:
    """Return the share of a part in a whole, by magnitudes; 0 if there is nothing.

    Examples
    --------
    >>> share_of(-1.0, 3.0)
    0.25
    """
    whole = abs(part) + abs(rest)
    return abs(part) / whole if whole else 0.0


def off_box(
    heat: Float[np.ndarray, "rows columns"], boxes: list[tuple[float, ...]], view: View
) -> float | None:
    """Return the share of a heat map's positive part outside boxes, or None if the model saw none of them.

    Examples
    --------
    >>> off_box(np.array([[3.0, 1.0]]), [(0, 0, 4, 4)], View((8, 4)))
    0.25
    """
    rows, columns = heat.shape
    inside = cover(mask_of_boxes(boxes, view.size), view.crop, (rows, columns))
    positive = heat.clip(min=0).astype(np.float64)
    total = positive.sum()
    if not inside.any():
        return None
    return float(1 - (positive * inside).sum() / total) if total else 1.0
