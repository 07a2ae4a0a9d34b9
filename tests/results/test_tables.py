"""Results as pandas tables, xarray data sets and shapiq's values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.libraries import hide_library
from support.results import result_of

from exclip_widget import MissingLibraryError, demo
from exclip_widget.masking import predicted_similarities
from exclip_widget.results import Interactions, View

RESULT = result_of(
    "a dog-fish",
    error=np.full((5, 3, 4), 0.01, np.float32),
    token_terms=np.arange(5, dtype=np.float32) / 100,
    patch_terms=np.arange(12, dtype=np.float32).reshape(3, 4) / 100,
)
BARE = result_of("a dog-fish", view=None, origin=None, rule=None)


def test_a_table_has_a_row_a_pair() -> None:
    table = RESULT.to_pandas()
    assert list(table.columns) == (
        "token text word start end row column left top right bottom value error".split()
    )
    assert len(table) == RESULT.values.size
    for at in (0, 17, 59):
        one = table.iloc[at]
        token, row, column = int(one.token), int(one.row), int(one.column)
        assert one.value == RESULT.values[token, row, column]
        assert one.text == RESULT.tokens[token]
        assert one.word == RESULT.words[token]
        assert (one.start, one.end) == (RESULT.spans[token] or (-1, -1))
        assert [one.left, one.top, one.right, one.bottom] == RESULT.patch_boxes[row, column].tolist()
    heat = table[table.word == 1].pivot_table(index="row", columns="column", values="value", aggfunc="sum")
    np.testing.assert_allclose(heat.to_numpy(), RESULT.heat("dog-fish"), rtol=1e-5)
    assert table.attrs["similarity"] == RESULT.similarity
    assert table.attrs["model"] == "CLIP"


def test_what_is_unknown_is_left_out() -> None:
    table = BARE.to_pandas()
    assert list(table.columns) == "token text word start end row column value".split()
    assert not {"model", "rule", "foil"} & table.attrs.keys()
    found = BARE.to_xarray()
    assert set(found.data_vars) == {"values", "cls"}
    assert not {"x", "y"} & set(found.coords)


def test_a_data_set_has_named_dimensions() -> None:
    found = RESULT.to_xarray()
    assert dict(found.sizes) == {"token": 5, "row": 3, "column": 4}
    assert found["text"].values.tolist() == list(RESULT.tokens)
    np.testing.assert_array_equal(found["values"].values, RESULT.values)
    np.testing.assert_allclose(
        found["values"].where(found.word == 1, drop=True).sum("token"), RESULT.heat("dog-fish"), rtol=1e-5
    )
    assert found["patch_terms"].dims == ("row", "column")
    assert found.x.values.tolist() == [10, 30, 50, 70]
    assert found.y.values.tolist() == [10, 30, 50]
    assert found.attrs["method"] == "exclip"
    found["values"][0] = 0  # a copy: the result itself cannot be written to
    assert RESULT.values[0].any()


@pytest.mark.parametrize("result", [RESULT, BARE], ids=["with own terms", "bare"])
def test_values_of_shapiq_sum_to_the_similarity(result: Interactions) -> None:
    import shapiq

    values = result.to_shapiq()
    assert isinstance(values, shapiq.InteractionValues)
    assert (values.n_players, values.min_order, values.max_order) == (5 + 12, 0, 2)
    assert values.index == "Moebius"
    assert sum(values.dict_values.values()) == pytest.approx(result.similarity, abs=1e-9)
    assert values[2, 5 + 7] == pytest.approx(float(result.values[2, 1, 3]))
    assert values[()] == values.baseline_value
    matrix = values.get_n_order_values(2)
    np.testing.assert_allclose(matrix[:5, 5:], result.values.reshape(5, 12), rtol=1e-6)
    assert not matrix[:5, :5].any()


def test_sums_of_subsets_are_predictions() -> None:
    """A masking test's prediction is the sum over all sets of the players that are left."""
    result = demo.example()
    values = result.to_shapiq()
    rng = np.random.default_rng(1)
    count, patches = len(result.tokens), len(result.grid)
    tokens, regions = rng.random((3, count)) < 0.5, rng.random((3, patches)) < 0.5
    predicted = predicted_similarities(result, tokens, regions.reshape(3, result.grid.rows, -1))
    for some, region, expected in zip(tokens, regions, predicted, strict=True):
        present = {*np.flatnonzero(some), *(count + np.flatnonzero(region))}
        total = sum(value for players, value in values.dict_values.items() if present.issuperset(players))
        assert total == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_shapiq_plots_it() -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    values = result_of("a boat", rows=1, columns=2, view=View((20, 10))).to_shapiq()
    names = ["u", "v", "w", "x", "y", "z"]  # shapiq shortens longer names
    axes = values.plot_waterfall(feature_names=names, show=False)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert any("v" in label and "y" in label for label in labels), labels  # the pair of both
    plt.close("all")


@pytest.mark.parametrize(
    ("library", "extra", "use"),
    [
        ("pandas", "tables", Interactions.to_pandas),
        ("xarray", "tables", Interactions.to_xarray),
        ("shapiq", "shapiq", Interactions.to_shapiq),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    library: str, extra: str, use: Callable[[Interactions], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_library(library, monkeypatch)
    with pytest.raises(
        MissingLibraryError, match=rf"{library} is not installed; run: pip install 'exclip-widget\[{extra}\]'"
    ):
        use(RESULT)
