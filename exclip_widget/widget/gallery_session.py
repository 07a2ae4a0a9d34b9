"""The session of a gallery: turns queries into rankings of tiles, and windows into the tiles themselves.

Plain Python, without traitlets or comms. The newest question wins, and so does the newest window of each
browser, so tiles that were scrolled past are never rendered. One worker thread reads questions, opens pairs,
renders tiles and ranks, in that order of priority. Ranking lets the other jobs in while it streams through
the store.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checks import finite_number
from ..errors import ExclipError
from ..lru_cache import LRUCache
from ..results.interactions import Interactions
from ..results.origin import View
from ..results.shown import describe_tokens, finished_traits
from ..store import Ranked
from . import gallery_protocol, protocol
from .ranking import NOTHING, Entry, Query, Ranking, ResultImages, StoreImages
from .session import FIRST_ID, Host, message_of
from .thumbnails import Thumbnails
from .viewing import NO_MODEL
from .worker import Worker

READING, OPENING, TILING, RANKING = range(4)
"""Priorities of jobs."""

TILES_TOGETHER = 8
"""Tiles per message; the first ones appear while the others are still being rendered."""

MOST_VIEWS = 16
"""Largest number of views whose windows are kept, the most recent ones."""

MOST_SENT = 2
"""How often an opened pair may be sent before it counts as lost; hosts drop messages that are too long."""

MOST_OPENED = 100
"""Largest number of opened pairs to remember, the most recent ones."""

LOST = "The pair was sent, but has not arrived. Open it again."

MOST_HEAT_BYTES = 2**24
"""Largest total size of the cached heat maps of single pairs, in bytes."""

OTHER_PIXELS = "Another image, or another copy of it, was explained."

LEVELS = 127
"""Quantisation levels on each side of 0 in a heat map sent to the browser."""


class _SupersededError(Exception):
    """Raised when a newer request replaces this one."""


class GallerySession:
    """The queries of one gallery, and the ranking that it shows.

    Parameters
    ----------
    images : StoreImages or ResultImages
        What to rank.
    thumbnails : Thumbnails
        The pictures.
    query : Query
        The first query.
    host : Host
        Where to publish.

    Attributes
    ----------
    id : int
        Id of the newest request, increasing with each.
    phase : {"computing", "done", "error"}
        State of the newest request.
    query : Query
        The newest query, or the last good one if the newest has failed.
    ranking : Ranking
        What is shown: the newest request's ranking, or the previous one until that is ready.
    closed : bool
        Whether the session has ended.
    """

    def __init__(
        self, images: StoreImages | ResultImages, thumbnails: Thumbnails, query: Query, host: Host
    ) -> None:
        self.id = FIRST_ID
        self.phase = "computing"
        self.query = query
        self.ranking = Ranking(Query(), [])
        self.closed = False
        self.worker = Worker("exclip-gallery")
        self._images = images
        self._thumbnails = thumbnails
        self._host = host
        self._shown_id = 0
        self._questions: list[gallery_protocol.Ask] = []
        self._opening: list[gallery_protocol.Open] = []
        self._sent: dict[int, int] = {}
        self._windows: OrderedDict[int, list[int]] = OrderedDict()
        self._heats = LRUCache[np.ndarray](lambda heat: heat.nbytes, MOST_HEAT_BYTES)
        self._error: Exception | None = None
        self._settled = threading.Condition(host.lock)

    def start(self) -> None:
        """Rank the tiles for the first query."""
        self.worker.submit(RANKING, self._rank)

    # ------------------------------------------------------------------------------------------- waiting

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being ranked."""
        return self.closed or self.phase != "computing"

    def wait(self, timeout: float | None) -> list[Ranked]:
        """Block until the newest ranking is ready, and return it.

        Raises
        ------
        TimeoutError
            After `timeout` seconds.
        ExclipError
            If the ranking failed, or the gallery was closed first.
        """
        if self.worker.is_current_thread:
            raise RuntimeError("wait() was called from an observer of this gallery; it would never return")
        timeout = None if timeout is None else finite_number("timeout", timeout)
        with self._settled:
            if not self._settled.wait_for(lambda: self.is_settled, timeout):
                raise TimeoutError(f"no result after {timeout} s")
            if self._error is not None:
                raise self._error
            if self.phase == "computing":
                raise ExclipError("the gallery was closed before the first result")
            return [entry.ranked for entry in self.ranking.entries]

    # ----------------------------------------------------------------------------------------- questions

    def change_now(self, changes: Mapping[str, Any]) -> None:
        """Change the query from Python, reading it in the caller's thread so that errors are raised there.

        Raises
        ------
        ExclipError
            If a change cannot be used. In that case nothing changes.
        """
        while True:
            if self.closed:
                raise ExclipError("the gallery is closed")
            before = self.query
            query = self._images.read(before, changes)
            with self._host.transaction():
                if self.query is before:
                    id = self.id
                    try:
                        self._begin(query)
                    except BaseException:  # Ctrl-C can interrupt this anywhere
                        if self.id != id:
                            self._begin(before)
                        raise
                    return

    def ask(self, question: gallery_protocol.Ask) -> None:
        """Change the query at a browser's request; the worker reads the question and answers it."""
        with self._host.lock:
            self._questions.append(question)
            self.worker.submit(READING, self._read)

    def want(self, window: gallery_protocol.Window) -> None:
        """Replace the list of tiles that a browser is waiting for."""
        with self._host.lock:
            if window.request != self._shown_id:
                return  # the browser has not received the newest order yet, and will ask again
            had_work = any(self._windows.values())
            self._windows[window.view] = [tile for tile in window.tiles if tile < len(self.ranking.entries)]
            self._windows.move_to_end(window.view)
            while len(self._windows) > MOST_VIEWS:
                self._windows.popitem(last=False)
            if not had_work:
                self.worker.submit(TILING, self._send_tiles)

    def open(self, question: gallery_protocol.Open) -> None:
        """Explain the pair of one tile in full; a browser may ask for it repeatedly."""
        with self._host.lock:
            if self._sent.get(question.question) == MOST_SENT:
                self._host.send(protocol.refused(question.question, LOST))
            elif question not in self._opening:
                self._opening.append(question)
                self.worker.submit(OPENING, lambda: self._send_opened(question))

    def join(self, *, refresh: bool) -> None:
        """Answer a view that has just opened."""
        with self._host.lock:
            self._host.resend(None if refresh else ["_request"])
            self._host.send(protocol.alive())

    def close(self) -> None:
        """Discard all pending work."""
        with self._host.lock:
            self.closed = True
            self._questions.clear()
            self._opening.clear()
            self._windows.clear()
            self.worker.stop()
            self._settled.notify_all()

    # ----------------------------------------------------------------------------------- one pair, in full

    def results(self, tile: int) -> tuple[list[Interactions], Any]:
        """Return the interactions of a tile's pair, those of its foil if there is one, and the picture.

        Raises
        ------
        IndexError
            If there is no such tile.
        ExclipError
            If the picture, or a part of the store, cannot be read.
        """
        with self._host.lock:
            query, ranked = self.ranking.query, self.ranking.entries[tile].ranked
        return self._images.results(query, ranked), self._thumbnails.picture(ranked.image_id)

    # ------------------------------------------------------------------------- from a query to its ranking

    def traits_of(self, query: Query) -> dict[str, Any]:
        """Return the traits that describe the query."""
        tokens = query.tokens
        return {
            "phrase": "" if tokens is None else tokens.caption,
            "words": list(query.rows),
            "order": query.order,
            "_tokens": [] if tokens is None else describe_tokens(tokens),
        }

    def _begin(self, query: Query) -> None:
        # Queue the job first: it waits for the lock, and a query without a job would never end.
        self.worker.submit(RANKING, self._rank)
        self.id += 1
        self.query, self._error = query, None
        self._host.publish(**self.traits_of(query))
        self._publish_phase("computing")
        self._host.flush()

    def _publish_phase(self, phase: str, message: str = "") -> None:
        self.phase = phase
        self._host.publish(
            _request={"id": self.id, "phase": phase, "message": message, "shown": self._shown_id}
        )

    def _read(self) -> None:
        """Read all pending questions as one; if two change the same thing, the later one wins."""
        while True:
            with self._host.lock:
                questions, before = list(self._questions), self.query
            if not questions:
                return
            changes: dict[str, Any] = {}
            for question in questions:
                if "phrase" in question.changes:
                    changes.clear()  # earlier words and orders referred to the previous phrase
                changes |= question.changes
            failure = ""
            try:
                query = self._images.read(before, changes)
            except Exception as error:
                failure = message_of(error)
            with self._host.transaction():
                if self.closed:
                    return
                if self.query is not before or len(self._questions) != len(questions):
                    continue
                self._questions.clear()
                if not failure:
                    self._begin(query)
                for question in questions:
                    number = question.question
                    self._host.send(
                        protocol.refused(number, failure) if failure else protocol.accepted(number)
                    )
                return

    def _rank(self) -> None:
        """Rank for the newest query, unless that has already been done."""
        with self._host.lock:
            id, query = self.id, self.query
            if self.is_settled:
                return

        def check(done: int, total: int) -> None:
            self.worker.run_urgent(TILING)
            with self._host.lock:
                if self.id != id or self.closed:
                    raise _SupersededError
                self._host.send(protocol.progress(id, done, total))

        try:
            check(0, self._images.count)
            ranking = self._images.rank(query, check)
        except _SupersededError:
            return
        except Exception as error:
            with self._host.transaction():
                if self.id == id and not self.closed:
                    self._error = error
                    self.query = self.ranking.query
                    self._host.publish(**self.traits_of(self.query))
                    self._end("error", message_of(error))
            return
        with self._host.transaction():
            if self.id == id and not self.closed:
                self.ranking, self._shown_id = ranking, id
                self._windows.clear()
                self._host.publish(_count=len(ranking.entries), _end=ranking.end)
                self._end("done", "" if ranking.entries else NOTHING[query.order])

    def _end(self, phase: str, message: str) -> None:
        self._publish_phase(phase, message)
        self._host.flush()
        self._settled.notify_all()

    # ----------------------------------------------------------------------------------------- tiles

    def _send_tiles(self) -> None:
        """Render and send a batch of the requested tiles; the rest are queued behind more urgent jobs."""
        with self._host.lock:
            id, ranking = self._shown_id, self.ranking
            wanted = next((tiles for tiles in reversed(self._windows.values()) if tiles), [])
            some = wanted[:TILES_TOGETHER]
            del wanted[:TILES_TOGETHER]
        headers, buffers = [], []
        for tile in some:
            header, picture, heat = self._tile(ranking.entries[tile])
            headers.append({"tile": tile, **header})
            buffers += [memoryview(picture), memoryview(heat)]
        with self._host.lock:
            if self.closed:
                return
            if headers and self._shown_id == id:
                self._host.send(gallery_protocol.tiles(id, headers), buffers)
            if any(self._windows.values()):
                self.worker.submit(TILING, self._send_tiles)

    def _tile(self, entry: Entry) -> tuple[dict[str, Any], bytes, bytes]:
        """Return a tile's header, the bytes of its picture and the bytes of its heat map."""
        ranked = entry.ranked
        texts = self._images.texts
        caption = ranked.caption_id or self._images.first_captions.get(ranked.image_id)
        view = self._images.views.get(ranked.image_id)
        header: dict[str, Any] = {
            "image": ranked.image_id,
            "caption": "" if caption is None else texts[caption],
            "foil": None if ranked.foil_id is None else texts[ranked.foil_id],
            "span": ranked.span,
            "value": ranked.value if math.isfinite(ranked.value) else None,
            "error": None,
            "rows": 0,
            "columns": 0,
            "end": 0.0,
            "crop": [0, 0, 1, 1] if view is None else list(view.crop),
            "boxes": [] if view is None else [_fractions(box, view) for box in ranked.boxes],
        }
        try:
            picture, is_other = self._thumbnails.thumbnail(ranked.image_id, view)
            heat = self._heat(entry)
        except ExclipError as error:
            return header | {"error": message_of(error)}, b"", b""
        except Exception as error:  # from an image decoder that was fed a file of another kind
            return header | {"error": f"{type(error).__name__}: {message_of(error)}"}, b"", b""
        if is_other:
            header["error"] = OTHER_PIXELS
        if heat is None:
            return header, picture, b""
        end = float(np.abs(heat).max())
        levels = np.rint(heat.astype(np.float32) * (LEVELS / (end or 1.0))).astype(np.int8)
        header |= {"rows": heat.shape[0], "columns": heat.shape[1], "end": end}
        return header, picture, levels.tobytes()

    def _heat(self, entry: Entry) -> np.ndarray | None:
        key = (entry.ranked.caption_id, entry.ranked.rows, entry.ranked.image_id)
        heat = entry.heat if entry.heat is not None else self._heats.get(key)
        if heat is None:
            heat = self._images.heat(entry)
            if heat is not None:
                self._heats.put(key, heat)
        return heat

    def _send_opened(self, question: gallery_protocol.Open) -> None:
        try:
            if question.request != self._shown_id or question.tile >= len(self.ranking.entries):
                raise ExclipError("The order has changed in the meantime; open the pair again")
            ranking = self.ranking
            ranked = ranking.entries[question.tile].ranked
            results, picture = self.results(question.tile)
            traits = _instrument(results, picture, ranking.query, ranked)
        except Exception as error:
            with self._host.lock:
                if not self.closed:
                    self._opening.remove(question)
                    self._host.send(protocol.refused(question.question, message_of(error)))
            return
        binary = [name for name, value in traits.items() if isinstance(value, bytes)]
        plain = {name: value for name, value in traits.items() if name not in binary}
        with self._host.lock:
            if not self.closed:
                self._opening.remove(question)
                self._sent[question.question] = self._sent.get(question.question, 0) + 1
                if len(self._sent) > MOST_OPENED:
                    del self._sent[next(iter(self._sent))]
                self._host.send(
                    gallery_protocol.opened(question.question, question.tile, plain, binary),
                    [memoryview(traits[name]) for name in binary],
                )


def _instrument(results: list[Interactions], picture: Any, query: Query, ranked: Ranked) -> dict[str, Any]:
    """Return the same traits that `ExplainWidget.from_result` would have."""
    result, foil = results[0], results[1] if len(results) > 1 else None
    asked = query.order == "match"
    return finished_traits(result, picture, foil) | {
        "text_layer": result.text_layer,
        "image_layer": result.image_layer,
        "tokens": list(query.rows if asked else ranked.rows),
        "region": [],
        "_choices": None,
        "_tests": [],
        "_revision": 0,
        "_request": {"id": FIRST_ID, "phase": "idle", "message": NO_MODEL},
    }


def _fractions(box: tuple[float, ...], view: View) -> list[float]:
    """Return a box in fractions of the image's size, clipped to its edges."""
    width, height = view.size
    left, top, right, bottom = box
    edges = (left / width, top / height, right / width, bottom / height)
    return [min(1.0, max(0.0, edge)) for edge in edges]
