"""Banzhaf interactions of tokens and patches, from random masks of both sides.

FIxLIP (Baniecki, Muschalik, Fumagalli, Hammer, Hüllermeier and Biecek, "Explaining Similarity in
Vision-Language Encoders with Weighted Banzhaf Interactions", NeurIPS 2025) defines a game whose players are
tokens and patches and whose value is the similarity. Its cross-modal interaction is the mean second
difference over masks that keep each player with probability p. Because the similarity is a product of the
two sides and their masks are independent, that mean is the product of the vector-valued Banzhaf values of
each side: ``E[D_s f . D_p g] = E[D_s f] . E[D_p g]``.

Over those masks, ``f(mask) = E[f] + sum_s (mask_s - p) T[s]`` and its counterpart for the image are the best
affine maps in the least-squares sense. Besides the interactions, their product contains each player's main
effect: the own terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from ..checks import positive_number, random_seed, whole_number
from ..errors import ModelError, ParameterError
from ..paths.hidden_tokens import are_of_tokens, only_attending_to
from ..results.factors import Factors, Samples
from ..results.interactions import Estimate, product
from ..results.matching import require_width
from ..results.rows import Tokens
from .base import Method, as_array, as_factors, masked_embeddings
from .side import Side

MASKS = ("replace", "hide")
"""Ways of masking a token or patch."""

HIDDEN = 1e-3
"""How far a unit embedding may move if hidden tokens change: rounding errors, largest in half precision."""


@dataclass(frozen=True)
class Banzhaf(Method):
    """Mean second differences of the similarity over masks of tokens and patches.

    Special tokens are never masked.

    Parameters
    ----------
    samples : int
        Number of masks for each side. If no more masks than that exist, each is used once and the factors
        are exact.
    seed : int
        Random seed for the masks.
    p : float
        Probability that a mask keeps a token or patch.
    masks : {"replace", "hide"}
        What a mask does. With "replace", a masked token is replaced by the reference's token at the layer.
        With "hide", as in FIxLIP, masked patches take the pixels of the reference image, and from the layer
        on no token of the caption attends to masked ones. For images, the two are equivalent in vision
        transformers cut at their first block.

    Raises
    ------
    ParameterError
        If an option is out of range.
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
        object.__setattr__(self, "seed", random_seed(self.seed))
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
        """Yield interactions estimated from more and more masks of the image."""
        for factors in self._estimates(image, estimates, memory):
            require_width(texts, len(factors.embedding))
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
            # What the affine map predicts with all players masked.
            nobody = weights @ done / weights.sum() - self.p * values.sum(0)
            yield as_factors(
                self, side, values, embedding, reference=nobody, samples=samples, steps=len(done)
            )


def _players(side: Side) -> Bool[Tensor, " rows"]:
    """Return which rows of the side can be masked: the tokens of words, or the patches."""
    if isinstance(side.rows, Tokens):
        return torch.tensor([word >= 0 for word in side.rows.words], device="cpu")
    players = torch.zeros(len(side.tokens), dtype=torch.bool, device="cpu")
    players[side.rows.patches] = True
    return players


def _require_hidden(side: Side, players: Bool[Tensor, " rows"]) -> None:
    """Require that a caption's tokens can be hidden, and that nothing else is hidden with them.

    Raises
    ------
    ModelError
        If the embedding changes with hidden tokens: the tower reads them other than by a softmax over tokens.
        Or if the tower has a softmax over something else that cannot be told from attention by its shape.
    """
    hidden = players[side.row_index]
    if not hidden.any():
        return
    # Rolled along the width, so that each differs whatever the reference is.
    others = side.tokens.where(~hidden.to(side.tokens.device)[:, None], side.tokens.roll(1, -1))
    scores: tuple[list[Tensor], list[Tensor]] = ([], [])
    embeddings = []
    for tokens, of_pass in zip((side.tokens, others), scores, strict=True):
        with only_attending_to(~hidden[None], of_pass):
            embeddings.append(F.normalize(side.run(tokens[None])[0], dim=-1))
    one, other = embeddings
    if not (one - other).norm() <= HIDDEN:
        raise ModelError(
            "masks='hide': the embedding of the caption changes with words that no token attends to, so the "
            "text tower reads them in another way; use masks='replace'"
        )
    for before, after in zip(*scores, strict=False):
        if not are_of_tokens(before, after, hidden):
            raise ModelError(
                f"masks='hide': the text tower has a softmax of shape {tuple(before.shape)} that is not over "
                "tokens but has the shape of attention, so words cannot be hidden from attention alone; "
                "use masks='replace'"
            )


def _masks(
    players: Bool[Tensor, " rows"], samples: int, seed: int, p: float
) -> tuple[Bool[Tensor, "masks rows"], bool]:
    """Return masks, and whether they are all possible ones."""
    count = int(players.sum())
    if exact := count < 32 and 2**count <= samples:
        bits = torch.arange(count, device="cpu")
        drawn = (torch.arange(2**count, device="cpu")[:, None] >> bits) & 1
    else:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand((samples, count), generator=generator, dtype=torch.float32, device="cpu") < p
    masks = torch.ones(len(drawn), len(players), dtype=torch.bool, device="cpu")
    masks[:, players] = drawn.bool()
    return masks, exact


def _weights(present: Bool[Tensor, "masks players"], p: float | None) -> Float[Tensor, " masks"]:
    """Return the probability of each mask, or 1 for each if they were drawn at random, with `p` None."""
    if p is None:
        return torch.ones(len(present), dtype=torch.float64, device="cpu")
    left = present.sum(1, dtype=torch.float64)
    return p**left * (1 - p) ** (present.shape[1] - left)


def _values(
    present: Bool[Tensor, "masks rows"],
    outputs: Float[Tensor, "masks embed"],
    weights: Float[Tensor, " masks"],
) -> Float[Tensor, "rows embed"]:
    """Return Banzhaf values; 0 for rows that all masks so far treat alike."""
    with_row = present.to(outputs).T * weights
    counts = with_row.sum(1, keepdim=True)
    without = weights.sum() - counts
    sums = with_row @ outputs
    differ = present.any(0) & ~present.all(0)
    found = sums / counts - (weights @ outputs - sums) / without
    return torch.where(differ[:, None], found, 0)
