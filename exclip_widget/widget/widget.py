"""The widget: linked views of a caption and an image. Its traits and public methods; see also `session`.

Who owns what: the browser owns what is hovered and everything drawn. Both sides own the selection, `tokens`
and `region`. Python owns all the rest and tells the browser, which asks for changes by messages.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import resources
from typing import Any, Unpack

import traitlets

from ..explainer import ExplainerOptions
from ..image import ImageLike
from ..results.interactions import Interactions
from .protocol import (
    Cancel,
    Change,
    ClearTests,
    Join,
    TestSelection,
    UploadChunk,
    read_changes,
    read_message,
    read_selection,
)
from .request import CHANGEABLE, Request
from .session import Session, first_traits
from .sync import SyncedWidget
from .traits import InputTrait, SelectionTrait

EXIT_TIMEOUT = 20.0
"""Seconds that the interpreter waits at its end for a computation to notice that it was cancelled."""

STATIC = resources.files(__package__) / "static"


class ExplainWidget(SyncedWidget):
    """Shows which words of a caption interact with which patches of an image, to look at and select in.

    Inputs are read, and refused, at once. They are computed in a thread of their own, and the views refine
    meanwhile.

    Parameters
    ----------
    model, image
        As `explain` takes them.
    caption : str, or a list of two
        The caption; or a caption and a foil to compare it with.
    **options
        As `Explainer` takes them.

    Attributes
    ----------
    caption : str
        The caption. Setting this or any of the inputs below computes anew what depends on it. What cannot
        be used is refused by the errors of `explain`, and nothing changes.
    foil : str or None
        A second caption, explained on the same image.
    image : PIL.Image.Image
        The image, RGB. May be set to anything that `explain` takes as one, except a tensor.
    method : str
        Name of the method. May be set to a method with options, such as ``Banzhaf(samples=1024)``.
    text_layer, image_layer : int or "output"
        Where the towers are cut. Set to None for what suits the method.
    tokens : list of int
        Selected tokens, as indices into `interactions.tokens`. Changes on either side reach the other.
    region : list of int
        Selected patches, ``row * columns + column``. May be set to a boolean mask (rows, columns).
    session : Session
        The life of its requests.

    Raises
    ------
    ModelError, ImageError, CaptionError, ParameterError
        If an input cannot be used. The message names it and says what was expected.
    """

    session: Session

    caption = InputTrait("").tag(sync=True)
    foil = InputTrait(None).tag(sync=True)
    image = InputTrait(None)
    method = InputTrait("").tag(sync=True)
    text_layer = InputTrait("output").tag(sync=True)
    image_layer = InputTrait("output").tag(sync=True)
    tokens = SelectionTrait().tag(sync=True)
    region = SelectionTrait().tag(sync=True)

    _request = traitlets.Dict().tag(sync=True)
    _choices = traitlets.Dict().tag(sync=True)
    _tokens = traitlets.List(traitlets.Dict()).tag(sync=True)
    _foil_tokens = traitlets.List(traitlets.Dict()).tag(sync=True)
    _alignment = traitlets.List(traitlets.Any()).tag(sync=True)
    _image = traitlets.Bytes().tag(sync=True)
    _image_type = traitlets.Unicode().tag(sync=True)
    _grid = traitlets.Dict({"rows": 0, "columns": 0}).tag(sync=True)
    _summary = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    _result = traitlets.Bytes().tag(sync=True)
    _foil_result = traitlets.Bytes().tag(sync=True)
    _tests = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self,
        model: Any,
        image: ImageLike,
        caption: str | Sequence[str],
        **options: Unpack[ExplainerOptions],
    ) -> None:
        request = Request.read(model, image, caption, options)
        # As text: anywidget would watch a file, and the watch would keep every widget alive.
        self._esm = (STATIC / "widget.js").read_text("utf-8")
        self._css = (STATIC / "widget.css").read_text("utf-8")
        super().__init__(**first_traits(request))
        session = Session(request, self)
        self.session = session
        self.on_msg(self._receive)
        # Also at the interpreter's end, which must not come in the middle of a computation.
        weakref.finalize(self, session.worker.stop, EXIT_TIMEOUT)
        session.start()

    # ------------------------------------------------------------------------------------ for Python code

    @property
    def interactions(self) -> Interactions | None:
        """The newest estimate for the caption; None before the first."""
        result = self.session.result
        return result[0] if result else None

    @property
    def foil_interactions(self) -> Interactions | None:
        """The newest estimate for the foil; None before the first, and without a foil."""
        result = self.session.result
        return result[1] if len(result) > 1 else None

    def wait(self, timeout: float | None = None) -> Interactions:
        """Block until the newest result is there, and return it.

        Raises
        ------
        TimeoutError
            After `timeout` seconds.
        ExclipError
            If computing failed, or was cancelled before the first estimate.
        """
        return self.session.wait(timeout)

    async def ready(self) -> Interactions:
        """Wait for the newest result without blocking: ``await widget.ready()``. Raises what `wait` does."""
        loop = asyncio.get_running_loop()
        while True:
            with self.lock:
                if self.session.is_settled:
                    return self.session.outcome()
                settled = asyncio.Event()
                self.session.call_when_settled(partial(loop.call_soon_threadsafe, settled.set))
            await settled.wait()

    def cancel(self) -> None:
        """End the computation at once, with the newest estimate as its result."""
        self.session.cancel()

    def close(self) -> None:
        """End the computation and the views."""
        if self._constructed:
            self.session.close()
        super().close()

    # ----------------------------------------------------------------------------------- from the browser

    def set_state(self, sync_data: Mapping[str, Any]) -> None:
        """Take what a browser sets: selections, and inputs as requests. All else is Python's alone."""
        for name in sync_data.keys() & {"tokens", "region"}:
            chosen = read_selection(sync_data[name])
            if chosen is None:
                continue
            try:
                with self.lock:
                    super().set_state({name: list(chosen)})
            except traitlets.TraitError:  # a selection from a caption or a grid that was replaced meanwhile
                self.send_state(name)
        given = {name: value for name, value in sync_data.items() if name in CHANGEABLE}
        if changes := read_changes(given):
            self.session.change(changes)
        elif given:
            self.resend(given.keys())

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        """Pass a browser's message to the session; whatever is no message of the protocol is ignored."""
        if self.session.closed:
            return
        message = read_message(content, buffers)
        match message:
            case Join():
                self.session.join(refresh=message.refresh)
            case Cancel():
                self.session.cancel(message.id)
            case Change():
                self.session.change(message.changes, message.question)
            case UploadChunk():
                self.session.upload(message)
            case TestSelection():
                self.session.test(message)
            case ClearTests():
                self.session.clear_tests()
