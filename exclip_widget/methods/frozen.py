"""Frozen gates: the model's own pass, with its attention weights and other gates held.

With its gates held, a network is affine in the tokens of any of its layers, so a side's embedding is exactly
the sum of its tokens' parts and one constant:

    f(x) = f_held(r) + sum_s T[s],    T[s] = J_s (x_s - r_s)

with J the Jacobian of the held pass. No quadrature is needed, one pass serves all layers, and the
interactions are ``A = T P^T / (|f| |g|)``, as for the other methods. See `exclip_widget.paths.gates`.

The last gate is the length of the image's embedding, by which the cosine divides. If it is held like the
others (``length=True``), patches are credited for making the embedding longer, which does not affect the
cosine. That credit is the same map for every word, and it hides how the words differ. So by default the
length is not held: a patch is credited with what it adds to the embedding's direction, on the way from the
reference's own embedding. With N and M the linear maps for this (`exclip_widget.results.normalisation`),

    A[s, p] = T[s] . N(P[p]) / |f|,    a patch adds in all  f . M(P[p]) / |f|

and the patch's own term is what it adds in all minus its interactions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..checks import positive_number, whole_number
from ..errors import ParameterError
from ..paths.autograd import sum_by_row
from ..paths.frozen import FrozenPath, HeldPass, NotOnTheWayError
from ..results.factors import Factors
from ..results.interactions import Estimate
from ..results.matching import require_width
from ..results.normalisation import Normalisation
from .base import Method, as_array, as_factors, norm_of, split_by_caption
from .directions import Directions, shared_directions
from .side import Side

TOGETHER = 2
"""How many directions to pull back at once. More would save little and keep the next request waiting."""


@dataclass(frozen=True)
class FrozenGates(Method):
    """Interactions of the affine maps that both towers become when their gates are held.

    Parameters
    ----------
    rank : int, optional
        Number of pull-backs through the image tower, one for each direction of the captions' factors. The
        captions' sums and what own terms need come first and are always included. By default, all
        directions.
    tolerance : float, optional
        Pull back until the error of the interactions is about this fraction of their norm, or less.
    length : bool
        Whether the length of the image's embedding is held like all other gates, so that interactions are
        the plain products ``A = T P^T``.

    Raises
    ------
    ParameterError
        If an option is out of range, or both `rank` and `tolerance` are given.

    Notes
    -----
    If some directions are left out, the sum over all of a caption's tokens, special tokens included, is still
    exact at each patch. Each token by itself is off by about `Interactions.error`, and so is the heat map of
    all words, which leaves special tokens out. Factors, of either side, are always exact.

    Examples
    --------
    >>> FrozenGates(rank=5)
    FrozenGates(rank=5, tolerance=None, length=False)
    """

    name: ClassVar = "frozen"
    default_layers: ClassVar = (0, 1)
    needs_gradients: ClassVar = True
    shares_layers: ClassVar = True

    rank: int | None = None
    tolerance: float | None = None
    length: bool = False

    def __post_init__(self) -> None:
        if self.rank is not None and self.tolerance is not None:
            raise ParameterError(
                f"rank={self.rank!r} and tolerance={self.tolerance!r} were both given; give one of them"
            )
        if self.rank is not None:
            object.__setattr__(self, "rank", whole_number("rank", self.rank))
        if self.tolerance is not None:
            object.__setattr__(self, "tolerance", positive_number("tolerance", self.tolerance))
        if not isinstance(self.length, bool):
            raise ParameterError(f"length={self.length!r}; expected True or False")

    def factors(self, side: Side, memory: int) -> Factors:
        """Return ``T[s] = J_s (x_s - r_s)``, which sum to what the held pass gains over the reference.

        An image's factors are parts of its embedding's direction, unless its length is held.
        """
        del memory
        path, once = self._path(side), side.tokens.new_ones(1)
        values, (embedding,) = path.integrate_tangents(once, once), path.embeddings(once)
        if side.name == "text" or self.length:
            return as_factors(self, side, values, embedding, change=values.sum(0))
        start, norm = side.reference_embedding(), norm_of(embedding, side.name)
        paired = torch.from_numpy(_normalisation(embedding, start).of_pairs(as_array(values))).to(values)
        return as_factors(
            self, side, paired, embedding, change=paired.sum(0), along=values @ embedding / norm, start=start
        )

    def factors_at_layers(self, sides: Sequence[Side], memory: int) -> list[Factors]:
        """Return the factors at several layers; if there is a tolerance, in the few directions they share."""
        if self.tolerance is not None and len(sides) > 1 and sides[0].name == "text":
            with suppress(NotOnTheWayError):
                return self._in_few_directions(sides, self.tolerance)
        return super().factors_at_layers(sides, memory)

    def _in_few_directions(self, sides: Sequence[Side], tolerance: float) -> list[Factors]:
        held = HeldPass(
            [side.differentiable() for side in sides],
            [side.reference for side in sides],
            [side.tokens for side in sides],
        )
        basis, left = shared_directions(held, [len(side.tokens) for side in sides], tolerance / 4)
        pulled = [parts for some in torch.split(basis, TOGETHER) for parts in held.pull_back(some)]
        found = []
        for number, side in enumerate(sides):
            of_tokens = torch.stack([at_layers[number] for at_layers in pulled], 1)
            values = sum_by_row(of_tokens, side.row_index) @ basis
            missing = as_array(left * values.norm(dim=1) / norm_of(held.embedding, side.name))
            found.append(
                as_factors(self, side, values, held.embedding, change=values.sum(0), missing=missing)
            )
        return found

    def refine(
        self, texts: Sequence[Factors], image: Side, estimates: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Yield interactions without computing the image's factors, better with each direction."""
        del memory
        for found in self._pull_back(texts, [image], estimates):
            if found is not None:
                yield found[0]

    def refine_layers(
        self, texts: Sequence[Factors], images: Sequence[Side], memory: int
    ) -> Iterator[list[list[Estimate]] | None]:
        """Yield the interactions at several layers of the image tower, from one pass through it."""
        try:
            yield from self._pull_back(texts, images, 1)
        except NotOnTheWayError:
            yield from super().refine_layers(texts, images, memory)

    def _pull_back(
        self, texts: Sequence[Factors], images: Sequence[Side], estimates: int
    ) -> Iterator[list[list[Estimate]] | None]:
        """Yield estimates by layer and caption, and None between them."""
        cuts = [image.differentiable() for image in images]
        held = HeldPass(cuts, [image.reference for image in images], [image.tokens for image in images])
        yield None
        require_width(texts, len(held.embedding))
        norm = norm_of(held.embedding, "image")
        directions = Directions.of(
            texts,
            None if self.length else _normalisation(held.embedding, images[0].reference_embedding()),
        )
        # The sum over all tokens, which is shown first, should not wait for single tokens.
        first = torch.from_numpy(directions.first(self.rank)).to(held.embedding)
        together = TOGETHER if self.tolerance is None else 1
        passes = [first[:1], *(first[at : at + together] for at in range(1, len(first), together))]
        due = {math.ceil(len(passes) * (turn / estimates) ** 2) for turn in range(1, estimates + 1)}
        pulled: list[list[np.ndarray]] = [[] for _ in images]
        for number, cotangents in enumerate(passes, 1):
            for parts in held.pull_back(cotangents):
                for at_layer, part in zip(pulled, parts, strict=True):
                    at_layer.append(as_array(part / norm).astype(np.float64))
            is_last = number == len(passes) or self._is_enough(directions, pulled)
            if is_last or number in due:
                of = len(pulled[0]) if is_last else len(first)
                yield [
                    self._estimates(texts, directions, np.array(at_layer), held.embedding, of)
                    for at_layer in pulled
                ]
            else:
                yield None
            if is_last:
                return

    def _is_enough(self, directions: Directions, pulled: Sequence[Sequence[np.ndarray]]) -> bool:
        """Return whether the interactions at every layer are within the tolerance."""
        if self.tolerance is None or len(pulled[0]) < directions.needed:
            return False
        for at_layer in map(np.array, pulled):
            error = directions.error(at_layer)
            if error is not None:
                size = np.linalg.norm(directions.interactions(at_layer))
                if np.linalg.norm(error) > self.tolerance * size:
                    return False
        return True

    def _estimates(
        self,
        texts: Sequence[Factors],
        directions: Directions,
        pulled: Float[np.ndarray, "some tokens"],
        embedding: Float[Tensor, " embed"],
        steps: int,
    ) -> list[Estimate]:
        """Return estimates from some directions at a layer. `total` is the interactions' sum: no residual."""
        interactions = torch.from_numpy(directions.interactions(pulled)).to(embedding)
        found = split_by_caption(
            texts, interactions, embedding, error=directions.error(pulled), in_all=not self.length
        )
        return [
            one._replace(total=float(one.matrix.sum(dtype=np.float64)), done=len(pulled), steps=steps)
            for one in found
        ]

    def _path(self, side: Side) -> FrozenPath:
        cut = side.differentiable()
        return FrozenPath(cut, side.reference, side.tokens, side.row_index, cut.held)


def _normalisation(embedding: Float[Tensor, " embed"], start: Float[Tensor, " embed"]) -> Normalisation:
    """Return the linear maps for the normalisation of an image's embedding, of any length."""
    norm = norm_of(embedding, "image")
    return Normalisation.between(as_array(start / norm), as_array(embedding / norm))
