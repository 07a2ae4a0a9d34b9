"""A worker: one thread that does jobs by urgency, and is there only while there are some."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable

Job = Callable[[], None]

_log = logging.getLogger(__name__)


class Worker:
    """Jobs, done one after the other in a thread of their own.

    Parameters
    ----------
    name : str
        The thread's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._jobs: list[tuple[int, int, Job]] = []
        self._count = itertools.count()
        self._thread: threading.Thread | None = None
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether whatever is under way should end soon."""
        return self._stopped

    @property
    def is_here(self) -> bool:
        """Whether this is called by a job."""
        return self._thread is threading.current_thread()

    def submit(self, urgency: int, job: Job) -> None:
        """Do `job` after all of lower `urgency`, and of its own that came before; not once stopped."""
        with self._lock:
            if self._stopped:
                return
            heapq.heappush(self._jobs, (urgency, next(self._count), job))
            if self._thread is None:
                # A daemon, for whoever ends the interpreter in the middle of a long job; see `stop`.
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def catch_up(self, urgency: int) -> None:
        """From within a job: do what has at most `urgency` now, in between."""
        while (job := self._next(urgency)) is not None:
            _do(job)

    def stop(self, patience: float = 0.0) -> None:
        """Forget all jobs, and wait up to `patience` seconds for the one under way."""
        with self._lock:
            self._stopped = True
            self._jobs.clear()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(patience)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            _do(job)
            del job  # what it holds is not needed while the next one runs

    def _next(self, urgency: int | None = None) -> Job | None:
        with self._lock:
            if self._jobs and (urgency is None or self._jobs[0][0] <= urgency):
                return heapq.heappop(self._jobs)[2]
            if urgency is None:
                self._thread = None
            return None


def _do(job: Job) -> None:
    try:
        job()
    except Exception:
        # Jobs tell of what they expect to fail; this is an observer's error, or a mistake of ours.
        _log.exception("a job of the widget failed")
