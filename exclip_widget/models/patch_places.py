"""Which patch of an image each token belongs to, found by changing patches.

The numbers of rows and columns have bits. For each bit, one copy of the image has all patches changed whose
row or column has the bit set, and another copy has all others changed. Which copies change a token then
spells the number of its patch, so a few copies are enough for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Covered: TypeAlias = tuple[float, float]
"""How much of an image's height and of its width the patches cover."""

CHANGE = 0.25
"""Size of the noise that changes a patch. It is small, so that code which sorts tokens hardly notices."""

LEAST_CHANGE = 0.01
"""Smallest change of a token that depends on the image, relative to the mean of all tokens."""

CRISP = 0.25
"""Largest distance from 0 or 1 of the shares of a token that depends on a single row or column."""

MIXED = 0.03
"""Smallest spread of shares between tokens: below it, all tokens depend on all patches alike."""

LEAST_CORRELATION = 0.2
"""Smallest correlation between the shares of tokens and the bits of their patches."""

LEAST_OF_A_BIT = 0.1
"""The same for a single bit: random towers have 0.4 or more at all layers."""

SURE_CORRELATION = 0.5
"""The same for tokens that are surely patches in order: random towers that merge neighbouring patches have
0.7 to 0.9, and those that drop patches by what they show up to 0.4."""


def bits_of_patches(grid: tuple[int, int]) -> Bool[Tensor, "bits patches"]:
    """Return the bits of the row and of the column of each patch of a grid."""
    rows, columns = grid
    row = torch.arange(rows, device="cpu").repeat_interleave(columns)
    column = torch.arange(columns, device="cpu").repeat(rows)
    bits = [row >> bit & 1 for bit in range((rows - 1).bit_length())]
    bits += [column >> bit & 1 for bit in range((columns - 1).bit_length())]
    return torch.stack(bits).bool() if bits else torch.zeros(0, len(row), dtype=torch.bool, device="cpu")


def patch_of_pixels(
    size: tuple[int, int], grid: tuple[int, int], covered: Covered
) -> Int[Tensor, "height width"]:
    """Return the number of the patch that each pixel of an image belongs to, counted row by row.

    Pixels that no patch covers get that of the closest one.

    Examples
    --------
    >>> patch_of_pixels((4, 5), (2, 2), (1.0, 0.8)).tolist()
    [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [2, 2, 3, 3, 3], [2, 2, 3, 3, 3]]
    """
    row, column = (
        (torch.arange(side, device="cpu") * count // round(side * share)).clamp_max(count - 1)
        for side, count, share in zip(size, grid, covered, strict=True)
    )
    return row[:, None] * grid[1] + column


def with_changed_patches(
    pixels: Float[Tensor, "1 3 height width"], grid: tuple[int, int], covered: Covered
) -> Float[Tensor, "copies 3 height width"]:
    """Return the image, a copy with all patches of a grid changed, and two for each bit of their numbers."""
    height, width = pixels.shape[-2:]
    bits = bits_of_patches(grid)
    patch = patch_of_pixels((height, width), grid, covered)
    none = torch.zeros(1, len(bits.T), dtype=torch.bool, device="cpu")
    is_changed = torch.cat([none, ~none, bits, ~bits])[:, patch]
    generator = torch.Generator().manual_seed(0)
    # Noise alone would cancel out in a tower that averages over patches.
    change = CHANGE * (
        1 + torch.randn(pixels.shape[1:], generator=generator, dtype=torch.float32, device="cpu")
    )
    return pixels + (is_changed[:, None] * change).to(pixels)


@dataclass(frozen=True, eq=False)
class PatchPlaces:
    """How much each token depends on the patches that have each bit set.

    Attributes
    ----------
    shares : Tensor
        How much the patches with each bit set change each token, compared with all others, (tokens, bits).
    moves : Tensor
        Whether each token changes at all, (tokens,).
    grid : (int, int)
        Rows and columns of patches.
    """

    shares: Float[Tensor, "tokens bits"]
    moves: Bool[Tensor, " tokens"]
    grid: tuple[int, int]

    @classmethod
    def of(cls, tokens: Float[Tensor, "copies tokens width"], grid: tuple[int, int]) -> PatchPlaces:
        """Return the places of the tokens that a tower makes of `with_changed_patches`."""
        tokens = tokens.detach().double().cpu()
        whole, *each = (tokens[1:] - tokens[0]).norm(dim=-1)
        parts = torch.stack([whole, *each], 1)[:, 1:]
        with_set, with_others = parts.chunk(2, 1)
        moves = whole > LEAST_CHANGE * whole.mean()
        return cls(with_set / (with_set + with_others).clamp_min(1e-300), moves, grid)

    def contradict(self, first: int) -> bool:
        """Return whether the tokens from `first` on cannot be the patches in order.

        Tokens that do not change may be masked patches, and those that depend on all patches alike say
        nothing.
        """
        moves, shares, bits = self._from(first)
        shares, bits = shares[moves], bits[moves]
        if not shares.numel():
            return False
        of_row = (self.grid[0] - 1).bit_length()
        for axis in (slice(of_row), slice(of_row, None)):
            is_crisp = ((shares[:, axis] - shares[:, axis].round()).abs() < CRISP).all(1)
            if ((shares[is_crisp, axis] > 0.5) != bits[is_crisp, axis]).any():
                return True
        if (shares - shares.mean(0)).square().mean().sqrt() < MIXED:
            return False
        if _correlation(shares, bits) < LEAST_CORRELATION:
            return True
        # Patches that are shifted, stretched or mirrored along one axis are out of order in some bits only.
        varies = (shares - shares.mean(0)).square().mean(0).sqrt() >= MIXED
        return any(
            _correlation(shares[:, [bit]], bits[:, [bit]]) < LEAST_OF_A_BIT
            for bit in varies.nonzero()[:, 0].tolist()
        )

    def correlation(self, first: int) -> float:
        """Return the correlation between the shares of the tokens from `first` on and the patches in order.

        It is 1 if no token shows otherwise.
        """
        moves, shares, bits = self._from(first)
        return _correlation(shares[moves], bits[moves]) if moves.any() and shares.numel() else 1.0

    def confirm(self, first: int) -> bool:
        """Return whether the tokens from `first` on may well be the patches, since all of them change."""
        moves, _, _ = self._from(first)
        return bool(moves.all()) and not self.contradict(first)

    def _from(self, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return whether the tokens from `first` on change, their shares, and the bits of the patches."""
        bits = bits_of_patches(self.grid).T
        patches = slice(first, first + len(bits))
        return self.moves[patches], self.shares[patches], bits


def _correlation(shares: Float[Tensor, "tokens bits"], bits: Bool[Tensor, "tokens bits"]) -> float:
    """Return the correlation between the shares of tokens and the bits of patches; 0 if constant."""
    found, expected = shares - shares.mean(0), bits.double() - bits.double().mean(0)
    return float((found * expected).sum() / (found.norm() * expected.norm()).clamp_min(1e-300))
