"""One caption, image and set of phrases per id, within a call and in a store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.widgets import book

from exclip_widget import Explainer, ParameterError, write_store
from exclip_widget.datasets import Pair, Phrase, read_table

BOAT = Phrase("red boat", (2, 10), ((0, 0, 9, 9), (3, 3, 5, 5)))
RED = Phrase("red", (2, 5), ((0, 0, 9, 9),))
PAIR = Pair("a", "0", book().pages[0].image, "a red boat", (BOAT, RED), foil="a blue boat")
OTHER = book().pages[1].image


def explainer() -> Explainer:
    return Explainer(book().model, tokenizer=book().tokenizer, method="exclip")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"caption": "a red boat!"}, "'a red boat!'"),
        ({"image_id": "1", "image": OTHER}, "image_id '1'"),
        ({"phrases": ()}, r"phrases \[\]"),
        ({"phrases": (BOAT,)}, r"phrases \['red boat'\]"),
        ({"phrases": (BOAT, replace(RED, boxes=((0, 0, 9, 8),)))}, r"boxes \[.*\(0, 0, 9, 8\).*\]"),
        ({"id": "a~foil", "caption": "a blue boat", "phrases": (), "foil": None}, "foil_of None"),
    ],
    ids=["caption", "image_id", "no phrases", "phrases", "boxes", "foil_of"],
)
def test_an_id_is_that_of_one_pair(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    other = replace(PAIR, **change)
    expected = r"; expected one (caption|pair) per id"
    with pytest.raises(
        ParameterError, match=rf"^id '{other.id}' is that of {said} and of .*other.*{expected}"
    ):
        write_store(tmp_path / "one", explainer(), [PAIR, other])
    write_store(tmp_path / "two", explainer(), [PAIR])
    with pytest.raises(
        ParameterError, match=rf"^id '{other.id}' has .*other .* in store .* than {said}{expected}"
    ):
        write_store(tmp_path / "two", explainer(), [other])


def test_the_same_pair_may_be_given_again(tmp_path: Path) -> None:
    """The order of phrases and boxes, their type of number, and a foil that is left out do not matter."""
    edges = [tuple(np.float32(edge) for edge in box) for box in BOAT.boxes]
    turned = replace(PAIR, phrases=(RED, replace(BOAT, boxes=tuple(reversed(edges)))), source="elsewhere:7")
    given = [replace(PAIR, foil=None), PAIR, turned]
    for _ in range(2):
        store = write_store(tmp_path / "store", explainer(), given)
        assert store.pairs == (("a", "0"),)
        assert store.foils == (("a~foil", "a"),)


def test_rows_of_one_pair_that_are_apart_are_refused(tmp_path: Path) -> None:
    for number in (0, 1):
        book().pages[number].image.save(tmp_path / f"{number}.png")
    rows = ["0.png,a red boat,x,red boat,0 0 9 9", "1.png,a fish,y,,", "0.png,a red boat,x,boat,0 0 9 9"]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,caption,id,phrase,box", *rows]))
    with pytest.raises(
        ParameterError, match=r"id 'x' is that of phrases \['boat'\] .* rows must be adjacent"
    ):
        write_store(tmp_path / "store", explainer(), read_table(tmp_path / "pairs.csv"))
