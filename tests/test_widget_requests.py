"""What a browser asks of a widget, over the comm as a kernel hands it on: streams, edits, pictures, tests."""

from __future__ import annotations

import copy
import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from widgets import Gate, book, decoded, file_of, line, make, numbers, until, working

from exclip_widget import CaptionError, ExplainWidget, PictureError, explain
from exclip_widget.widget.protocol import read_message
from exclip_widget.widget.request import Inputs
from exclip_widget.widget.stream import CHUNK, chunks, payload
from exclip_widget.widget.uploads import LARGEST, Uploads
from exclip_widget.widget.widget import FRAMES, MOST_TESTS

PAGES = book().pages


def ask(widget: ExplainWidget, number: int, **changes: Any) -> None:
    line(widget).says({"kind": "ask", "ask": number, "changes": changes})


def upload(
    widget: ExplainWidget, number: int, data: bytes, name: str = "boat.png", part: int = 2**20
) -> None:
    for offset in range(0, max(1, len(data)), part):
        place = {"upload": number, "offset": offset, "bytes": len(data), "name": name}
        line(widget).says({"kind": "upload", **place}, memoryview(data)[offset : offset + part])


def answer(widget: ExplainWidget, number: int, name: str = "ask") -> dict[str, Any]:
    """The one answer to a question."""
    found: list[dict[str, Any]] = []

    def came() -> bool:
        found[:] = [
            content
            for content in line(widget).of_kind("accepted", "refused", "tested")
            if content.get(name) == number
        ]
        return bool(found)

    until(came)
    assert len(found) == 1
    return found[0]


# ------------------------------------------------------------------------------------------- streams


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


def test_new_inputs_reach_the_browser_as_one() -> None:
    widget = make()
    widget.wait(60)
    before = len(line(widget).updates())
    widget.tokens = [2]
    widget.caption, widget.foil = "a blue boat", "a red boat"
    widget.wait(60)
    updates = line(widget).updates()[before:]
    new = next(state for state in updates if "caption" in state)
    assert new["caption"] == "a blue boat"
    assert new.keys() >= {"_tokens", "_result", "_result_shape", "_summary", "_status", "tokens"}
    assert (new["_summary"], new["_status"]["phase"], new["tokens"]) == (None, "computing", [])
    assert "_picture" not in new
    foil = next(state for state in updates if "foil" in state)
    assert foil.keys() >= {"_foil_tokens", "_pairs"}
    done = [state for state in updates if state.get("_status") == {"phase": "done", "message": ""}]
    assert done[-1].keys() >= {"_result", "_foil_result", "_summary"}
    held = line(widget).state()
    assert {name: held[name] for name in ("caption", "foil", "_tokens", "_pairs", "_result", "_summary")} == {
        name: getattr(widget, name)
        for name in ("caption", "foil", "_tokens", "_pairs", "_result", "_summary")
    }


def stopped_after_first_frame(**options: Any) -> tuple[Gate, ExplainWidget]:
    """A widget that has sent its first estimate, and stops on the way to the next one."""
    gate = Gate()
    made: list[ExplainWidget] = []
    gate.shut_when = lambda: bool(made) and made[0].interactions is not None
    gate.open.clear()
    made.append(make(model=gate.model, **options))
    assert gate.reached.wait(60)
    return gate, made[0]


def test_hello_repeats_what_was_missed() -> None:
    """A view that opens in the middle gets the newest estimate; one that opens late has the state."""
    gate, widget = stopped_after_first_frame(caption=["a red boat", "a blue boat"])
    before = len(line(widget).kinds())
    line(widget).says({"kind": "hello"})
    assert line(widget).kinds()[before:] == ["begin", "chunk", "chunk", "progress"]
    gate.open.set()
    widget.wait(60)
    before = len(line(widget).kinds())
    line(widget).says({"kind": "hello"})
    assert [content for content, _ in line(widget).messages()[before:]] == [{"kind": "here", "id": 1}]


