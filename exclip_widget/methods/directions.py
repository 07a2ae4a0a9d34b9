"""Captions' factors as a few directions of the embedding, to pull back through the image tower.

Pull-backs through the image tower involve the captions' factors T only through their span. With orthonormal
rows V of that span,

    T P^T = (T V^T) (V P^T)

so one pull-back for each row of V is enough, instead of one for each token. The sum of each caption's factors
comes first, so the sum over all of its tokens, special tokens included, is exact from then on. Next comes
what own terms need, and then the directions in which the factors are largest, so that a few directions leave
out little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..paths.frozen import HeldPass, NotOnTheWayError
from ..results.factors import Factors
from ..results.normalisation import Normalisation
from .base import cotangents_of


@dataclass(frozen=True, eq=False)
class Directions:
    """An orthonormal basis of the span of captions' factors.

    Attributes
    ----------
    basis : np.ndarray
        Orthonormal directions, the most important first, (directions, embed), float64.
    coefficients : np.ndarray
        The cotangents in this basis, (rows, directions), float64: each caption's factors, followed by what
        its own terms need, if known.
    needed : int
        How many of the first directions it takes to cover the captions' sums and what own terms need.
    missing : np.ndarray or None
        Approximate norm of what each cotangent lacks to begin with, (rows,).

    Examples
    --------
    >>> from exclip_widget import demo, Explainer
    >>> book = demo.load()
    >>> factors = Explainer(book.model, tokenizer=book.tokenizer).text_factors("a red boat")
    >>> directions = Directions.of([factors])
    >>> directions.basis.shape
    (5, 128)
    >>> directions.needed
    2
    """

    basis: Float[np.ndarray, "directions embed"]
    coefficients: Float[np.ndarray, "rows directions"]
    needed: int
    missing: Float[np.ndarray, " rows"] | None = None

    def first(self, rank: int | None) -> Float[np.ndarray, "some embed"]:
        """Return the first `rank` directions, but at least those that are needed; all if `rank` is None."""
        return self.basis if rank is None else self.basis[: max(rank, self.needed)]

    @classmethod
    def of(cls, texts: Sequence[Factors], normalisation: Normalisation | None = None) -> Directions:
        """Return the directions of captions' factors.

        Parameters
        ----------
        texts : sequence of Factors
            The captions.
        normalisation : Normalisation, optional
            The normalisation of the image's embedding, if its length is not held.
        """
        by_caption = [_pulled_back(text, normalisation) for text in texts]
        cotangents = np.concatenate([part for parts in by_caption for part in parts])
        sums = [values.sum(0) for values, *_ in by_caption]
        for_own_terms = [one for _, *parts in by_caption for part in parts for one in part]
        nothing = 1e-7 * float(np.linalg.norm(cotangents, axis=1).max())
        known = np.zeros((0, cotangents.shape[1]))
        for vector in (*sums, *for_own_terms):
            rest = _without(vector, known)
            if (size := np.linalg.norm(rest)) > nothing:
                known = np.vstack([known, rest / size])
        _, sizes, principal = np.linalg.svd(_without(cotangents, known), full_matrices=False)
        basis = np.vstack([known, principal[sizes > nothing]])
        return cls(basis, cotangents @ basis.T, len(known), _missing(texts, by_caption))

    def interactions(self, pulled: Float[np.ndarray, "some tokens"]) -> Float[np.ndarray, "rows tokens"]:
        """Return the interactions that follow from the pull-backs of the first directions."""
        result: np.ndarray = self.coefficients[:, : len(pulled)] @ pulled
        return result

    def error(self, pulled: Float[np.ndarray, "some tokens"]) -> Float[np.ndarray, "rows tokens"] | None:
        """Return about how far off those interactions are, or None once nothing is left out.

        The Cauchy-Schwarz bound is ``|T[s] - T[s] V^T V| |P[t]|``. Twice the part of the image's factors
        seen so far, ``V P[t]``, stands in for the whole, so this is an estimate rather than a bound.
        """
        if len(pulled) == len(self.basis) and self.missing is None:
            return None
        left = np.linalg.norm(self.coefficients[:, len(pulled) :], axis=1)
        if self.missing is not None:
            left = np.hypot(left, self.missing)
        return np.outer(left, 2 * np.linalg.norm(pulled, axis=0))


def _pulled_back(text: Factors, normalisation: Normalisation | None) -> list[Float[np.ndarray, "_ _"]]:
    """Return what is pulled back for a caption: its factors and, if known, what its own terms need."""
    if normalisation is None:
        return [part.astype(np.float64) for part in cotangents_of(text)]
    values, embedding = (part.astype(np.float64) for part in (text.values, text.embedding[None]))
    return [normalisation.of_pairs(values), normalisation.of_parts(embedding)]


def _missing(
    texts: Sequence[Factors], by_caption: Sequence[Sequence[Float[np.ndarray, "_ _"]]]
) -> Float[np.ndarray, " rows"] | None:
    """Return what each cotangent lacks, or None if all are exact. Those for own terms lack nothing."""
    if all(text.missing is None for text in texts):
        return None
    missing = []
    for text, (values, *others) in zip(texts, by_caption, strict=True):
        missing.append(np.zeros(len(values)) if text.missing is None else text.missing)
        missing += [np.zeros(len(part)) for part in others]
    return np.concatenate(missing)


def _without(vectors: Float[np.ndarray, "*rows embed"], basis: Float[np.ndarray, "directions embed"]) -> Any:
    """Return what is left of vectors outside a basis, projected twice because of rounding errors."""
    rest: Any = vectors
    for _ in range(2):
        rest = rest - rest @ basis.T @ basis
    return rest


PROBES = 3
"""How many random sums in a row must add nothing new before the search ends."""


def shared_directions(
    held: HeldPass, tokens: Sequence[int], tolerance: float
) -> tuple[Float[Tensor, "directions embed"], float]:
    """Return orthonormal directions in which nearly all factors of a tower lie, at all of its layers.

    Factors of neighbouring layers span nearly the same space, so a few sums of all factors, with random
    weights, span it as well. This is the randomised range finder of Halko, Martinsson and Tropp (SIAM
    Review, 2011).

    Parameters
    ----------
    held : HeldPass
        The pass through the tower.
    tokens : sequence of int
        Number of tokens at each layer.
    tolerance : float
        Fraction of the factors that may lie outside the directions.

    Returns
    -------
    directions : Tensor
        (directions, embed).
    left : float
        About what fraction lies outside them.

    Raises
    ------
    NotOnTheWayError
        If the pass does not serve all layers, or cannot be differentiated twice.
    """
    random = torch.Generator().manual_seed(0)
    embedding = held.embedding
    cotangent = torch.randn(len(embedding), generator=random, dtype=torch.float32, device="cpu").to(embedding)
    (seen,) = held.pull_back(cotangent[None])
    sizes = [float(part.norm()) or 1.0 for part in seen]  # so that no layer outweighs the others

    def weights() -> list[Tensor]:
        return [
            (torch.randn(count, generator=random, dtype=torch.float32, device="cpu") / size).to(embedding)
            for count, size in zip(tokens, sizes, strict=True)
        ]

    first = weights()
    expected = sum(float(part @ share) for part, share in zip(seen, first, strict=True))
    basis = embedding.new_zeros(0, len(embedding))
    lefts: list[float] = []
    for number in range(min(sum(tokens), len(embedding)) + PROBES):
        pushed = held.push_forward(first if number == 0 else weights())
        size = pushed.norm()
        if number == 0 and abs(float(pushed @ cotangent) - expected) > 1e-3 * float(size * cotangent.norm()):
            raise NotOnTheWayError  # a function on the way can be differentiated only once
        rest = pushed
        for _ in range(2):
            rest = rest - (rest @ basis.T) @ basis
        lefts.append(float(rest.norm() / size) if size else 0.0)
        if max(lefts[-PROBES:]) <= tolerance and number + 1 >= PROBES:
            break
        if lefts[-1] > 1e-6:
            basis = torch.cat([basis, (rest / rest.norm())[None]])
    return basis, max(lefts[-PROBES:])
