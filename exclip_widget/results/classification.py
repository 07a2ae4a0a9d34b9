"""Classification: the captions of one image, ranked by similarity, with the model's own probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from ..errors import ModelError


@dataclass(frozen=True)
class Logits:
    """How a model turns cosine similarities into logits: ``scale * similarity + bias``.

    Attributes
    ----------
    scale : float
        The factor: the exponential of the parameter that models store as `logit_scale`.
    bias : float or None
        The offset, in a model that judges each caption by itself, as SigLIP does. None in a model that
        compares the captions, as CLIP does.

    Raises
    ------
    ModelError
        If a number is not finite, or the scale is not positive, so that there are no probabilities.
    """

    scale: float
    bias: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ModelError(
                f"the model multiplies similarities by logit_scale={self.scale:g}; expected a positive "
                "finite number, the exponential of the parameter that it has learned"
            )
        if self.bias is not None and not math.isfinite(self.bias):
            raise ModelError(f"the model adds logit_bias={self.bias:g}; expected a finite number")

    @property
    def rule(self) -> Literal["softmax", "sigmoid"]:
        """How logits become probabilities: by a sigmoid of each if there is a bias, else by a softmax."""
        return "softmax" if self.bias is None else "sigmoid"

    def probabilities(self, similarities: Float[np.ndarray, " captions"]) -> Float[np.ndarray, " captions"]:
        """Return the probability of each of several captions of one image, float64.

        Examples
        --------
        >>> similarities = np.array([0.30, 0.28])
        >>> Logits(scale=100).probabilities(similarities).round(3)
        array([0.881, 0.119])
        >>> Logits(scale=100, bias=-30).probabilities(similarities).round(3)
        array([0.5  , 0.119])
        """
        logits = self.scale * similarities.astype(np.float64)
        if self.bias is None:
            powers = np.exp(logits - logits.max())
            return np.asarray(powers / powers.sum())
        return np.asarray(np.exp(-np.logaddexp(0, -(logits + self.bias))))  # never overflows


@dataclass(frozen=True, eq=False)
class Classification:
    """Similarities of one image with several captions, as in zero-shot classification.

    Attributes
    ----------
    captions : tuple of str
        The captions as they were given.
    similarities : np.ndarray
        Cosine similarity of each with the image, (captions,).
    logits : Logits or None
        How the model turns them into logits; None if it has no logit scale.

    Examples
    --------
    >>> from exclip_widget import classify, demo
    >>> book = demo.load()
    >>> captions = ["a red boat", "a green car"]
    >>> found = classify(book.model, book.pages[0].image, captions, tokenizer=book.tokenizer)
    >>> found.best, found.rule
    ('a red boat', 'softmax')
    """

    captions: tuple[str, ...]
    similarities: Float[np.ndarray, " captions"]
    logits: Logits | None = None

    @property
    def rule(self) -> Literal["softmax", "sigmoid"] | None:
        """How probabilities are computed: ``"softmax"`` over all captions, or ``"sigmoid"`` of each alone."""
        return None if self.logits is None else self.logits.rule

    @cached_property
    def probabilities(self) -> Float[np.ndarray, " captions"] | None:
        """Probability of each caption, float64; None if the model has no logit scale.

        With ``"softmax"``, they sum to 1, and change if a caption is added. With ``"sigmoid"``, each one
        alone says how well its caption fits.
        """
        return None if self.logits is None else self.logits.probabilities(self.similarities)

    @cached_property
    def order(self) -> Int[np.ndarray, " captions"]:
        """Indices of the captions, from the most to the least similar; ties keep the order given."""
        return np.argsort(-self.similarities, kind="stable")

    @property
    def best(self) -> str:
        """The most similar caption."""
        return self.captions[int(self.order[0])]

    def __len__(self) -> int:
        return len(self.captions)

    def __str__(self) -> str:
        width = max(map(len, self.captions))
        lines = []
        for index in self.order:
            line = f"{self.captions[index]:<{width}}  {self.similarities[index]:+z.4f}"
            if self.probabilities is not None:
                line += f"  {self.probabilities[index]:8.2%}"
            lines.append(line)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"Classification({len(self)} captions, best {self.best!r:.60} at "
            f"{self.similarities[self.order[0]]:z.4f})"
        )
