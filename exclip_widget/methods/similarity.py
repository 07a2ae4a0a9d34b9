"""Token-patch similarity: run each token through the rest of its tower alone, then take cosines.

ITSM (Li, Wang, Duan, Xu and Li, "Exploring Visual Interpretability for Contrastive Language-Image
Pre-training", 2022) projects the last layer's tokens as if each were the pooled one; MaskCLIP (Zhou, Loy and
Dai, "Extract Free Dense Labels from CLIP", ECCV 2022) restricts attention to the token itself. One definition
covers both, for any tower: a token's embedding is that of an input with this token at every position. At the
output of the last layer, that is ITSM. If the pooling or a block still attends, attention over equal tokens
is their value, as in MaskCLIP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from ..results.factors import Factors
from .base import Method, as_factors, in_chunks
from .side import Side


@dataclass(frozen=True)
class TokenSimilarity(Method):
    """Cosine similarities of tokens and patches."""

    name: ClassVar = "similarity"
    default_layers: ClassVar = ("output", "output")
    needs_gradients: ClassVar = False
    needs_references: ClassVar = False

    def factors(self, side: Side, memory: int) -> Factors:
        """Return the unit embedding of every token alone; a row of several tokens has their sum."""
        count = len(side.tokens)
        alone = [
            side.run(some[:, None].expand(-1, count, -1))
            for some in in_chunks(side.tokens, 2 * side.tokens.nbytes, memory)
        ]
        units = F.normalize(torch.cat(alone), dim=-1)
        rows = units.new_zeros(int(side.row_index.max()) + 1, units.shape[1])
        rows = rows.index_add(0, side.row_index.to(units.device), units)
        embedding = F.normalize(side.run(side.tokens[None])[0], dim=-1)
        return as_factors(self, side, rows, embedding)
