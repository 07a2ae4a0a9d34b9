"""What a method of explanation is: factors of a side, and how a pair comes about from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..results.factors import Factors, Samples
from ..results.interactions import Estimate, product
from .side import Side


class Method(Protocol):
    """A way of explaining: one function from a side to its factors.

    Attributes
    ----------
    name : str
        What users call it.
    layers : (int or str, int or str)
        Where it cuts the text and the image tower unless told otherwise.
    differentiates : bool
        Whether gradients must go through the towers.
    """

    @property
    def name(self) -> str:
        """As documented above."""

    @property
    def layers(self) -> tuple[int | str, int | str]:
        """As documented above."""

    @property
    def differentiates(self) -> bool:
        """As documented above."""

    def factors(self, side: Side, memory: int) -> Factors:
        """Factors of a side, using about `memory` bytes at a time."""

    def meet(
        self, texts: Sequence[Factors], image: Side, frames: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Interactions of each of `texts` with a picture, in about `frames` estimates, each better."""


@dataclass(frozen=True)
class Product:
    """Interactions as products of the factors of both sides: how every method can, and most do."""

    def factors(self, side: Side, memory: int) -> Factors:
        """Factors of a side."""
        raise NotImplementedError

    def meet(
        self, texts: Sequence[Factors], image: Side, frames: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Interactions of each of `texts` with a picture, in one estimate."""
        del frames
        factors = self.factors(image, memory)
        yield [product(text, factors) for text in texts]


def stacked(texts: Sequence[Factors], like: Tensor) -> Tensor:
    """The factors of several captions below each other, (rows, embed): cotangents for a picture's tower."""
    return torch.from_numpy(np.concatenate([text.values for text in texts])).to(like)


def met_by(texts: Sequence[Factors], met: Tensor, embedding: Tensor) -> list[Estimate]:
    """Interactions of each of `texts` among all that their rows have `met`, (rows, image tokens).

    `embedding` is the picture's own, of any length.
    """
    unit = as_array(embedding / embedding.norm())
    parts = np.split(as_array(met), np.cumsum([len(text.values) for text in texts])[:-1])
    return [
        Estimate(part, None, float(text.embedding @ unit), None, done=1, steps=1)
        for part, text in zip(parts, texts, strict=True)
    ]


def as_factors(
    method: Method,
    side: Side,
    values: Tensor,
    embedding: Tensor,
    *,
    change: Tensor | None = None,
    samples: Samples | None = None,
    steps: int = 1,
    rule: str | None = None,
) -> Factors:
    """Factors from `values` (rows, embed), the side's `embedding`, (embed,), and the `change` they explain.

    All three are in the embedding's own units here, and in those of the unit embedding there.
    """
    norm = embedding.norm()
    return Factors(
        values=as_array(values / norm),
        embedding=as_array(embedding / norm),
        change=None if change is None else as_array(change / norm),
        samples=samples,
        labels=side.labels,
        method=method.name,
        layer=side.layer.name,
        steps=steps,
        rule=rule,
    )


def as_array(tensor: Tensor) -> np.ndarray:
    """A tensor as numbers on the CPU, of float32, or of float64 where the model computes in that."""
    wide = tensor.dtype == torch.float64
    array: np.ndarray = (tensor.detach() if wide else tensor.detach().float()).cpu().numpy()
    return array


def in_chunks(tensor: Tensor, bytes_each: int, memory: int) -> Sequence[Tensor]:
    """Parts of `tensor` along its first axis, each within `memory`, of one at least."""
    return torch.split(tensor, max(1, memory // max(1, bytes_each)))
