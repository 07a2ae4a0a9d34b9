"""Token-patch similarity: each token through the rest of its tower alone, then cosines.

ITSM (Li, Wang, Duan, Xu and Li, "Exploring Visual Interpretability for Contrastive Language-Image
Pre-training", 2022) projects the last layer's tokens as if each were the pooled one; MaskCLIP (Zhou, Loy and
Dai, "Extract Free Dense Labels from CLIP", ECCV 2022) lets attention look at nothing but the token itself.
Both are here one definition, which holds for any tower: a token's embedding is that of an input that holds
this token everywhere. At the output of the last layer that is ITSM; where the pool or a block still attends,
attention over equal tokens is their value, as in MaskCLIP.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from ..results.factors import Factors
from .base import Product, as_factors, in_chunks
from .side import Side


@dataclass(frozen=True)
class TokenSimilarity(Product):
    """Cosine similarities of tokens and patches."""

    name: str = field(default="similarity", init=False)
    layers: tuple[str, str] = field(default=("output", "output"), init=False)
    differentiates: bool = field(default=False, init=False)

    def factors(self, side: Side, memory: int) -> Factors:
        """Unit embeddings of every token alone; rows of several tokens hold their sum."""
        count = len(side.tokens)
        alone = [
            side.run(some[:, None].expand(-1, count, -1))
            for some in in_chunks(side.tokens, 2 * side.tokens.nbytes, memory)
        ]
        units = F.normalize(torch.cat(alone), dim=-1)
        rows = units.new_zeros(int(side.owners.max()) + 1, units.shape[1])
        rows = rows.index_add(0, side.owners.to(units.device), units)
        embedding = F.normalize(side.run(side.tokens[None])[0], dim=-1)
        return as_factors(self, side, rows, embedding)
