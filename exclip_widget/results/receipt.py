"""Receipts: what a similarity is made of, seen from a selection. The widget shows the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from .selection import Rows

LABELS = {
    "selection": "selection",
    "rest": "other words × patches",
    "outlier": "outlier patches",
    "special": "special tokens",
    "class": "class token",
    "words": "words alone",
    "patches": "patches alone",
    "reference": "reference terms",
    "residual": "quadrature residual",
    "unexplained": "not accounted for",
}
"""Display label of each part, as in the widget."""


@dataclass(frozen=True)
class Receipt:
    """What a similarity is made of. The parts add up to it.

    Attributes
    ----------
    label : str
        The selection in words, such as "red boat × 6 patches".
    parts : mapping
        The value of each part by its name, in units of cosine similarity, in this order:

        - ``"selection"``: the interactions of what is selected;
        - ``"rest"``: all other pairs of a word and a patch;
        - ``"outlier"``: all words with outlier patches, unless they are selected;
        - ``"special"``: special tokens, unless they are selected, with all patches;
        - ``"class"``: all tokens with the image's tokens that are not patches;
        - ``"words"``: own terms of all tokens, their products with the reference image;
        - ``"patches"``: own terms of all of the image's tokens, their products with the reference caption;
        - ``"reference"``: what the references of caption and image already share;
        - ``"residual"``: what the steps of the quadrature leave over, and what goes around a layer.

        ``"outlier"`` is left out if no patch is an outlier, or if that is unknown.

        ``"words"`` and ``"patches"`` are left out for methods without own terms: ``"reference"`` includes
        them. For methods that do not know the sum of their interactions, ``"unexplained"`` replaces the last
        two.
    similarity : float
        Cosine similarity; for a foil difference, the difference of both.
    """

    label: str
    parts: Mapping[str, float]
    similarity: float

    @property
    def lines(self) -> list[tuple[str, float]]:
        """Display label and value of each part."""
        return [
            (self.label if name == "selection" else LABELS[name], value) for name, value in self.parts.items()
        ]

    def __str__(self) -> str:
        rows = [*self.lines, ("similarity", self.similarity)]
        width = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:<{width}}  {value:+z.4f}" for label, value in rows)


def parts_of(
    values: Float[np.ndarray, "tokens rows columns"],
    cls: Float[np.ndarray, " tokens"],
    *,
    content: Rows,
    rows: Rows,
    patches: Bool[np.ndarray, "rows columns"],
    similarity: float,
    total: float,
    own: tuple[float, float] | None = None,
    outliers: Bool[np.ndarray, "rows columns"] | None = None,
) -> dict[str, float]:
    """Return the parts of a receipt, which add up to `similarity`.

    Parameters
    ----------
    values, cls : np.ndarray
        Interactions, and each token's interaction with the image's tokens that are not patches.
    content : tuple of int
        Rows of all words.
    rows : tuple of int
        Selected rows.
    patches : np.ndarray
        Selected patches.
    similarity, total : float
        Cosine similarity, and what all interactions sum to in the limit; NaN if unknown.
    own : (float, float), optional
        Sums of the own terms of all tokens, and of all the image's tokens.
    outliers : np.ndarray, optional
        Which patches are outliers, if there are any.
    """
    everywhere = values.sum((1, 2), dtype=np.float64)
    there = np.where(patches, values, 0).sum((1, 2), dtype=np.float64)
    is_word, chosen = (np.isin(np.arange(len(values)), some) for some in (content, rows))
    # Special tokens may be selected too, and are then counted there rather than under "special".
    in_words, in_others = there[chosen & is_word].sum(), there[chosen & ~is_word].sum()
    every_word, every_special = everywhere[is_word].sum(), everywhere[~is_word].sum()
    of_class = cls.sum(dtype=np.float64)
    parts = {"selection": in_words + in_others, "rest": every_word - in_words}
    if outliers is not None:
        with_outliers = (is_word[:, None, None] & outliers) & ~(chosen[:, None, None] & patches)
        parts["outlier"] = values[with_outliers].sum(dtype=np.float64)
        parts["rest"] -= parts["outlier"]
    parts |= {
        "special": every_special - in_others,
        "class": of_class,
    }
    covered = every_word + every_special + of_class
    if own is not None:
        parts |= {"words": own[0], "patches": own[1]}
    rest = similarity - sum(own or ())
    if np.isnan(total):
        parts["unexplained"] = rest - covered
    else:
        parts |= {"reference": rest - total, "residual": total - covered}
    return {name: float(value) for name, value in parts.items()}
