"""Factors: what each token of one side brings to its interactions with whatever stands on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .rows import Labels


@dataclass(frozen=True, eq=False)
class Samples:
    """The random evaluations that factors are means of.

    Attributes
    ----------
    present : np.ndarray
        Which rows were present in each, bool, (samples, rows).
    outputs : np.ndarray
        What the encoder gave, (samples, embed).
    """

    present: np.ndarray
    outputs: np.ndarray

    def variance(self, others: np.ndarray) -> np.ndarray:
        """Squared standard errors of the products of these factors with `others`, (rows, others).

        Each product is a difference of two means, over the samples with and without a row.
        """
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
    """One side explained, reusable with any other: interactions are products of rows.

    Attributes
    ----------
    values : np.ndarray
        A row for each token of the side, (rows, embed), in units of the unit embedding; float32, or
        float64 where the model is, like all arrays here.
    embedding : np.ndarray
        The side's embedding at unit length, (embed,).
    change : np.ndarray or None
        What the rows sum to in the limit of many steps, (embed,): the embedding less that of the
        reference, in the same units. None where the method promises nothing of the kind.
    samples : Samples or None
        Random evaluations behind `values`, where it is a mean of some.
    labels : Tokens or Grid
        What the rows are.
    method, layer : str
        How, and where in the tower, they were computed.
    steps : int
        Evaluations along the path, or masks.
    rule : str or None
        Quadrature rule, for the methods that have one.
    """

    values: np.ndarray
    embedding: np.ndarray
    change: np.ndarray | None
    samples: Samples | None
    labels: Labels
    method: str
    layer: str
    steps: int
    rule: str | None = None
