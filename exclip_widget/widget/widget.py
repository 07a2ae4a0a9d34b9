"""The widget: linked views of a caption and a picture, fed by a worker thread.

State on the browser's side: what is hovered, and everything drawn. State on both sides: the selection
(`tokens`, `region`). State on Python's side, told to the browser: all the rest. The browser asks for
changes of it by messages; handlers check their shape and leave the rest to the worker.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import traitlets

from ..errors import ExclipError, PictureError
from ..explainer import explain
from ..inputs.image import Picture
from ..results.interactions import Interactions
from . import wire as state
from .protocol import Ask, Cancel, Chunk, Hello, Try, Untest, read_changes, read_message, read_selection
from .request import CHANGEABLE, Inputs
from .result_cache import Recent, Result
from .stream import chunks, payload
from .sync import Together
from .traits import Input, Selection
from .uploads import Uploads
from .worker import Worker

FRAMES = 4
"""Estimates shown on the way to the result; more where memory asks for it."""

MOST_TESTS = 50
"""Rows of tests kept; older ones go."""

PATIENCE = 20.0
"""Seconds that the interpreter waits, at its end, for a computation to notice that it is cancelled."""

LONGEST_WORDS = 2000
"""Characters of an error that a browser is told."""

READING, COMPUTING, TESTING = range(3)
"""What is urgent comes first: nothing is computed that has been asked to be otherwise."""

STATIC = resources.files(__package__) / "static"


class ExplainWidget(Together):
    """Which words of a caption speak to which patches of a picture, to look at and to select in.

    Takes what `explain` takes; `caption` may also be a list of two, a caption and a foil to compare it
    with. Reading the inputs happens, and fails, at once; computing happens in a thread of its own, and the
    views refine while it does.

    Attributes
    ----------
    caption : str
        The caption. Setting this or any of the inputs below computes anew what depends on it; what cannot
        be used is refused, by the errors that `explain` raises, and nothing changes.
    foil : str or None
        A second caption, explained on the same picture.
    image : PIL.Image.Image
        The picture, RGB; may be set to anything that `explain` takes as one, but for a tensor.
    method : str
        Name of the method.
    text_layer, image_layer : int or "output"
        Where the towers are cut; setting them to None leaves it to the method.
    tokens : list of int
        Selected tokens, as indices into `interactions.tokens`; changes on either side reach the other.
    region : list of int
        Selected patches, ``row * columns + column``; may be set to a boolean mask (rows, columns).
    interactions, foil_interactions : Interactions or None
        The newest estimates for the caption and for the foil; None before the first.
    """

    __signature__ = inspect.signature(explain).replace(return_annotation=inspect.Signature.empty)

    caption = Input("").tag(sync=True)
    foil = Input(None).tag(sync=True)
    image = Input(None)
    method = Input("").tag(sync=True)
    text_layer = Input("output").tag(sync=True)
    image_layer = Input("output").tag(sync=True)
    tokens = Selection().tag(sync=True)
    region = Selection().tag(sync=True)

    _choices = traitlets.Dict().tag(sync=True)
    _tokens = traitlets.List(traitlets.Dict()).tag(sync=True)
    _foil_tokens = traitlets.List(traitlets.Dict()).tag(sync=True)
    _pairs = traitlets.List(traitlets.Any()).tag(sync=True)
    _picture = traitlets.Bytes().tag(sync=True)
    _picture_type = traitlets.Unicode().tag(sync=True)
    _grid = traitlets.Dict().tag(sync=True)
    _summary = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    _result = traitlets.Bytes().tag(sync=True)
    _result_shape = traitlets.List(traitlets.Int(), default_value=[0, 0, 0]).tag(sync=True)
    _foil_result = traitlets.Bytes().tag(sync=True)
    _tests = traitlets.List(traitlets.Dict()).tag(sync=True)
    _status = traitlets.Dict({"phase": "idle", "message": ""}).tag(sync=True)

    def __init__(self, model: Any, image: Picture, caption: str | Sequence[str], **options: Any) -> None:
        self._closed = True  # should anything fail before the end
        inputs = Inputs.read(model, image, caption, options)
        # As text: of a file, anywidget would keep a watch that keeps every widget alive.
        self._esm = (STATIC / "widget.js").read_text("utf-8")
        self._css = (STATIC / "widget.css").read_text("utf-8")
        self._worker = Worker("exclip-widget")
        self._uploads = Uploads()
        self._recent = Recent()
        self._asked: list[_Asked] = []
        self._trials: list[Try] = []
        self._waiting: list[Callable[[], object]] = []
        self._id = 0
        self._tested = 0
        self._inputs = inputs
        self._result_now: Result = ()
        self._frame = 0
        self._good: tuple[Inputs, Result] | None = None
        self._error: Exception | None = None
        super().__init__(**state.of_inputs(inputs), _choices=inputs.choices, _status=_status("computing"))
        self._settled = threading.Condition(self._lock)
        self._closed = False
        self.on_msg(self._receive)
        # Also at the interpreter's end, which must not come in the middle of a computation.
        weakref.finalize(self, self._worker.stop, PATIENCE)
        with self._together():
            self._begin(inputs)

    # ------------------------------------------------------------------------------ for people in Python

    @property
    def interactions(self) -> Interactions | None:
        """The newest estimate for the caption; None before the first."""
        return self._result_now[0] if self._result_now else None

    @property
    def foil_interactions(self) -> Interactions | None:
        """The newest estimate for the foil; None before the first, and without a foil."""
        return self._result_now[1] if len(self._result_now) > 1 else None

    def wait(self, timeout: float | None = None) -> Interactions:
        """Block until the newest result is there, and return it.

        Raises
        ------
        TimeoutError
            After `timeout` seconds.
        ExclipError
            Where computing failed, or was cancelled before the first estimate.
        """
        if self._worker.is_here:
            raise RuntimeError("wait() was called by what the result waits for: an observer of this widget")
        with self._settled:
            if not self._settled.wait_for(self._is_settled, timeout):
                raise TimeoutError(f"no result after {timeout} s")
            return self._outcome()

    async def ready(self) -> Interactions:
        """Wait for the newest result without blocking: ``await widget.ready()``. Raises what `wait` does."""
        loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                if self._is_settled():
                    return self._outcome()
                settled = asyncio.Event()
                self._waiting.append(partial(loop.call_soon_threadsafe, settled.set))
            await settled.wait()

    def cancel(self) -> None:
        """End the computation at once, with the newest estimate as its result."""
        self._cancel(self._id)

    def close(self) -> None:
        """End the computation and the views."""
        if not self._closed:
            with self._lock:
                self._closed = True
                self._asked.clear()
                self._trials.clear()
                self._worker.stop()
                self._good = None
                self._uploads, self._recent = Uploads(), Recent()
                self._wake()
        super().close()

    # ----------------------------------------------------------------------- the way of a request, locked

    def _show(self, inputs: Inputs, result: Result) -> None:
        """Make both what the traits tell; the selection stays where it still means the same."""
        new = state.of_inputs(inputs)
        if new["_tokens"] != self._tokens:
            self._set(tokens=[])
        if any(new["_grid"][side] != self._grid[side] for side in ("rows", "columns")):
            self._set(region=[])
        while self._trials:
            self._refuse_trial(self._trials[0], "what was selected is not shown any more")
        self._inputs, self._result_now = inputs, result
        self._set(**new, **state.of_result(result), _tests=[])

    def _begin(self, inputs: Inputs) -> None:
        self._id += 1
        self._error = None
        self._show(inputs, ())
        self._set(_status=_status("computing"))
        self._sync()
        self._send_begin()
        self._worker.submit(COMPUTING, partial(self._compute, self._id))

    def _settle(self, phase: str, message: str = "") -> None:
        self._set(**state.of_result(self._result_now), _status=_status(phase, message))
        self._sync()
        told = {"done": self._summary, "error": {"message": message}}.get(phase) or {}
        self.send({"kind": phase, "id": self._id, **told})
        self._wake()

    def _wake(self) -> None:
        self._settled.notify_all()
        for wake in self._waiting:
            with suppress(RuntimeError):  # the event loop that waited is no more
                wake()
        self._waiting.clear()

    def _is_settled(self) -> bool:
        return self._closed or self._status["phase"] != "computing"

    def _is_current(self, number: int) -> bool:
        return number == self._id and not self._is_settled() and not self._worker.stopped

    def _outcome(self) -> Interactions:
        if self._error is not None:
            raise self._error
        if self.interactions is None:
            ended = "the widget was closed" if self._closed else "the computation was cancelled"
            raise ExclipError(f"{ended} before the first estimate")
        return self.interactions

    def _send_begin(self) -> None:
        self.send({"kind": "begin", "id": self._id, "shape": self._result_shape, "frames": FRAMES})

    def _send_frame(self) -> None:
        for part, interactions in zip(("main", "foil"), self._result_now, strict=False):
            data = payload(interactions)
            for offset, chunk in chunks(data):
                place = {"frame": self._frame, "offset": offset, "bytes": len(data)}
                self.send({"kind": "chunk", "id": self._id, "part": part, **place}, [chunk])
        main = self._result_now[0]
        self.send({"kind": "progress", "id": self._id, "done": main.nodes, "total": main.steps})

    # --------------------------------------------------------------------------- requests, from both sides

    def _request(self, changes: Mapping[str, Any]) -> None:
        """Change inputs from Python: read in the thread that asks, which so hears what is wrong."""
        while True:
            if self._closed:
                raise ExclipError("the widget is closed")
            before = self._inputs
            inputs = before.changed(changes)
            with self._together():
                if self._inputs is before:
                    self._supersede(changes)
                    self._accept(inputs)
                    return

    def _accept(self, inputs: Inputs) -> None:
        if not inputs.same_as(self._inputs) or self._status["phase"] in ("cancelled", "error"):
            self._begin(inputs)

    def _supersede(self, names: Iterable[str]) -> None:
        """Take out of the requests that wait what a newer one decides."""
        for asked in self._asked:
            for name in names:
                asked.changes.pop(name, None)

    def set_state(self, sync_data: Mapping[str, Any]) -> None:
        """Take what a browser sets: selections, and inputs as requests; all else is Python's alone."""
        for name in sync_data.keys() & {"tokens", "region"}:
            chosen = read_selection(sync_data[name])
            if chosen is None:
                continue
            try:
                with self._lock:
                    super().set_state({name: list(chosen)})
            except traitlets.TraitError:  # it was of a caption or a grid that is no more
                self.send_state(name)
        given = {name: value for name, value in sync_data.items() if name in CHANGEABLE}
        if changes := read_changes(given):
            self._ask(_Asked(changes, {}))
        elif given:
            self.send_state(given.keys() & set(self.keys))

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        """Take a message from a browser; anything that is not one of ours is nothing to us."""
        message = read_message(content, buffers)
        if self._closed or message is None:
            return
        if isinstance(message, Hello):
            self._greet(message)
        elif isinstance(message, Cancel):
            self._cancel(message.id)
        elif isinstance(message, Ask):
            self._ask(_Asked(message.changes, {"ask": message.number}))
        elif isinstance(message, Chunk):
            self._take(message)
        elif isinstance(message, Try):
            with self._lock:
                self._trials.append(message)
                self._worker.submit(TESTING, partial(self._try, message))
        elif isinstance(message, Untest):
            with self._together():
                self._set(_tests=[])

    def _cancel(self, number: int) -> None:
        """End the computation of a request; whatever the worker is in the middle of is dropped."""
        with self._together():
            if self._is_current(number):
                self._settle("cancelled")

    def _greet(self, hello: Hello) -> None:
        """Repeat what a view that opens late has missed; a finished result is state."""
        with self._lock:
            if hello.again:
                self._send_all()
            if self._is_settled():
                self.send({"kind": "here", "id": self._id})
            else:
                self._send_begin()
                if self._result_now:
                    self._send_frame()

    def _take(self, chunk: Chunk) -> None:
        reply = {"upload": chunk.number}
        try:
            file = self._uploads.take(chunk)
        except PictureError as error:
            self.send({"kind": "refused", **reply, "message": str(error)})
            return
        if file is not None:
            with self._lock:
                self._supersede(["image"])
            self._ask(_Asked({"image": file}, reply))

    def _ask(self, asked: _Asked) -> None:
        with self._lock:
            self._asked.append(asked)
            self._worker.submit(READING, partial(self._answer, asked))

    # --------------------------------------------------------------------------------- in the worker thread

    def _answer(self, asked: _Asked) -> None:
        """Read what a browser asks for, and begin with it."""
        while True:
            with self._lock:
                before, changes = self._inputs, dict(asked.changes)
            try:
                if not changes:
                    raise ExclipError("a newer request has taken its place")
                inputs = before.changed(changes)
            except Exception as error:
                self._refuse(asked, error)
                return
            with self._together():
                if self._closed:
                    return
                if self._inputs is before and asked.changes.keys() == changes.keys():
                    self._asked.remove(asked)
                    self._accept(inputs)
                    if asked.reply:  # after the traits, or controls would fall back to the old ones
                        self.send({"kind": "accepted", **asked.reply})
                    return

    def _refuse(self, asked: _Asked, error: Exception) -> None:
        with self._lock:
            if self._closed:
                return
            self._asked.remove(asked)
            if asked.reply:
                self.send({"kind": "refused", **asked.reply, "message": _in_words(error)})
            else:
                self.send_state(asked.changes.keys())  # the browser has it already; this puts it back

    def _compute(self, number: int) -> None:
        """Refine, and stream every estimate."""
        with self._lock:
            if not self._is_current(number):
                return
            inputs = self._inputs
        try:
            for frame, result in enumerate(self._recent.estimates(inputs, FRAMES)):
                self._worker.catch_up(READING)
                with self._lock:
                    if not self._is_current(number):
                        return
                    self._result_now, self._frame = result, frame
                    self._send_frame()
        except Exception as error:
            self._fail(number, error)
            return
        with self._together():
            if self._is_current(number):
                self._good = inputs, self._result_now
                self._settle("done")

    def _fail(self, number: int, error: Exception) -> None:
        with self._together():
            if self._is_current(number):
                self._error = error
                if self._good is not None:
                    self._show(*self._good)
                self._settle("error", _in_words(error))

    def _try(self, trial: Try) -> None:
        """Test a selection, unless what it was made on is not shown any more."""
        with self._lock:
            if trial not in self._trials:
                return
            inputs, result = self._inputs, self._result_now
        try:
            if not result:
                raise ExclipError("there is no result to test")
            outcome = inputs.explanation.test(result[0], trial.tokens, trial.region)
        except Exception as error:
            with self._lock:
                self._refuse_trial(trial, _in_words(error))
            return
        with self._together():
            if trial in self._trials:
                self._trials.remove(trial)
                self._tested += 1
                self._set(_tests=[*self._tests, state.of_trial(self._tested, outcome)][-MOST_TESTS:])
                self._sync()
                self.send({"kind": "tested", "ask": trial.number})

    def _refuse_trial(self, trial: Try, message: str) -> None:
        if trial in self._trials:
            self._trials.remove(trial)
            self.send({"kind": "refused", "ask": trial.number, "message": message})


@dataclass(eq=False)
class _Asked:
    """Changes that a browser has asked for, and the name and number that the answer goes to."""

    changes: dict[str, Any]
    reply: dict[str, int]


def _status(phase: str, message: str = "") -> dict[str, str]:
    return {"phase": phase, "message": message}


def _in_words(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:LONGEST_WORDS]
