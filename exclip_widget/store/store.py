"""Querying a store: interactions of any pair, regions that respond to a phrase, pairs that go wrong."""

from __future__ import annotations

import heapq
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..checks import whole_number
from ..datasets.reading import path_of
from ..errors import ParameterError, named_type
from ..results.factors import Factors
from ..results.interactions import Interactions, interactions_of
from ..results.origin import View
from ..results.rows import Tokens
from ..results.selection import Words, select_rows
from .asking import (
    Images,
    Match,
    Ranked,
    heat_maps,
    off_box,
    outlier_share,
    special_share,
    stream_images,
    strongest,
    sums_of,
)
from .head import read_head
from .parts import parts_of, require_pyarrow, view_of

GROUPS_KEPT = 2
"""Groups of captions to cache: those of neighbouring images are mostly in one group."""


@dataclass(frozen=True)
class _Place:
    """Where a row is: the part, and the row in it."""

    part: int
    row: int


class Store:
    """A store of factors, opened for queries. Needs neither torch nor the model.

    Parameters
    ----------
    path : path
        Its folder.

    Raises
    ------
    FileError
        If there is no store, or it is damaged, in another format, or from a later version.
    MissingLibraryError
        If pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from exclip_widget import Explainer, demo, write_store
    >>> from exclip_widget.datasets import Pair
    >>> book = demo.load()
    >>> pairs = [Pair(str(n), str(n), page.image, page.caption) for n, page in enumerate(book.pages)]
    >>> folder = tempfile.mkdtemp()
    >>> store = write_store(folder, Explainer(book.model, tokenizer=book.tokenizer, method="exclip"), pairs)
    >>> store
    Store(5 captions and 5 images by 'exclip', float16)
    >>> store.interactions("0", "0")
    Interactions('a red boat left of two yellow fish': 10 tokens x 12 x 12 patches, similarity ...)
    >>> store.find("0", "yellow fish", top=1)
    [Match(...)]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        require_pyarrow()
        self.folder = path_of(path)
        self.head = read_head(self.folder)
        self._caption_parts = parts_of(self.folder, "captions", self.head)
        self._image_parts = parts_of(self.folder, "images", self.head)
        self._captions: dict[str, _Place] = {}
        self._images: dict[str, _Place] = {}
        self._image_of: dict[str, str] = {}
        self._foils: dict[str, list[str]] = {}
        # A row that two writers have both written counts once.
        for number, part in enumerate(self._caption_parts):
            found = part.columns(["id", "image_id", "foil_of"])
            for row, (key, image, owner) in enumerate(zip(*found.values(), strict=True)):
                if key in self._captions:
                    continue
                self._captions[key] = _Place(number, row)
                if image is not None:
                    self._image_of[key] = image
                if owner is not None:
                    self._foils.setdefault(owner, []).append(key)
        for number, part in enumerate(self._image_parts):
            for row, key in enumerate(part.columns(["id"])["id"]):
                self._images.setdefault(key, _Place(number, row))
        self._groups: OrderedDict[tuple[int, int], list[dict[str, Any]]] = OrderedDict()

    @property
    def captions(self) -> tuple[str, ...]:
        """Ids of the captions, foils included, in the order in which they were written."""
        return tuple(self._captions)

    @property
    def images(self) -> tuple[str, ...]:
        """Ids of the images, in the order in which they were written."""
        return tuple(self._images)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Ids of the captions that are not foils, each with its image's, if both are in the store."""
        foils = {foil for of_one in self._foils.values() for foil in of_one}
        return tuple(
            (caption, image)
            for caption, image in self._image_of.items()
            if caption not in foils and image in self._images
        )

    @property
    def foils(self) -> tuple[tuple[str, str], ...]:
        """Ids of the foils, each with its caption's."""
        return tuple((foil, owner) for owner, of_one in self._foils.items() for foil in of_one)

    def texts(self) -> dict[str, str]:
        """Return the captions by their ids, foils included.

        Raises
        ------
        FileError
            If a part is damaged.
        """
        found: dict[str, str] = {}
        for part in self._caption_parts:
            columns = part.columns(["id", "caption"])
            for key, text in zip(*columns.values(), strict=True):
                found.setdefault(key, text)
        return found

    def views(self) -> dict[str, View | None]:
        """Return each image's view by its id; None for an image that was given as preprocessed pixels.

        Raises
        ------
        FileError
            If a part is damaged.
        """
        found: dict[str, View | None] = {}
        for part in self._image_parts:
            columns = part.columns(["id", "size", "crop", "digest"])
            for key, *kept in zip(*columns.values(), strict=True):
                found.setdefault(key, view_of(*kept))
        return found

    def __repr__(self) -> str:
        return (
            f"Store({len(self._captions)} captions and {len(self._images)} images by "
            f"{self.head.recipe['method']!r}, {self.head.dtype})"
        )

    # -------------------------------------------------------------- about one caption, one image or both

    def text_factors(self, caption_id: str) -> Factors:
        """Return the factors of a caption.

        Raises
        ------
        ParameterError
            If the store has no such caption.
        FileError
            If its part is damaged.
        """
        place = self._place(self._captions, caption_id, "caption")
        return self._caption_parts[place.part].factors(self._caption_row(place))

    def image_factors(self, image_id: str) -> Factors:
        """Return the factors of an image.

        Raises
        ------
        ParameterError
            If the store has no such image.
        FileError
            If its part is damaged.
        """
        place = self._place(self._images, image_id, "image")
        part = self._image_parts[place.part]
        return part.factors(part.row(place.row))

    def interactions(self, caption_id: str, image_id: str) -> Interactions:
        """Return the interactions of any caption and any image.

        The standard errors of `"banzhaf"` are not stored.

        Raises
        ------
        ParameterError
            If the store has no such caption or image.
        FileError
            If a part is damaged.
        """
        found = interactions_of(self.text_factors(caption_id), self.image_factors(image_id))
        assert isinstance(found, Interactions)
        return found

    def _place(self, places: dict[str, _Place], key: str, kind: str) -> _Place:
        if not isinstance(key, str):
            raise ParameterError(f"{key!r:.80} is {named_type(key)}; expected the id of a {kind}, a string")
        if key not in places:
            raise ParameterError(
                f"the store has no {kind} {key!r:.80}; it has {len(places)}, such as "
                f"{next(iter(places), None)!r:.80}"
            )
        return places[key]

    def _caption_row(self, place: _Place) -> dict[str, Any]:
        part = self._caption_parts[place.part]
        group, row = divmod(place.row, part.rows_a_group)
        if (place.part, group) not in self._groups:
            self._groups[place.part, group] = part.group(group)
            while len(self._groups) > GROUPS_KEPT:
                self._groups.popitem(last=False)
        self._groups.move_to_end((place.part, group))
        return self._groups[place.part, group][row]

    # --------------------------------------------------------------------------- about the whole data set

    def find(
        self, phrase: str | Factors, words: Words | None = None, *, top: int = 10, by: str = "patch"
    ) -> list[Match]:
        """Return the images whose regions respond most strongly to a phrase, strongest first.

        The search is exact: it looks at each image of the store. Factors stream through one product with the
        phrase's, so memory does not grow with the store.

        Parameters
        ----------
        phrase : str or Factors
            Id of a caption in the store, or the factors of any other, as from `Explainer.text_factors`.
        words : str, int, slice, re.Pattern, or a list of those, optional
            Which of its words, as `Interactions` takes them. By default, all.
        top : int
            How many images to return at most.
        by : {"patch", "image"}
            Whether images are ranked by their strongest patch or by the sum of all their patches.

        Raises
        ------
        ParameterError
            If there is no such caption or there are no such words, or the factors are of another method,
            reference or model, or of the same model with other weights.
        FileError
            If a part is damaged.
        """
        top = whole_number("top", top)
        if by not in ("patch", "image"):
            raise ParameterError(f"by={by!r:.40}; expected 'patch' or 'image'")
        query = self._query(phrase, words)
        return strongest(stream_images(self._image_parts), query, top, by, self._counts)

    def heats(
        self, phrase: str | Factors, words: Words | None = None
    ) -> Iterator[tuple[str, Float[np.ndarray, "rows columns"]]]:
        """Yield the id of each image and the heat map of a phrase on it, in the order of `images`.

        They are computed lazily, some images at a time, so memory does not grow with the store. Each heat
        map is a view of a larger array: copy it to keep it alone.

        Parameters
        ----------
        phrase, words
            As `find` takes them.

        Raises
        ------
        ParameterError, FileError
            As `find` does; a damaged part raises when it is reached.
        """
        query = self._query(phrase, words)
        return heat_maps(stream_images(self._image_parts), query, self._counts)

    def _query(self, phrase: str | Factors, words: Words | None) -> Float[np.ndarray, " embed"]:
        """Return the summed factors of some words."""
        factors = self.text_factors(phrase) if isinstance(phrase, str) else phrase
        self._require_same_kind(factors)
        assert isinstance(factors.rows, Tokens)
        rows = select_rows(factors.rows, words)
        query: np.ndarray = factors.values[list(rows)].sum(0).astype(np.float32)
        return query

    def _require_same_kind(self, given: object) -> None:
        if not isinstance(given, Factors) or not isinstance(given.rows, Tokens):
            raise ParameterError(
                f"phrase is {named_type(given)}; expected the id of a caption, or factors of one"
            )
        if difference := self.head.difference(given):
            name, got, ours = difference
            raise ParameterError(
                f"the phrase's factors have {name} {got!r:.60}, and the store {ours!r:.60}; expected the same"
            )

    def _counts(self, part: int, row: int, key: str) -> bool:
        """Return whether a row of an image is the one that counts, since two writers may have written it."""
        return self._images[key] == _Place(part, row)

    def foil_margins(self, *, top: int = 10) -> list[Ranked]:
        """Return the pairs whose foils win or come closest to winning, the worst first.

        The value is the foil's similarity with the image minus the caption's: the foil wins if it is
        positive.

        Parameters
        ----------
        top : int
            How many pairs to return at most.

        Raises
        ------
        FileError
            If a part is damaged.
        """

        def margins() -> Iterator[Ranked]:
            for images, row, key, captions in self._by_image():
                image = images.columns["embedding"][row]
                picture = np.frombuffer(image, "<f4")
                for caption in captions:
                    own = float(np.frombuffer(caption["embedding"], "<f4") @ picture)
                    for foil in self._foils.get(caption["id"], ()):
                        wrong = np.frombuffer(self._caption_row(self._captions[foil])["embedding"], "<f4")
                        yield Ranked(caption["id"], key, float(wrong @ picture) - own, foil_id=foil)

        return _largest(margins(), top)

    def special_shares(self, *, top: int = 10) -> list[Ranked]:
        """Return the pairs in which special tokens carry the largest share of interactions, the worst first.

        Special tokens are those of the caption, such as its end, and those of the image that are not
        patches, such as its class token. The value is from 0 to 1.

        Parameters
        ----------
        top : int
            How many pairs to return at most.

        Raises
        ------
        FileError
            If a part is damaged.
        """

        def shares() -> Iterator[Ranked]:
            last, sums = None, None
            for images, row, key, captions in self._by_image():
                if sums is None or images is not last:
                    last, sums = images, sums_of(images)
                for caption in captions:
                    text = self._factors_in(caption)
                    assert isinstance(text.rows, Tokens)
                    is_word = np.array(text.rows.words) >= 0
                    share = special_share(text.values, is_word, sums.patches[row], sums.others[row])
                    yield Ranked(caption["id"], key, share)

        return _largest(shares(), top)

    def outlier_shares(self, *, top: int = 10) -> list[Ranked]:
        """Return the pairs in which outlier patches carry the largest share of interactions, the worst first.

        Interactions here are those of words with patches. The value is from 0 to 1, and 0 if there are no
        outlier patches.

        Parameters
        ----------
        top : int
            How many pairs to return at most.

        Raises
        ------
        ParameterError
            If an image was stored without its outlier patches, by an earlier version of this package.
        FileError
            If a part is damaged.
        """

        def shares() -> Iterator[Ranked]:
            for images, row, key, captions in self._by_image():
                outliers = images.outliers(row)
                if outliers is None:
                    raise ParameterError(
                        f"the store has no record of the outlier patches of image {key!r:.80}; write it "
                        "again with this version of the package"
                    )
                patches = images.values[images.patches(row)].astype(np.float32)
                for caption in captions:
                    text = self._factors_in(caption)
                    assert isinstance(text.rows, Tokens)
                    is_word = np.array(text.rows.words) >= 0
                    share = outlier_share(patches @ text.values[is_word].sum(0), outliers.ravel())
                    yield Ranked(caption["id"], key, share)

        return _largest(shares(), top)

    def off_boxes(self, *, top: int = 10) -> list[Ranked]:
        """Return the phrases whose heat lies outside their boxes, the worst first.

        The value is the share of a phrase's positive heat that lies outside all of its boxes. Phrases
        without boxes, and those whose boxes the model does not see, are left out.

        Parameters
        ----------
        top : int
            How many phrases to return at most.

        Raises
        ------
        FileError
            If a part is damaged.
        """

        def shares() -> Iterator[Ranked]:
            for images, row, key, captions in self._by_image():
                view, grid = images.view(row), images.grids[row]
                if view is None:
                    continue
                patches = images.values[images.patches(row)].astype(np.float32)
                for caption in captions:
                    text = self._factors_in(caption)
                    assert isinstance(text.rows, Tokens)
                    for phrase in caption["phrases"]:
                        start, end = phrase["start"], phrase["end"]
                        rows = [
                            token
                            for token, span in enumerate(text.rows.spans)
                            if span is not None and start <= span[0] and span[1] <= end
                        ]
                        heat = (patches @ text.values[rows].sum(0)).reshape(grid.rows, grid.columns)
                        boxes = _boxes(phrase["boxes"])
                        share = off_box(heat, boxes, view) if rows else None
                        if share is not None:
                            yield Ranked(
                                caption["id"],
                                key,
                                share,
                                caption["caption"][start:end],
                                tuple(rows),
                                boxes=tuple(boxes),
                                span=(start, end),
                            )

        return _largest(shares(), top)

    def _by_image(self) -> Iterator[tuple[Images, int, str, list[dict[str, Any]]]]:
        """Yield each image of a pair with the rows of its captions."""
        captions: dict[str, list[str]] = {}
        for caption, image in self.pairs:
            captions.setdefault(image, []).append(caption)
        for images in stream_images(self._image_parts):
            for row, key in enumerate(images.columns["id"]):
                if key in captions and self._counts(images.part, images.start + row, key):
                    rows = [self._caption_row(self._captions[one]) for one in captions[key]]
                    yield images, row, key, rows

    def _factors_in(self, caption: dict[str, Any]) -> Factors:
        place = self._captions[caption["id"]]
        return self._caption_parts[place.part].factors(caption)


def _largest(ranked: Iterator[Ranked], top: int) -> list[Ranked]:
    """Return the `top` largest by value; among equal ones, those that come first."""
    return heapq.nlargest(whole_number("top", top), ranked, key=lambda one: one.value)


def _boxes(edges: list[float]) -> list[tuple[float, ...]]:
    return [tuple(edges[at : at + 4]) for at in range(0, len(edges), 4)]
