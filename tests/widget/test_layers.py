"""Results at other layers: computed once a request is done, sent in advance, and shown without computing."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest
from support.widgets import answer, ask, book, explained, line, make, numbers, until

from exclip_widget import Explainer, ExplainWidget, explain
from exclip_widget.methods.frozen import TOGETHER, FrozenGates
from exclip_widget.widget import layers as other_layers

TEXT_LAYERS, IMAGE_LAYERS = (
    len(names) for names in Explainer(book().model, tokenizer=book().tokenizer).layer_names
)


@pytest.fixture(autouse=True)
def on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every text layer count as quick, however busy the machine is."""
    monkeypatch.setattr(other_layers, "QUICK_S", 60.0)


def open_view(**options: Any) -> ExplainWidget:
    """Return a widget with an open view, whose request is done."""
    widget = make(**({"method": "frozen"} | options))
    line(widget).says({"kind": "join"})
    widget.wait(60)
    return widget


def held(widget: ExplainWidget) -> dict[tuple[Any, Any], tuple[dict[str, Any], list[bytes]]]:
    """Return the results that the browser has for the newest request, by layers."""
    return {
        (content["text_layer"], content["image_layer"]): (content, buffers)
        for content, buffers in line(widget).messages()
        if content["kind"] == "layer" and content["id"] == widget.session.id  # type: ignore[union-attr]
    }


def all_held(widget: ExplainWidget, count: int = (TEXT_LAYERS + 1) * (IMAGE_LAYERS + 1)) -> Any:
    until(lambda: len(held(widget)) == count)
    return held(widget)


def test_the_whole_grid_arrives_and_is_what_explain_gives() -> None:
    widget = open_view()
    grid = all_held(widget)
    shape = [len(widget._tokens), widget._grid["rows"], widget._grid["columns"]]
    for text, image in ((0, 0), (0, 3), (2, 1), ("output", "output")):
        content, (payload,) = grid[text, image]
        values, cls = numbers(payload, shape)
        there = explained(method="frozen", text_layer=text, image_layer=image)
        assert np.allclose(values, there.values, atol=1e-6)
        assert np.allclose(cls, there.cls, atol=1e-6)
        assert content["_summary"]["similarity"] == pytest.approx(there.similarity, abs=1e-6)
    told = [(content["text_layer"], content["image_layer"]) for content in line(widget).of_kind("layer")]
    assert told[:3] == [(0, 1), (0, 0), (0, 2)]  # the selected layer first, then the nearest
    assert widget.session.phase == "done"  # type: ignore[union-attr]
    assert line(widget).requests("done") == [1]


def test_nobody_looks_and_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def note(*given: Any) -> Any:
        asked.append(given)
        return iter(())

    monkeypatch.setattr(FrozenGates, "refine_layers", note)
    widget = make(method="frozen")
    widget.wait(60)
    until(lambda: not widget.session.worker._thread)  # type: ignore[union-attr]
    assert not asked
    assert not line(widget).of_kind("layer")


def test_a_move_to_what_is_held_computes_nothing_and_comes_as_one_update() -> None:
    widget = open_view()
    widget.tokens, widget.region = [1], [3, 4]
    content, (payload,) = all_held(widget)[0, 3]
    seen = len(line(widget).updates())
    ask(widget, 7, image_layer=3)
    assert answer(widget, 7)["kind"] == "accepted"
    (update,) = line(widget).updates()[seen:]
    assert (update["image_layer"], update["_result"]) == (3, payload)
    assert update["_summary"] == content["_summary"]
    assert "_request" not in update
    assert widget.session.id == 1  # type: ignore[union-attr]
    assert widget.image_layer == 3
    there = explained(method="frozen", image_layer=3)
    assert np.allclose(widget.wait(0).values, there.values, atol=1e-6)
    assert (widget.tokens, widget.region) == ([1], [3, 4])


def test_python_moves_as_it_always_did() -> None:
    widget = open_view()
    all_held(widget)
    widget.image_layer = 3
    assert np.allclose(widget.wait(60).values, explained(method="frozen", image_layer=3).values, atol=1e-6)
    assert widget.session.id == 2  # type: ignore[union-attr]
    all_held(widget)


def test_a_foil_has_both_captions_at_each_layer() -> None:
    widget = open_view(caption=["a red boat", "a blue boat"])
    content, payloads = all_held(widget)[0, 2]
    for caption, payload, name in zip(
        ("a red boat", "a blue boat"), payloads, ("similarity", "foil_similarity"), strict=True
    ):
        there = explained(caption=caption, method="frozen", image_layer=2)
        values, _ = numbers(payload, list(there.values.shape))
        assert np.allclose(values, there.values, atol=1e-6)
        assert content["_summary"][name] == pytest.approx(there.similarity, abs=1e-6)


