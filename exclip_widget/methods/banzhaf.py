"""Banzhaf interactions of tokens and patches, from random masks of both sides.

FIxLIP (Baniecki, Muschalik, Fumagalli, Hammer, Hüllermeier and Biecek, "Explaining Similarity in
Vision-Language Encoders with Weighted Banzhaf Interactions", NeurIPS 2025) plays a game on tokens and
patches whose value is the similarity. Its cross-modal interaction is the mean second difference over masks
that leave each player with probability p. The similarity is a product of the two sides and their masks are
independent, so that mean is the product of the vector-valued Banzhaf values of each side:
``E[D_s f . D_p g] = E[D_s f] . E[D_p g]``.

The affine maps ``f(mask) = E[f] + sum_s (mask_s - p) T[s]`` and that of the image are the best ones over
those masks, by least squares. Their product has, beside the interactions, each player's main effect: the own
terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from ..checks import positive_number, whole_number
from ..errors import ModelError, ParameterError
from ..results.factors import Factors, Samples
from ..results.interactions import Estimate, product
from ..results.rows import Tokens
from .base import Method, as_array, as_factors, masked_embeddings
from .side import Side

MASKS = ("replace", "hide")
"""What a mask may do."""

HIDDEN = 1e-3
"""How far a unit embedding may move if hidden tokens change: by rounding, most of it in half precision."""


@dataclass(frozen=True)
class Banzhaf(Method):
    """Mean second differences of the similarity, over masks of tokens and patches.

    Special tokens are never masked.

    Parameters
    ----------
    samples : int
        Number of masks of each side. If there are no more masks than that in all, each is taken once and
        the factors are exact.
    seed : int
        Seed of the masks.
    p : float
        With what probability a mask leaves a token or patch in place.
    masks : {"replace", "hide"}
        What a mask does. By "replace", a masked token is replaced by the reference's at the layer. By
        "hide", as in FIxLIP, masked patches have the pixels of the reference image, and no token of the
        caption attends to masked ones from the layer on. For vision transformers cut at their first
        block, the two are one for images.

    Raises
    ------
    ParameterError
        If an option is out of its range.
    """

    name: ClassVar = "banzhaf"
    default_layers: ClassVar = (0, 0)
    needs_gradients: ClassVar = False

    samples: int = 512
    seed: int = 0
    p: float = 0.5
    masks: str = "replace"

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", whole_number("samples", self.samples, least=2))
        object.__setattr__(self, "seed", whole_number("seed", self.seed, least=0))
        object.__setattr__(self, "p", positive_number("p", self.p))
        if self.p >= 1:
            raise ParameterError(f"p={self.p!r}; expected a probability between 0 and 1")
        if self.masks not in MASKS:
            raise ParameterError(f"masks={self.masks!r:.80}; expected one of {', '.join(map(repr, MASKS))}")

    def factors(self, side: Side, memory: int) -> Factors:
        """Return ``T[s] = mean f(masks with s) - mean f(masks without s)``, with f the unit embedding."""
        *_, factors = self._estimates(side, 1, memory)
        return factors

    def refine(
        self, texts: Sequence[Factors], image: Side, estimates: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Yield interactions after ever more masks of the image."""
        for factors in self._estimates(image, estimates, memory):
            steps = min(self.samples, 2 ** min(int(_players(image).sum()), 62))
            yield [product(text, factors)._replace(steps=steps) for text in texts]

    def _estimates(self, side: Side, count: int, memory: int) -> Iterator[Factors]:
        players, hidden = _players(side), self.masks == "hide"
        if hidden and side.name == "text":
            _require_hidden(side, players)
        masks, exact = _masks(players, self.samples, self.seed + (side.name == "image"), self.p)
        embedding = F.normalize(side.run(side.tokens[None])[0], dim=-1)
        outputs: list[Tensor] = []
        for part in torch.split(masks, -(-len(masks) // count)):
            outputs.append(masked_embeddings(side, part[:, side.row_index], memory, hidden=hidden))
            done = torch.cat(outputs)
            present = masks[: len(done)]
            is_exact = exact and len(done) == len(masks)
            weights = _weights(present[:, players], self.p if exact else None).to(done)
            values = _values(present.to(done.device), done, weights)
            samples = Samples(present.numpy(), as_array(done), as_array(weights) if is_exact else None)
            # With all players gone, by the affine map.
            nobody = weights @ done / weights.sum() - self.p * values.sum(0)
            yield as_factors(
                self, side, values, embedding, reference=nobody, samples=samples, steps=len(done)
            )


def _players(side: Side) -> Bool[Tensor, " rows"]:
    """Return which rows of the side can be masked: words' tokens, or patches."""
    if isinstance(side.rows, Tokens):
        return torch.tensor([word >= 0 for word in side.rows.words], device="cpu")
    players = torch.zeros(len(side.tokens), dtype=torch.bool, device="cpu")
    players[side.rows.patches] = True
    return players


def _require_hidden(side: Side, players: Bool[Tensor, " rows"]) -> None:
    """Require that nothing is seen of a caption's tokens that are hidden, whatever they are.

    Raises
    ------
    ModelError
        If the embedding changes with them: something reads them, and not by a softmax over tokens.
    """
    kept = ~players[side.row_index]
    others = replace(
        side, tokens=torch.where(kept.to(side.tokens.device)[:, None], side.tokens, side.reference)
    )
    one, other = (given.embed_hidden(kept[None])[0] for given in (side, others))
    if not (one - other).norm() <= HIDDEN:
        raise ModelError(
            "masks='hide': the embedding of the caption changes with words that no token attends to, so the "
            "text tower reads them in another way; use masks='replace'"
        )


def _masks(
    players: Bool[Tensor, " rows"], samples: int, seed: int, p: float
) -> tuple[Bool[Tensor, "masks rows"], bool]:
    """Return masks, and whether they are all that there are."""
    count = int(players.sum())
    if exact := count < 32 and 2**count <= samples:
        bits = torch.arange(count, device="cpu")
        drawn = (torch.arange(2**count, device="cpu")[:, None] >> bits) & 1
    else:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand((samples, count), generator=generator, device="cpu") < p
    masks = torch.ones(len(drawn), len(players), dtype=torch.bool, device="cpu")
    masks[:, players] = drawn.bool()
    return masks, exact


def _weights(present: Bool[Tensor, "masks players"], p: float | None) -> Float[Tensor, " masks"]:
    """Return the probability of each mask, or 1 for masks that were drawn, with `p` None."""
    if p is None:
        return torch.ones(len(present), dtype=torch.float64, device="cpu")
    left = present.sum(1, dtype=torch.float64)
    return p**left * (1 - p) ** (present.shape[1] - left)


def _values(
    present: Bool[Tensor, "masks rows"],
    outputs: Float[Tensor, "masks embed"],
    weights: Float[Tensor, " masks"],
) -> Float[Tensor, "rows embed"]:
    """Return Banzhaf values; 0 for rows that all masks so far have in common."""
    with_row = present.to(outputs).T * weights
    counts = with_row.sum(1, keepdim=True)
    without = weights.sum() - counts
    sums = with_row @ outputs
    differ = present.any(0) & ~present.all(0)
    found = sums / counts - (weights @ outputs - sums) / without
    return torch.where(differ[:, None], found, 0)
