"""Export to a page with `ipywidgets.embed`: it contains everything that it needs without a kernel."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
from ipywidgets.embed import dependency_state, embed_minimal_html
from PIL import Image
from support.pages import states_of
from support.widgets import book, line, make, numbers, until

from exclip_widget import ExplainWidget, FileError, demo
from exclip_widget.widget.widget import STATIC


def exported(*, views: list[ipywidgets.Widget], **options: Any) -> dict[str, Any]:
    """Return the widget's state in the page, assembled as a browser would."""
    page = io.StringIO()
    embed_minimal_html(page, views=views, **options)
    (text,) = re.findall(r'widget-state\+json">(.*?)</script>', page.getvalue(), re.DOTALL)
    every = json.loads(text)["state"].values()
    (found,) = (one for one in every if one["model_name"] == "AnyModel")
    state: dict[str, Any] = found["state"]
    for buffer in found["buffers"]:
        (name,) = buffer["path"]
        state[name] = base64.b64decode(buffer["data"])
    return state


@pytest.mark.parametrize("drop_defaults", [False, True])
@pytest.mark.parametrize("in_a_box", [False, True])
def test_everything_is_in_the_page(in_a_box: bool, drop_defaults: bool) -> None:
    """No value is omitted for being a default, because the browser has no defaults."""
    widget = make(caption=["a red boat", "a blue boat"])
    widget.wait(60)
    view = ipywidgets.VBox([widget]) if in_a_box else widget
    chosen = dependency_state([view], drop_defaults=drop_defaults)
    state = exported(views=[view], state=chosen, drop_defaults=drop_defaults)

    assert set(widget.keys) - {"layout"} <= state.keys()
    assert state["_esm"] == (STATIC / "captions.js").read_text("utf-8")
    assert state["_css"] == (STATIC / "captions.css").read_text("utf-8")
    assert state["tokens"] == state["region"] == []
    assert state["_request"]["phase"] == "done"
    with Image.open(io.BytesIO(state["_image"])) as image:
        assert image.size == widget.image.size
    shape = [len(state["_tokens"]), state["_grid"]["rows"], state["_grid"]["columns"]]
    for part, expected in (("_result", widget.interactions), ("_foil_result", widget.foil_interactions)):
        assert expected is not None
        np.testing.assert_array_equal(numbers(state[part], shape)[0], expected.values.astype("<f4"))


def test_export_of_all_widgets() -> None:
    """By default, ipywidgets exports every widget, and this one is complete."""
    widget = make()
    widget.wait(60)
    state = ipywidgets.Widget.get_manager_state(drop_defaults=True)["state"][widget.model_id]["state"]
    assert {"_esm", "_css", "_anywidget_id", "foil", "tokens", "_tests"} <= state.keys()


def test_state_is_read_between_transactions() -> None:
    """A page written while a result arrives has either the old state or the new one."""
    widget = make()
    widget.wait(60)
    read: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: read.append(widget.get_state()))
    with widget.transaction():
        widget.publish(_summary=None)
        reader.start()
        reader.join(0.2)
        assert not read
        widget.publish(_tests=[])
    reader.join(60)
    assert read[0]["_summary"] is None


def test_a_page_of_its_own_has_the_selection_and_the_tests(tmp_path: Path) -> None:
    widget = make(caption=["a red boat", "a blue boat"])
    widget.tokens, widget.region = [2], [30, 31]
    widget.wait(60)
    line(widget).says({"kind": "test", "question": 1, "tokens": [2], "region": []})
    until(lambda: widget._tests)
    widget.to_html(tmp_path / "boat.html", title="Boats")
    text = (tmp_path / "boat.html").read_text("utf-8")
    assert "<h1>Boats</h1>" in text
    (state,) = states_of(text)
    kept = (
        "_scores",
        "caption",
        "foil",
        "tokens",
        "region",
        "_tests",
        "_summary",
        "_tokens",
        "_grid",
        "_alignment",
    )
    assert {name: state[name] for name in kept} == {name: getattr(widget, name) for name in kept}
    assert (state["_result"], state["_foil_result"]) == (widget._result, widget._foil_result)
    assert state["_image"] == widget._image
    assert state["_request"]["phase"] == "done"
    assert "_choices" not in state
    with pytest.raises(FileError, match="exists already; pass overwrite=True"):
        widget.to_html(tmp_path / "boat.html")
    widget.to_html(tmp_path / "boat.html", overwrite=True)


def test_a_widget_without_a_model_is_written_as_well(tmp_path: Path) -> None:
    page = book().pages[0]
    widget = ExplainWidget.from_result(demo.example(), page.image)
    widget.tokens = [3]
    widget.to_html(tmp_path / "boat.html")
    (state,) = states_of((tmp_path / "boat.html").read_text("utf-8"))
    assert state["tokens"] == [3]
    assert state["_request"] == {"id": 1, "phase": "done", "message": ""}
