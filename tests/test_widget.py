"""The widget as Python sees it: its inputs, its results, its selection, and its life."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import signal
import threading
import time
import weakref
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
import traitlets
from PIL import Image
from widgets import Gate, book, decoded, file_of, line, make, numbers, until, working

from exclip_widget import (
    CaptionError,
    DualEncoder,
    ExclipError,
    Explainer,
    ExplainWidget,
    ModelError,
    ParameterError,
    PictureError,
    explain,
)

PAGES = book().pages
FOIL = "a red boat left of two purple fish"
INPUTS = ("image", "caption", "foil", "method", "text_layer", "image_layer")


def explained(page: int = 0, caption: str | None = None, **options: Any) -> Any:
    return explain(
        book().model, PAGES[page].image, caption or PAGES[page].caption, tokenizer=book().tokenizer, **options
    )


def state_of(widget: ExplainWidget) -> dict[str, Any]:
    return {
        name: getattr(widget, name)
        for name in (*INPUTS, "tokens", "region", *widget.keys)
        if name != "layout"
    }


# --------------------------------------------------------------------------------------- the result


def test_result_is_that_of_explain() -> None:
    widget = make()
    result = widget.wait(60)
    expected = explained()
    np.testing.assert_allclose(result.values, expected.values, rtol=1e-4, atol=1e-7)
    values, cls = decoded(widget)
    np.testing.assert_array_equal(values, result.values)
    np.testing.assert_array_equal(cls, result.cls)
    assert widget.interactions is result
    assert widget.foil_interactions is None
    assert widget._status == {"phase": "done", "message": ""}
    assert widget._summary == {
        "similarity": result.similarity,
        "total": result.total,
        "residual": result.residual,
        "error": None,
        "foil_similarity": None,
        "foil_total": None,
    }


@pytest.mark.parametrize("method", ["exclip", "similarity", "gradient", "banzhaf"])
def test_foil_is_explained_as_if_it_were_alone(method: str) -> None:
    options = {"samples": 8} if method == "banzhaf" else {}
    widget = make(caption=[PAGES[0].caption, FOIL], method=method, **options)
    result = widget.wait(60)
    assert widget.foil == FOIL
    assert widget.foil_interactions is not None
    for found, caption in ((result, PAGES[0].caption), (widget.foil_interactions, FOIL)):
        expected = explained(caption=caption, method=method, **options)
        np.testing.assert_allclose(found.values, expected.values, rtol=1e-3, atol=1e-6)
    values, _ = numbers(widget._foil_result, [len(widget._foil_tokens), *widget._result_shape[1:]])
    np.testing.assert_array_equal(values, widget.foil_interactions.values)
    assert widget._pairs == [[row, row] for row in range(10)]
    assert [token["text"] for token in widget._foil_tokens][-3:-1] == ["purple", "fish"]
    assert widget._summary["foil_similarity"] == widget.foil_interactions.similarity
    if method == "exclip":
        assert widget._summary["foil_total"] == widget.foil_interactions.total
    else:
        assert [widget._summary[name] for name in ("total", "residual", "foil_total")] == [None] * 3
        assert (widget._summary["error"] is None) == (method != "banzhaf")
    json.dumps(widget._summary, allow_nan=False)


def test_caption_and_foil_share_one_pass_of_the_picture() -> None:
    """They cost one pass more than nothing: the picture's tower is run as often as for one caption."""
    counts = []
    for caption in ("a red boat", ["a red boat", "a blue boat"]):
        model, runs = copy.deepcopy(book().model), []
        model.visual.transformer.resblocks[0].register_forward_hook(lambda *_, runs=runs: runs.append(1))
        make(model=model, caption=caption).wait(60)
        counts.append(len(runs))
    assert counts[0] == counts[1]


def test_words_and_picture_reach_the_browser() -> None:
    image = Image.new("RGB", (3000, 1500), "teal")
    widget = make(image=image, caption="A Red boat, <b>x</b>")
    assert widget._picture_type in ("image/png", "image/jpeg")
    assert widget._grid["rows"] == widget._grid["columns"] == 12
    # The model sees the middle square of a picture twice as wide as it is high.
    left, top, width, height = (widget._grid[name] for name in ("left", "top", "width", "height"))
    np.testing.assert_allclose([left, top, width, height], [0.25, 0, 0.5, 1], atol=0.01)
    spelled = [widget.caption[t["start"] : t["end"]] for t in widget._tokens if not t["special"]]
    assert spelled[:3] == ["A", "Red", "boat"]
    assert widget._tokens[0]["word"] == widget._tokens[-1]["word"] == -1
    assert widget._choices["methods"] == ["exclip", "similarity", "gradient", "banzhaf"]
    assert [len(widget._choices[side]) for side in ("text_layers", "image_layers")] == [3, 6]
    json.dumps([widget._tokens, widget._choices])