def test_every_state_is_known_from_older_ones() -> None:
    """By its number, and the newest is told again to whoever was told an older one last."""
    widget = make()
    widget.wait(60)
    widget.caption = "a blue boat"
    widget.wait(60)
    sent = [update for update in line(widget).updates() if "_status" in update]
    numbered = [update["_revision"] for update in sent]
    assert numbered == sorted(set(numbered))
    assert [update["_status"]["phase"] for update in sent[-2:]] == ["computing", "done"]
    assert numbered[-1] == widget._revision
    before = len(line(widget).updates())
    line(widget).says({"kind": "hello", "again": "yes"})
    assert len(line(widget).updates()) == before
    line(widget).says({"kind": "hello", "again": True})
    (again,) = line(widget).updates()[before:]
    assert again.keys() == set(widget.keys) - {"_esm", "_css"}
    assert (again["caption"], again["_revision"]) == ("a blue boat", widget._revision)
    assert again["_result"] == widget._result
    assert line(widget).kinds()[-1] == "here"


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


# --------------------------------------------------------------------------------------------- edits


def test_ask_changes_inputs_and_is_answered() -> None:
    widget = make()
    widget.wait(60)
    changes = {
        "caption": "a blue boat",
        "foil": "a red boat",
        "method": "gradient",
        "text_layer": 0,
        "image_layer": 3,
    }
    ask(widget, 5, **changes)
    assert answer(widget, 5) == {"kind": "accepted", "ask": 5}
    result = widget.wait(60)
    assert {name: getattr(widget, name) for name in changes} == changes
    expected = explain(
        book().model,
        PAGES[0].image,
        "a blue boat",
        tokenizer=book().tokenizer,
        method="gradient",
        text_layer=0,
        image_layer=3,
    )
    np.testing.assert_allclose(result.values, expected.values, rtol=1e-3, atol=1e-6)
    ask(widget, 6, foil=None, image_layer="output")
    assert answer(widget, 6)["kind"] == "accepted"
    assert widget.wait(60).image_layer == "output"
    assert (widget.foil, widget._foil_tokens, widget._pairs, widget._foil_result) == (None, [], [], b"")
    assert widget.foil_interactions is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"caption": " "}, "no words"),
        ({"caption": "boat " * 2000}, "context is 32"),
        ({"caption": "x" * 10_000_000}, "characters"),
        ({"caption": "a \udfff boat"}, "half of a character"),
        ({"foil": ""}, "foil: caption '' has no words"),
        ({"method": "<b>x</b>"}, "method='<b>x</b>' is not one of"),
        ({"text_layer": 3}, "text_layer=3 is not a layer"),
        ({"caption": "a fish", "image_layer": 2**40}, "is not a layer"),
    ],
)
def test_refusals_are_in_words_and_change_nothing(changes: dict[str, Any], words: str) -> None:
    widget = make()
    result = widget.wait(60)
    ask(widget, 1, **changes)
    refused = answer(widget, 1)
    assert refused["kind"] == "refused"
    assert words in refused["message"]
    assert len(refused["message"]) <= 2000
    assert widget.caption == PAGES[0].caption
    assert widget.wait(1) is result
    assert widget._status["phase"] == "done"


def test_refusal_in_mid_stream_lets_the_stream_go_on() -> None:
    gate, widget = stopped_after_first_frame()
    ask(widget, 1, caption="")
    gate.open.set()
    assert answer(widget, 1)["kind"] == "refused"
    assert widget.wait(60).nodes == 10
    assert line(widget).kinds().count("begin") == 1


def test_traits_come_before_the_word_that_they_were_accepted() -> None:
    # Else a slider would fall back to the old layer in between, and the next key step from there.
    widget = make()
    widget.wait(60)
    start = len(line(widget).sent)
    ask(widget, 1, image_layer=4)
    answer(widget, 1)
    told = [
        "layer" if "image_layer" in data.get("state", {}) else data["content"]["kind"]
        for data, _ in line(widget).sent[start:]
        if "image_layer" in data.get("state", {}) or data["method"] == "custom"
    ]
    assert told.index("layer") < told.index("accepted")
    widget.wait(60)


