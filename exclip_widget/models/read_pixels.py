"""Which pixels of an image a tower's patches read, found by changing some of them.

Code other than the library's may resize or crop the pixels before they are cut into patches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ModelError
from ..paths.cut import REPEATED_APART, Activation, read_activations
from .patch_places import CHANGE, Covered

MOST_MERGES = 16
"""More often than this, no tower halves its grid."""


def whole_patches(pixels: Float[Tensor, "1 3 height width"], patch: tuple[int, int]) -> tuple[int, int]:
    """Return how many rows and columns of whole patches fit into an image."""
    height, width = pixels.shape[-2:]
    return height // patch[0], width // patch[1]


def covered_by(
    grid: tuple[int, int], patch: tuple[int, int], pixels: Float[Tensor, "1 3 height width"]
) -> Covered:
    """Return how much of an image a grid of patches covers if it starts at the image's own corner.

    A side whose length differs from that of its patches by a whole patch or more counts as covered: then the
    grid is not one of patches of this size.

    Examples
    --------
    >>> covered_by((2, 3), (16, 16), torch.zeros(1, 3, 40, 47))
    (0.8, 1.0212765957446808)
    """
    down, across = (
        count * step / side if count and abs(count * step - side) < step else 1.0
        for side, step, count in zip(pixels.shape[-2:], patch, grid, strict=True)
    )
    return down, across


def divides_evenly(grid: tuple[int, int], merged: tuple[int, int]) -> bool:
    """Return whether a grid of merged patches leaves out none of those that it is made of, and adds none.

    Examples
    --------
    >>> divides_evenly((8, 12), (4, 6)), divides_evenly((5, 6), (2, 3))
    (True, False)
    """
    times = {count // after if count % after == 0 else 0 for count, after in zip(grid, merged, strict=True)}
    return len(times) == 1 and times <= {2**power for power in range(MOST_MERGES)}


def covered_after(covered: Covered, grids: Sequence[tuple[int, int]]) -> Covered:
    """Return how much of an image the last of several grids covers if the first one covers `covered`.

    Each grid is the one before, or has patches of 2 x 2 or more of its patches merged. If these do not divide
    it, it leaves some out, or has some added at its end.

    Examples
    --------
    >>> covered_after((1.0, 1.0), [(10, 12), (10, 12), (5, 6), (2, 3)])
    (0.8, 1.0)
    >>> covered_after((1.0, 1.0), [(10, 12), (5, 6), (3, 3)])
    (1.2, 1.0)
    """
    merged = 1
    for before, after in pairwise(grids):
        if before != after:
            ratio = max(one / other for one, other in zip(before, after, strict=True))
            merged *= 2 ** max(1, int(math.log2(ratio)))
    down, across = (
        share * merged * last / first for share, first, last in zip(covered, grids[0], grids[-1], strict=True)
    )
    return down, across


@dataclass(frozen=True)
class ReadPixels:
    """How the patches at a tower's first layer depend on the pixels of an image.

    Attributes
    ----------
    encode : callable
        The tower, from pixels to embeddings.
    pixels : Tensor
        The image.
    at : Activation
        What the first layer holds for it.
    grid : (int, int)
        Rows and columns of patches there.
    """

    encode: Callable[[Tensor], object]
    pixels: Float[Tensor, "1 3 height width"]
    at: Activation
    grid: tuple[int, int]

    def covered(self, patch: tuple[int, int]) -> Covered:
        """Return how much of the image patches of a given size cover.

        All of it if they do not lie one by one from its corner: then it was resized to their grid.

        Raises
        ------
        ModelError
            If the tower crops the image.
        """
        shares = covered_by(self.grid, patch, self.pixels)
        down, across = (
            share if self._lie_in_order(axis, step, share) else 1.0
            for axis, (share, step) in enumerate(zip(shares, patch, strict=True))
        )
        if (down, across) != shares:
            self.require_edges()
        return down, across

    def require_edges(self) -> None:
        """Require that the tower reads the image up to a quarter of a patch from each of its edges.

        Raises
        ------
        ModelError
            If it does not.
        """
        for axis, name in enumerate(("rows", "columns")):
            side = self.pixels.shape[2 + axis]
            edge = max(1, side // self.grid[axis] // 4)
            for start, end in ((0, edge), (side - edge, side)):
                if not self._count_moved(axis, start, end):
                    raise ModelError(
                        f"the image tower does not read {name} {start} to {end - 1} of the {side} that it is "
                        "given, so it is unknown which part of an image its patches show; crop in preprocess "
                        "instead of in the model"
                    )

    def _lie_in_order(self, axis: int, step: int, share: float) -> bool:
        """Return whether patches lie one by one along an axis, and cover this share of it."""
        count, side = self.grid[axis], self.pixels.shape[2 + axis]
        if share < 1:  # what lies beyond the last one changes none
            return not self._count_moved(axis, count * step, side)
        if share > 1:  # the pixels of the last one that is not padded belong to no other
            start = max(0, count - 2) * step
            return self._count_moved(axis, start, (count - 1) * step) == self.grid[1 - axis]
        return True

    def _count_moved(self, axis: int, start: int, end: int) -> int:
        """Return how many tokens change if some rows (axis 0) or columns (axis 1) of pixels do."""
        changed = self.pixels.clone()
        band = changed.narrow(2 + axis, start, end - start)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(band.shape, generator=generator, dtype=torch.float32, device="cpu")
        band += (CHANGE * (1 + noise)).to(band)
        (after,) = read_activations([self.at.layer], self.encode, changed)
        moves = (after.tokens - self.at.tokens).norm(dim=-1)
        return int((moves > REPEATED_APART * self.at.tokens.norm(dim=-1)).sum())
