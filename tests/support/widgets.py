"""Widgets under test: on a comm that records messages, with models that a test can pause."""

from __future__ import annotations

import asyncio
import copy
import functools
import io
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from comm.base_comm import BaseComm
from ipywidgets.widgets import widget as ipywidgets_widget
from PIL import Image

from exclip_widget import (
    ExplainWidget,
    demo,
    explain,
)


@functools.cache
def book() -> demo.PictureBook:
    return demo.load()


class Line(BaseComm):
    """A fake comm that records what is sent to the browser, in order, and sends messages from it."""

    def __init__(self, **options: Any) -> None:
        self.sent: list[tuple[dict[str, Any], list[bytes]]] = []
        self.lock = threading.Lock()
        super().__init__(**options)

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **_: Any
    ) -> None:
        del metadata
        json.dumps(data, allow_nan=False).encode()  # data that cannot be encoded would fail in a kernel
        if msg_type == "comm_open":
            data = {"method": "update", **data}
        if msg_type != "comm_close":
            with self.lock:
                self.sent.append((data, [bytes(buffer) for buffer in buffers or []]))

    def messages(self) -> list[tuple[dict[str, Any], list[bytes]]]:
        """Return the custom messages that the widget has sent."""
        with self.lock:
            return [(data["content"], buffers) for data, buffers in self.sent if data["method"] == "custom"]

    def kinds(self) -> list[str]:
        return [content["kind"] for content, _ in self.messages()]

    def of_kind(self, *kinds: str) -> list[dict[str, Any]]:
        return [content for content, _ in self.messages() if content["kind"] in kinds]

    def says(self, content: Any, *buffers: Any) -> None:
        """Send a message from the browser."""
        self._hears({"method": "custom", "content": content}, list(buffers))

    def sets(self, **state: Any) -> None:
        """Send a change of state from the browser, as a click or a jslink does."""
        self._hears({"method": "update", "state": state, "buffer_paths": []}, [])

    def _hears(self, data: Any, buffers: list[Any]) -> None:
        self.handle_msg({"content": {"data": data}, "buffers": buffers})

    def updates(self) -> list[dict[str, Any]]:
        """Return the state updates that were sent, one per message; the first is the whole state."""
        with self.lock:
            return [
                data["state"]
                | {path[0]: part for path, part in zip(data["buffer_paths"], buffers, strict=True)}
                for data, buffers in self.sent
                if data["method"] == "update"
            ]

    def requests(self, phase: str = "computing") -> list[int]:
        """Return the ids of the requests that reached a phase, in order and without repeats."""
        told = [update["_request"] for update in self.updates() if "_request" in update]
        return list(dict.fromkeys(request["id"] for request in told if request["phase"] == phase))

    def state(self) -> dict[str, Any]:
        """Return the state of the browser's model."""
        held: dict[str, Any] = {}
        for update in self.updates():
            held |= update
        return held


def make(
    page: int = 0, *, model: Any = None, image: Any = None, caption: Any = None, **options: Any
) -> ExplainWidget:
    """Return a widget for a page of the picture book, connected to a `Line`."""
    chosen = book().pages[page]
    with mock.patch.object(ipywidgets_widget.comm, "create_comm", Line):
        return ExplainWidget(
            book().model if model is None else model,
            chosen.image if image is None else image,
            chosen.caption if caption is None else caption,
            tokenizer=book().tokenizer,
            **({"method": "exclip"} | options),
        )


def line(widget: ExplainWidget) -> Line:
    assert isinstance(widget.comm, Line)
    return widget.comm


class Gate:
    """A copy of the picture book's model, whose image tower waits while the gate is shut."""

    def __init__(self) -> None:
        self.model = copy.deepcopy(book().model)
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()
        self.shut_when: Callable[[], bool] = lambda: True
        self.model.visual.ln_post.register_forward_hook(self._pass)

    def _pass(self, *_: Any) -> None:
        if not self.open.is_set() and self.shut_when():
            self.reached.set()
            assert self.open.wait(60)

    @contextmanager
    def shut(self) -> Iterator[None]:
        self.reached.clear()
        self.open.clear()
        try:
            yield
        finally:
            self.open.set()


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until other threads have made `condition` true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still not true after {seconds} s"
        time.sleep(0.002)


def working() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "exclip-widget"]


def decoded(widget: ExplainWidget) -> tuple[np.ndarray, np.ndarray]:
    """Decode values and cls from the state that a notebook saves."""
    return numbers(widget._result, [len(widget._tokens), widget._grid["rows"], widget._grid["columns"]])


def numbers(payload: bytes, shape: list[int]) -> tuple[np.ndarray, np.ndarray]:
    tokens, rows, columns = shape
    found = np.frombuffer(payload, "<f4")
    assert len(found) == tokens * (rows * columns + 1)
    return found[:-tokens].reshape(tokens, rows, columns), found[-tokens:]


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def explained(page: int = 0, caption: str | None = None, **options: Any) -> Any:
    return explain(
        book().model,
        book().pages[page].image,
        caption or book().pages[page].caption,
        tokenizer=book().tokenizer,
        **({"method": "exclip"} | options),
    )


INPUTS = ("image", "caption", "foil", "method", "text_layer", "image_layer")


def state_of(widget: ExplainWidget) -> dict[str, Any]:
    return {
        name: getattr(widget, name)
        for name in (*INPUTS, "tokens", "region", *widget.keys)
        if name != "layout"
    }


def ask(widget: ExplainWidget, number: int, **changes: Any) -> None:
    line(widget).says({"kind": "change", "question": number, "changes": changes})


def upload(
    widget: ExplainWidget, number: int, data: bytes, name: str = "boat.png", part: int = 2**20
) -> None:
    for offset in range(0, max(1, len(data)), part):
        place = {"question": number, "offset": offset, "bytes": len(data), "name": name}
        line(widget).says({"kind": "upload", **place}, memoryview(data)[offset : offset + part])


def answer(widget: ExplainWidget, number: int) -> dict[str, Any]:
    """Wait for the answer to a question, and return it; there must be only one."""
    found: list[dict[str, Any]] = []

    def came() -> bool:
        found[:] = [
            content
            for content in line(widget).of_kind("accepted", "refused")
            if content["question"] == number
        ]
        return bool(found)

    until(came)
    assert len(found) == 1
    return found[0]


def stopped_after_first_frame(**options: Any) -> tuple[Gate, ExplainWidget]:
    """Return a widget that has sent its first estimate and is waiting before the next, with its gate."""
    gate = Gate()
    made: list[ExplainWidget] = []
    gate.shut_when = lambda: bool(made) and made[0].interactions is not None
    gate.open.clear()
    made.append(make(model=gate.model, **options))
    assert gate.reached.wait(60)
    return gate, made[0]


def run_in_a_loop(work: Coroutine[Any, Any, Any]) -> Any:
    """Run `work` in an event loop in a new thread: browser tests may have left a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@contextmanager
def interrupt(owner: type, name: str, *, after: bool) -> Iterator[None]:
    """Interrupt the first call of a method, before or after it, as Ctrl-C may."""
    own = getattr(owner, name)
    left = [1]

    def interrupted(*given: Any, **options: Any) -> Any:
        if not left:
            return own(*given, **options)
        left.pop()
        if after:
            own(*given, **options)
        raise KeyboardInterrupt

    with mock.patch.object(owner, name, interrupted):
        yield