def test_ten_quick_edits_leave_exactly_the_last_ones_result() -> None:
    colours = ["red", "blue", "green", "yellow", "purple", "orange", "pink", "black", "white", "red"]
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        assert gate.reached.wait(60)
        for number, colour in enumerate(colours):
            ask(widget, number, caption=f"a {colour} house below a sun")
    assert all(answer(widget, number)["kind"] == "accepted" for number in range(10))
    last = f"a {colours[-1]} house below a sun"
    until(lambda: widget.caption == last)
    result = widget.wait(60)
    expected = explain(book().model, PAGES[0].image, last, tokenizer=book().tokenizer)
    np.testing.assert_allclose(result.values, expected.values, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(decoded(widget)[0], result.values)
    assert line(widget).state()["caption"] == last
    done = line(widget).of_kind("done")
    assert [content["id"] for content in done] == [11]  # nothing else was computed to its end
    begun = [content["id"] for content in line(widget).of_kind("begin")]
    assert begun == list(range(1, 12))
    newest = 0
    for content, _ in line(widget).messages():
        newest = max(newest, content.get("id", 0))
        assert content.get("id", newest) == newest  # nothing of an older one after a newer has begun


def test_edits_of_different_inputs_add_up() -> None:
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        ask(widget, 1, caption="a blue boat")
        ask(widget, 2, method="similarity")
    assert answer(widget, 2)["kind"] == "accepted"
    result = widget.wait(60)
    assert (result.caption, result.method) == ("a blue boat", "similarity")


def test_what_python_sets_later_wins() -> None:
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        assert gate.reached.wait(60)
        ask(widget, 1, caption="a blue boat")
        ask(widget, 2, caption="a green boat", foil="a fish")
        widget.caption = "a red boat"
    assert "newer request" in answer(widget, 1)["message"]
    assert answer(widget, 2)["kind"] == "accepted"
    widget.wait(60)
    assert (widget.caption, widget.foil) == ("a red boat", "a fish")


def test_edits_from_everywhere_at_once_end_in_one_state() -> None:
    widget = make()

    def edit(seed: int) -> None:
        for turn in range(5):
            if seed % 2:
                widget.caption = f"{'a red boat ' * (1 + (seed + turn) % 3)}"
            else:
                ask(widget, 100 * seed + turn, foil="a fish" if turn % 2 else None, image_layer=turn)
                line(widget).sets(tokens=[turn, seed], region=[turn])

    threads = [threading.Thread(target=edit, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: not working())
    result = widget.wait(60)
    assert result.caption == widget.caption
    assert len(widget._tokens) == len(result.tokens) == widget._result_shape[0]
    assert all(token < len(result.tokens) for token in widget.tokens)
    np.testing.assert_array_equal(decoded(widget)[0], result.values)
    held = line(widget).state()
    for name in (
        "caption",
        "foil",
        "image_layer",
        "_tokens",
        "_result",
        "_foil_result",
        "_summary",
        "_status",
    ):
        assert held[name] == getattr(widget, name), name


def test_cancel_of_a_request_that_still_waits() -> None:
    """The worker is in a long pass of an older request; the newer one has not even been started."""
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        assert gate.reached.wait(60)
        widget.caption = "a blue boat"
        assert line(widget).of_kind("begin")[-1]["id"] == 2
        line(widget).says({"kind": "cancel", "id": 2})
        assert widget._status["phase"] == "cancelled"
    until(lambda: not working())
    assert line(widget).kinds()[-1] == "cancelled"


def test_slow_preprocessing_holds_nothing_up() -> None:
    """A picture that takes long to read: the comm handler returns, the old result stays, cancel acts."""
    go_on, slow = threading.Event(), threading.Event()

    def preprocess(image: Image.Image) -> torch.Tensor:
        if image.width == 333:
            slow.set()
            assert go_on.wait(60)
        return book().preprocess(image)

    widget = make(preprocess=preprocess)
    result = widget.wait(60)
    start = time.perf_counter()
    upload(widget, 1, file_of(Image.new("RGB", (333, 200), "teal")))
    assert time.perf_counter() - start < 0.2
    assert slow.wait(60)
    assert widget.wait(0) is result
    widget.caption = "a blue boat"  # accepted while the picture is being read
    start = time.perf_counter()
    widget.cancel()
    assert widget._status["phase"] == "cancelled"
    assert time.perf_counter() - start < 0.2
    go_on.set()
    assert answer(widget, 1, "upload")["kind"] == "accepted"
    assert widget.wait(60).caption == "a blue boat"
    assert widget.image.size == (333, 200)


def test_a_jslink_asks_as_well() -> None:
    widget = make()
    widget.wait(60)
    line(widget).sets(caption="a blue boat")
    until(lambda: widget.caption == "a blue boat")
    assert widget.wait(60).caption == "a blue boat"
    line(widget).sets(caption="")  # refused: the browser gets back what is true
    until(
        lambda: len([1 for data, _ in line(widget).sent if data.get("state") == {"caption": "a blue boat"}])
    )
    line(widget).sets(method=3)
    assert line(widget).sent[-1][0]["state"] == {"method": "exclip"}


def test_selection_from_the_browser() -> None:
    widget = make()
    widget.wait(60)
    line(widget).sets(tokens=[3, 2], region=[14])
    assert (widget.tokens, widget.region) == ([2, 3], [14])
    before = len(line(widget).sent)
    for wrong in ([10], [-1], [1.5], "red", None, {"a": 1}, [True], [[1]], [2**60]):
        line(widget).sets(tokens=wrong)
        assert widget.tokens == [2, 3]
    assert all(
        data["state"] == {"tokens": [2, 3]}
        for data, _ in line(widget).sent[before:]
        if data["method"] == "update"
    )
    line(widget).sets(_result=b"", _tokens=[], _status={}, image="/etc/passwd", _esm="alert(1)", comm=None)
    assert widget._result
    assert widget._status["phase"] == "done"
    assert widget._esm != "alert(1)"


# ------------------------------------------------------------------------------------------- pictures


def test_upload_in_parts() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    data = file_of(Image.fromarray(noise))
    assert len(data) > 2 * 2**20
    widget = make()
    widget.tokens = [2]
    upload(widget, 3, data)
    assert answer(widget, 3, "upload") == {"kind": "accepted", "upload": 3}
    np.testing.assert_array_equal(np.asarray(widget.image), noise)
    expected = explain(book().model, noise, PAGES[0].caption, tokenizer=book().tokenizer)
    np.testing.assert_allclose(widget.wait(60).values, expected.values, rtol=1e-3, atol=1e-6)
    assert widget.tokens == [2]


def test_uploaded_picture_is_upright_and_opaque() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    widget = make()
    upload(widget, 1, file_of(Image.new("RGB", (40, 20), "red"), "JPEG", exif=exif))
    answer(widget, 1, "upload")
    assert widget.image.size == (20, 40)
    upload(widget, 2, file_of(Image.new("RGBA", (8, 8), (0, 0, 0, 0))))
    answer(widget, 2, "upload")
    assert widget.image.getpixel((0, 0)) == (255, 255, 255)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says to be that large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, b"IDAT" + zlib.compress(b"x"))
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


WHOLE = file_of(PAGES[1].image)
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (SVG, "SVG"),
        (b"\xef\xbb\xbf <svg/>", "SVG"),
        (b"%PDF-1.4 hello", "not a picture of a kind"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not a picture of a kind"),
        (b"<html><script>alert(1)</script>", "not a picture of a kind"),
        (b"", "empty"),
        (b"x", "not a picture of a kind"),
        (WHOLE[: len(WHOLE) // 2], "cannot be read"),
        (WHOLE[:100] + bytes(100) + WHOLE[200:], "cannot be read"),
        (png_header(20_000, 10_000), "too large|at most"),
        (png_header(10_000, 10_000), "too large|at most"),
        (png_header(2**31 - 1, 2**31 - 1), "too large|at most"),
    ],
)
def test_bad_pictures_are_refused_in_words(data: bytes, words: str) -> None:
    widget = make()
    result = widget.wait(60)
    picture = widget.image
    upload(widget, 1, data, name="<img src=x onerror=alert(1)>\ud800.png" + "x" * 500)
    refused = answer(widget, 1, "upload")
    assert refused["kind"] == "refused"
    assert any(word in refused["message"] for word in words.split("|")), refused["message"]
    assert len(refused["message"]) < 400
    assert widget.image is picture
    assert widget.wait(1) is result


def chunk(number: int = 1, offset: int = 0, size: int = 10, data: bytes = b"12345") -> Any:
    message = {"kind": "upload", "upload": number, "offset": offset, "bytes": size, "name": "x.png"}
    return read_message(message, [data])


def test_fifty_megabytes_are_refused_at_the_first_chunk() -> None:
    uploads = Uploads()
    with pytest.raises(PictureError, match="50 MiB; expected at most 32"):
        uploads.take(chunk(size=50 * 2**20))
    assert uploads.take(chunk(size=50 * 2**20, offset=5)) is None  # and once is enough
    assert uploads.take(chunk(size=LARGEST, data=bytes(2**20))) is None


def test_chunks_in_order_make_a_file() -> None:
    uploads = Uploads()
    assert uploads.take(chunk()) is None
    assert uploads.take(chunk(offset=2, data=b"345")) is None  # has come before
    file = uploads.take(chunk(offset=5, data=b"67890"))
    assert file is not None
    assert file.data == b"1234567890"
    assert uploads.take(chunk(offset=5)) is None  # comes late


def test_chunks_that_are_missing_are_missed_once() -> None:
    uploads = Uploads()
    uploads.take(chunk())
    with pytest.raises(PictureError, match="one piece"):
        uploads.take(chunk(offset=6))
    assert uploads.take(chunk(offset=5)) is None
    with pytest.raises(PictureError, match="one piece"):
        uploads.take(chunk(number=2, offset=5))
    assert uploads.take(chunk(number=2, offset=7)) is None
    with pytest.raises(PictureError, match="one piece"):
        uploads.take(chunk(number=3, size=4))


def test_a_new_upload_takes_the_place_of_another() -> None:
    uploads = Uploads()
    uploads.take(chunk())
    assert uploads.take(chunk(number=2, size=5)) is not None
    with pytest.raises(PictureError, match="one piece"):
        uploads.take(chunk(offset=5))
    assert uploads.take(chunk(size=5)) is not None  # the page was opened anew and counts from one


# ---------------------------------------------------------------------------------------------- tests


def test_test_is_a_row() -> None:
    widget = make()
    line(widget).says({"kind": "test", "ask": 1, "tokens": [2, 3], "region": [27, 28]})  # while it computes
    assert answer(widget, 1) == {"kind": "tested", "ask": 1}
    line(widget).says({"kind": "test", "ask": 2, "tokens": [], "region": [5]})
    answer(widget, 2)
    explanation = widget._inputs.explanation
    result = widget.wait(60)
    for row, tokens, region in zip(widget._tests, ([2, 3], []), ([27, 28], [5]), strict=True):
        trial = explanation.test(result, tokens, region)
        assert row["predicted"] == pytest.approx(trial.predicted)
        assert row["actual"] == pytest.approx(trial.actual, abs=1e-6)
        assert (row["tokens"], row["region"]) == (tokens, region)
    assert [row["label"] for row in widget._tests] == ["red boat × 2 patches", "1 patch"]
    assert [row["id"] for row in widget._tests] == [1, 2]
    # The rows are there by the time that the browser hears of it.
    at = [data.get("content", {}).get("kind") for data, _ in line(widget).sent].index("tested")
    assert "_tests" in line(widget).sent[at - 1][0]["state"]
    line(widget).says({"kind": "untest"})
    assert widget._tests == []


def test_rows_of_tests_go_with_their_inputs() -> None:
    widget = make()
    widget.wait(60)
    line(widget).says({"kind": "test", "ask": 1, "tokens": [2], "region": []})
    answer(widget, 1)
    widget.caption = PAGES[0].caption  # the same
    assert len(widget._tests) == 1
    widget.foil = "a fish"
    assert widget._tests == []


def test_no_more_than_fifty_rows() -> None:
    widget = make()
    widget.wait(60)
    widget._tests = [{"id": -number} for number in range(MOST_TESTS)]
    line(widget).says({"kind": "test", "ask": 1, "tokens": [2], "region": []})
    answer(widget, 1)
    assert len(widget._tests) == MOST_TESTS
    assert widget._tests[-1]["label"] == "red"


def test_tests_that_make_no_sense_are_refused() -> None:
    widget = make()
    widget.wait(60)
    line(widget).says({"kind": "test", "ask": 1, "tokens": [10], "region": []})
    assert "tokens has 10" in answer(widget, 1)["message"]
    line(widget).says({"kind": "test", "ask": 2, "tokens": [], "region": [2**53]})
    assert "region has" in answer(widget, 2)["message"]
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        assert gate.reached.wait(60)
        line(widget).says({"kind": "test", "ask": 3, "tokens": [1], "region": []})
        widget.caption = "a blue boat"
        line(widget).says({"kind": "test", "ask": 4, "tokens": [1], "region": []})
        widget.cancel()
    assert "not shown any more" in answer(widget, 3)["message"]
    assert "no result to test" in answer(widget, 4)["message"]
    assert widget._tests == []


def test_a_test_of_what_is_gone_meanwhile_is_refused() -> None:
    gate = Gate()
    widget = make(model=gate.model)
    widget.wait(60)
    with gate.shut():
        line(widget).says({"kind": "test", "ask": 1, "tokens": [1], "region": []})
        assert gate.reached.wait(60)
        line(widget).says({"kind": "test", "ask": 2, "tokens": [2], "region": []})  # waits for the first
        widget.caption = "a blue boat"
        # At once, not when the model has run.
        assert len(line(widget).of_kind("refused")) == 2
    for number in (1, 2):
        assert "not shown any more" in answer(widget, number)["message"]
    until(lambda: not working())
    assert len(line(widget).of_kind("refused", "tested")) == 2  # and only once
    assert widget.wait(60).caption == "a blue boat"
    assert widget._tests == []


# ------------------------------------------------------------------------------------ whatever else comes

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from(["hello", "cancel", "ask", "upload", "test", "untest", "eval"])
names = st.sampled_from(
    ["ask", "upload", "id", "offset", "bytes", "name", "changes", "tokens", "region", "caption"]
)
small = st.integers(-2, 12)
changes = st.dictionaries(
    st.sampled_from(["caption", "foil", "method", "text_layer", "image_layer", "image", "model"]),
    anything | small | st.sampled_from(["output", "exclip", "similarity", "a red boat"]),
    max_size=3,
)
values = anything | small | st.lists(small, max_size=4) | changes
messages = anything | st.builds(
    lambda kind, rest: {**rest, "kind": kind}, kinds | anything, st.dictionaries(names, values, max_size=6)
)
buffers = st.lists(st.binary(max_size=20) | st.none(), max_size=2)


@pytest.fixture(scope="module")
def bombarded() -> Iterator[ExplainWidget]:
    widget = make()
    yield widget
    widget.close()


@settings(max_examples=150)
@given(st.lists(st.tuples(messages, buffers), max_size=4))
def test_no_message_breaks_a_widget(bombarded: ExplainWidget, said: list[tuple[Any, list[Any]]]) -> None:
    widget = bombarded
    for content, parts in said:
        line(widget).says(content, *parts)
    until(lambda: not working())
    widget.caption, widget.method, widget.foil = "a red boat", "exclip", None
    widget.text_layer = widget.image_layer = None
    assert widget.wait(60).caption == "a red boat"
    assert widget._status["phase"] == "done"


@given(messages, buffers)
def test_only_messages_of_the_protocol_are_read(content: Any, parts: list[Any]) -> None:
    message = read_message(content, parts)
    if message is not None:
        assert content["kind"] in ("hello", "cancel", "ask", "upload", "test", "untest")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, []),
        (3, []),
        ([], []),
        ({}, []),
        ({"kind": 4}, []),
        ({"kind": ["hello"]}, []),
        ({"kind": "eval", "code": "1"}, []),
        ({"kind": "cancel"}, []),
        ({"kind": "cancel", "id": True}, []),
        ({"kind": "ask", "changes": {"caption": "a"}}, []),
        ({"kind": "ask", "ask": 1, "changes": {}}, []),
        ({"kind": "ask", "ask": 1.5, "changes": {"caption": "a"}}, []),
        ({"kind": "ask", "ask": -1, "changes": {"caption": "a"}}, []),
        ({"kind": "ask", "ask": 1, "changes": {"caption": 3}}, []),
        ({"kind": "ask", "ask": 1, "changes": {"caption": "a", "model": "b"}}, []),
        ({"kind": "ask", "ask": 1, "changes": {"image": "/etc/passwd"}}, []),
        ({"kind": "ask", "ask": 1, "changes": {"text_layer": "0"}}, []),
        ({"kind": "ask", "ask": 1, "changes": {"text_layer": -1}}, []),
        ({"kind": "upload", "upload": 1, "offset": 0, "bytes": 3, "name": "x"}, []),
        ({"kind": "upload", "upload": 1, "offset": 0, "bytes": 3, "name": 3}, [b"abc"]),
        ({"kind": "upload", "upload": 1, "offset": 0, "bytes": 3, "name": "x"}, ["abc"]),
        ({"kind": "upload", "upload": 1, "offset": 0, "bytes": 3, "name": "x"}, [b"a", b"b"]),
        ({"kind": "upload", "upload": 1, "offset": 0, "bytes": 2**21, "name": "x"}, [bytes(2**20 + 1)]),
        ({"kind": "test", "ask": 1, "tokens": [], "region": []}, []),
        ({"kind": "test", "ask": 1, "tokens": [1]}, []),
        ({"kind": "test", "ask": 1, "tokens": [1.0], "region": []}, []),
        ({"kind": "test", "ask": 1, "tokens": [1], "region": [0] * 10**6}, []),
        ({"kind": "test", "ask": None, "tokens": [1], "region": []}, []),
    ],
)
def test_what_is_no_message_is_ignored(content: Any, parts: list[Any]) -> None:
    assert read_message(content, parts) is None


