"""A widget without a model: selecting works, and anything that needs the model is refused with a message."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from ipywidgets.widgets import widget as ipywidgets_widget
from PIL import Image
from support.results import result_of
from support.widgets import Line, ask, book, decoded, explained, line, run_in_a_loop, state_of

from exclip_widget import ExplainWidget, ImageError, ModelError, ParameterError, demo
from exclip_widget.results import View
from exclip_widget.widget.viewing import NO_MODEL

IMAGE = book().pages[0].image


def viewing(foil: Any = None) -> ExplainWidget:
    with mock.patch.object(ipywidgets_widget.comm, "create_comm", Line):
        return ExplainWidget.from_result(demo.example(), IMAGE, foil)


def test_the_result_is_shown_as_it_is() -> None:
    widget = viewing()
    result = demo.example()
    assert widget.interactions == widget.wait() == result
    assert widget.foil_interactions is None
    assert (widget.caption, widget.foil, widget.method) == (result.caption, None, "frozen")
    assert (widget.text_layer, widget.image_layer) == (result.text_layer, result.image_layer)
    assert np.array_equal(widget.image, IMAGE)
    np.testing.assert_array_equal(decoded(widget)[0], result.values)
    sent = line(widget).state()
    assert sent["_choices"] is None
    assert sent["_request"] == {"id": 1, "phase": "idle", "message": NO_MODEL}


def test_a_foil_is_shown_beside_it() -> None:
    foil = explained(caption="a blue boat left of two yellow fish", method="frozen")
    widget = viewing(foil)
    assert (widget.foil, widget.foil_interactions) == (foil.caption, foil)
    assert len(line(widget).state()["_alignment"]) == len(foil.tokens)


def test_selecting_works_both_ways() -> None:
    widget = viewing()
    widget.tokens, widget.region = [2, 3], np.eye(12, dtype=bool)
    assert line(widget).state()["tokens"] == [2, 3]
    line(widget).sets(tokens=[1], region=[5])
    assert (widget.tokens, widget.region) == ([1], [5])


def test_it_is_ready() -> None:
    assert run_in_a_loop(viewing().ready()) == demo.example()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("caption", "two dogs"),
        ("foil", "two cats"),
        ("image", IMAGE),
        ("method", "frozen"),
        ("text_layer", 0),
        ("image_layer", None),
    ],
)
def test_another_input_is_refused(name: str, value: Any) -> None:
    widget = viewing()
    before = state_of(widget)
    with pytest.raises(ModelError, match=rf"^{name}=.* without its model; expected a widget with one"):
        setattr(widget, name, value)
    assert state_of(widget) == before


def test_what_a_browser_asks_is_refused_in_words() -> None:
    widget = viewing()
    before = state_of(widget)
    ask(widget, 1, caption="two dogs")
    line(widget).says({"kind": "test", "question": 2, "tokens": [1], "region": []})
    line(widget).says({"kind": "upload", "question": 3, "offset": 0, "bytes": 4, "name": "x"}, b"abcd")
    refused = line(widget).of_kind("refused")
    assert [one["question"] for one in refused] == [1, 2, 3]
    assert {one["message"] for one in refused} == {NO_MODEL}
    line(widget).says({"kind": "cancel", "id": 1})
    line(widget).says({"kind": "clear_tests"})
    line(widget).sets(caption="set by a link")
    assert line(widget).updates()[-1] == {"caption": demo.example().caption}
    assert state_of(widget) == before


def test_a_view_that_opens_is_answered() -> None:
    widget = viewing()
    line(widget).says({"kind": "join"})
    assert line(widget).kinds() == ["alive"]
    line(widget).says({"kind": "join", "refresh": True})
    assert line(widget).updates()[-1]["caption"] == demo.example().caption
    widget.cancel()
    widget.close()


def test_another_image_of_the_same_size_is_told(tmp_path: Path) -> None:
    """Even a compressed copy counts as another image: it is shown, but with a warning."""
    with pytest.warns(UserWarning, match="different pixels from the one in which 'a red boat left of two"):
        widget = ExplainWidget.from_result(demo.example(), Image.new("RGB", IMAGE.size))
    assert widget.interactions == demo.example()
    widget.close()
    with pytest.warns(UserWarning, match="different pixels"):
        demo.example().to_html(tmp_path / "boat.html", Image.new("RGB", IMAGE.size))
    # Results saved before pixels were hashed give no warning.
    view = View(IMAGE.size)
    ExplainWidget.from_result(replace(demo.example(), view=view), Image.new("RGB", IMAGE.size)).close()


@pytest.mark.parametrize(
    ("result", "image", "foil", "error", "message"),
    [
        (5, IMAGE, None, ParameterError, "result is an int; expected Interactions"),
        (result_of(), IMAGE, None, ImageError, "image is 480 x 480 pixels; expected 80 x 60"),
        (result_of(), "no-such-photo.png", None, ImageError, "there is no image 'no-such-photo.png'"),
        (
            result_of(),
            Image.new("RGB", (80, 60)),
            result_of(method="frozen"),
            ParameterError,
            "method='exclip', and 'frozen' for the foil",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(
    result: Any, image: Any, foil: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ExplainWidget.from_result(result, image, foil)
