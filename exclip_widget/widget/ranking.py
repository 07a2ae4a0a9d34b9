"""Rankings: the tiles that a gallery shows for a query, in order and with their heat maps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..errors import ParameterError, named_type
from ..explainer import Explainer
from ..results.factors import Factors
from ..results.interactions import Interactions, interactions_of
from ..results.rows import Tokens
from ..results.selection import Rows, select_rows
from ..store import Head, Ranked, Store
from ..store.asking import share_of
from .request import require_short

ORDERS = ("set", "match", "foils", "off_box", "special", "outlier")
"""What a gallery can sort pairs by: their order in the data set; how strongly the phrase interacts with the
image's strongest patch; the margin by which a foil wins; the share of a phrase's heat outside its boxes; the
share that special tokens carry; the share that outlier patches carry."""

NOTHING = {
    "set": "The store has no images.",
    "match": "The store has no images.",
    "foils": "No caption of this store has a foil.",
    "off_box": "No caption of this store has phrases with boxes.",
    "special": "No caption in this store has its image in it.",
    "outlier": "No caption in this store has its image in it.",
}
"""Message to show if there are no tiles in an order."""

Check = Callable[[int, int], None]
"""Called during ranking with the number of images done and the total. An exception from it ends the work."""


@dataclass(frozen=True, eq=False)
class Query:
    """What a gallery is asked to show.

    Attributes
    ----------
    order : str
        One of `ORDERS`.
    phrase : Factors or None
        Factors of the caption that all images are searched for.
    rows : tuple of int
        Which of its rows count; all words if empty.
    """

    order: str = "set"
    phrase: Factors | None = None
    rows: Rows = ()

    @property
    def tokens(self) -> Tokens | None:
        """The tokens of the phrase."""
        rows = None if self.phrase is None else self.phrase.rows
        assert rows is None or isinstance(rows, Tokens)
        return rows


@dataclass(frozen=True, eq=False)
class Entry:
    """A tile of a gallery.

    Attributes
    ----------
    ranked : Ranked
        Its pair and value. The caption's id is empty if the tile shows the phrase that was searched for, or
        if its image has no caption. In the order `"set"`, the value is NaN.
    heat : np.ndarray or None
        The heat map, float16, (rows, columns), if it was computed for the ranking.
    """

    ranked: Ranked
    heat: Float[np.ndarray, "rows columns"] | None = None


@dataclass(frozen=True, eq=False)
class Ranking:
    """The tiles of a gallery in the order that a query asks for.

    Attributes
    ----------
    query : Query
        The query.
    entries : list of Entry
        The tiles.
    end : float or None
        The upper end of the colour scale that all tiles share; None if each has its own.
    """

    query: Query
    entries: list[Entry]
    end: float | None = None


class StoreImages:
    """The images of a store, as a gallery shows them.

    Parameters
    ----------
    store : Store
        The store.
    explainer : Explainer, optional
        The explainer that made the store; with it, any phrase can be searched for.

    Attributes
    ----------
    orders : tuple of str
        The `ORDERS` that are supported.
    count : int
        Number of images.
    texts : dict
        Captions by id, foils included.
    views : dict
        What the model saw of each image, by image id.
    first_captions : dict
        Id of each image's first caption.

    Raises
    ------
    ParameterError
        If the explainer would make different factors from those in the store.
    FileError
        If a part of the store is damaged.
    """

    orders = ORDERS

    def __init__(self, store: Store, explainer: Explainer | None) -> None:
        if explainer is not None:
            wanted = Head(explainer.recipe(), store.head.dtype)
            store.head.require_same(wanted, f"store {str(store.folder)!r:.200}")
        self.store = store
        self.count = len(store.images)
        self.explainer = explainer
        self.texts = store.texts()
        self.views = store.views()
        self.first_captions: dict[str, str] = {}
        for caption, image in store.pairs:
            self.first_captions.setdefault(image, caption)
        self._asked: dict[str, list[Ranked]] = {}

    # ---------------------------------------------------------------------------------------------- queries

    def read(self, before: Query, changes: Mapping[str, Any]) -> Query:
        """Return a query with changes to `phrase`, `words` or `order`.

        A new phrase also sets the order to `"match"`, unless the changes include another order.

        Raises
        ------
        CaptionError, ParameterError
            If one of them cannot be used.
        """
        order, phrase, rows = before.order, before.phrase, before.rows
        if "phrase" in changes:
            text = changes["phrase"]
            if text is None or text == "":
                phrase, rows, order = None, (), "set" if order == "match" else order
            else:
                phrase, rows = self._phrase(text)
                order = "match"
        tokens = Query(order, phrase).tokens
        words = changes.get("words")
        if words is None or (isinstance(words, (list, tuple)) and not words):
            rows = () if "words" in changes else rows
        else:
            if tokens is None:
                raise ParameterError(f"words={words!r:.80} need a phrase; set one first")
            rows = select_rows(tokens, words)
            rows = () if rows == select_rows(tokens, None) else rows
        order = changes.get("order", order)
        if not isinstance(order, str) or order not in ORDERS:
            raise ParameterError(f"order={order!r:.40}; expected one of {', '.join(map(repr, ORDERS))}")
        if order == "match" and phrase is None:
            raise ParameterError("order='match' needs a phrase; set one first")
        return Query(order, phrase, rows)

    def _phrase(self, text: object) -> tuple[Factors, Rows]:
        if not isinstance(text, str):
            raise ParameterError(f"phrase is {named_type(text)}; expected text")
        require_short(text, "phrase")
        if self.explainer is not None:
            return self.explainer.text_factors(text), ()
        for key, caption in self.texts.items():
            if caption == text:
                return self.store.text_factors(key), ()
        words = re.compile(rf"(?<!\w){re.escape(text.strip())}(?!\w)", re.IGNORECASE)
        for key, caption in self.texts.items():
            if found := words.search(caption):
                factors = self.store.text_factors(key)
                assert isinstance(factors.rows, Tokens)
                return factors, _rows_in(factors.rows, found.span())
        raise ParameterError(
            f"phrase {text!r:.80} is not a caption of the store, nor words of one; expected either. To "
            "search for any phrase, make the gallery with explainer=Explainer(model)"
        )

    # ------------------------------------------------------------------------------------------- the order

    def rank(self, query: Query, check: Check) -> Ranking:
        """Return all tiles in the order that a query asks for.

        Raises
        ------
        FileError
            If a part of the store is damaged.
        """
        if query.order == "match":
            return self._rank_by_match(query, check)
        if query.order == "set":
            captions = self.first_captions
            found = [Ranked(captions.get(key, ""), key, np.nan) for key in self.store.images]
        else:
            found = self._answer(query.order)
        return Ranking(query, [Entry(one) for one in found])

    def _rank_by_match(self, query: Query, check: Check) -> Ranking:
        assert query.phrase is not None
        entries, end = [], 0.0
        for done, (key, heat) in enumerate(self.store.heats(query.phrase, list(query.rows) or None)):
            if done % 64 == 0:
                check(done, self.count)
            end = max(end, float(np.abs(heat).max()))
            entries.append(Entry(Ranked("", key, float(heat.max())), heat.astype(np.float16)))
        entries.sort(key=lambda entry: -entry.ranked.value)
        return Ranking(query, entries, end)

    def _answer(self, order: str) -> list[Ranked]:
        """Return the store's pairs in an order that does not depend on the phrase, computed only once."""
        if order not in self._asked:
            question = {
                "foils": self.store.foil_margins,
                "off_box": self.store.off_boxes,
                "special": self.store.special_shares,
                "outlier": self.store.outlier_shares,
            }[order]
            self._asked[order] = question(top=2**62)
        return self._asked[order]

    # -------------------------------------------------------------------------------------------- one tile

    def heat(self, entry: Entry) -> Float[np.ndarray, "rows columns"] | None:
        """Return the heat map of a tile, or None if it has neither a phrase nor a caption.

        Raises
        ------
        FileError
            If a part of the store is damaged.
        """
        ranked = entry.ranked
        if entry.heat is not None or not ranked.caption_id:
            return entry.heat
        result = self.store.interactions(ranked.caption_id, ranked.image_id)
        return result.heat(list(ranked.rows) or None)

    def results(self, query: Query, ranked: Ranked) -> list[Interactions]:
        """Return the interactions of a tile's pair, and of its foil if the order is about foils.

        Raises
        ------
        ParameterError
            If the tile has neither a phrase nor a caption.
        FileError
            If a part of the store is damaged.
        """
        image = self.store.image_factors(ranked.image_id)
        keys = [key for key in (ranked.caption_id, ranked.foil_id) if key]
        texts = [self.store.text_factors(key) for key in keys]
        if not texts and query.phrase is not None:
            texts = [query.phrase]
        if not texts:
            raise ParameterError(f"image {ranked.image_id!r:.80} has no caption; set a phrase first")
        table = interactions_of(texts, [image])
        assert isinstance(table, list)
        return [row[0] for row in table]


