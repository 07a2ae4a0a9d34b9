"""Sync: a widget whose traits change in transactions, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import anywidget
import traitlets


class SyncedWidget(anywidget.AnyWidget):
    """A widget that both the main thread and a worker thread may change.

    ipywidgets' own `hold_sync` holds back the changes of all threads at once, and notifies observers while it
    does so. Here each thread has its own transaction, under a lock, and observers are notified after it.

    A browser that was disconnected asks for the state of all widgets, and takes the answer for the newest,
    although a thread may have sent a newer state since that one was read. The state therefore has a revision
    number, so the browser can tell that it got an older state, and ask again.

    Attributes
    ----------
    lock : threading.RLock
        Held during transactions.
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
        """Hold the lock, and send all changes of traits to the browser together.

        Observers are called after the lock is released, so they may block on anything. If the block is
        interrupted, what it has changed by then is still sent, and observers are still called.
        """
        if self._thread.changes is not None:
            yield
            return
        changes: list[Any] = []
        try:
            with self.lock:
                self._thread.changes, self._thread.sent = changes, 0
                try:
                    yield
                finally:
                    try:
                        self.flush()
                    except KeyboardInterrupt:
                        self.flush()
                        raise
                    finally:
                        self._thread.changes = None
        finally:
            self._notify_observers_of(changes)

    @contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Call observers only after the block, and once for each trait that it changes.

        Values are checked, requested and sent to the browser as without a hold. traitlets' own would hold
        back the changes of all threads, and set each changed trait again at the end: a new request for it.
        """
        if not self._constructed:
            with super().hold_trait_notifications():
                yield
            return
        if self._thread.changes is not None:
            # Observers of a transaction wait anyway. It is flushed here, because this is where ipywidgets'
            # `set_state` still knows what the browser has set itself, so that is not sent back.
            try:
                yield
            finally:
                self.flush()
            return
        if self._thread.held is not None:
            yield
            return
        held = self._thread.held = {}
        try:
            yield
        finally:
            self._thread.held = None
            self._notify_observers_of(held.values())

    def _notify_observers_of(self, changes: Iterable[Any]) -> None:
        """Call the observers of changes, now or after the hold of this thread.

        If an observer of one trait raises an error, those of the others are still called.
        """
        held = self._thread.held
        errors: list[Exception] = []
        for change in changes:
            if held is None:
                try:
                    traitlets.HasTraits.notify_change(self, change)
                except Exception as error:
                    errors.append(error)
            elif change.name in held:
                held[change.name].new = change.new
            else:
                held[change.name] = change
        if errors:
            raise errors[0]

    def publish(self, **traits: Any) -> None:
        """Set traits within a transaction."""
        for name, value in traits.items():
            if getattr(self, name) is not value:  # comparing images by value is slow
                setattr(self, name, value)

    def flush(self) -> None:
        """Send what has changed so far in this transaction, before any later message."""
        assert self._thread.changes is not None
        names = {change.name for change in self._thread.changes[self._thread.sent :]} & set(self.keys)
        if names - self._property_lock.keys():  # a browser already has what it has set itself
            self._revision += 1
            names.add("_revision")
        count = len(self._thread.changes)
        self.send_state({name for name in names if self._should_send_property(name, getattr(self, name))})
        self._thread.sent = count  # only now: if sending was interrupted, the next flush sends all of it

    def resend(self, names: Iterable[str] | None) -> None:
        """Send traits again although they have not changed; if None, all but the front end's code."""
        self.send_state(
            set(self.keys) & set(names) if names is not None else set(self.keys) - {"_esm", "_css"}
        )

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Return the state, or part of it, between two transactions; see `ipywidgets.Widget.get_state`.

        `drop_defaults` is ignored: a saved page has no kernel to ask, and anywidget's front end does not know
        the default values. These include the front end's code, which anywidget adds as a default.
        """
        del drop_defaults
        with self.lock:
            state: dict[str, Any] = super().get_state(key)
        return state

    def send_state(self, key: Any = None) -> None:
        """Send the state, or part of it, under the lock: an older state never follows a newer one."""
        with self.lock:
            super().send_state(key)

    @traitlets.observe("comm")
    def _answer_as_addressed(self, change: Any) -> None:
        """Handle messages in the shell that the browser addresses.

        ipykernel 7.4 instead routes them to the subshell that the widget last sent from. For a worker thread,
        that is the subshell in which the kernel last received something. If it has ended, messages are lost.
        """
        if hasattr(change.new, "_reply_subshell_for"):
            change.new._reply_subshell_for = lambda _data, addressed: addressed

    def notify_change(self, change: Any) -> None:
        """Notify the browser and observers of a change, or record it if a transaction or a hold is open."""
        if self._thread.changes is not None:
            self._thread.changes.append(change)
        elif self._thread.held is not None:
            with self.transaction():
                self.notify_change(change)
        else:
            super().notify_change(change)

    @property
    def publishes(self) -> bool:
        """Whether a trait set now is being set by the widget itself."""
        return not self._constructed or self._thread.changes is not None


class _ThreadState(threading.local):
    """What is open in this thread.

    Attributes
    ----------
    changes : list of changes, or None
        What the transaction has changed so far; None if there is no transaction.
    sent : int
        How many of them have been sent.
    held : dict from names to changes, or None
        What observers are called with after the hold; None if there is no hold.
    """

    changes: list[Any] | None = None
    sent: int = 0
    held: dict[str, Any] | None = None
