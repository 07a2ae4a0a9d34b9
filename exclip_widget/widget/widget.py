"""The widget: linked views of a caption and an image. Its traits and public methods; see also `session`.

Who owns what: the browser owns what is hovered and everything drawn. Both sides own the selection, `tokens`
and `region`. Python owns all the rest and tells the browser, which asks for changes by messages.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import resources
from typing import Any, Unpack

import traitlets

from ..explainer import ExplainerOptions
from ..image import ImageLike, open_image
from ..results.classification import Classification
from ..results.interactions import Interactions
from ..results.page import figure_of, write_figures
from ..results.shown import finished_traits
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
from .session import FIRST_ID, Host, Session, first_traits
from .sync import SyncedWidget
from .traits import InputTrait, SelectionTrait
from .viewing import NO_MODEL, Viewing

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
    caption : str, or list of str
        The caption; or several, which are ranked by their similarity to the image. The first one is
        explained, and of two also the second one, as its foil.
    **options
        As `Explainer` takes them.

    Attributes
    ----------
    caption : str
        The caption. Setting this or any of the inputs below computes anew what depends on it. What cannot
        be used is refused by the errors of `explain`, and nothing changes.
    foil : str or None
        A second caption, explained on the same image.
    captions : tuple of str
        All captions that are ranked, in the order in which they were given; empty if the widget was made
        with one. May be set to any list. A new `caption` takes the place of the one that it was before.
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
    session : Session or Viewing
        The life of its requests; without a model there are none.

    Raises
    ------
    ModelError, ImageError, CaptionError, ParameterError
        If an input cannot be used. The message names it and says what was expected.
    """

    session: Session | Viewing

    captions = InputTrait(()).tag(sync=True)
    caption = InputTrait("").tag(sync=True)
    foil = InputTrait(None).tag(sync=True)
    image = InputTrait(None)
    method = InputTrait("").tag(sync=True)
    text_layer = InputTrait("output").tag(sync=True)
    image_layer = InputTrait("output").tag(sync=True)
    tokens = SelectionTrait().tag(sync=True)
    region = SelectionTrait().tag(sync=True)

    _request = traitlets.Dict().tag(sync=True)
    _choices = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
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
    _scores = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)

    def __init__(
        self,
        model: Any,
        image: ImageLike,
        caption: str | Sequence[str],
        **options: Unpack[ExplainerOptions],
    ) -> None:
        request = Request.read(model, image, caption, options)
        self._open(first_traits(request), partial(Session, request))
        assert isinstance(self.session, Session)
        # Also at the interpreter's end, which must not come in the middle of a computation.
        weakref.finalize(self, self.session.worker.stop, EXIT_TIMEOUT)
        self.session.start()

    @classmethod
    def from_result(
        cls, result: Interactions, image: ImageLike, foil: Interactions | None = None
    ) -> ExplainWidget:
        """Return a widget that shows a result without its model: one that was loaded, or computed elsewhere.

        Everything can be selected and read, in the browser and from Python. What needs the model is refused
        in words: other inputs, and masking tests.

        Parameters
        ----------
        result : Interactions
            The result.
        image
            The image that was explained, as `explain` takes it.
        foil : Interactions, optional
            The result of another caption of the same image, explained in the same way, to compare with.

        Raises
        ------
        ImageError
            If the image cannot be read, or is not of the size of the one that was explained.
        ParameterError
            If a result cannot be shown: it is a difference, or has numbers that are not finite, or the two
            are of different images or methods.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> widget = ExplainWidget.from_result(demo.example(), demo.load().pages[0].image)
        >>> widget.tokens = [2, 3]
        >>> widget.interactions == demo.example()
        True
        """
        opened = open_image(image)
        traits = finished_traits(result, opened, foil) | {
            "image": opened,
            "text_layer": result.text_layer,
            "image_layer": result.image_layer,
            "_request": {"id": FIRST_ID, "phase": "idle", "message": NO_MODEL},
        }
        widget = cls.__new__(cls)
        widget._open(traits, partial(Viewing, (result,) if foil is None else (result, foil)))
        return widget

    def _open(self, traits: Mapping[str, Any], session_of: Callable[[Host], Session | Viewing]) -> None:
        """Show the first state, and begin a session."""
        name = "captions" if traits.get("captions") else "widget"  # the list is loaded only if there is one
        # As text: anywidget would watch a file, and the watch would keep every widget alive.
        self._esm = (STATIC / f"{name}.js").read_text("utf-8")
        self._css = (STATIC / f"{name}.css").read_text("utf-8")
        super().__init__(**traits)
        self.session = session_of(self)
        self.on_msg(self._receive)

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

    @property
    def classification(self) -> Classification | None:
        """Similarities and probabilities of `captions`; None before they are known, and without a list."""
        return self.session.classification

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

    def to_html(
        self, path: str | os.PathLike[str], *, title: str | None = None, overwrite: bool = False
    ) -> None:
        """Write what is shown into one HTML file that can be selected in, without a kernel and a network.

        It waits for the newest result. The selection and the masking tests are in the file, too. See
        `Interactions.to_html`.

        Parameters
        ----------
        path : str or path
            Where to write; ends in ``.html``. ``~`` is the home directory.
        title : str, optional
            What stands at the top.
        overwrite : bool
            Whether a file that is there may be replaced.

        Raises
        ------
        FileError
            If the path has another suffix, exists already, or cannot be written.
        ExclipError
            If there is no result: see `wait`.
        """
        self.wait()
        with self.lock:
            result, *foil = self.session.result or (self.session.outcome(),)
            kept = ("tokens", "region", "captions", "_scores", "_tests")
            chosen = {name: getattr(self, name) for name in kept}
            figure = figure_of(result, self.image, *foil, **chosen)
        write_figures(path, [figure], title=title, overwrite=overwrite)

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