def test_a_view_that_opens_late_gets_all_of_them() -> None:
    widget = open_view()
    all_held(widget)
    count = len(line(widget).of_kind("layer"))
    line(widget).says({"kind": "join"})
    until(lambda: len(line(widget).of_kind("layer")) == 2 * count)


def test_they_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(explained().values) * (12 * 12 + 1) * 4
    monkeypatch.setattr(other_layers, "MOST_BYTES", 3 * size + 1)
    widget = open_view()
    assert all_held(widget, 3).keys() == {(0, 1), (0, 0), (0, 2)}
    until(lambda: not widget.session.worker._thread)  # type: ignore[union-attr]
    assert len(held(widget)) == 3


def test_other_text_layers_are_made_only_if_one_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_layers, "QUICK_S", 1e-6)
    widget = open_view()
    row = all_held(widget, IMAGE_LAYERS + 1)
    until(lambda: not widget.session.worker._thread)  # type: ignore[union-attr]
    assert {text for text, _ in row} == {0}
    ask(widget, 1, text_layer=1)
    until(lambda: widget.text_layer == 1 and widget.session.is_settled)
    all_held(widget, 2 * (IMAGE_LAYERS + 1))  # including the cached ones


def test_another_method_sends_what_is_kept() -> None:
    widget = open_view(method="similarity")
    own = widget.image_layer
    all_held(widget, 1)
    widget.image_layer = 2
    widget.wait(60)
    assert all_held(widget, 2).keys() == {(widget.text_layer, own), (widget.text_layer, 2)}
    ask(widget, 1, image_layer=own)
    assert answer(widget, 1)["kind"] == "accepted"
    assert widget.session.id == 2  # type: ignore[union-attr]
    assert widget.image_layer == own


def test_a_newer_request_takes_their_place_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go_on, steps = threading.Event(), threading.Event(), []
    refine = FrozenGates.refine_layers

    def slow(self: FrozenGates, *given: Any) -> Any:
        for found in refine(self, *given):
            steps.append(found)
            reached.set()
            assert go_on.wait(60)
            yield found

    monkeypatch.setattr(FrozenGates, "refine_layers", slow)
    widget = open_view()
    assert reached.wait(60)
    ask(widget, 1, caption="a fish")
    monkeypatch.undo()
    go_on.set()
    assert answer(widget, 1)["kind"] == "accepted"
    assert widget.wait(60).caption == "a fish"
    assert steps == [None]
    assert not [content for content in line(widget).of_kind("layer") if content["id"] == 1]


def test_something_else_may_be_done_after_every_pass() -> None:
    explainer = Explainer(book().model, tokenizer=book().tokenizer)
    texts = [explainer.text_factors("a red boat")]
    *steps, last = explainer.refine_layers(texts, book().pages[0].image)
    assert last is not None
    assert steps == [None] * len(steps)
    assert len(steps) > len(texts[0].values) / TOGETHER


def test_a_masking_test_does_not_wait_for_them() -> None:
    widget = open_view()
    line(widget).says({"kind": "test", "question": 4, "tokens": [1], "region": []})
    assert answer(widget, 4)["kind"] == "accepted"
    all_held(widget)


def test_a_failure_is_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(FrozenGates, "refine_layers", fail)
    widget = open_view()
    until(lambda: not widget.session.worker._thread)  # type: ignore[union-attr]
    assert widget._request == {"id": 1, "phase": "done", "message": ""}
    assert not line(widget).of_kind("refused")
    ask(widget, 1, image_layer=3)
    assert answer(widget, 1)["kind"] == "accepted"
    assert np.allclose(widget.wait(60).values, explained(method="frozen", image_layer=3).values, atol=1e-6)


def test_a_model_that_has_changed_is_asked_again() -> None:
    model = copy.deepcopy(book().model)
    widget = open_view(model=model)
    all_held(widget)
    model.visual.proj.data.mul_(-1)
    ask(widget, 1, image_layer=3)
    assert answer(widget, 1)["kind"] == "accepted"
    result = widget.wait(60)
    assert widget.session.id == 2  # type: ignore[union-attr]
    there = explain(
        model,
        book().pages[0].image,
        book().pages[0].caption,
        tokenizer=book().tokenizer,
        method="frozen",
        image_layer=3,
    )
    assert np.allclose(result.values, there.values, atol=1e-6)


def test_a_model_that_changes_meanwhile_leaves_nothing_behind() -> None:
    model = copy.deepcopy(book().model)

    class Changing(FrozenGates):
        def refine_layers(self, *given: Any) -> Any:
            for found in super().refine_layers(*given):
                model.visual.proj.data.mul_(1.01)
                yield found

    widget = open_view(model=model, method=Changing())
    until(lambda: bool(held(widget)))
    until(lambda: not widget.session.worker._thread)  # type: ignore[union-attr]
    assert held(widget).keys() == {(0, 1)}
