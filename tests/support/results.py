"""Results built without a model: fixed ones, and ones drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from exclip_widget.results import Grid, Interactions, Origin, Tokens, View


def tokens_of(caption: str, *, special: bool = True) -> Tokens:
    """Return one token per word, between `<sot>` and `<eot>`; a hyphen splits a word into pieces."""
    texts, spans, words = [], [], []
    at = 0
    for number, word in enumerate(caption.split()):
        at = caption.index(word, at)
        for piece in word.split("-"):
            start = caption.index(piece, at)
            at = start + len(piece)
            texts.append(piece)
            spans.append((start, at))
            words.append(number)
    if special:
        return Tokens(caption, ("<sot>", *texts, "<eot>"), (None, *spans, None), (-1, *words, -1))
    return Tokens(caption, tuple(texts), tuple(spans), tuple(words))


def result_of(
    caption: str = "a red boat on a blue sea",
    *,
    rows: int = 3,
    columns: int = 4,
    seed: int = 0,
    view: View | None = View((80, 60)),  # noqa: B008  # never changed
    tokens: Tokens | None = None,
    **changes: Any,
) -> Interactions:
    """Return random interactions with every field set, which add up to the similarity."""
    tokens = tokens or tokens_of(caption)
    count = len(tokens)
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((count, rows, columns)) / 100).astype(np.float32)
    cls = (rng.standard_normal(count) / 100).astype(np.float32)
    total = float(values.sum(dtype=np.float64) + cls.sum(dtype=np.float64)) + 0.001
    given: dict[str, Any] = {
        "rows": tokens,
        "grid": Grid(rows, columns, 1),
        "values": values,
        "cls": cls,
        "similarity": total + 0.05,
        "total": total,
        "method": "exclip",
        "text_layer": "transformer.resblocks.2",
        "image_layer": "visual.transformer.resblocks.5",
        "steps": 10,
        "nodes": 10,
        "rule": "arc-length",
        "view": view,
        "origin": Origin(
            "CLIP",
            {"steps": 10, "rule": "arc-length", "tolerance": None},
            "0.1.0",
            "00",
            {"text_reference": None, "image_reference": "zeros"},
        ),
    }
    return Interactions(**given | changes)


@st.composite
def results(draw: st.DrawFn) -> Interactions:
    """Draw results for captions of a few words, with grids and views of all shapes."""
    words = draw(
        st.lists(st.sampled_from(["a", "red", "boat", "dog-fish", "é", "two"]), min_size=1, max_size=6)
    )
    crop = draw(
        st.sampled_from(
            [(0.0, 0.0, 1.0, 1.0), (0.125, 0.0, 0.75, 1.0), (0.0, -0.25, 1.0, 1.5), (0.1, 0.2, 0.5, 0.3)]
        )
    )
    return result_of(
        " ".join(words),
        rows=draw(st.integers(1, 5)),
        columns=draw(st.integers(1, 5)),
        seed=draw(st.integers(0, 2**16)),
        view=View((draw(st.integers(20, 90)), draw(st.integers(20, 90))), crop),
    )
