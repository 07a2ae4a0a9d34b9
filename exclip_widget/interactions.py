"""The result: how much each token of a caption and each patch of a picture add to their similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .caption import Span


@dataclass(frozen=True, eq=False)
class Interactions:
    """Token-patch interactions of one caption and one picture, in units of cosine similarity.

    Attributes
    ----------
    caption : str
        The caption.
    tokens : tuple of str
        Its tokens from start-of-text to end-of-text, as the tokenizer spells them.
    spans : tuple of (int, int) or None
        Which characters of the caption each token came from.
    words : tuple of int
        Which word each token is a piece of; -1 for start and end.
    values : np.ndarray
        Interactions, float32, (tokens, rows, columns); row 0 is at the top of what the model saw.
    cls : np.ndarray
        Each token's interaction with the picture's CLS token, float32, (tokens,): exclip drops it.
    similarity : float
        Cosine similarity of caption and picture.
    total : float
        What `values` and `cls` sum to in the limit of many steps: the left side of the exact identity
        ``(f(x) - f(r)) . (g(y) - g(r')) / (|f(x)| |g(y)|)``, with references r and r'.
    steps : int
        Nodes of the quadrature.
    nodes : int
        Nodes integrated so far; fewer than `steps` in an estimate on the way to the result.
    rule : str
        Name of the quadrature rule.
    """

    caption: str
    tokens: tuple[str, ...]
    spans: tuple[Span | None, ...]
    words: tuple[int, ...]
    values: np.ndarray
    cls: np.ndarray
    similarity: float
    total: float
    steps: int
    nodes: int
    rule: str

    @property
    def residual(self) -> float:
        """What quadrature leaves over of the exact identity, relative: |total - sum| / |total|."""
        total = float(self.values.sum(dtype=np.float64) + self.cls.sum(dtype=np.float64))
        return abs(self.total - total) / abs(self.total) if self.total else float("inf")

    def __repr__(self) -> str:
        rows, columns = self.values.shape[1:]
        return (
            f"Interactions({self.caption!r}: {len(self.tokens)} tokens x {rows} x {columns} patches, "
            f"similarity {self.similarity:.4f}, residual {self.residual:.2%})"
        )
