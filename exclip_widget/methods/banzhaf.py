"""Banzhaf interactions of tokens and patches, from random masks of both sides.

FIxLIP (Baniecki, Muschalik, Fumagalli, Hammer, Hüllermeier and Biecek, "Explaining Similarity in
Vision-Language Encoders with Weighted Banzhaf Interactions", NeurIPS 2025) plays a game on tokens and
patches whose value is the similarity; its cross-modal interaction at p = 1/2 is the mean second difference
over all masks. The two encoders meet in a product alone and the masks of both sides are independent, so
that mean is a product as well, of the vector-valued Banzhaf values of each side:
``E[D_s f . D_p g] = E[D_s f] . E[D_p g]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from ..results.factors import Factors, Samples
from ..results.interactions import Estimate, product
from ..results.rows import Tokens
from .base import Product, as_array, as_factors, in_chunks
from .side import Side


@dataclass(frozen=True)
class Banzhaf(Product):
    """Mean second differences of the similarity, over masks of tokens and patches.

    What is masked is replaced by the reference's token at the layer; special tokens are always present.

    Parameters
    ----------
    samples : int
        Masks of each side. Where there are no more masks than that in all, each is taken once, and the
        factors are exact.
    seed : int
        Of the masks.
    """

    samples: int = 512
    seed: int = 0
    name: str = field(default="banzhaf", init=False)
    layers: tuple[int, int] = field(default=(0, 0), init=False)
    differentiates: bool = field(default=False, init=False)

    def factors(self, side: Side, memory: int) -> Factors:
        """``T[s] = mean f(masks with s) - mean f(masks without s)``, of the unit embedding f."""
        *_, factors = self._estimates(side, 1, memory)
        return factors

    def meet(
        self, texts: Sequence[Factors], image: Side, frames: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Interactions after ever more masks of the picture."""
        for factors in self._estimates(image, frames, memory):
            steps = min(self.samples, 2 ** min(int(_players(image).sum()), 62))
            yield [product(text, factors)._replace(steps=steps) for text in texts]

    def _estimates(self, side: Side, frames: int, memory: int) -> Iterator[Factors]:
        players = _players(side)
        masks, exact = _masks(players, self.samples, self.seed + (side.name == "image"))
        embedding = F.normalize(side.run(side.tokens[None])[0], dim=-1)
        outputs: list[Tensor] = []
        kept = 8 * side.tokens.nbytes
        for part in torch.split(masks, -(-len(masks) // frames)):
            some = in_chunks(part, kept, memory)
            outputs += [side.masked(present[:, side.owners]) for present in some]
            done = torch.cat(outputs)
            present = masks[: len(done)]
            samples = Samples(present.numpy(), as_array(done))
            values = _values(present.to(done.device), done)
            if exact and len(done) == len(masks):
                samples = Samples(samples.present[:0], samples.outputs[:0])
            yield as_factors(self, side, values, embedding, samples=samples, steps=len(done))


def _players(side: Side) -> Tensor:
    """Which rows of the side can be masked, bool, (rows,): words' tokens, or patches."""
    if isinstance(side.labels, Tokens):
        return torch.tensor([word >= 0 for word in side.labels.words])
    players = torch.zeros(len(side.tokens), dtype=torch.bool)
    players[side.labels.patches] = True
    return players


def _masks(players: Tensor, samples: int, seed: int) -> tuple[Tensor, bool]:
    """Masks, bool, (masks, rows), and whether they are all that there are."""
    count = int(players.sum())
    if exact := count < 32 and 2**count <= samples:
        drawn = (torch.arange(2**count)[:, None] >> torch.arange(count)) & 1
    else:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(2, (samples, count), generator=generator)
    masks = torch.ones(len(drawn), len(players), dtype=torch.bool)
    masks[:, players] = drawn.bool()
    return masks, exact


def _values(present: Tensor, outputs: Tensor) -> Tensor:
    """Banzhaf values, (rows, embed): 0 for rows that are always there, or never yet."""
    with_row = present.to(outputs).T
    counts = with_row.sum(1, keepdim=True)
    without = len(outputs) - counts
    total = outputs.sum(0)
    sums = with_row @ outputs
    values = sums / counts.clamp(min=1) - (total - sums) / without.clamp(min=1)
    return values * ((counts > 0) & (without > 0))
