"""A widget whose traits change together, whichever thread changes them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anywidget
import traitlets


class Together(anywidget.AnyWidget):
    """A widget that a worker thread may change as well as the main one.

    ipywidgets can hold changes back until there are several of them, but holds those of all threads alike,
    and tells observers while it does. Here each thread holds its own, under a lock, and tells of them after.

    A host that has lost its kernel for a while asks for the state of all widgets, and takes what it is told
    for the newest, though a thread may have sent something newer since it was read. So the state has a
    number, by which a browser knows that it was told an older one, and asks again.
    """

    _revision = traitlets.Int().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        self._lock = threading.RLock()
        self._here = _Here()
        self._made = False
        super().__init__(**traits)
        self._made = True

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Change traits as one: a browser gets them together, and so does whoever else looks.

        Observers hear of it when nothing is locked any more, so they may wait for whatever they like.
        """
        if self._here.changes is not None:
            yield
            return
        changes: list[Any] = []
        with self._lock:
            self._here.changes, self._here.sent = changes, 0
            try:
                yield
                self._sync()
            finally:
                self._here.changes = None
        for change in changes:
            traitlets.HasTraits.notify_change(self, change)

    def _sync(self) -> None:
        """Send what has changed so far, ahead of the messages that follow."""
        assert self._here.changes is not None
        if len(self._here.changes) > self._here.sent:
            self._revision += 1
        names = {change.name for change in self._here.changes[self._here.sent :]} & set(self.keys)
        self._here.sent = len(self._here.changes)
        self.send_state({name for name in names if self._should_send_property(name, getattr(self, name))})

    def _send_all(self) -> None:
        """Send the state as it is now; what the view is made of has not changed."""
        self.send_state(set(self.keys) - {"_esm", "_css"})

    def send_state(self, key: Any = None) -> None:
        """Send some of the state, or all: none of it older by then than what another thread has sent."""
        with self._lock:
            super().send_state(key)

    @traitlets.observe("comm")
    def _hear_as_addressed(self, change: Any) -> None:
        """Have messages handled where the browser sends them.

        ipykernel 7.4 sends them to the subshell that the widget last spoke from instead. A worker thread
        speaks from wherever the kernel heard something last; that one may be gone, and they with it.
        """
        if hasattr(change.new, "_reply_subshell_for"):
            change.new._reply_subshell_for = lambda _data, addressed: addressed

    def notify_change(self, change: Any) -> None:
        """Tell the browser and observers of a change, or note it where several are made together."""
        if self._here.changes is None:
            super().notify_change(change)
        else:
            self._here.changes.append(change)

    @property
    def _publishes(self) -> bool:
        """Whether what sets a trait now is the widget itself."""
        return not self._made or self._here.changes is not None

    def _set(self, **traits: Any) -> None:
        for name, value in traits.items():
            if getattr(self, name) is not value:  # equality takes its time on pictures
                setattr(self, name, value)


class _Here(threading.local):
    """What this thread changes together: `changes` of traits, of which so many are `sent`."""

    changes: list[Any] | None = None
    sent: int = 0
