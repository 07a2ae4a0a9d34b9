"""Session: the life of requests, from a question to a result. Plain Python, without traitlets or comms.

The newest request wins, and the last good result stays until there is a better one. A worker thread reads
questions and computes requests. Everything that a browser should know goes through a `Host`: facts as traits;
estimates, progress and answers as the messages defined in `protocol`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from ..checks import finite_number
from ..errors import ExclipError, ImageError
from ..paths.interruption import NoLongerWantedError, interruptible
from ..results.classification import Classification
from ..results.interactions import Interactions
from ..results.shown import encode_interactions, largest_error, result_traits, scores_traits
from . import protocol, wire
from .layers import results_by_layer
from .request import Layers, Request
from .result_cache import Result, ResultCache
from .uploads import Uploads
from .worker import Worker

ESTIMATES = 4
"""Number of estimates on the way to a result; more if memory requires it."""

MOST_TESTS = 50
"""Largest number of masking tests to keep; older ones are dropped."""

MOST_ANSWERS = 1000
"""Largest number of answers to remember, the most recent ones."""

MOST_MESSAGE_CHARACTERS = 2000
"""Length to which error messages are truncated for the browser."""

READING, COMPUTING, TESTING, GOING_ON = range(4)
"""Priorities of jobs. Questions are read first, since they may make other work unnecessary."""

_log = logging.getLogger(__name__)


class Host(Protocol):
    """Where a session publishes: the widget, or a stand-in in tests.

    Attributes
    ----------
    lock : threading.RLock
        Guards the session, and everything else that changes the traits it publishes.
    """

    lock: threading.RLock

    def transaction(self) -> AbstractContextManager[None]:
        """Return a context manager that holds `lock` and publishes all changes as one."""

    def publish(self, **traits: Any) -> None:
        """Set traits. Call only within a transaction."""

    def flush(self) -> None:
        """Send what was published so far, before any later message. Call only within a transaction."""

    def send(self, content: protocol.KernelMessage, buffers: Sequence[memoryview] = ()) -> None:
        """Send a message."""

    def resend(self, names: Iterable[str] | None) -> None:
        """Send traits again although they have not changed, or all of them if `names` is None."""


FIRST_ID = 1
"""Id of a session's first request."""


def first_traits(request: Request) -> dict[str, Any]:
    """Return the traits of a session's first request, before it is computed."""
    phase = {"id": FIRST_ID, "phase": "computing", "message": ""}
    return {**wire.request_traits(request), "_choices": request.choices, "_request": phase}