class ResultImages:
    """A list of results, as a gallery shows them: in their own order, or by the share of special tokens.

    Provides the part of `StoreImages` that a gallery uses. Results contain no factors, so they cannot be
    searched for a phrase.

    Parameters
    ----------
    results : sequence of tuples of Interactions
        The results, each followed by that of its foil if there is one. Their ids are "0", "1", and so on.
    """

    orders = ("set", "special")

    def __init__(self, results: Sequence[tuple[Interactions, ...]]) -> None:
        self._with_foils = {str(number): found for number, found in enumerate(results)}
        self._results = {key: result for key, (result, *_) in self._with_foils.items()}
        self.count = len(results)
        self.texts = {key: result.caption for key, result in self._results.items()}
        self.views = {key: result.view for key, result in self._results.items()}
        self.first_captions = {key: key for key in self._results}

    def read(self, before: Query, changes: Mapping[str, Any]) -> Query:
        """Return a query with another order.

        Raises
        ------
        ParameterError
            If any other change is asked for, or the order is not supported.
        """
        for name in ("phrase", "words"):
            given = changes.get(name)
            if not (given is None or (isinstance(given, (str, list, tuple)) and not given)):
                raise ParameterError(
                    f"{name}={given!r:.80} cannot be used with results, which contain no factors; "
                    "expected a gallery of a store, such as write_store makes"
                )
        order = changes.get("order", before.order)
        if not isinstance(order, str) or order not in self.orders:
            raise ParameterError(f"order={order!r:.40}; expected 'set' or 'special' for results")
        return Query(order)

    def rank(self, query: Query, check: Check) -> Ranking:
        """Return all tiles in the order that a query asks for."""
        del check
        found = [Ranked(key, key, np.nan) for key in self._results]
        if query.order == "special":
            found = [Ranked(key, key, _special_share(result)) for key, result in self._results.items()]
            found.sort(key=lambda ranked: -ranked.value)
        return Ranking(query, [Entry(one) for one in found])

    def heat(self, entry: Entry) -> Float[np.ndarray, "rows columns"]:
        """Return the heat map of a tile.

        Raises
        ------
        ParameterError
            If the result contains numbers that are not finite.
        """
        return self._results[entry.ranked.image_id].heat()

    def results(self, query: Query, ranked: Ranked) -> list[Interactions]:
        """Return the result of a tile, followed by that of its foil if there is one."""
        del query
        return list(self._with_foils[ranked.image_id])


def _special_share(result: Interactions) -> float:
    """Return the share of a result's interactions that special tokens carry, as in `Store.special_shares`."""
    of_words = float(result.values[np.array(result.words) >= 0].sum())
    of_specials = float(result.values.sum() + result.cls.sum()) - of_words
    return share_of(of_specials, of_words)


def _rows_in(tokens: Tokens, span: tuple[int, int]) -> Rows:
    """Return the rows of the words that overlap a span of the caption."""
    words = {
        word
        for word, place in zip(tokens.words, tokens.spans, strict=True)
        if word >= 0 and place is not None and place[0] < span[1] and span[0] < place[1]
    }
    return tuple(row for row, word in enumerate(tokens.words) if word in words)
