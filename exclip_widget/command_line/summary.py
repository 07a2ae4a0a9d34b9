"""The summary of an explanation for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from .outputs import Explanation
from .refusals import visible

if TYPE_CHECKING:
    from ..results.interactions import Interactions, Pair

BAR = 24
"""Length of the longest bar, in characters."""

PAIRS = 3
"""Number of strongest pairs to list for each sign."""


def summary(explanation: Explanation, image: str, model: str) -> str:
    """Return an explanation as text: similarity, words, strongest pairs and receipt.

    Parameters
    ----------
    explanation : Explanation
        The explanation.
    image, model : str
        Names to show for the image and the model.
    """
    shown = explanation.shown
    parts = [
        _head(explanation, image, model),
        _words(shown),
        _pairs(shown),
        f"receipt\n{_receipt(explanation)}",
    ]
    return "\n\n".join(part for part in parts if part)


def _head(explanation: Explanation, image: str, model: str) -> str:
    result, foil = explanation.result, explanation.foil
    lines = [
        f"{visible(result.caption)} × {visible(image)}",
        *([f"foil: {visible(foil.caption)}"] if foil is not None else []),
        f"{visible(model)}, {result.method} at {result.text_layer} and {result.image_layer}",
        "",
        f"similarity   {result.similarity:+z.4f}",
    ]
    if foil is not None:
        lines += [
            f"of the foil  {foil.similarity:+z.4f}",
            f"difference   {result.similarity - foil.similarity:+z.4f}",
        ]
    if not math.isnan(result.residual):
        lines.append(f"residual     {result.residual:.2%}")
    return "\n".join(lines)


def _words(shown: Interactions) -> str:
    """Return a line for each word, with a bar for its interaction with the whole image."""
    from ..results.selection import rows_of_words, text_of

    tint = shown.tint()
    words = [
        (visible(text_of(shown.rows, rows)), float(tint[list(rows)].sum()))
        for rows in rows_of_words(shown.rows)
    ]
    most = max(abs(value) for _, value in words) or 1.0
    width = max(len(word) for word, _ in words)
    lines = ["words, each with the whole image"]
    for word, value in words:
        bar = "█" * round(BAR * abs(value) / most)
        color = "yellow" if value > 0 else "blue"
        lines.append(f"  {word:<{width}}  {value:+z.4f}" + (f"  {click.style(bar, fg=color)}" if bar else ""))
    return "\n".join(lines)


def _pairs(shown: Interactions) -> str:
    positive, negative = shown.strongest(PAIRS)
    pairs = [*positive, *negative]
    if not pairs:
        return ""
    width = max(len(visible(pair.text)) for pair in pairs)
    lines = ["strongest pairs of a phrase and a region"]
    lines += [f"  {visible(pair.text):<{width}}  {pair.value:+z.4f}  {_place(shown, pair)}" for pair in pairs]
    return "\n".join(lines)


def _place(shown: Interactions, pair: Pair) -> str:
    """Return where the region of a pair is, in pixels if the size of the image is known."""
    import numpy as np

    count = int(pair.region.sum())
    patches = f"{count} patch{'' if count == 1 else 'es'}"
    size = shown.image_size
    if size is None:
        rows, columns = (np.flatnonzero(pair.region.any(axis)) for axis in (1, 0))
        return f"{patches} in rows {rows[0]}–{rows[-1]}, columns {columns[0]}–{columns[-1]}"
    edges = shown.patch_boxes[pair.region]
    left, top = np.maximum(np.floor(edges[:, :2].min(0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(edges[:, 2:].max(0)), size).astype(int)
    return f"{patches} in x {left}–{right}, y {top}–{bottom}"


def _receipt(explanation: Explanation) -> str:
    receipt = explanation.shown.receipt(explanation.words)
    name = "similarity" if explanation.foil is None else "difference"
    rows = [(visible(label), value) for label, value in [*receipt.lines, (name, receipt.similarity)]]
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"  {label:<{width}}  {value:+z.4f}" for label, value in rows)
