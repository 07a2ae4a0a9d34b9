"""Factors: one vector for each token of a caption or an image. Interactions are their products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from .origin import Origin, View
from .rows import Rows, Tokens

_ROUNDING = 1e-5
"""Up to this length, a difference of embeddings is rounding in float32."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The random masks that factors were estimated from, and the encoder's outputs for them.

    Attributes
    ----------
    present : np.ndarray
        Which rows each mask left in place, bool, (samples, rows).
    outputs : np.ndarray
        Unit embeddings under each mask, (samples, embed).
    weights : np.ndarray or None
        The probability of each mask if they are all possible ones, (samples,); None if drawn at random.
    """

    present: Bool[np.ndarray, "samples rows"]
    outputs: Float[np.ndarray, "samples embed"]
    weights: Float[np.ndarray, " samples"] | None = None

    def variance(self, others: Float[np.ndarray, "others embed"]) -> Float[np.ndarray, "rows others"]:
        """Return the squared standard errors of the products of these factors with `others`.

        Each product is a difference of two means: over the samples with a row, and over those without. With
        all possible masks, there is no error.
        """
        if self.weights is not None:
            return np.zeros((self.present.shape[1], len(others)))
        scores = (self.outputs @ others.T).astype(np.float64)
        total = np.zeros((self.present.shape[1], len(others)))
        for chosen in (self.present, ~self.present):
            weights = chosen.T.astype(np.float64)
            count = np.maximum(weights.sum(1, keepdims=True), 1)
            mean = weights @ scores / count
            total += np.maximum(weights @ scores**2 / count - mean**2, 0) / np.maximum(count - 1, 1)
        varied = np.logical_and(self.present.any(0), np.logical_not(self.present.all(0)))
        return total * varied[:, None]


@dataclass(frozen=True, eq=False)
class Factors:
    """One side of a pair, explained once and reusable with any other side.

    Attributes
    ----------
    values : np.ndarray
        A vector for each row, (rows, embed), in units of the unit embedding. Like all arrays here, it is
        float32, or float64 if the model computes in float64.
    embedding : np.ndarray
        The side's embedding at unit length, (embed,).
    change : np.ndarray or None
        What the rows sum to in the limit of many steps, (embed,): the embedding minus that of the
        reference, in the same units, without what goes around the layer. None for methods without such an
        identity.
    samples : Samples or None
        The random masks from which `values` was estimated, if it was.
    rows : Tokens or Grid
        What the rows are: tokens of a caption, or patches of an image.
    method, layer : str
        Names of the method, and of the layer at which the tower was cut.
    steps : int
        Number of nodes along the path, or of masks.
    rule : str or None
        Quadrature rule, for methods that have one.
    view : View or None
        Size of the image and the part of it that the model saw. None for a caption, and for an image that
        was given as preprocessed pixels.
    origin : Origin or None
        Model, options of the method and version of the package, if `Explainer` made the factors.
    reference : np.ndarray or None
        What is left if all rows are taken away, (embed,): the embedding minus `change`, unless the method
        provides another vector. None for methods without one.
    along : np.ndarray or None
        What each row adds to the length of the side's embedding, (rows,), if `values` are parts of its
        direction (`exclip_widget.results.normalisation`); None if they are parts of the embedding itself.
    start : np.ndarray or None
        The encoder's own embedding of the reference, (embed,), if there is `along`.
    missing : np.ndarray or None
        Approximate norm of what each row of `values` lacks, (rows,), if a tolerance left something out.
    outliers : np.ndarray or None
        Which patches of an image are outliers at the layer, bool, (rows, columns); see `find_outliers`. None
        for a caption, or if unknown.
    """

    values: Float[np.ndarray, "rows embed"]
    embedding: Float[np.ndarray, " embed"]
    change: Float[np.ndarray, " embed"] | None
    samples: Samples | None
    rows: Rows
    method: str
    layer: str
    steps: int
    rule: str | None = None
    view: View | None = None
    origin: Origin | None = None
    reference: Float[np.ndarray, " embed"] | None = None
    along: Float[np.ndarray, " rows"] | None = None
    start: Float[np.ndarray, " embed"] | None = None
    missing: Float[np.ndarray, " rows"] | None = None
    outliers: Bool[np.ndarray, "patch_rows patch_columns"] | None = None

    def __post_init__(self) -> None:
        if self.reference is None and self.change is not None:
            object.__setattr__(self, "reference", self.embedding - self.change)

    @property
    def around(self) -> Float[np.ndarray, " embed"] | None:
        """What goes around the layer: the embedding without `change` and `reference`, (embed,).

        None if there is nothing, or it is unknown.
        """
        if self.change is None or self.reference is None:
            return None
        found: np.ndarray = self.embedding - self.change - self.reference
        return found if np.linalg.norm(found) > _ROUNDING else None

    def total_around(
        self, embedding: Float[np.ndarray, " embed"], around: Float[np.ndarray, " embed"] | None
    ) -> float:
        """Return what goes around the layer of this side or of another one adds to their similarity.

        Parameters
        ----------
        embedding, around : np.ndarray
            The other side's `embedding` and `around`.
        """
        here = self.around
        total = 0.0 if here is None else float(here @ embedding)
        if around is not None:
            total += float((self.embedding if here is None else self.embedding - here) @ around)
        return total

    def __repr__(self) -> str:
        rows, embed = self.values.shape
        side = f"{self.rows.caption!r}" if isinstance(self.rows, Tokens) else "image"
        return (
            f"Factors({side}: {rows} tokens x {embed}, {self.method!r} at {self.layer!r}, {self.steps} steps)"
        )
