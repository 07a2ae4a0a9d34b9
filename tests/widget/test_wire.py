"""How inputs are described in the browser's state."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image
from support.widgets import answer, ask, book, make

PAGES = book().pages


def test_words_and_picture_reach_the_browser() -> None:
    image = Image.new("RGB", (3000, 1500), "teal")
    widget = make(image=image, caption="A Red boat, <b>x</b>")
    assert widget._image_type in ("image/png", "image/jpeg")
    assert widget._grid["rows"] == widget._grid["columns"] == 12
    # The model sees the middle square of an image that is twice as wide as it is high.
    left, top, width, height = (widget._grid[name] for name in ("left", "top", "width", "height"))
    np.testing.assert_allclose([left, top, width, height], [0.25, 0, 0.5, 1], atol=0.01)
    spelled = [widget.caption[t["start"] : t["end"]] for t in widget._tokens if not t["special"]]
    assert spelled[:3] == ["A", "Red", "boat"]
    assert [token["alone"] for token in widget._tokens[:5]] == [True, True, False, False, True]
    assert widget._tokens[0]["word"] == widget._tokens[-1]["word"] == -1
    assert widget._choices["methods"] == ["frozen", "exclip", "similarity", "gradient", "banzhaf"]
    assert [len(widget._choices[side]) for side in ("text_layers", "image_layers")] == [3, 6]
    json.dumps([widget._tokens, widget._choices])


def test_text_is_text() -> None:
    """Markup in captions passes through unchanged, and only ever as strings."""
    caption = (
        '<img src=x onerror="alert(1)"> & \u202eright to left\u202c \U0001f6a3\u200d\u2640\ufe0f e\u0301'
    )
    widget = make()
    ask(widget, 1, caption=caption)
    found = answer(widget, 1)
    if found["kind"] == "accepted":
        assert widget.wait(60).caption == caption
    json.dumps(widget._tokens)
