"""Requests: inputs from Python or the browser are read or refused, and the newest request is computed."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.widgets import (
    Gate,
    answer,
    ask,
    book,
    decoded,
    explained,
    file_of,
    line,
    make,
    state_of,
    stopped_after_first_frame,
    until,
    upload,
    working,
)

from exclip_widget import (
    CaptionError,
    ImageError,
    ParameterError,
    explain,
)
from exclip_widget.widget.request import Request

PAGES = book().pages


def test_bad_input_fails_in_the_cell() -> None:
    with pytest.raises(CaptionError):
        make(caption="")
    with pytest.raises(CaptionError, match=r"captions\[1\]"):
        make(caption=["a red boat", " "])
    with pytest.raises(TypeError, match="color"):
        make(color="red")
    with pytest.raises(ParameterError, match="several layers; give one"):
        make(text_layer=[0, 1])
    with pytest.raises(ImageError, match="tensor"):
        make(image=torch.zeros(3, 96, 96))
    until(lambda: not working())


def test_every_input_can_be_set_and_is_computed() -> None:
    widget = make()
    widget.wait(60)
    changes: list[tuple[str, Any, dict[str, Any]]] = [
        ("caption", "a big blue house", {}),
        ("image", PAGES[1].image, {}),
        ("image_layer", 2, {"image_layer": 2}),
        ("text_layer", "transformer.resblocks.1", {"text_layer": 1}),
        ("image_layer", -1, {"image_layer": 5}),
        ("method", "gradient", {"method": "gradient"}),
        ("text_layer", None, {"text_layer": None}),
    ]
    options: dict[str, Any] = {}
    for name, value, given in changes:
        setattr(widget, name, value)
        options |= given
        result = widget.wait(60)
        page = 0 if name == "caption" else 1
        expected = explained(page, "a big blue house", **options)
        np.testing.assert_allclose(result.values, expected.values, rtol=1e-3, atol=1e-6)
        if name != "image" and given.get(name) is not None:
            assert getattr(widget, name) == given[name]
    assert (widget.text_layer, widget.image_layer) == (1, 5)


def test_layers_follow_the_method_unless_they_were_chosen() -> None:
    widget = make(image_layer=2)
    assert (widget.text_layer, widget.image_layer) == (2, 2)
    widget.method = "similarity"
    assert (widget.text_layer, widget.image_layer) == ("output", 2)
    widget.image_layer = None
    assert (widget.text_layer, widget.image_layer) == ("output", "output")


def test_options_wait_for_their_method() -> None:
    widget = make(steps=7)
    assert widget.wait(60).steps == 7
    widget.method = "similarity"
    assert widget.wait(60).method == "similarity"
    widget.method = "exclip"
    assert widget.wait(60).steps == 7


def test_picture_from_whatever_explain_takes(tmp_path: Any) -> None:
    widget = make()
    (tmp_path / "page.png").write_bytes(file_of(PAGES[1].image))
    for given in (
        PAGES[1].image,
        np.asarray(PAGES[1].image),
        tmp_path / "page.png",
        str(tmp_path / "page.png"),
    ):
        widget.image = given
        assert isinstance(widget.image, Image.Image)
        np.testing.assert_array_equal(np.asarray(widget.image), np.asarray(PAGES[1].image))
    assert "image" not in widget.keys


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("caption", "", CaptionError),
        ("caption", 3, CaptionError),
        ("caption", None, CaptionError),
        ("caption", ["a boat", "a fish"], CaptionError),
        ("caption", "boat " * 400, CaptionError),
        ("caption", "x" * 10_000, CaptionError),
        ("caption", "boat " * 10_000_000, CaptionError),
        ("caption", "\ud800", CaptionError),
        ("foil", "", CaptionError),
        ("foil", 4, CaptionError),
        ("image", "no-such-file.png", ImageError),
        ("image", None, ImageError),
        ("image", np.zeros((4, 4, 7)), ImageError),
        ("image", torch.zeros(3, 96, 96), ImageError),
        ("method", "exclipse", ParameterError),
        ("method", None, ParameterError),
        ("method", ["exclip"], ParameterError),
        ("text_layer", 3, ParameterError),
        ("text_layer", True, ParameterError),
        ("image_layer", 1.0, ParameterError),
        ("image_layer", "nowhere", ParameterError),
        ("image_layer", [1], ParameterError),
    ],
)
def test_bad_value_is_refused_and_changes_nothing(name: str, value: Any, error: type[Exception]) -> None:
    widget = make(caption=["a red boat", "a blue boat"])
    result = widget.wait(60)
    widget.tokens, widget.region = [1], [2]
    before, sent = state_of(widget), len(line(widget).sent)
    with pytest.raises(error):
        setattr(widget, name, value)
    after = state_of(widget)
    assert all(after[key] is before[key] or after[key] == before[key] for key in before)
    assert len(line(widget).sent) == sent
    assert widget.wait(1) is result


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
    assert answer(widget, 5) == {"kind": "accepted", "question": 5}
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
    assert (widget.foil, widget._foil_tokens, widget._alignment, widget._foil_result) == (None, [], [], b"")
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
    assert widget._request["phase"] == "done"


def test_refusal_in_mid_stream_lets_the_stream_go_on() -> None:
    gate, widget = stopped_after_first_frame()
    ask(widget, 1, caption="")
    gate.open.set()
    assert answer(widget, 1)["kind"] == "refused"
    assert widget.wait(60).nodes == 10
    assert line(widget).requests() == [1]


def test_traits_come_before_the_word_that_they_were_accepted() -> None:
    # Otherwise a slider would briefly fall back to the old layer, and the next key would step from there.
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
    expected = explain(book().model, PAGES[0].image, last, tokenizer=book().tokenizer, method="exclip")
    np.testing.assert_allclose(result.values, expected.values, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(decoded(widget)[0], result.values)
    assert line(widget).state()["caption"] == last
    assert line(widget).requests("done") == [11]  # nothing else was computed to the end
    begun = line(widget).requests()
    assert begun == list(range(1, 12))
    newest = 0
    for content, _ in line(widget).messages():
        newest = max(newest, content.get("id", 0))
        assert content.get("id", newest) == newest  # nothing older after a newer request has begun


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


def test_cancel_of_a_request_that_still_waits() -> None:
    """The worker is still in a long pass of an older request, so the newer one has not even started."""
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        assert gate.reached.wait(60)
        widget.caption = "a blue boat"
        assert line(widget).requests()[-1] == 2
        line(widget).says({"kind": "cancel", "id": 2})
        assert widget._request["phase"] == "cancelled"
    until(lambda: not working())
    assert line(widget).updates()[-1]["_request"]["phase"] == "cancelled"


def test_slow_preprocessing_holds_nothing_up() -> None:
    """An image takes long to read: the comm handler returns, the old result stays, and cancelling works."""
    go_on, slow = threading.Event(), threading.Event()

    def preprocess(image: Image.Image) -> torch.Tensor:
        if image.width == 333:
            slow.set()
            assert go_on.wait(60)
        return book().preprocess(image)

    widget = make(preprocess=preprocess)
    result = widget.wait(60)
    upload(widget, 1, file_of(Image.new("RGB", (333, 200), "teal")))  # returns while the gate is shut
    assert slow.wait(60)
    assert widget.wait(0) is result
    widget.caption = "a blue boat"  # accepted while the image is being read
    widget.cancel()
    assert widget._request["phase"] == "cancelled"
    go_on.set()
    assert answer(widget, 1)["kind"] == "accepted"
    assert widget.wait(60).caption == "a blue boat"
    assert widget.image.size == (333, 200)


def test_a_jslink_asks_as_well() -> None:
    widget = make()
    widget.wait(60)
    line(widget).sets(caption="a blue boat")
    until(lambda: widget.caption == "a blue boat")
    assert widget.wait(60).caption == "a blue boat"
    line(widget).sets(caption="")  # refused: the browser gets the current value back
    until(
        lambda: len([1 for data, _ in line(widget).sent if data.get("state") == {"caption": "a blue boat"}])
    )
    line(widget).sets(method=3)
    assert line(widget).sent[-1][0]["state"] == {"method": "exclip"}


def test_reading_again_reads_only_what_is_new() -> None:
    inputs = Request.read(book().model, PAGES[0].image, ["a boat", "a fish"], {"tokenizer": book().tokenizer})
    other = inputs.changed({"foil": None})
    assert other.image is inputs.image
    assert other.captions == inputs.captions[:1]
    assert [caption.rows.caption for caption in inputs.captions] == ["a boat", "a fish"]
    with pytest.raises(CaptionError):
        inputs.changed({"caption": "boat " * 40})
