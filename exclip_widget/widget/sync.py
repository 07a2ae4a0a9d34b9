"""Sync: a widget whose traits change as one, whichever thread changes them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import anywidget
import traitlets


class SyncedWidget(anywidget.AnyWidget):
    """A widget that a worker thread may change as well as the main one.

    ipywidgets' own `hold_sync` holds back the changes of all threads at once, and tells observers meanwhile.
    Here each thread has its own transaction, under a lock, and observers are told after it.

    A browser that was disconnected asks for the state of all widgets, and takes the answer for the newest
    state, though a thread may have sent a newer one since it was read. So the state has a revision number,
    by which the browser sees that it got an older one, and asks again.

    Attributes
    ----------
    lock : threading.RLock
        Held by transactions.
    """

    _revision = traitlets.Int().tag(sync=True)
    _constructed = False

    def __init__(self, **traits: Any) -> None:
        self.lock = threading.RLock()
        self._thread = _ThreadState()
        super().__init__(**traits)
        self._constructed = True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the lock and change traits as one: the browser gets them together.

        Observers are called when the lock is released, so they may wait for whatever they like.
        """
        if self._thread.changes is not None:
            yield
            return
        changes: list[Any] = []
        with self.lock:
            self._thread.changes, self._thread.sent = changes, 0
            try:
                yield
                self.flush()
            finally:
                self._thread.changes = None
        for change in changes:
            traitlets.HasTraits.notify_change(self, change)

    def publish(self, **traits: Any) -> None:
        """Set traits within a transaction."""
        for name, value in traits.items():
            if getattr(self, name) is not value:  # comparing images takes its time
                setattr(self, name, value)

    def flush(self) -> None:
        """Send what has changed so far in this transaction, ahead of the messages that follow."""
        assert self._thread.changes is not None
        if len(self._thread.changes) > self._thread.sent:
            self._revision += 1
        names = {change.name for change in self._thread.changes[self._thread.sent :]} & set(self.keys)
        self._thread.sent = len(self._thread.changes)
        self.send_state({name for name in names if self._should_send_property(name, getattr(self, name))})

    def resend(self, names: Iterable[str] | None) -> None:
        """Send traits again though they have not changed; all but the view's code if None."""
        self.send_state(
            set(self.keys) & set(names) if names is not None else set(self.keys) - {"_esm", "_css"}
        )

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the state, or some of it, between two transactions; see `ipywidgets.Widget.get_state`.

        Nothing is dropped: a saved page has no kernel to ask, and anywidget's part in the browser knows no
        default values. The view's code is one as well, as anywidget adds it.
        """
        del drop_defaults
        with self.lock:
            state: dict[str, Any] = super().get_state(key)
        return state

    def send_state(self, key: Any = None) -> None:
        """Send some of the state, or all. Nothing older can follow what another thread has sent."""
        with self.lock:
            super().send_state(key)

    @traitlets.observe("comm")
    def _answer_as_addressed(self, change: Any) -> None:
        """Have messages handled in the shell that the browser addresses.

        ipykernel 7.4 routes them to the subshell that the widget last spoke from instead. A worker thread
        speaks from wherever the kernel heard something last. If that subshell has ended, messages are lost.
        """
        if hasattr(change.new, "_reply_subshell_for"):
            change.new._reply_subshell_for = lambda _data, addressed: addressed

    def notify_change(self, change: Any) -> None:
        """Tell the browser and observers of a change, or note it if a transaction is open."""
        if self._thread.changes is None:
            super().notify_change(change)
        else:
            self._thread.changes.append(change)

    @property
    def publishes(self) -> bool:
        """Whether a trait that is set now is set by the widget itself."""
        return not self._constructed or self._thread.changes is not None


class _ThreadState(threading.local):
    """The open transaction of this thread: its changes, and how many of them were sent."""

    changes: list[Any] | None = None
    sent: int = 0
