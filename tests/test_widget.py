"""The widget's Python side: traits, messages and the worker's life, without a browser."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import traitlets
from PIL import Image

from exclip_widget import CaptionError, ExclipError, ExplainWidget, ModelError, demo, explain
from exclip_widget.explainer import Explanation
from exclip_widget.interactions import Interactions
from exclip_widget.stream import CHUNK, chunks, payload
from exclip_widget.widget import FRAMES


@pytest.fixture(scope="module")
def book() -> demo.PictureBook:
    return demo.load()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], list[bytes]]]:
    """Every message that widgets send, as it would leave for the browser."""
    messages: list[tuple[dict[str, Any], list[bytes]]] = []

    def send(_: Any, content: dict[str, Any], buffers: list[memoryview] | None = None) -> None:
        json.dumps(content)  # what cannot be encoded would fail in the comm
        messages.append((content, [bytes(buffer) for buffer in buffers or []]))

    monkeypatch.setattr(ExplainWidget, "send", send)
    return messages


Halt = tuple[threading.Event, threading.Event]


@pytest.fixture
def halt(monkeypatch: pytest.MonkeyPatch) -> Halt:
    """Computations stop after each estimate: the first event tells of it, the second lets them go on."""
    refined, go_on = threading.Event(), threading.Event()
    refine = Explanation.refine

    def halting(self: Explanation, frames: int = 1) -> Iterator[Interactions]:
        for estimate in refine(self, frames):
            yield estimate
            refined.set()
            assert go_on.wait(60)

    monkeypatch.setattr(Explanation, "refine", halting)
    return refined, go_on


def make(book: demo.PictureBook, page: int = 0, **options: Any) -> ExplainWidget:
    chosen = book.pages[page]
    return ExplainWidget(book.model, chosen.image, chosen.caption, tokenizer=book.tokenizer, **options)


def decoded(widget: ExplainWidget) -> tuple[np.ndarray, np.ndarray]:
    """Values and cls from the state that a saved notebook keeps."""
    tokens, rows, columns = widget._result_shape
    numbers = np.frombuffer(widget._result, "<f4")
    return numbers[: tokens * rows * columns].reshape(tokens, rows, columns), numbers[-tokens:]


def test_result_is_that_of_explain(book: demo.PictureBook) -> None:
    widget = make(book)
    result = widget.wait(60)
    page = book.pages[0]
    expected = explain(book.model, page.image, page.caption, tokenizer=book.tokenizer)
    np.testing.assert_allclose(result.values, expected.values, rtol=1e-4, atol=1e-7)
    values, cls = decoded(widget)
    np.testing.assert_array_equal(values, result.values)
    np.testing.assert_array_equal(cls, result.cls)
    assert widget._status == {"phase": "done", "message": ""}
    assert widget._summary["similarity"] == result.similarity


def test_stream_of_messages(book: demo.PictureBook, sent: list[Any]) -> None:
    """Begin, then frames in order, each chunk in its place, then done; the last frame is the result."""
    widget = make(book)
    result = widget.wait(60)
    kinds = [content["kind"] for content, _ in sent]
    assert kinds[0] == "begin"
    assert kinds[-1] == "done"
    assert kinds.count("progress") == FRAMES
    assert {content["id"] for content, _ in sent} == {1}
    frames: dict[int, bytes] = {}
    for content, buffers in sent:
        if content["kind"] == "chunk":
            frame = frames.setdefault(content["frame"], b"")
            assert content["offset"] == len(frame)
            frames[content["frame"]] += buffers[0]
    assert list(frames) == list(range(FRAMES))
    assert frames[FRAMES - 1] == payload(result)


def test_hello_repeats_what_was_missed(book: demo.PictureBook, sent: list[Any], halt: Halt) -> None:
    """A view that opens in the middle gets the newest estimate; one that opens late has the state."""
    first_frame, go_on = halt
    widget = make(book)
    assert first_frame.wait(60)
    before = len(sent)
    widget._receive(widget, {"kind": "hello"}, [])
    assert [content["kind"] for content, _ in sent[before:]] == ["begin", "chunk", "progress"]
    go_on.set()
    widget.wait(60)
    before = len(sent)
    widget._receive(widget, {"kind": "hello"}, [])
    assert len(sent) == before


def test_cancel_keeps_the_last_estimate(book: demo.PictureBook, sent: list[Any], halt: Halt) -> None:
    first_frame, go_on = halt
    widget = make(book)
    assert first_frame.wait(60)
    widget._receive(widget, {"kind": "cancel", "id": 7}, [])  # another request's
    assert not widget._cancelled.is_set()
    widget._receive(widget, {"kind": "cancel", "id": 1}, [])
    go_on.set()
    estimate = widget.wait(60)
    assert widget._status["phase"] == "cancelled"
    assert sent[-1][0]["kind"] == "cancelled"
    np.testing.assert_array_equal(decoded(widget)[0], estimate.values)


def test_failure_is_shown_and_raised(book: demo.PictureBook, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Explanation, frames: int = 1) -> Iterator[Interactions]:  # noqa: ARG001
        raise ModelError("activations are NaN <b>here</b>")
        yield

    monkeypatch.setattr(Explanation, "refine", failing)
    widget = make(book)
    with pytest.raises(ModelError, match="NaN"):
        widget.wait(60)
    assert widget._status == {"phase": "error", "message": "activations are NaN <b>here</b>"}


def test_bad_input_fails_in_the_cell(book: demo.PictureBook) -> None:
    threads = threading.active_count()
    with pytest.raises(CaptionError):
        ExplainWidget(book.model, book.pages[0].image, "", tokenizer=book.tokenizer)
    with pytest.raises(TypeError, match="color"):
        make(book, color="red")
    assert threading.active_count() == threads


def test_thread_ends(book: demo.PictureBook) -> None:
    widget = make(book)
    widget.wait(60)
    assert not widget._worker.is_alive()
    widget.close()


def test_wait_times_out(book: demo.PictureBook, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def waiting(self: Explanation, frames: int = 1) -> Iterator[Interactions]:  # noqa: ARG001
        assert go_on.wait(60)
        yield from ()

    monkeypatch.setattr(Explanation, "refine", waiting)
    widget = make(book)
    with pytest.raises(TimeoutError, match=r"0\.01 s"):
        widget.wait(0.01)
    widget._receive(widget, {"kind": "cancel", "id": 1}, [])
    go_on.set()
    with pytest.raises(ExclipError, match="cancelled"):
        widget.wait(60)


@pytest.mark.parametrize("message", [None, 3, [], {}, {"kind": 4}, {"kind": "cancel"}, {"kind": "eval"}])
def test_foreign_messages_are_ignored(book: demo.PictureBook, message: Any) -> None:
    widget = make(book)
    widget._receive(widget, message, [])
    widget.wait(60)
    assert widget._status["phase"] == "done"


def test_selection_from_python(book: demo.PictureBook) -> None:
    widget = make(book)
    widget.tokens = [3, 2, 3]
    assert widget.tokens == [2, 3]
    widget.tokens = np.array([5, 4])
    assert widget.tokens == [4, 5]
    widget.tokens = range(2)
    assert widget.tokens == [0, 1]
    mask = np.zeros((12, 12), bool)
    mask[1, 2] = mask[11, 11] = True
    widget.region = mask
    assert widget.region == [14, 143]
    widget.region = []
    assert widget.region == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokens", [10]),
        ("tokens", [-1]),
        ("region", [144]),
        ("tokens", [1.5]),
        ("tokens", "red"),
        ("region", np.zeros((3, 3))),
        ("region", 4),
    ],
)
def test_selection_out_of_range_changes_nothing(book: demo.PictureBook, name: str, value: Any) -> None:
    widget = make(book)
    widget.tokens, widget.region = [1], [2]
    with pytest.raises(traitlets.TraitError):
        setattr(widget, name, value)
    assert (widget.tokens, widget.region) == ([1], [2])


def test_mask_of_another_grid_is_refused(book: demo.PictureBook) -> None:
    widget = make(book)
    mask = np.ones((3, 3), bool)
    with pytest.raises(traitlets.TraitError, match="12"):
        widget.region = mask


def test_selection_can_be_observed(book: demo.PictureBook) -> None:
    widget = make(book)
    seen: list[list[int]] = []
    widget.observe(lambda change: seen.append(change["new"]), "tokens")
    widget.tokens = [2, 3]
    assert seen == [[2, 3]]


def test_words_and_picture_reach_the_browser(book: demo.PictureBook) -> None:
    image = Image.new("RGB", (3000, 1500), "teal")
    widget = ExplainWidget(book.model, image, "A Red boat, <b>x</b>", tokenizer=book.tokenizer)
    shown = Image.open(io.BytesIO(widget._picture))
    assert max(shown.size) <= 1024
    assert widget._picture_type == f"image/{shown.format.lower()}"
    assert widget._grid["rows"] == widget._grid["columns"] == 12
    # The model sees the middle square of a picture twice as wide as it is high.
    left, top, width, height = (widget._grid[name] for name in ("left", "top", "width", "height"))
    np.testing.assert_allclose([left, top, width, height], [0.25, 0, 0.5, 1], atol=0.01)
    spelled = [widget.caption[t["start"] : t["end"]] for t in widget._tokens if not t["special"]]
    assert spelled[:3] == ["A", "Red", "boat"]
    assert widget._tokens[0]["word"] == widget._tokens[-1]["word"] == -1
    json.dumps(widget._tokens)


def test_chunks_cover_the_payload() -> None:
    data = bytes(range(256)) * 3000
    parts = list(chunks(data))
    assert b"".join(part for _, part in parts) == data
    assert [offset for offset, _ in parts] == list(range(0, len(data), CHUNK))
