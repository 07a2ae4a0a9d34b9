"""The widget as seen from Python: results, waiting for them, failures and lifetime."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import signal
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
import traitlets
from support.widgets import (
    INPUTS,
    Gate,
    answer,
    book,
    decoded,
    explained,
    line,
    make,
    numbers,
    run_in_a_loop,
    state_of,
    until,
    working,
)

from exclip_widget import (
    DualEncoder,
    ExclipError,
    ModelError,
)
from exclip_widget.results import pictures

PAGES = book().pages
FOIL = "a red boat left of two purple fish"


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
    assert widget._request == {"id": 1, "phase": "done", "message": ""}
    assert widget._summary == {
        "similarity": result.similarity,
        "total": result.total,
        "residual": result.residual,
        "error": None,
        "foil_similarity": None,
        "foil_total": None,
        "foil_error": None,
        "own": list(result.own_sums),
        "foil_own": None,
        "outliers": [],
    }


@pytest.mark.parametrize("method", ["exclip", "frozen", "similarity", "gradient", "banzhaf"])
def test_foil_is_explained_as_if_it_were_alone(method: str) -> None:
    options = {"samples": 8} if method == "banzhaf" else {}
    widget = make(caption=[PAGES[0].caption, FOIL], method=method, **options)
    result = widget.wait(60)
    assert widget.foil == FOIL
    assert widget.foil_interactions is not None
    for found, caption in ((result, PAGES[0].caption), (widget.foil_interactions, FOIL)):
        expected = explained(caption=caption, method=method, **options)
        np.testing.assert_allclose(found.values, expected.values, rtol=1e-3, atol=1e-6)
    values, _ = numbers(
        widget._foil_result, [len(widget._foil_tokens), widget._grid["rows"], widget._grid["columns"]]
    )
    np.testing.assert_array_equal(values, widget.foil_interactions.values)
    assert widget._alignment == [[row, row] for row in range(10)]
    assert [token["text"] for token in widget._foil_tokens][-3:-1] == ["purple", "fish"]
    assert widget._summary["foil_similarity"] == widget.foil_interactions.similarity
    owns = [widget._summary[name] for name in ("own", "foil_own")]
    if method in ("similarity", "gradient"):
        assert owns == [None, None]
    else:
        assert owns == [list(one.own_sums) for one in (result, widget.foil_interactions)]
    if method in ("exclip", "frozen"):
        assert widget._summary["foil_total"] == widget.foil_interactions.total
    else:
        assert [widget._summary[name] for name in ("total", "residual", "foil_total")] == [None] * 3
        assert (widget._summary["error"] is None) == (method != "banzhaf")
    json.dumps(widget._summary, allow_nan=False)


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
    line(widget).says({"kind": "change", "question": 1, "changes": {"caption": "a blue boat"}})
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
        assert {content["id"] for content in line(widget).of_kind("estimate", "progress")} <= {1, 2}


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

        one, other, ticks = run_in_a_loop(cell())
    assert one is other is widget.interactions
    assert ticks > 0
    assert run_in_a_loop(widget.ready()) is one


def test_ready_gives_up_and_can_be_asked_again() -> None:
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        with pytest.raises(asyncio.TimeoutError):
            run_in_a_loop(asyncio.wait_for(widget.ready(), 0.01))
    assert run_in_a_loop(widget.ready()) is widget.wait(60)  # although the first event loop is gone


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


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Make interrupts raise, as in a kernel. A shell's background jobs start with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
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


def failing(state: dict[str, bool]) -> DualEncoder:
    """Return the picture book's model, with an image tower that fails on demand."""
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
    assert widget._request == {"id": 1, "phase": "error", "message": "out of <b>memory</b>"}
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
    assert after.pop("_request") == {"id": 4, "phase": "error", "message": "out of <b>memory</b>"}
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
    widget.caption = "a red boat"  # errors are not cached
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
    assert "NaN" in widget._request["message"]
    assert widget.interactions is result
    assert widget.image_layer == 5


def test_cancel_acts_at_once() -> None:
    """Nothing of the pass that is running shows up later, however long it takes."""
    gate = Gate()
    widget = make(model=gate.model)
    widget.wait(60)
    with gate.shut():
        widget.caption = "a blue boat"
        assert gate.reached.wait(60)
        line(widget).says({"kind": "cancel", "id": 2})  # returns although the pass is blocked
        assert widget._request["phase"] == "cancelled"
        assert line(widget).updates()[-1]["_request"]["phase"] == "cancelled"
    until(lambda: not working())
    assert line(widget).updates()[-1]["_request"]["phase"] == "cancelled"
    assert widget.caption == "a blue boat"
    assert widget.interactions is None
    widget.caption = "a blue boat"  # request it again
    assert widget.wait(60).caption == "a blue boat"


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
    pictures._kept.clear()
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
    assert widget._request["phase"] == "done"


def test_model_in_training_stays_so() -> None:
    model = copy.deepcopy(book().model).train()
    widget = make(model=model)
    widget.wait(60)
    line(widget).says({"kind": "test", "question": 1, "tokens": [1], "region": []})
    answer(widget, 1)
    assert model.training