# ------------------------------------------------------------------------------------------- inputs


def test_bad_input_fails_in_the_cell() -> None:
    with pytest.raises(CaptionError):
        make(caption="")
    with pytest.raises(CaptionError, match="two of them"):
        make(caption=["a", "b", "c"])
    with pytest.raises(CaptionError, match="foil"):
        make(caption=["a red boat", " "])
    with pytest.raises(TypeError, match="color"):
        make(color="red")
    with pytest.raises(ParameterError, match="one layer"):
        make(text_layer=[0, 1])
    with pytest.raises(PictureError, match="tensor"):
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
        ("image", "no-such-file.png", PictureError),
        ("image", None, PictureError),
        ("image", np.zeros((4, 4, 7)), PictureError),
        ("image", torch.zeros(3, 96, 96), PictureError),
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


def test_setting_what_is_set_computes_nothing() -> None:
    widget = make()
    result = widget.wait(60)
    widget.caption = PAGES[0].caption
    widget.method = "exclip"
    assert widget.wait(60) is result
    assert line(widget).kinds().count("begin") == 1


def test_a_change_of_one_side_leaves_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is the picture preprocessed again for a new caption, nor the caption run for a new picture."""
    preprocessed: list[Image.Image] = []
    captions: list[str] = []

    def preprocess(image: Image.Image) -> torch.Tensor:
        preprocessed.append(image)
        return book().preprocess(image)

    factors = Explainer.text

    def text(self: Explainer, caption: str) -> Any:
        captions.append(caption)
        return factors(self, caption)

    monkeypatch.setattr(Explainer, "text", text)
    widget = make(preprocess=preprocess)
    widget.wait(60)
    count = len(preprocessed)
    widget.caption = "a blue boat"
    widget.wait(60)
    assert len(preprocessed) == count
    widget.image = PAGES[1].image
    widget.wait(60)
    assert captions == [PAGES[0].caption, "a blue boat"]


def test_going_back_costs_nothing_until_the_model_changes() -> None:
    model = copy.deepcopy(book().model)
    widget = make(model=model)
    first = widget.wait(60)
    widget.caption = "a blue boat"
    second = widget.wait(60)
    widget.caption = PAGES[0].caption
    assert widget.wait(60) is first
    widget.caption = "a blue boat"
    assert widget.wait(60) is second
    assert line(widget).kinds().count("done") == 4
    with torch.no_grad():
        model.visual.proj.data.mul_(-1)
    widget.caption = PAGES[0].caption
    assert widget.wait(60).similarity == pytest.approx(-first.similarity, abs=1e-5)


# ---------------------------------------------------------------------------------------- selection


def test_selection_from_python() -> None:
    widget = make()
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
    assert line(widget).state()["region"] == [14, 143]
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
        ("region", np.ones((3, 3), bool)),
        ("region", 4),
    ],
)
def test_selection_out_of_range_changes_nothing(name: str, value: Any) -> None:
    widget = make()
    widget.tokens, widget.region = [1], [2]
    with pytest.raises(traitlets.TraitError):
        setattr(widget, name, value)
    assert (widget.tokens, widget.region) == ([1], [2])


def test_selection_stays_where_it_still_fits() -> None:
    widget = make()
    widget.tokens, widget.region = [1, 2], [3]
    widget.image = PAGES[1].image
    assert (widget.tokens, widget.region) == ([1, 2], [3])
    widget.image_layer = 2
    assert (widget.tokens, widget.region) == ([1, 2], [3])
    widget.caption = "a red boat"
    assert (widget.tokens, widget.region) == ([], [3])


# --------------------------------------------------------------------------------------- composition


def test_everything_public_can_be_observed() -> None:
    widget = make()
    seen: list[tuple[str, Any]] = []
    widget.observe(lambda change: seen.append((change["name"], change["new"])), [*INPUTS, "tokens", "region"])
    widget.tokens = [2, 3]
    widget.caption = "a blue boat"
    widget.foil = "a red boat"
    widget.method = "similarity"
    assert seen == [
        ("tokens", [2, 3]),
        ("tokens", []),
        ("caption", "a blue boat"),
        ("foil", "a red boat"),
        ("method", "similarity"),
        ("text_layer", "output"),
        ("image_layer", "output"),
    ]


def test_an_observer_may_wait_for_the_result() -> None:
    widget = make()
    seen: list[Any] = []
    widget.observe(lambda change: seen.append((change["new"], widget.wait(60).caption)), "caption")
    widget.observe(lambda _: seen.append(widget.wait(60).caption), "tokens")
    widget.caption = "a blue boat"
    line(widget).sets(tokens=[1])
    assert seen == [("a blue boat", "a blue boat"), "a blue boat"]


def test_wait_in_the_widgets_own_thread_says_so(caplog: pytest.LogCaptureFixture) -> None:
    widget = make()
    widget.wait(60)
    widget.observe(lambda _: widget.wait(60), "caption")
    line(widget).says({"kind": "ask", "ask": 1, "changes": {"caption": "a blue boat"}})
    until(lambda: "observer of this widget" in caplog.text)
    assert widget.wait(60).caption == "a blue boat"


def test_composes_with_ipywidgets() -> None:
    one, other = make(), make(page=1)
    box = ipywidgets.HBox([one, other])
    assert box.children == (one, other)
    text = ipywidgets.Text(value="a red boat")
    link = ipywidgets.jslink((text, "value"), (one, "caption"))
    assert link.target == (one, "caption")
    ipywidgets.jslink((one, "tokens"), (other, "tokens"))
    traitlets.link((one, "method"), (other, "method"))
    one.method = "similarity"
    assert other.wait(60).method == "similarity"
    ui = ipywidgets.interactive(
        lambda caption: setattr(one, "caption", caption), caption=["a fish", "a boat"]
    )
    ui.children[0].value = "a boat"
    assert one.wait(60).caption == "a boat"
    traitlets.dlink((text, "value"), (one, "caption"))
    assert one.wait(60).caption == "a red boat"


def test_two_widgets_never_mix() -> None:
    model = copy.deepcopy(book().model)
    widgets = [make(page=page, model=model) for page in (0, 1, 2, 3)]
    for page, widget in enumerate(widgets):
        widget.image_layer = 2 + page
    for page, widget in enumerate(widgets):
        expected = explained(page, image_layer=2 + page)
        np.testing.assert_allclose(widget.wait(60).values, expected.values, rtol=1e-3, atol=1e-6)
        assert {content["id"] for content in line(widget).of_kind("begin", "chunk", "done")} <= {1, 2}


# -------------------------------------------------------------------------------------------- waiting


def test_ready_in_an_event_loop() -> None:
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)

        async def cell() -> tuple[Any, Any, int]:
            both = asyncio.gather(widget.ready(), widget.ready())
            ticks = 0
            while not gate.reached.is_set():
                await asyncio.sleep(0.01)
                ticks += 1
            gate.open.set()
            return (*await both, ticks)

        one, other, ticks = asyncio.run(cell())
    assert one is other is widget.interactions
    assert ticks > 0
    assert asyncio.run(widget.ready()) is one


def test_ready_gives_up_and_can_be_asked_again() -> None:
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        with pytest.raises(asyncio.TimeoutError):
            asyncio.run(asyncio.wait_for(widget.ready(), 0.01))
    assert asyncio.run(widget.ready()) is widget.wait(60)  # the first event loop is gone, and no matter


def test_wait_and_ready_are_of_the_newest_request() -> None:
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        assert gate.reached.wait(60)
        threading.Timer(0.05, gate.open.set).start()
        widget.caption = "a blue boat"
        assert widget.wait(60).caption == "a blue boat"


def test_wait_times_out() -> None:
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        with pytest.raises(TimeoutError, match=r"0\.01 s"):
            widget.wait(0.01)
        widget.cancel()
        with pytest.raises(ExclipError, match="cancelled before"):
            widget.wait(60)


def test_interrupting_a_cell_does_not_break_the_worker() -> None:
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        assert gate.reached.wait(60)
        main = threading.main_thread().ident
        threading.Timer(0.05, signal.pthread_kill, [main, signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            widget.wait(60)
    assert widget.wait(60).caption == PAGES[0].caption


# ---------------------------------------------------------------------------------------------- faults


def failing(state: dict[str, bool]) -> DualEncoder:
    """The picture book's model, whose image tower fails at will."""
    model = copy.deepcopy(book().model)

    def encode_image(pixels: torch.Tensor) -> torch.Tensor:
        if state["fails"]:
            raise RuntimeError("out of <b>memory</b>")
        embedding: torch.Tensor = model.encode_image(pixels)
        return embedding

    return DualEncoder(
        model,
        encode_text=model.encode_text,
        encode_image=encode_image,
        text_layers=[f"transformer.resblocks.{layer}" for layer in range(3)],
        image_layers=[f"visual.transformer.resblocks.{layer}" for layer in range(6)],
        context_length=32,
        padded=True,
        grid=(12, 12),
    )


