"""Rankings: what a gallery shows of a store, in the order of a question, each tile with its heat map."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..errors import ParameterError
from ..explainer import Explainer
from ..results.factors import Factors
from ..results.interactions import Interactions, interactions_of
from ..results.rows import Tokens
from ..results.selection import Rows, select_rows
from ..store import Head, Ranked, Store
from ..store.asking import share_of

ORDERS = ("set", "match", "foils", "off_box", "special", "outlier")
"""In what order a gallery shows pairs: that of the set; how strongly a region speaks to the phrase; by how
much a foil wins; which share of a phrase's heat lies off its boxes; which share special tokens carry; which
share outlier patches carry."""

NOTHING = {
    "set": "The store has no images.",
    "match": "The store has no images.",
    "foils": "No caption of this store has a foil.",
    "off_box": "No caption of this store has phrases with boxes.",
    "special": "No caption of this store has its image there.",
    "outlier": "No caption of this store has its image there.",
}
"""What is said if an order has nothing to show."""

Check = Callable[[int, int], None]
"""Is called on the way with how many images are done and how many there are; what it raises ends the work."""


@dataclass(frozen=True, eq=False)
class Query:
    """What a gallery is asked.

    Attributes
    ----------
    order : str
        One of `ORDERS`.
    phrase : Factors or None
        Of the caption that is asked of all images.
    rows : tuple of int
        Which of its rows count; all words if there are none.
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
        Its pair and value. The caption's id is empty if the tile shows the phrase that was asked, or if its
        image has no caption; the value is NaN in the order of the set.
    heat : np.ndarray or None
        The heat map, float16, (rows, columns), if it was computed for the ranking.
    """

    ranked: Ranked
    heat: Float[np.ndarray, "rows columns"] | None = None


@dataclass(frozen=True, eq=False)
class Ranking:
    """The tiles of a gallery in the order that was asked.

    Attributes
    ----------
    query : Query
        What was asked.
    entries : list of Entry
        The tiles.
    end : float or None
        The end of the scale of heat that all tiles share; None if each has its own.
    """

    query: Query
    entries: list[Entry]
    end: float | None = None


class StoreImages:
    """A store as a gallery shows it.

    Parameters
    ----------
    store : Store
        The store.
    explainer : Explainer, optional
        What the store was made by; with it any phrase can be asked.

    Attributes
    ----------
    orders : tuple of str
        What of `ORDERS` can be asked.
    count : int
        How many images there are.
    texts : dict
        The captions by their ids, foils included.
    views : dict
        What the model saw of each image, by its id.
    first_captions : dict
        Id of the first caption of each image.

    Raises
    ------
    ParameterError
        If the explainer makes other factors than those in the store.
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

    # ---------------------------------------------------------------------------------------- what is asked

    def read(self, before: Query, changes: Mapping[str, Any]) -> Query:
        """Return a query with some changes: of `phrase`, `words` and `order`.

        A new phrase asks all images for it, unless another order is asked with it.

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
                raise ParameterError(f"words={words!r:.80} need a phrase; ask one first")
            rows = select_rows(tokens, words)
            rows = () if rows == select_rows(tokens, None) else rows
        order = changes.get("order", order)
        if order not in ORDERS:
            raise ParameterError(f"order={order!r:.40}; expected one of {', '.join(map(repr, ORDERS))}")
        if order == "match" and phrase is None:
            raise ParameterError("order='match' needs a phrase; ask one first")
        return Query(order, phrase, rows)

    def _phrase(self, text: object) -> tuple[Factors, Rows]:
        if not isinstance(text, str):
            raise ParameterError(f"phrase is a {type(text).__name__}; expected text")
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
            f"phrase {text!r:.80} is no caption of the store, and in none of them; expected words of one. To "
            "ask any phrase, make the gallery with explainer=Explainer(model)"
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
        """Return the answer to a question that no phrase changes; each is asked of the store once."""
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
        """Return the heat map of a tile; None if it has neither a phrase nor a caption.

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
        """Return the interactions of a tile's pair, and of its foil if the order is about it.

        Raises
        ------
        ParameterError
            If there is neither a phrase nor a caption.
        FileError
            If a part of the store is damaged.
        """
        image = self.store.image_factors(ranked.image_id)
        keys = [key for key in (ranked.caption_id, ranked.foil_id) if key]
        texts = [self.store.text_factors(key) for key in keys]
        if not texts and query.phrase is not None:
            texts = [query.phrase]
        if not texts:
            raise ParameterError(f"image {ranked.image_id!r:.80} has no caption; ask a phrase first")
        table = interactions_of(texts, [image])
        assert isinstance(table, list)
        return [row[0] for row in table]


class ResultImages:
    """Results as a gallery shows them: in their order, or by what special tokens carry.

    It has what a gallery uses of `StoreImages`. Results hold no factors, so no phrase can be asked of all.

    Parameters
    ----------
    results : sequence of Interactions
        The results. Their ids are their numbers, from "0" on.
    """

    orders = ("set", "special")

    def __init__(self, results: Sequence[Interactions]) -> None:
        self._results = {str(number): result for number, result in enumerate(results)}
        self.count = len(results)
        self.texts = {key: result.caption for key, result in self._results.items()}
        self.views = {key: result.view for key, result in self._results.items()}
        self.first_captions = {key: key for key in self._results}

    def read(self, before: Query, changes: Mapping[str, Any]) -> Query:
        """Return a query with another order.

        Raises
        ------
        ParameterError
            If something else is asked.
        """
        for name in ("phrase", "words"):
            if changes.get(name):
                raise ParameterError(
                    f"{name}={changes[name]!r:.80} cannot be asked of results, which hold no factors; "
                    "expected a gallery of a store, such as write_store makes"
                )
        order = changes.get("order", before.order)
        if order not in self.orders:
            raise ParameterError(f"order={order!r:.40}; expected 'set' or 'special' of results")
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
            If the result has numbers that are not finite.
        """
        return self._results[entry.ranked.image_id].heat()

    def results(self, query: Query, ranked: Ranked) -> list[Interactions]:
        """Return the result of a tile."""
        del query
        return [self._results[ranked.image_id]]


def _special_share(result: Interactions) -> float:
    """Return which share of a result's interactions special tokens carry, as `Store.special_shares` does."""
    of_words = float(result.values[np.array(result.words) >= 0].sum())
    of_specials = float(result.values.sum() + result.cls.sum()) - of_words
    return share_of(of_specials, of_words)


def _rows_in(tokens: Tokens, span: tuple[int, int]) -> Rows:
    """Return the rows of words that overlap a part of the caption."""
    words = {
        word
        for word, place in zip(tokens.words, tokens.spans, strict=True)
        if word >= 0 and place is not None and place[0] < span[1] and span[0] < place[1]
    }
    return tuple(row for row, word in enumerate(tokens.words) if word in words)
