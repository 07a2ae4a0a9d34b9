"""The widget: linked views of a caption and a picture, fed by a worker thread.

State on the browser's side: what is hovered, and everything drawn. State on both sides: the selection
(`tokens`, `region`). State on Python's side, told to the browser: all the rest.
"""

from __future__ import annotations

import inspect
import io
import sys
import threading
import weakref
from collections.abc import Mapping
from importlib import resources
from typing import Any

import anywidget
import numpy as np
import traitlets
from PIL import Image

from .errors import ExclipError, ParameterError, PictureError
from .explainer import Explainer, Explanation, explain
from .interactions import Interactions
from .picture import Picture, field_of_view
from .stream import chunks, payload

FRAMES = 4
"""Estimates shown on the way to the result; more where memory asks for it."""

SHOWN = 1024
"""Longest side, in pixels, of the picture as the browser gets it."""

PATIENCE = 20.0
"""Seconds that the interpreter waits, at its end, for a computation to notice that it is cancelled."""

STATIC = resources.files(__package__) / "static"


class Selection(traitlets.List):  # type: ignore[type-arg]
    """Sorted numbers without repeats; a boolean mask stands for the numbers of its true entries."""

    def __init__(self, **options: Any) -> None:
        super().__init__(traitlets.Int(), **options)

    def validate(self, obj: Any, value: Any) -> Any:
        """Numbers from a mask, an array or any other collection, sorted."""
        if isinstance(value, np.ndarray) and value.dtype == bool:
            tokens, *grid = obj._result_shape
            expected = (tokens,) if self.name == "tokens" else tuple(grid)
            if value.shape != expected:
                raise traitlets.TraitError(
                    f"{self.name} was set to a mask of shape {value.shape}; expected {expected}"
                )
            value = np.flatnonzero(value)
        if isinstance(value, (np.ndarray, set, tuple, range)):
            value = [int(number) if isinstance(number, np.integer) else number for number in value]
        return sorted(set(super().validate(obj, value) or ()))