class Session:
    """The requests of one widget.

    Parameters
    ----------
    request : Request
        The first request.
    host : Host
        Where to publish.

    Attributes
    ----------
    id : int
        Id of the newest request, increasing with each.
    phase : {"computing", "done", "cancelled", "error"}
        State of the newest request.
    request : Request
        What is shown: the newest request, or the last good one if the newest has failed.
    result : tuple of Interactions
        The newest estimate for the caption, and for its foil if there is one; empty before the first.
    classification : Classification or None
        Similarities and probabilities of the captions listed in `request`; None before they are known.
    worker : Worker
        The thread that reads questions and computes requests.
    closed : bool
        Whether the session has ended.
    """

    def __init__(self, request: Request, host: Host) -> None:
        self.id = FIRST_ID
        self.phase = "computing"
        self.request = request
        self.result: Result = ()
        self.classification: Classification | None = None
        self._host = host
        self.worker = Worker("exclip-widget")
        self._uploads = Uploads()
        self._cache = ResultCache()
        self._questions: list[_Question] = []
        self._answers: dict[int, _Answer] = {}
        self._waiting_tests: list[protocol.TestSelection] = []
        self._waiters: list[Callable[[], object]] = []
        self._tests: list[dict[str, Any]] = []
        self._test_count = 0
        self._frame = 0
        self._is_watched = False
        self._sent_layers: set[Layers] = set()
        self._last_good: tuple[Request, Result, Classification | None] | None = None
        self._error: Exception | None = None
        self.closed = False
        self._settled = threading.Condition(host.lock)

    def start(self) -> None:
        """Compute the first request."""
        self.worker.submit(COMPUTING, partial(self._compute, self.id))

    # ------------------------------------------------------------------------------------------- waiting

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being computed."""
        return self.closed or self.phase != "computing"

    def wait(self, timeout: float | None) -> Interactions:
        """Block until the newest result is ready, and return it.

        Raises
        ------
        TimeoutError
            After `timeout` seconds.
        ExclipError
            If the computation failed, or was cancelled before the first estimate.
        """
        if self.worker.is_current_thread:
            raise RuntimeError("wait() was called from an observer of this widget; it would never return")
        timeout = None if timeout is None else finite_number("timeout", timeout)
        with self._settled:
            if not self._settled.wait_for(lambda: self.is_settled, timeout):
                raise TimeoutError(f"no result after {timeout} s")
            return self.outcome()

    def call_when_settled(self, wake: Callable[[], object]) -> None:
        """Call `wake` as soon as nothing is being computed."""
        self._waiters.append(wake)

    def outcome(self) -> Interactions:
        """Return the result, or raise the error that explains why there is none."""
        if self._error is not None:
            raise self._error
        if not self.result:
            ended = "the widget was closed" if self.closed else "the computation was cancelled"
            raise ExclipError(f"{ended} before the first estimate")
        return self.result[0]

    def _wake(self) -> None:
        self._settled.notify_all()
        for wake in self._waiters:
            with suppress(RuntimeError):  # the waiting event loop has been closed
                wake()
        self._waiters.clear()

    # ----------------------------------------------------------------------------------------- questions

    def change_now(self, changes: Mapping[str, Any]) -> None:
        """Change inputs from Python, reading them in the caller's thread so that errors are raised there.

        Raises
        ------
        ExclipError
            If one of them cannot be used. In that case nothing changes.
        """
        while True:
            if self.closed:
                raise ExclipError("the widget is closed")
            before = self.request
            request = before.changed(changes)
            with self._host.transaction():
                if self.request is before:
                    id = self.id
                    try:
                        self._supersede(changes)
                        self._accept(request)
                    except BaseException:  # Ctrl-C can interrupt this anywhere
                        if self.id != id:
                            self._begin(before)
                        raise
                    return

    def change(self, changes: Mapping[str, Any], question: int | None = None) -> None:
        """Change inputs at a browser's request; the worker reads them, and answers `question`.

        A browser that misses the answer asks again, perhaps for one of the inputs at a time, and by then the
        inputs may have been changed from Python.
        """
        with self._host.lock:
            if question is None or not self._is_repeated(question, changes.keys()):
                self._ask(_Question(dict(changes), question))

    def upload(self, chunk: protocol.UploadChunk) -> None:
        """Add a chunk of an uploaded image; once the last has arrived, change the image.

        A browser that misses the answer sends the image again, by then perhaps for nothing.
        """
        try:
            file = self._uploads.add(chunk)
        except ImageError as error:
            self._host.send(protocol.refused(chunk.question, str(error)))
            return
        if file is not None:
            with self._host.lock:
                if not self._is_repeated(chunk.question):
                    self._supersede(["image"])
                    self._ask(_Question({"image": file}, chunk.question))

    def test(self, selection: protocol.TestSelection) -> None:
        """Run a masking test of a selection, and publish the outcome; a browser may ask for it repeatedly."""
        with self._host.lock:
            if not self._is_repeated(selection.question):
                self._waiting_tests.append(selection)
                self.worker.submit(TESTING, partial(self._run_test, selection))

    def clear_tests(self) -> None:
        """Discard the masking tests."""
        with self._host.transaction():
            self._tests = []
            self._host.publish(_tests=[])

    def cancel(self, id: int | None = None) -> None:
        """Cancel request `id`, or the newest one, keeping its newest estimate as the result."""
        with self._host.transaction():
            if self._is_current(self.id if id is None else id):
                self._settle("cancelled")

    def join(self, *, refresh: bool) -> None:
        """Send a newly opened view what it has missed, except a finished result, which is a trait."""
        with self._host.lock:
            self._host.resend(None if refresh else ["_request"])
            self._host.send(protocol.alive())
            if not self.is_settled and self.result:
                self._send_estimate()
            self._is_watched = True
            self._sent_layers.clear()
            self._go_on()

    def close(self) -> None:
        """Discard all pending work, and free the caches."""
        with self._host.lock:
            self.closed = True
            self._questions.clear()
            self._waiting_tests.clear()
            self.worker.stop()
            self._last_good = None
            self._uploads, self._cache = Uploads(), ResultCache()
            self._wake()

    def _supersede(self, names: Iterable[str]) -> None:
        """Drop from pending questions the inputs that a newer one changes."""
        for question in self._questions:
            for name in names:
                question.changes.pop(name, None)

    def _ask(self, question: _Question) -> None:
        with self._host.lock:
            self._questions.append(question)
            self.worker.submit(READING, partial(self._answer, question))

    def _is_repeated(self, number: int, names: Set[str] = frozenset()) -> bool:
        """Return whether a question about inputs has arrived before, and repeat its answer if it has one."""
        known = self._answers.get(number)
        if known is not None and names <= known.names:
            self._host.send(known.answer)
            return True
        waiting = [(question.number, question.names) for question in self._questions]
        waiting += [(test.question, frozenset()) for test in self._waiting_tests]
        return any(number == other and names <= asked for other, asked in waiting)

    def _reply(
        self, number: int, answer: protocol.KernelMessage, names: frozenset[str] = frozenset()
    ) -> None:
        """Answer a question about inputs, and remember the answer in case the question is repeated."""
        known = self._answers.get(number)
        self._answers[number] = _Answer(answer, names if known is None else names | known.names)
        if len(self._answers) > MOST_ANSWERS:
            del self._answers[next(iter(self._answers))]
        self._host.send(answer)

    def _accept(self, request: Request) -> None:
        if not request.same_as(self.request) or self.phase in ("cancelled", "error"):
            self._begin(request)

    # --------------------------------------------------------------- life of a request (the lock is held)

    def _begin(self, request: Request) -> None:
        # Queue the job first: it waits for the lock, and a request without a job would never end.
        self.worker.submit(COMPUTING, partial(self._compute, self.id + 1))
        self.id += 1
        self._sent_layers.clear()
        self._error = None
        self._show(request, (), self.classification if request.same_list_as(self.request) else None)
        self._publish_phase("computing")
        self._host.flush()

    def _move(self, request: Request, result: Result) -> None:
        """Show a cached result of the same request at other layers."""
        self._show(request, result, self.classification)
        self._last_good = request, result, self.classification
        self._go_on()

    def _go_on(self) -> None:
        """Queue results at other layers if the request is done and a view is open to show them."""
        if self._is_watched and self.phase == "done":
            self.worker.submit(GOING_ON, partial(self._send_layers, self.id, self.request))

    def _show(self, request: Request, result: Result, classification: Classification | None) -> None:
        """Publish a request and what is known about it. Clear selections whose meaning has changed."""
        if request.caption.rows != self.request.caption.rows:
            self._host.publish(tokens=[])
        if request.grid != self.request.grid:
            self._host.publish(region=[])
        while self._waiting_tests:
            self._refuse_test(self._waiting_tests[0], "the selected inputs are no longer shown")
        self.request, self.result, self._tests = request, result, []
        self.classification = classification
        self._host.publish(
            **wire.request_traits(request),
            **result_traits(result),
            **scores_traits(classification),
            _tests=[],
        )

    def _publish_phase(self, phase: str, message: str = "") -> None:
        self.phase = phase
        self._host.publish(_request={"id": self.id, "phase": phase, "message": message})

    def _settle(self, phase: str, message: str = "") -> None:
        self._host.publish(**result_traits(self.result))
        self._publish_phase(phase, message)
        self._host.flush()
        self._wake()

    def _is_current(self, id: int) -> bool:
        return id == self.id and not self.is_settled and not self.worker.stopped

    def _send_estimate(self) -> None:
        for part, interactions in zip(("caption", "foil"), self.result, strict=False):
            data = encode_interactions(interactions)
            for offset, chunk in wire.split_chunks(data):
                self._host.send(protocol.estimate(self.id, part, self._frame, offset, len(data)), [chunk])
        main = self.result[0]
        self._host.send(protocol.progress(self.id, main.nodes, main.steps, *map(largest_error, self.result)))

    # --------------------------------------------------------------------------------- jobs of the worker

    def _answer(self, question: _Question) -> None:
        """Read the inputs of a question, and start computing them."""
        while True:
            with self._host.lock:
                before, changes = self.request, dict(question.changes)
            try:
                if not changes:
                    raise ExclipError("a newer request has replaced this one")
                request = before.changed(changes)
                is_move = request.same_but_for_layers(before) and not request.same_as(before)
                known = self._cache.known(request) if is_move else None
            except Exception as error:
                self._refuse(question, error)
                return
            with self._host.transaction():
                if self.closed:
                    return
                if self.request is before and question.changes.keys() == changes.keys():
                    self._questions.remove(question)
                    if known is not None and self.phase == "done":
                        self._move(request, known)
                    else:
                        self._accept(request)
                    if question.number is not None:  # after the traits, or controls would show old values
                        self._reply(question.number, protocol.accepted(question.number), question.names)
                    return

    def _refuse(self, question: _Question, error: Exception) -> None:
        with self._host.lock:
            if self.closed:
                return
            self._questions.remove(question)
            if question.number is not None:
                refused = protocol.refused(question.number, message_of(error))
                self._reply(question.number, refused, question.names)
            else:
                self._host.resend(question.changes.keys())  # undoes what the browser has already applied

    def _compute(self, id: int) -> None:
        """Compute a request, sending every estimate."""
        with self._host.lock:
            if not self._is_current(id):
                return
            request = self.request
        try:
            with interruptible(lambda: self._is_current(id) and not self.worker.has_urgent(READING)):
                for frame, result in enumerate(self._cache.estimates(request, ESTIMATES)):
                    self._run_urgent(READING)
                    with self._host.lock:
                        if not self._is_current(id):
                            return
                        self.result, self._frame = result, frame
                        self._send_estimate()
                    if frame == 0 and request.listed and not self._classify(id, request):
                        return
        except NoLongerWantedError:
            # Perhaps a question interrupted this. Start again after it, unless it has replaced the request.
            if self._is_current(id):
                self.worker.submit(COMPUTING, partial(self._compute, id))
            return
        except Exception as error:
            self._fail(id, error)
            return
        with self._host.transaction():
            if self._is_current(id):
                self._last_good = request, self.result, self.classification
                self._settle("done")
                self._go_on()

    def _send_layers(self, id: int, request: Request) -> None:
        """Send results at other layers until there is something else to do. Nothing waits for them."""

        def is_wanted() -> bool:
            same_row = self.request.explainer.layers[0] == request.explainer.layers[0]
            return id == self.id and same_row and self.phase == "done" and not self.worker.stopped

        try:
            with interruptible(is_wanted):
                for found in results_by_layer(request, self._cache):
                    self._run_urgent(READING)
                    if is_wanted():
                        self._run_urgent(TESTING)
                    with self._host.lock:
                        if not is_wanted():
                            return
                        if found is not None:
                            self._send_layer(*found)
        except NoLongerWantedError:
            return
        except Exception:
            _log.debug("results at other layers could not be made", exc_info=True)

    def _run_urgent(self, priority: int) -> None:
        """Run queued jobs in the middle of another one; what interrupts that does not interrupt them."""
        with interruptible(lambda: True):
            self.worker.run_urgent(priority)

    def _send_layer(self, layers: Layers, result: Result) -> None:
        if layers not in self._sent_layers:
            self._sent_layers.add(layers)
            traits = result_traits(result)
            numbers = [memoryview(traits[name]) for name in ("_result", "_foil_result")[: len(result)]]
            self._host.send(protocol.layer(self.id, *layers, traits["_summary"]), numbers)

    def _classify(self, id: int, request: Request) -> bool:
        """Rank the listed captions, and return whether the request is still current."""
        for _ in self._cache.embed_captions(request):
            self._run_urgent(READING)
            with self._host.lock:
                if not self._is_current(id):
                    return False
        # As a job of its own, an observer's error is logged and does not fail the computation.
        self.worker.submit(READING, partial(self._publish_scores, id, self._cache.classify(request)))
        self._run_urgent(READING)
        return self._is_current(id)

    def _publish_scores(self, id: int, found: Classification) -> None:
        with self._host.transaction():
            if self._is_current(id):
                self.classification = found
                self._host.publish(**scores_traits(found))

    def _fail(self, id: int, error: Exception) -> None:
        with self._host.transaction():
            if self._is_current(id):
                self._error = error
                if self._last_good is not None:
                    self._show(*self._last_good)
                self._settle("error", message_of(error))

    def _run_test(self, selection: protocol.TestSelection) -> None:
        """Test a selection, unless its inputs are no longer shown."""
        with self._host.lock:
            if selection not in self._waiting_tests:
                return
            request, result = self.request, self.result
        try:
            if not result:
                raise ExclipError("there is no result to test")
            test = request.explainer.test(result[0], request.image.pixels, selection.tokens, selection.region)
        except Exception as error:
            with self._host.lock:
                self._refuse_test(selection, message_of(error))
            return
        with self._host.transaction():
            if selection in self._waiting_tests:
                self._waiting_tests.remove(selection)
                self._test_count += 1
                self._tests = [*self._tests, wire.test_row(self._test_count, test)][-MOST_TESTS:]
                self._host.publish(_tests=self._tests)
                self._host.flush()
                self._reply(selection.question, protocol.accepted(selection.question))

    def _refuse_test(self, selection: protocol.TestSelection, message: str) -> None:
        if selection in self._waiting_tests:
            self._waiting_tests.remove(selection)
            self._reply(selection.question, protocol.refused(selection.question, message))


@dataclass(eq=False)
class _Question:
    """Changes that a browser asks for, and the number of the question to answer, if any."""

    changes: dict[str, Any]
    number: int | None
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = frozenset(self.changes)  # newer questions take over some of the changes


@dataclass(frozen=True)
class _Answer:
    """An answer, and the names of the inputs that the question was about, if it was a change."""

    answer: protocol.KernelMessage
    names: frozenset[str]


def message_of(error: Exception) -> str:
    """Return the message that a browser shows for an error."""
    return (str(error) or type(error).__name__)[:MOST_MESSAGE_CHARACTERS]
