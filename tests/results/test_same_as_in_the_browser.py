"""The algebra here and in the browser agree on the examples in tests/algebra, which vitest reads, too.

The inputs were drawn at random. `js/test/algebra.test.ts` is the other half.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.results import result_of

from exclip_widget.results import Interactions, Tokens, View
from exclip_widget.results.alignment import align_rows
from exclip_widget.results.pairs import strongest_pairs
from exclip_widget.results.regions import grow
from exclip_widget.results.shown import describe_tokens

EXAMPLES = json.loads((Path(__file__).parents[1] / "algebra" / "algebra.json").read_text())


def tokens_in(text: dict[str, Any]) -> Tokens:
    tokens = text["tokens"]
    return Tokens(
        text["caption"],
        tuple(one["text"] for one in tokens),
        tuple(None if one["start"] is None else (one["start"], one["end"]) for one in tokens),
        tuple(one["word"] for one in tokens),
    )


def result_in(example: dict[str, Any], name: str) -> Interactions:
    text, rows, columns = example["texts"][name], example["rows"], example["columns"]
    tokens = tokens_in(text)
    return result_of(
        rows=rows,
        columns=columns,
        view=View((10 * columns, 10 * rows)),
        values=np.array(text["values"], np.float32).reshape(len(tokens), rows, columns),
        cls=np.array(text["cls"], np.float32),
        similarity=text["similarity"],
        total=float("nan") if text["total"] is None else text["total"],
        tokens=tokens,
        outliers=np.isin(np.arange(rows * columns), example["outliers"]).reshape(rows, columns),
        **own_terms(text["own"], len(tokens), (rows, columns)),
    )


def own_terms(sums: list[float] | None, tokens: int, grid: tuple[int, int]) -> dict[str, Any]:
    """Return own terms with these sums over the caption's and the image's tokens, or none without `sums`."""
    if sums is None:
        return {}
    of_tokens, of_patches = sums
    return {
        "token_terms": np.full(tokens, of_tokens / tokens),
        "patch_terms": np.full(grid, of_patches / np.prod(grid) / 2),
        "cls_term": of_patches / 2,
    }


@pytest.mark.parametrize("number", range(len(EXAMPLES["pairs"])))
@pytest.mark.parametrize("name", ["caption", "foil", "difference"])
def test_sums_receipts_and_strongest_pairs(number: int, name: str) -> None:
    example = EXAMPLES["pairs"][number]
    result, text = result_in(example, name), example["texts"][name]
    for given in text["selections"]:
        region = np.zeros((example["rows"], example["columns"]), bool)
        region.flat[given["region"]] = True
        np.testing.assert_allclose(result.heat(given["tokens"]).ravel(), given["heat"], atol=1e-12)
        np.testing.assert_allclose(result.tint(region), given["tint"], atol=1e-12)
        assert result.between(given["tokens"], region) == pytest.approx(given["between"], abs=1e-12)
        parts = result.receipt(given["tokens"], region).parts
        assert list(parts) == list(given["receipt"])
        assert parts == pytest.approx(given["receipt"], abs=1e-12)
    assert describe_tokens(result.rows) == text["tokens"]
    found = strongest_pairs(result.values, result.rows, 3)
    for pairs, expected in zip(found, text["strongest"].values(), strict=True):
        assert [(list(pair.rows), list(pair.patches)) for pair in pairs] == [
            (one["tokens"], one["region"]) for one in expected
        ]
        assert [pair.value for pair in pairs] == pytest.approx([one["value"] for one in expected], abs=1e-12)


@pytest.mark.parametrize("number", range(len(EXAMPLES["pairs"])))
def test_alignment_and_difference(number: int) -> None:
    example = EXAMPLES["pairs"][number]
    caption, foil, expected = (result_in(example, name) for name in ("caption", "foil", "difference"))
    assert [list(pair) for pair in align_rows(caption.rows, foil.rows)] == example["alignment"]
    found = caption - foil
    assert found.rows == expected.rows
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.cls, expected.cls)
    assert found.similarity == pytest.approx(expected.similarity, abs=1e-12)


@pytest.mark.parametrize("example", EXAMPLES["regions"])
def test_regions(example: dict[str, Any]) -> None:
    rows, columns = size = example["rows"], example["columns"]
    # One pixel for each patch, and room around the grid for regions that extend beyond it.
    room = 8
    view = View(
        (columns + 2 * room, rows + 2 * room),
        (
            room / (columns + 2 * room),
            room / (rows + 2 * room),
            columns / (columns + 2 * room),
            rows / (rows + 2 * room),
        ),
    )
    result = result_of(rows=rows, columns=columns, view=view)
    box = np.array(example["box"]["corners"]) + room
    path = np.array(example["lasso"]["path"]) + room
    for region, expected in ((box.ravel(), example["box"]["patches"]), (path, example["lasso"]["patches"])):
        if expected:
            assert np.flatnonzero(result.patches(region)).tolist() == expected
        else:
            with pytest.raises(ValueError, match="no patch"):
                result.patches(region)
    passing = set(example["grow"]["passing"])
    assert grow(example["grow"]["seed"], size, passing.__contains__) == example["grow"]["patches"]