def test_failure_at_first_is_shown_and_raised() -> None:
    widget = make(model=failing({"fails": True}), preprocess=book().preprocess)
    with pytest.raises(RuntimeError, match="out of"):
        widget.wait(60)
    assert widget._status == {"phase": "error", "message": "out of <b>memory</b>"}
    assert line(widget).messages()[-1][0] == {"kind": "error", "id": 1, "message": "out of <b>memory</b>"}
    assert widget.interactions is None
    assert widget._result == b""


def test_failure_keeps_the_last_good_result_and_its_inputs() -> None:
    state = {"fails": False}
    widget = make(model=failing(state), preprocess=book().preprocess, caption=["a red boat", "a blue boat"])
    result, foil = widget.wait(60), widget.foil_interactions
    before = state_of(widget)
    state["fails"] = True
    widget.caption, widget.image, widget.foil = "a fish", PAGES[2].image, None
    with pytest.raises(RuntimeError, match="out of"):
        widget.wait(60)
    after = state_of(widget)
    assert after.pop("_status") == {"phase": "error", "message": "out of <b>memory</b>"}
    assert after.pop("_revision") > before["_revision"]
    assert all(after[name] == before[name] for name in after)
    assert widget.interactions is result
    assert widget.foil_interactions is foil
    browser = line(widget).state()
    assert browser["caption"] == "a red boat"
    assert browser["_result"] == widget._result
    state["fails"] = False
    widget.caption = "a fish"
    assert widget.wait(60).caption == "a fish"
    widget.caption = "a red boat"  # an error is not kept
    assert widget.wait(60).caption == "a red boat"


