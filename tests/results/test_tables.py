"""Tables of results, held to the arrays that they are made of."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support.results import result_of

from exclip_widget import ExclipError

RESULT = result_of(error=np.full((9, 3, 4), 0.5))


def test_a_row_for_each_pair() -> None:
    table = RESULT.to_pandas()
    assert len(table) == RESULT.values.size
    seen = set()
    for one in table.itertuples():
        token, row, column = place = one.token, one.row, one.column
        seen.add(place)
        value = RESULT.values[place]
        assert (one.value, one.error, one.text) == (value, 0.5, RESULT.tokens[token])
        assert [one.left, one.top, one.right, one.bottom] == RESULT.patch_boxes[row, column].tolist()
        span = RESULT.spans[token]
        assert (one.start, one.end, one.word) == (*(span or (-1, -1)), RESULT.words[token])
    assert len(seen) == len(table)


def test_sums_are_those_of_the_algebra() -> None:
    table = RESULT.to_pandas()
    boat = table[table.text == "boat"].pivot(index="row", columns="column", values="value")
    np.testing.assert_allclose(boat.to_numpy(), RESULT.heat("boat"), rtol=1e-6)


def test_what_is_unknown_is_no_column() -> None:
    table = result_of(view=None).to_pandas()
    assert "left" not in table
    assert "error" not in table


def test_named_dimensions() -> None:
    data = RESULT.to_xarray()
    np.testing.assert_array_equal(data["values"].transpose("token", "row", "column"), RESULT.values)
    np.testing.assert_array_equal(data["cls"], RESULT.cls)
    np.testing.assert_array_equal(data["error"], RESULT.error)
    assert data.text.values.tolist() == list(RESULT.tokens)
    assert (data.x.values.tolist(), data.y.values.tolist()) == ([10, 30, 50, 70], [10, 30, 50])
    assert data.attrs["caption"] == RESULT.caption
    assert set(result_of(view=None).to_xarray().coords) == {"text", "word"}


@pytest.mark.parametrize("name", ["pandas", "xarray"])
def test_a_library_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExclipError, match=rf"needs {name}: pip install exclip-widget\[tables\]"):
        getattr(RESULT, f"to_{name}")()
