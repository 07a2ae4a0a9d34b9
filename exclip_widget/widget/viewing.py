"""Viewing: what stands in for a session if there is a result and no model. It selects, and computes nothing.

It has what the widget uses of a `Session`. Whatever needs a model is refused in words, on either side.
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
"""What a browser says instead of offering what needs a model."""


class Viewing:
    """The session of a widget without a model.

    Parameters
    ----------
    result : tuple of Interactions
        Of the caption, and of its foil if there is one.
    host : Host
        Where to publish.

    Attributes
    ----------
    result : tuple of Interactions
        What is shown.
    closed : bool
        Whether it has ended.
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
        """Return the result: there is nothing to wait for."""
        del timeout
        return self.outcome()

    def call_when_settled(self, wake: Callable[[], object]) -> None:
        """Call `wake`: nothing is being computed."""
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
        """Refuse to change inputs as a browser asks."""
        if question is None:
            self._host.resend(changes.keys())  # the browser has set them already; this undoes it
        else:
            self._refuse(question)

    def upload(self, chunk: protocol.UploadChunk) -> None:
        """Refuse another image."""
        self._refuse(chunk.question)

    def test(self, selection: protocol.TestSelection) -> None:
        """Refuse a masking test."""
        self._refuse(selection.question)

    def _refuse(self, question: int) -> None:
        self._host.send(protocol.refused(question, NO_MODEL))

    def clear_tests(self) -> None:
        """Do nothing: there are no tests."""

    def cancel(self, id: int | None = None) -> None:
        """Do nothing: nothing is being computed."""

    def join(self, *, refresh: bool) -> None:
        """Tell a view that opens that it is heard."""
        with self._host.lock:
            if refresh:
                self._host.resend(None)
            self._host.send(protocol.alive())

    def close(self) -> None:
        """End."""
        self.closed = True