class ExplainWidget(anywidget.AnyWidget):
    """Which words of a caption speak to which patches of a picture, to look at and to select in.

    Takes what `explain` takes. Reading the inputs happens, and fails, at once; computing happens in a
    thread of its own, and the views refine while it does.

    Attributes
    ----------
    tokens : list of int
        Selected tokens, as indices into `interactions.tokens`; changes on either side reach the other.
    region : list of int
        Selected patches, ``row * columns + column``; may be set to a boolean mask (rows, columns).
    interactions : Interactions or None
        The newest estimate; None before the first.
    """

    __signature__ = inspect.signature(explain).replace(return_annotation=inspect.Signature.empty)

    _esm = STATIC / "widget.js"
    _css = STATIC / "widget.css"

    caption = traitlets.Unicode(read_only=True).tag(sync=True)
    tokens = Selection().tag(sync=True)
    region = Selection().tag(sync=True)

    _tokens = traitlets.List(traitlets.Dict()).tag(sync=True)
    _picture = traitlets.Bytes().tag(sync=True)
    _picture_type = traitlets.Unicode().tag(sync=True)
    _grid = traitlets.Dict().tag(sync=True)
    _summary = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    _result = traitlets.Bytes().tag(sync=True)
    _result_shape = traitlets.List(traitlets.Int()).tag(sync=True)
    _status = traitlets.Dict({"phase": "idle", "message": ""}).tag(sync=True)

    def __init__(self, model: Any, image: Picture, caption: str, **options: Any) -> None:
        explanation = _prepared(Explainer(model, **options), image, caption)
        whole = explanation.image
        assert whole is not None
        rows, columns = explanation.shape[1:]
        left, top, width, height = field_of_view(explanation.preprocess, whole.size)
        picture, picture_type = _encoded(whole)
        super().__init__(
            _tokens=_described(explanation),
            _picture=picture,
            _picture_type=picture_type,
            _grid={
                "rows": rows,
                "columns": columns,
                "left": left,
                "top": top,
                "width": width,
                "height": height,
            },
            _result_shape=list(explanation.shape),
            _status={"phase": "computing", "message": ""},
        )
        self.set_trait("caption", caption)
        self.interactions: Interactions | None = None
        self._error: Exception | None = None
        self._id = 1
        self._frame = 0
        self._cancelled = threading.Event()
        self._sending = threading.RLock()
        self.on_msg(self._receive)
        self._worker = threading.Thread(
            target=self._compute, args=(explanation,), name="exclip-widget", daemon=True
        )
        self._worker.start()
        # Also at the interpreter's end, which must not come in the middle of a computation.
        weakref.finalize(self, _stop, self._cancelled, self._worker)

    def wait(self, timeout: float | None = None) -> Interactions:
        """Block until the result is there, and return it.

        Raises
        ------
        TimeoutError
            After `timeout` seconds.
        ExclipError
            Where computing failed, or was cancelled before the first estimate.
        """
        self._worker.join(timeout)
        if self._worker.is_alive():
            raise TimeoutError(f"no result after {timeout} s")
        if self._error is not None:
            raise self._error
        if self.interactions is None:
            raise ExclipError("the computation was cancelled before its first estimate")
        return self.interactions

    def close(self) -> None:
        """End the computation and the views."""
        # Also called by the base class's finaliser, on widgets whose construction failed.
        if hasattr(self, "_cancelled"):
            self._cancelled.set()
        super().close()

    @traitlets.validate("tokens", "region")
    def _within(self, proposal: Any) -> Any:
        name, chosen = proposal["trait"].name, proposal["value"]
        shape = self._result_shape
        if shape and chosen:
            count = shape[0] if name == "tokens" else shape[1] * shape[2]
            if chosen[0] < 0 or chosen[-1] >= count:
                wrong = chosen[0] if chosen[0] < 0 else chosen[-1]
                raise traitlets.TraitError(f"{name} has {wrong}; expected numbers from 0 to {count - 1}")
        return chosen

    def _compute(self, explanation: Explanation) -> None:
        """Run in the worker thread: refine, and stream every estimate."""
        try:
            self._send_begin()
            for frame, estimate in enumerate(explanation.refine(FRAMES)):
                if self._cancelled.is_set():
                    break
                with self._sending:
                    self.interactions, self._frame = estimate, frame
                    self._send_frame()
        except Exception as error:
            self._error = error
            self._finish("error", str(error) or type(error).__name__)
        else:
            self._finish("cancelled" if self._cancelled.is_set() else "done")

    def _finish(self, phase: str, message: str = "") -> None:
        with self._sending, self.hold_sync():
            if self.interactions is not None:
                self._result = payload(self.interactions)
                self._summary = _summary(self.interactions)
            self._status = {"phase": phase, "message": message}
        self.send({"kind": phase, "id": self._id, "message": message, **(self._summary or {})})

    def _send_begin(self) -> None:
        self.send({"kind": "begin", "id": self._id, "shape": self._result_shape, "frames": FRAMES})

    def _send_frame(self) -> None:
        assert self.interactions is not None
        data = payload(self.interactions)
        for offset, chunk in chunks(data):
            place = {"frame": self._frame, "offset": offset, "bytes": len(data)}
            self.send({"kind": "chunk", "id": self._id, **place}, [chunk])
        done, total = self.interactions.nodes, self.interactions.steps
        self.send({"kind": "progress", "id": self._id, "done": done, "total": total})

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Take a message from a browser; anything that is not one of ours is nothing to us."""
        kind = content.get("kind") if isinstance(content, Mapping) else None
        if kind == "cancel" and content.get("id") == self._id:
            self._cancelled.set()
        elif kind == "hello":
            # A view that opens late has missed what was sent so far; a finished result is state.
            with self._sending:
                if self._status["phase"] == "computing":
                    self._send_begin()
                    if self.interactions is not None:
                        self._send_frame()


def _stop(cancelled: threading.Event, worker: threading.Thread) -> None:
    cancelled.set()
    if worker is not threading.current_thread():
        worker.join(PATIENCE)


def _prepared(explainer: Explainer, image: Picture, caption: str) -> Explanation:
    """The pair, as a widget can show it."""
    if explainer.many:
        raise ParameterError("text_layer and image_layer are lists; a widget shows one layer of each tower")
    explanation = explainer.prepare(image, caption)
    if explanation.image is None:
        raise PictureError("image is a tensor of pixels; a widget shows the picture itself, so give it that")
    return explanation


def _described(explanation: Explanation) -> list[dict[str, Any]]:
    caption = explanation.tokens
    return [
        {
            "text": token,
            "word": word,
            "special": word < 0,
            "start": span[0] if span else None,
            "end": span[1] if span else None,
        }
        for token, word, span in zip(caption.tokens, caption.words, caption.spans, strict=True)
    ]


def _summary(interactions: Interactions) -> dict[str, float]:
    numbers = {name: getattr(interactions, name) for name in ("similarity", "residual", "total")}
    # JSON has no infinity, which the residual is where the exact total is zero.
    return {name: min(number, sys.float_info.max) for name, number in numbers.items()}


def _encoded(image: Image.Image) -> tuple[bytes, str]:
    """The picture as the browser gets it: bounded in size, the smaller of PNG and fine JPEG."""
    shown = image.copy()
    shown.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    forms = []
    for kind, options in (("png", {}), ("jpeg", {"quality": 92, "subsampling": 0})):
        buffer = io.BytesIO()
        shown.save(buffer, kind, **options)
        forms.append((buffer.getvalue(), f"image/{kind}"))
    return min(forms, key=lambda form: len(form[0]))
