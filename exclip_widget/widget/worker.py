"""Worker: a thread that runs jobs by priority, and exists only while there are jobs."""

from __future__ import annotations

import ctypes
import heapq
import itertools
import logging
import sys
import threading
from collections.abc import Callable

Job = Callable[[], None]

_log = logging.getLogger(__name__)


class Worker:
    """Runs jobs one at a time in a thread of its own.

    Parameters
    ----------
    name : str
        Name of the thread.
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
        """Whether the running job should end soon."""
        return self._stopped

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller is running inside a job."""
        return self._thread is threading.current_thread()

    def submit(self, priority: int, job: Job) -> None:
        """Queue `job`: lower `priority` runs first, first in first out within one. Ignored after `stop`."""
        with self._lock:
            if self._stopped:
                return
            heapq.heappush(self._jobs, (priority, next(self._count), job))
            if self._thread is None:
                try:
                    # A daemon, so that a long job does not keep the interpreter alive; see `stop`.
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()
                except BaseException:  # it may have been interrupted; the next job starts another thread
                    self._thread = None
                    raise

    def has_urgent(self, priority: int) -> bool:
        """Return whether jobs of at most `priority` are queued."""
        with self._lock:
            return bool(self._jobs) and self._jobs[0][0] <= priority

    def run_urgent(self, priority: int) -> None:
        """Run the queued jobs of at most `priority` now. Long jobs should call this now and then."""
        while (job := self._next(priority)) is not None:
            _run_logged(job)

    def stop(self, timeout: float = 0.0) -> None:
        """Discard all queued jobs, and wait up to `timeout` seconds for the running one."""
        with self._lock:
            self._stopped = True
            self._jobs.clear()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            _run_logged(job)
            del job  # do not keep its objects alive while the next one runs
        _return_freed_memory()

    def _next(self, priority: int | None = None) -> Job | None:
        with self._lock:
            if priority is None and not self.is_current_thread:
                return None  # the start of this thread was interrupted, so it does not count as started
            if self._jobs and (priority is None or self._jobs[0][0] <= priority):
                return heapq.heappop(self._jobs)[2]
            if priority is None:
                self._thread = None
            return None


def _run_logged(job: Job) -> None:
    try:
        job()
    except Exception:
        # Jobs report the failures they expect, so this is an observer's error or a bug.
        _log.exception("a job of the widget failed")


def _return_freed_memory() -> None:
    """Return freed memory to the operating system, if the C library is glibc.

    glibc keeps freed memory for later threads, in up to eight arenas per core. Once there are as many threads
    as arenas, it assigns the arenas in turn, so each request would leave a working set in a different one.
    """
    trim = getattr(ctypes.CDLL(None) if sys.platform == "linux" else None, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