def test_same_inputs_again_after_a_failure() -> None:
    state = {"fails": True}
    widget = make(model=failing(state), preprocess=book().preprocess)
    with pytest.raises(RuntimeError):
        widget.wait(60)
    state["fails"] = False
    widget.caption = PAGES[0].caption
    assert widget.wait(60).caption == PAGES[0].caption


def test_model_that_breaks_is_named() -> None:
    model = copy.deepcopy(book().model)
    widget = make(model=model)
    result = widget.wait(60)
    with torch.no_grad():
        model.visual.conv1.weight.fill_(float("nan"))
    widget.image_layer = 1
    with pytest.raises(ModelError, match="NaN"):
        widget.wait(60)
    assert "NaN" in widget._status["message"]
    assert widget.interactions is result
    assert widget.image_layer == 5


# ------------------------------------------------------------------------------------------ its life


def test_cancel_acts_at_once() -> None:
    """However long a pass takes that is under way: nothing of it shows up later."""
    gate = Gate()
    widget = make(model=gate.model)
    widget.wait(60)
    with gate.shut():
        widget.caption = "a blue boat"
        assert gate.reached.wait(60)
        start = time.perf_counter()
        line(widget).says({"kind": "cancel", "id": 2})
        assert widget._status["phase"] == "cancelled"
        assert line(widget).kinds()[-1] == "cancelled"
        assert time.perf_counter() - start < 0.2
    until(lambda: not working())
    assert line(widget).kinds()[-1] == "cancelled"
    assert widget.caption == "a blue boat"
    assert widget.interactions is None
    widget.caption = "a blue boat"  # once more
    assert widget.wait(60).caption == "a blue boat"


def test_thread_is_there_only_while_there_is_work() -> None:
    widget = make()
    widget.wait(60)
    until(lambda: not working())
    widget.caption = "a blue boat"
    widget.wait(60)
    until(lambda: not working())


def test_closed_in_mid_stream_it_frees_thread_and_memory() -> None:
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model, caption=["a red boat", "a blue boat"])
        assert gate.reached.wait(60)
        widget.close()
        with pytest.raises(ExclipError, match="closed"):
            widget.wait(60)
        with pytest.raises(ExclipError, match="closed"):
            widget.caption = "a fish"
    until(lambda: not working())
    alive = [weakref.ref(widget), weakref.ref(gate.model), weakref.ref(widget.image)]
    del widget, gate
    gc.collect()
    assert [there() for there in alive] == [None] * 3


def test_dropped_widgets_go_when_closed() -> None:
    widget = make()
    widget.wait(60)
    widget.close()
    there = weakref.ref(widget)
    del widget
    gc.collect()
    assert there() is None


def test_closing_twice_is_closing_once() -> None:
    widget = make()
    result = widget.wait(60)
    widget.close()
    widget.close()
    assert widget.wait(60) is result
    widget.cancel()
    assert widget._status["phase"] == "done"
