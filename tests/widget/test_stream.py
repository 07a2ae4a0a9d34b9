"""The stream of estimates: begin, frames in order, done; the last frame is the result."""

from __future__ import annotations

import numpy as np
from support.widgets import decoded, line, make, numbers, stopped_after_first_frame, until, working

from exclip_widget.widget.stream import CHUNK, chunks, payload
from exclip_widget.widget.widget import FRAMES


def test_stream_of_messages() -> None:
    """Begin, then frames in order, each chunk in its place, then done; the last frame is the result."""
    widget = make()
    result = widget.wait(60)
    kinds = line(widget).kinds()
    assert kinds[0] == "begin"
    assert kinds[-1] == "done"
    assert kinds.count("progress") == FRAMES
    assert {content["id"] for content, _ in line(widget).messages()} == {1}
    frames: dict[int, bytes] = {}
    for content, buffers in line(widget).messages():
        if content["kind"] == "chunk":
            frame = frames.setdefault(content["frame"], b"")
            assert content["offset"] == len(frame)
            assert content["part"] == "main"
            frames[content["frame"]] += buffers[0]
    assert list(frames) == list(range(FRAMES))
    assert frames[FRAMES - 1] == payload(result)
    done = line(widget).of_kind("done")[0]
    assert {name: done[name] for name in widget._summary} == widget._summary


def test_frames_of_a_foil_follow_those_of_the_caption() -> None:
    widget = make(caption=["a red boat", "a very blue boat"])
    widget.wait(60)
    order = [(content["frame"], content["part"]) for content in line(widget).of_kind("chunk")]
    assert order == [(frame, part) for frame in range(FRAMES) for part in ("main", "foil")]
    *_, (_, buffers) = [found for found in line(widget).messages() if found[0]["kind"] == "chunk"]
    values, _ = numbers(buffers[0], [len(widget._foil_tokens), 12, 12])
    assert widget.foil_interactions is not None
    np.testing.assert_array_equal(values, widget.foil_interactions.values)


def test_chunks_cover_the_payload() -> None:
    data = bytes(range(256)) * 3000
    parts = list(chunks(data))
    assert b"".join(part for _, part in parts) == data
    assert [offset for offset, _ in parts] == list(range(0, len(data), CHUNK))


def test_cancel_keeps_the_last_estimate() -> None:
    gate, widget = stopped_after_first_frame()
    line(widget).says({"kind": "cancel", "id": 7})  # another request's
    assert widget._status["phase"] == "computing"
    line(widget).says({"kind": "cancel", "id": 1})
    estimate = widget.wait(0)
    gate.open.set()
    until(lambda: not working())
    assert widget._status["phase"] == "cancelled"
    assert line(widget).messages()[-1][0] == {"kind": "cancelled", "id": 1}
    assert widget.interactions is estimate
    assert estimate.nodes < estimate.steps
    np.testing.assert_array_equal(decoded(widget)[0], estimate.values)
