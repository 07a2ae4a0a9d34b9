"""The gallery: searches every image of a data set for a phrase. See also `gallery_session`."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from itertools import chain, islice
from typing import Any

import traitlets

from ..checks import whole_number
from ..datasets import Pair
from ..errors import ParameterError, named_type
from ..explainer import Explainer
from ..filling import write_store
from ..image import ImageLike
from ..methods.batches import naming
from ..results.interactions import Interactions, require_comparable
from ..results.page import Shown, read_shown
from ..results.shown import require_result
from ..store import Ranked, Store
from .gallery_protocol import Ask, Open, Window, read_changes, read_message
from .gallery_session import GallerySession
from .protocol import Join
from .ranking import Query, ResultImages, StoreImages
from .session import FIRST_ID
from .sync import SyncedWidget
from .thumbnails import Pictures, Thumbnails
from .traits import InputTrait
from .widget import EXIT_TIMEOUT, ExplainWidget

STATIC = resources.files(__package__) / "static"

CHANGEABLE = ("phrase", "words", "order")

MOST_SUGGESTIONS = 200
"""Largest number of captions suggested while a phrase is typed."""


class ExplainGallery(SyncedWidget):
    """Shows a data set as tiles, each an image with its heat map, and ranks them by a phrase or a measure.

    Type a phrase, or choose one of the captions, to search all images at once. Click a tile to explore its
    pair in a full widget. Tiles are rendered only when they are scrolled into view.

    Parameters
    ----------
    data : Store, path of one, iterable of Pair, or of tuples of Interactions, its image and its foil's result
        What to show. Pairs are first explained into a store in a temporary folder, which needs an
        `explainer`; for a large data set, make a permanent store with `write_store`. Results come with their
        images, and optionally with the result of a foil, which is shown in the opened pair. They cannot be
        searched for a phrase, and support only the orders `"set"` and `"special"`.
    explainer : Explainer, optional
        The explainer that made the store. With it, you can search for any phrase; without it, only for the
        store's captions and words from them.
    images : path, mapping or callable
        Where to find the pictures of a store, which contains none itself: a folder whose files are named
        after the image ids, with or without a suffix; a mapping from ids to images; or a function from an id
        to an image. Pairs come with their own.
    phrase : str, optional
        The first phrase to search for.
    order : {"set", "match", "foils", "off_box", "special", "outlier"}, optional
        The initial order of the tiles. By default `"match"` if there is a phrase, and `"set"` otherwise.

    Attributes
    ----------
    phrase : str
        The phrase to search for; empty if there is none. Setting this or either of the next two attributes
        starts a new search; a new phrase also sets the order to `"match"`. If a value cannot be used,
        setting it raises an error and nothing changes.
    words : list of int
        Which tokens of the phrase count; empty for all words. Accepts any selection of words that
        `Interactions` does: a phrase, an index, a slice, a regular expression, a list.
    order : str
        What tiles are sorted by. `"match"`: how strongly the image's strongest patch interacts with the
        phrase. `"foils"`: the margin by which a pair's foil beats its caption. `"off_box"`: the share of a
        phrase's heat that lies outside its boxes. `"special"`: the share that special tokens carry.
        `"outlier"`: the share that outlier patches carry. `"set"`: the order of the store. In every order
        but `"match"`, each tile shows the heat of its own caption or phrase.
    store : Store or None
        The store that is searched; None for results.

    Raises
    ------
    ParameterError
        If an argument cannot be used, or the explainer would make different factors from the store's.
    CaptionError
        If the model cannot take the phrase.
    FileError
        If the store does not exist, or is damaged.
    MissingLibraryError
        If pyarrow is not installed.

    Examples
    --------
    >>> from exclip_widget import Explainer, demo
    >>> from exclip_widget.datasets import Pair
    >>> book = demo.load()
    >>> pairs = [Pair(str(n), str(n), page.image, page.caption) for n, page in enumerate(book.pages)]
    >>> explainer = Explainer(book.model, tokenizer=book.tokenizer, method="exclip")
    >>> gallery = ExplainGallery(pairs, explainer, phrase="yellow fish")
    >>> len(gallery.wait())
    5
    >>> gallery.order = "special"
    >>> gallery.wait()[0].caption_id
    '4'
    >>> gallery.close()
    """

    phrase = InputTrait("").tag(sync=True)
    words = InputTrait([]).tag(sync=True)
    order = InputTrait("set").tag(sync=True)

    _any_phrase = traitlets.Bool(False).tag(sync=True)
    _orders = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _suggestions = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _tokens = traitlets.List(traitlets.Dict()).tag(sync=True)
    _count = traitlets.Int(0).tag(sync=True)
    _end = traitlets.Float(None, allow_none=True).tag(sync=True)
    _request = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        data: Store | str | os.PathLike[str] | Iterable[Pair] | Iterable[Shown],
        explainer: Explainer | None = None,
        *,
        images: Pictures | None = None,
        phrase: str | None = None,
        order: str | None = None,
    ) -> None:
        given: object = explainer
        if given is not None and not isinstance(given, Explainer):
            raise ParameterError(
                f"explainer is {named_type(given)}; expected an Explainer, such as Explainer(model)"
            )
        shown, pictures = _opened(data, explainer, images)
        self.store = shown.store if isinstance(shown, StoreImages) else None
        asked = {"phrase": phrase, "order": order}
        query = shown.read(Query(), {name: value for name, value in asked.items() if value is not None})
        suggestions = list(dict.fromkeys(shown.texts.values()))[:MOST_SUGGESTIONS]
        # Pass text, not a path: anywidget would watch a file, and the watch would keep every widget alive.
        self._esm = (STATIC / "gallery.js").read_text("utf-8")
        self._css = (STATIC / "gallery.css").read_text("utf-8")
        super().__init__(
            _any_phrase=explainer is not None,
            _orders=list(shown.orders),
            _suggestions=suggestions,
            _request={"id": FIRST_ID, "phase": "computing", "message": "", "shown": 0},
        )
        self.session = GallerySession(shown, Thumbnails(pictures), query, self)
        with self.transaction():
            self.publish(**self.session.traits_of(query))
        self.on_msg(self._receive)
        # This also runs when the interpreter exits, which must not happen in the middle of a computation.
        weakref.finalize(self, self.session.worker.stop, EXIT_TIMEOUT)
        self.session.start()

    def wait(self, timeout: float | None = None) -> list[Ranked]:
        """Block until the newest ranking is ready, and return its pairs.

        The caption's id is empty if the tile shows the phrase that was searched for. In the order `"set"`,
        every value is NaN.

        Raises
        ------
        TimeoutError
            After `timeout` seconds.
        ExclipError
            If a part of the store cannot be read, or the gallery was closed first.
        """
        return self.session.wait(timeout)

    def open_pair(self, tile: int) -> ExplainWidget:
        """Return a separate `ExplainWidget` that shows the pair of a tile.

        Parameters
        ----------
        tile : int
            Its position in the current order, from 0.

        Raises
        ------
        ParameterError
            If there is no such tile, or it has neither a phrase nor a caption.
        ImageError
            If the picture is missing, or its size differs from that of the image that was explained.
        FileError
            If a part of the store is damaged.
        """
        tile = whole_number("tile", tile, least=0)
        count = len(self.wait())
        if tile >= count:
            expected = f"expected a number from 0 to {count - 1}" if count else "the gallery shows no tiles"
            raise ParameterError(f"tile={tile!r:.40}; {expected}")
        (result, *foil), picture = self.session.results(tile)
        return ExplainWidget.from_result(result, picture, *foil)

    def close(self) -> None:
        """Stop all work and close the views."""
        if self._constructed:
            self.session.close()
        super().close()

    # ----------------------------------------------------------------------------------- from the browser

    def set_state(self, sync_data: Mapping[str, Any]) -> None:
        """Apply the query traits that a browser sets, and ignore all others, which only Python may set."""
        given = {name: value for name, value in sync_data.items() if name in CHANGEABLE}
        if not given:
            return
        changes = read_changes(given)
        if changes is None:
            self.resend(given.keys())
            return
        try:
            self.session.change_now(changes)
        except Exception:  # the browser has already applied its change; this undoes it
            self.resend(given.keys())

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        """Pass a browser's message to the session, ignoring anything that is not part of the protocol."""
        if self.session.closed:
            return
        message = read_message(content, buffers)
        match message:
            case Join():
                self.session.join(refresh=message.refresh)
            case Ask():
                self.session.ask(message)
            case Window():
                self.session.want(message)
            case Open():
                self.session.open(message)