def test_text_is_text() -> None:
    """Markup in captions goes through as it is, and never anywhere but into strings."""
    caption = (
        '<img src=x onerror="alert(1)"> & \u202eright to left\u202c \U0001f6a3\u200d\u2640\ufe0f e\u0301'
    )
    widget = make()
    ask(widget, 1, caption=caption)
    found = answer(widget, 1)
    if found["kind"] == "accepted":
        assert widget.wait(60).caption == caption
    json.dumps(widget._tokens)


def test_reading_again_reads_only_what_is_new() -> None:
    inputs = Inputs.read(book().model, PAGES[0].image, ["a boat", "a fish"], {"tokenizer": book().tokenizer})
    other = inputs.changed({"foil": None})
    assert other.seen is inputs.seen
    assert (other.captions, inputs.captions) == (("a boat",), ("a boat", "a fish"))
    with pytest.raises(CaptionError):
        inputs.changed({"caption": "boat " * 40})


def test_model_in_training_stays_so() -> None:
    model = copy.deepcopy(book().model).train()
    widget = make(model=model)
    widget.wait(60)
    line(widget).says({"kind": "test", "ask": 1, "tokens": [1], "region": []})
    answer(widget, 1)
    assert model.training


def test_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    widget = make()
    upload(widget, 1, buffer.getvalue(), "x.gif")
    answer(widget, 1, "upload")
    assert widget.image.getpixel((3, 3)) == (255, 0, 0)
