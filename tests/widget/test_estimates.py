"""The stream of estimates: they arrive in order, each chunk at its offset, and the last one is the result."""

from __future__ import annotations

import numpy as np
from support.widgets import decoded, line, make, numbers, stopped_after_first_frame, until, working

from exclip_widget.results.shown import encode_interactions
from exclip_widget.widget.session import ESTIMATES


def test_stream_of_messages() -> None:
    """Estimates arrive in order, each chunk at its offset; the last one is the result."""
    widget = make()
    result = widget.wait(60)
    kinds = line(widget).kinds()
    assert kinds.count("progress") == ESTIMATES
    assert {content["id"] for content, _ in line(widget).messages()} == {1}
    frames: dict[int, bytes] = {}
    for content, buffers in line(widget).messages():
        if content["kind"] == "estimate":
            frame = frames.setdefault(content["frame"], b"")
            assert content["offset"] == len(frame)
            assert content["part"] == "caption"
            frames[content["frame"]] += buffers[0]
    assert list(frames) == list(range(ESTIMATES))
    assert frames[ESTIMATES - 1] == encode_interactions(result)
    *_, last = line(widget).updates()
    assert last["_request"] == {"id": 1, "phase": "done", "message": ""}
    assert last["_result"] == encode_interactions(result)
    assert last["_summary"]["similarity"] == result.similarity


def test_frames_of_a_foil_follow_those_of_the_caption() -> None:
    widget = make(caption=["a red boat", "a very blue boat"])
    widget.wait(60)
    order = [(content["frame"], content["part"]) for content in line(widget).of_kind("estimate")]
    assert order == [(frame, part) for frame in range(ESTIMATES) for part in ("caption", "foil")]
    *_, (_, buffers) = [found for found in line(widget).messages() if found[0]["kind"] == "estimate"]
    values, _ = numbers(buffers[0], [len(widget._foil_tokens), 12, 12])
    assert widget.foil_interactions is not None
    np.testing.assert_array_equal(values, widget.foil_interactions.values)


def test_cancel_keeps_the_last_estimate() -> None:
    gate, widget = stopped_after_first_frame()
    line(widget).says({"kind": "cancel", "id": 7})  # the id of another request
    assert widget._request["phase"] == "computing"
    line(widget).says({"kind": "cancel", "id": 1})
    estimate = widget.wait(0)
    gate.open.set()
    until(lambda: not working())
    assert widget._request["phase"] == "cancelled"
    assert line(widget).updates()[-1]["_request"] == {"id": 1, "phase": "cancelled", "message": ""}
    assert widget.interactions is estimate
    assert estimate.nodes < estimate.steps
    np.testing.assert_array_equal(decoded(widget)[0], estimate.values)