def _opened(
    data: Store | str | os.PathLike[str] | Iterable[Pair] | Iterable[Shown],
    explainer: Explainer | None,
    images: Pictures | None,
) -> tuple[StoreImages | ResultImages, Pictures]:
    """Return what to show, and where to find its pictures."""
    if isinstance(data, (str, os.PathLike)):
        data = Store(data)
    if isinstance(data, Store):
        if images is None:
            raise ParameterError(
                "images=None; a store keeps no pictures: expected a folder with them, a mapping from the ids "
                "of images to them, or a function from an id to one"
            )
        return StoreImages(data, explainer), images
    given: object = data
    if not isinstance(given, Iterable):
        raise ParameterError(
            f"data is {named_type(given)}; expected a Store, its path, pairs, or tuples of a result and "
            "its image"
        )
    stream: Iterator[Any] = iter(data)
    first = list(islice(stream, 1))
    if not first and explainer is None:
        raise ParameterError("data is empty; expected at least one result with its image, or a pair")
    if first and _is_of_results(first[0], explainer):
        results, shown_on = [], dict[str, ImageLike]()
        for number, one in enumerate(chain(first, stream)):
            found, shown_on[str(number)] = _read_result(number, one)
            results.append(found)
        return ResultImages(results), shown_on
    if explainer is None:
        raise ParameterError(
            "explainer=None; expected an Explainer, which explains the pairs. Without one, show a store"
        )
    pictures: dict[str, ImageLike] = {}

    def noted() -> Iterable[Pair]:
        for pair in chain(first, stream):
            given: object = pair
            if not isinstance(given, Pair):
                raise ParameterError(
                    f"data has {named_type(given)}; expected a Store, its path, or pairs as the readers "
                    "of exclip_widget.datasets yield them"
                )
            pictures.setdefault(pair.image_id, pair.image)
            yield pair

    folder = tempfile.mkdtemp(prefix="exclip-gallery-")
    try:
        store = write_store(folder, explainer, noted(), progress=True)
    except BaseException:
        shutil.rmtree(folder)
        raise
    # Delete the folder together with the store: the user may still hold it after the gallery is gone.
    weakref.finalize(store, shutil.rmtree, folder, ignore_errors=True)
    return StoreImages(store, explainer), pictures if images is None else images


def _is_of_results(first: object, explainer: Explainer | None) -> bool:
    """Return whether data is meant as results, judging from its first entry."""
    parts = first if isinstance(first, (tuple, list)) else (first,)
    if any(isinstance(part, Interactions) for part in parts):
        return True
    return explainer is None and not isinstance(first, Pair)


def _read_result(number: int, given: Any) -> tuple[tuple[Interactions, ...], ImageLike]:
    """Return a result, followed by its foil's if there is one, and its image."""
    result, image, foil = read_shown("data", given)
    with naming("data", number):
        require_result("result", result)
        if foil is None:
            return (result,), image
        require_comparable(result, require_result("foil", foil))
        return (result, foil), image
