"""Selections from Python and from the browser: accepted if in range, refused otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import traitlets
from support.widgets import book, line, make

PAGES = book().pages


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


def test_lists_of_bools_are_masks_as_arrays_of_them_are() -> None:
    widget = make()
    texts = [token["text"] for token in widget._tokens]
    chosen = [text in ("red", "boat") for text in texts]
    expected = [texts.index("red"), texts.index("boat")]
    for mask in (chosen, tuple(chosen), [np.bool_(one) for one in chosen], np.array(chosen)):
        widget.tokens = []
        widget.tokens = mask
        assert widget.tokens == expected
    widget.tokens = torch.tensor(chosen)
    assert widget.tokens == expected
    widget.tokens = torch.tensor([1])
    assert widget.tokens == [1]
    patches = np.zeros((12, 12), bool)
    patches[1, 2] = True
    for mask in (patches.tolist(), torch.from_numpy(patches)):
        widget.region = []
        widget.region = mask
        assert widget.region == [14]
    with pytest.raises(traitlets.TraitError, match=r"tokens is a mask of shape \(3,\); expected numbers"):
        widget.tokens = [True, False, True]
    with pytest.raises(traitlets.TraitError, match="tokens has True among numbers; expected"):
        widget.tokens = [2, True]


def test_a_tensor_with_a_gradient_is_no_token() -> None:
    with pytest.raises(traitlets.TraitError, match="tokens"):
        make().tokens = [torch.tensor(1.0, requires_grad=True)]


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
        ("tokens", [True, False]),
        ("tokens", [1, True]),
        ("tokens", {True}),
        ("tokens", [[True], [True, False]]),
        ("tokens", np.array(3)),
        ("tokens", np.array(True)),
        ("region", [True] * 144),
        ("region", np.ones((12, 12)).tolist()),
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
    line(widget).sets(_result=b"", _tokens=[], _request={}, image="/etc/passwd", _esm="alert(1)", comm=None)
    assert widget._result
    assert widget._request["phase"] == "done"
    assert widget._esm != "alert(1)"


def test_an_observers_own_error_is_not_mistaken_for_a_refused_selection() -> None:
    """Here a user's observer copies the selection to a widget of another caption, which refuses it."""
    widget, other = make(), make(caption="a boat")
    widget.observe(lambda change: setattr(other, "tokens", change["new"]), "tokens")
    last = len(widget._tokens) - 1
    with pytest.raises(traitlets.TraitError, match=f"tokens has {last}; expected numbers from 0 to"):
        widget.set_state({"tokens": [last], "region": [14]})
    assert (widget.tokens, widget.region, other.tokens) == ([last], [14], [])
