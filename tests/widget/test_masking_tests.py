"""Masking tests requested by a browser: their rows, and refusals."""

from __future__ import annotations

import pytest
from support.widgets import Gate, answer, book, line, make, until, working

from exclip_widget.widget.session import MOST_TESTS

PAGES = book().pages


def test_test_is_a_row() -> None:
    widget = make()
    while_computing = {"kind": "test", "question": 1, "tokens": [2, 3], "region": [27, 28]}
    line(widget).says(while_computing)
    assert answer(widget, 1) == {"kind": "accepted", "question": 1}
    line(widget).says({"kind": "test", "question": 2, "tokens": [], "region": [5]})
    answer(widget, 2)
    explainer = widget.session.request.explainer
    result = widget.wait(60)
    for row, tokens, region in zip(widget._tests, ([2, 3], []), ([27, 28], [5]), strict=True):
        test = explainer.test(result, PAGES[0].image, tokens, region)
        assert row["predicted"] == pytest.approx(test.predicted)
        assert row["actual"] == pytest.approx(test.actual, abs=1e-6)
        assert (row["tokens"], row["region"]) == (tokens, region)
    assert [row["label"] for row in widget._tests] == ["red boat × 2 patches", "1 patch"]
    assert [row["id"] for row in widget._tests] == [1, 2]
    # The rows reach the browser before the answer does.
    at = [data.get("content", {}).get("kind") for data, _ in line(widget).sent].index("accepted")
    assert "_tests" in line(widget).sent[at - 1][0]["state"]
    line(widget).says({"kind": "clear_tests"})
    assert widget._tests == []


def test_rows_of_tests_go_with_their_inputs() -> None:
    widget = make()
    widget.wait(60)
    line(widget).says({"kind": "test", "question": 1, "tokens": [2], "region": []})
    answer(widget, 1)
    widget.caption = PAGES[0].caption  # the same caption
    assert len(widget._tests) == 1
    widget.foil = "a fish"
    assert widget._tests == []


def test_no_more_than_fifty_rows() -> None:
    widget = make()
    widget.wait(60)
    widget.session._tests = [{"id": -number} for number in range(MOST_TESTS)]
    line(widget).says({"kind": "test", "question": 1, "tokens": [2], "region": []})
    answer(widget, 1)
    assert len(widget._tests) == MOST_TESTS
    assert widget._tests[-1]["label"] == "red"


def test_tests_that_make_no_sense_are_refused() -> None:
    widget = make()
    widget.wait(60)
    line(widget).says({"kind": "test", "question": 1, "tokens": [10], "region": []})
    assert "tokens has 10" in answer(widget, 1)["message"]
    line(widget).says({"kind": "test", "question": 2, "tokens": [], "region": [2**53 - 1]})
    assert "region has" in answer(widget, 2)["message"]
    gate = Gate()
    with gate.shut():
        widget = make(model=gate.model)
        assert gate.reached.wait(60)
        line(widget).says({"kind": "test", "question": 3, "tokens": [1], "region": []})
        widget.caption = "a blue boat"
        line(widget).says({"kind": "test", "question": 4, "tokens": [1], "region": []})
        widget.cancel()
    assert "no longer shown" in answer(widget, 3)["message"]
    assert "no result to test" in answer(widget, 4)["message"]
    assert widget._tests == []


def test_a_test_of_what_is_gone_meanwhile_is_refused() -> None:
    gate = Gate()
    widget = make(model=gate.model)
    widget.wait(60)
    with gate.shut():
        line(widget).says({"kind": "test", "question": 1, "tokens": [1], "region": []})
        assert gate.reached.wait(60)
        line(widget).says({"kind": "test", "question": 2, "tokens": [2], "region": []})  # waits for the first
        widget.caption = "a blue boat"
        # Refused at once, without waiting for the model.
        assert len(line(widget).of_kind("refused")) == 2
    for number in (1, 2):
        assert "no longer shown" in answer(widget, number)["message"]
    until(lambda: not working())
    assert len(line(widget).of_kind("refused", "accepted")) == 2  # and each only once
    assert widget.wait(60).caption == "a blue boat"
    assert widget._tests == []
