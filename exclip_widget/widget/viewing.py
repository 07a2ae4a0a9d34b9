"""Viewing: stands in for a session if there is a result but no model. It can select, but not compute.

Provides the part of `Session` that the widget uses. Anything that needs a model is refused with a clear
message, in Python and in the browser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ..errors import ModelError
from ..results.interactions import Interactions
from . import protocol
from .session import Host

NO_MODEL = (
    "This result is shown without its model. To change what is explained, or to test a selection, make an "
    "ExplainWidget with the model."
)
"""Message that a browser shows instead of the controls that need a model."""


class Viewing:
    """The session of a widget without a model.

    Parameters
    ----------
    result : tuple of Interactions
        The result for the caption, and the one for its foil if there is one.
    host : Host
        Where to publish.

    Attributes
    ----------
    result : tuple of Interactions
        What is shown.
    closed : bool
        Whether the session has ended.
    """

    is_settled = True
    classification = None

    def __init__(self, result: tuple[Interactions, ...], host: Host) -> None:
        self.result = result
        self.closed = False
        self._host = host

    def outcome(self) -> Interactions:
        """Return the result."""
        return self.result[0]

    def wait(self, timeout: float | None) -> Interactions:
        """Return the result immediately."""
        del timeout
        return self.outcome()

    def call_when_settled(self, wake: Callable[[], object]) -> None:
        """Call `wake` immediately: nothing is ever being computed."""
        wake()

    def change_now(self, changes: Mapping[str, Any]) -> NoReturn:
        """Refuse to change inputs from Python.

        Raises
        ------
        ModelError
            Always.
        """
        named = ", ".join(f"{name}={value!r:.80}" for name, value in changes.items())
        raise ModelError(
            f"{named} cannot be explained: the widget shows a result without its model; expected a widget "
            "with one, ExplainWidget(model, image, caption)"
        )

    def change(self, changes: Mapping[str, Any], question: int | None = None) -> None:
        """Refuse to change inputs at a browser's request."""
        if question is None:
            self._host.resend(changes.keys())  # undoes what the browser has already applied
        else:
            self._refuse(question)

    def upload(self, chunk: protocol.UploadChunk) -> None:
        """Refuse an uploaded image."""
        self._refuse(chunk.question)

    def test(self, selection: protocol.TestSelection) -> None:
        """Refuse a masking test."""
        self._refuse(selection.question)

    def _refuse(self, question: int) -> None:
        self._host.send(protocol.refused(question, NO_MODEL))

    def clear_tests(self) -> None:
        """Do nothing: there are no tests."""

    def cancel(self, id: int | None = None) -> None:
        """Do nothing: there is no computation to cancel."""

    def join(self, *, refresh: bool) -> None:
        """Answer a view that has just opened."""
        with self._host.lock:
            if refresh:
                self._host.resend(None)
            self._host.send(protocol.alive())

    def close(self) -> None:
        """End the session."""
        self.closed = True
