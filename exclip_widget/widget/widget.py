"""The widget: linked views of a caption and an image. Its traits and public methods; see also `session`.

Ownership of state: the browser owns what is hovered and everything drawn. Both sides own the selection,
`tokens` and `region`. Python owns everything else, and the browser asks for changes by sending messages.
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
"""Seconds that the interpreter waits at exit for a computation to notice that it was cancelled."""

STATIC = resources.files(__package__) / "static"


class ExplainWidget(SyncedWidget):
    """Shows which words of a caption interact with which patches of an image, interactively.

    Inputs are validated immediately. Results are computed in a background thread, and the views refine as
    estimates arrive.

    Parameters
    ----------
    model, image
        As in `explain`.
    caption : str, or list of str
        The caption, or several, which are ranked by their similarity to the image. The first one is
        explained; if there are exactly two, the second one is explained as its foil.
    **options
        As in `Explainer`.

    Attributes
    ----------
    caption : str
        The caption. Setting this or any of the inputs below recomputes whatever depends on it. An invalid
        value raises the same errors as `explain`, and nothing changes.
    foil : str or None
        A second caption, explained on the same image.
    captions : tuple of str
        All captions to rank, in the order given; empty if the widget was made with only one, and otherwise
        may be set to any list. A new `caption` that is not in the list replaces the previous one.
    image : PIL.Image.Image
        The image, RGB. May be set to anything that `explain` accepts except a tensor.
    method : str
        Name of the method. May be set to a method with options, such as ``Banzhaf(samples=1024)``.
    text_layer, image_layer : int or "output"
        Where the towers are cut. Set to None for the method's default.
    tokens : list of int
        Selected tokens, as indices into `interactions.tokens`. Synced in both directions. May be set to a
        boolean mask, one entry for each token.
    region : list of int
        Selected patches, ``row * columns + column``. May be set to a boolean mask (rows, columns).
    session : Session or Viewing
        Manages the requests; a `Viewing`, which has none, if there is no model.

    Raises
    ------
    ModelError, ImageError, CaptionError, ParameterError
        If an input cannot be used. The message names the input and what was expected.
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
        # This also runs when the interpreter exits, which must not happen in the middle of a computation.
        weakref.finalize(self, self.session.worker.stop, EXIT_TIMEOUT)
        self.session.start()

    @classmethod
    def from_result(
        cls, result: Interactions, image: ImageLike, foil: Interactions | None = None
    ) -> ExplainWidget:
        """Return a widget that shows a result without its model, such as one that was loaded from a file.

        Everything can be selected and read, in the browser and from Python. Anything that needs the model,
        such as other inputs or a masking test, is refused with a clear message.

        Parameters
        ----------
        result : Interactions
            The result.
        image
            The image that was explained, in any form that `explain` accepts.
        foil : Interactions, optional
            A result to compare with: another caption of the same image, explained in the same way.

        Raises
        ------
        ImageError
            If the image cannot be read, or its size differs from that of the image that was explained.
        ParameterError
            If a result cannot be shown: it is a difference, it contains numbers that are not finite, or the
            two come from different images or methods.

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
        """Show the initial state, and create a session."""
        name = "captions" if traits.get("captions") else "widget"  # omits the list's code if unused
        # Pass text, not a path: anywidget would watch a file, and the watch would keep every widget alive.
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
        """The newest estimate for the foil; None before the first, or without a foil."""
        result = self.session.result
        return result[1] if len(result) > 1 else None

    @property
    def classification(self) -> Classification | None:
        """Similarities and probabilities of `captions`; None before they are known, or without a list."""
        return self.session.classification

    def wait(self, timeout: float | None = None) -> Interactions:
        """Block until the newest result is ready, and return it.

        Raises
        ------
        TimeoutError
            After `timeout` seconds.
        ExclipError
            If the computation failed, or was cancelled before the first estimate.
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
        """Write what is shown to a single interactive HTML file, which needs neither a kernel nor a network.

        Waits for the newest result first. The file includes the selection and the masking tests. See
        `Interactions.to_html`.

        Parameters
        ----------
        path : str or path
            Where to write; must end in ``.html``. ``~`` is the home directory.
        title : str, optional
            Heading of the page.
        overwrite : bool
            Whether to replace an existing file.

        Raises
        ------
        FileError
            If the path has another suffix, already exists, or cannot be written.
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
        """Cancel the computation, keeping the newest estimate as the result."""
        self.session.cancel()

    def close(self) -> None:
        """Cancel the computation and close the views."""
        if self._constructed:
            self.session.close()
        super().close()

    # ----------------------------------------------------------------------------------- from the browser

    def set_state(self, sync_data: Mapping[str, Any]) -> None:
        """Apply a browser's selections, and request its changes of inputs. Ignore all other traits."""
        with self.transaction():
            for name in sync_data.keys() & {"tokens", "region"}:
                chosen = read_selection(sync_data[name])
                if chosen is None:
                    continue
                # Only the selection's own error: observers, called as the transaction ends, raise theirs.
                try:
                    super().set_state({name: list(chosen)})
                except traitlets.TraitError:  # the caption or grid was replaced in the meantime
                    self.send_state(name)
        given = {name: value for name, value in sync_data.items() if name in CHANGEABLE}
        if changes := read_changes(given):
            self.session.change(changes)
        elif given:
            self.resend(given.keys())

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        """Pass a browser's message to the session, ignoring anything that is not part of the protocol."""
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
