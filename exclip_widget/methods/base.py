"""The interface of an explanation method: from a side to its factors, and from factors to interactions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ModelError
from ..paths.autograd import Path
from ..results.factors import Factors, Samples
from ..results.interactions import Estimate, OwnTerms, product
from ..results.matching import require_width
from .side import Side


class Method(ABC):
    """An explanation method. To add one, write a frozen dataclass of its options and list it in `METHODS`.

    Its constructor validates the options and raises `ParameterError`.

    Attributes
    ----------
    name : str
        The string that serves as its shorthand.
    default_layers : (int or str, int or str)
        Where it cuts the text and the image tower by default.
    needs_gradients : bool
        Whether it differentiates the towers.
    needs_references : bool
        Whether its numbers depend on the references.
    shares_layers : bool
        Whether explaining all layers of the image tower costs little more than explaining the first.
    """

    name: ClassVar[str]
    default_layers: ClassVar[tuple[int | str, int | str]]
    needs_gradients: ClassVar[bool]
    needs_references: ClassVar[bool] = True
    shares_layers: ClassVar[bool] = False

    @abstractmethod
    def factors(self, side: Side, memory: int) -> Factors:
        """Return the factors of a side, using about `memory` bytes at a time."""

    def factors_at_layers(self, sides: Sequence[Side], memory: int) -> list[Factors]:
        """Return the factors of one input at several layers, from the first layer to the last.

        By default, each layer is computed separately.
        """
        return [self.factors(side, memory) for side in sides]

    def refine(
        self, texts: Sequence[Factors], image: Side, estimates: int, memory: int
    ) -> Iterator[list[Estimate]]:
        """Yield increasingly exact interactions of each of `texts` with an image.

        By default, there is one estimate: the product with the image's factors.

        Parameters
        ----------
        texts : sequence of Factors
            Factors of captions, by this method.
        image : Side
            The image.
        estimates : int
            About how many estimates to yield. The last one is the result.
        memory : int
            About how many bytes to use at a time.
        """
        del estimates
        factors = self.factors(image, memory)
        require_width(texts, len(factors.embedding))
        yield [product(text, factors) for text in texts]

    def refine_layers(
        self, texts: Sequence[Factors], images: Sequence[Side], memory: int
    ) -> Iterator[list[list[Estimate]] | None]:
        """Yield the interactions of each of `texts` with one image at several layers, as the last item.

        Before that, yield None wherever the caller may do something else for a while. By default, each layer
        is computed separately.

        Parameters
        ----------
        texts : sequence of Factors
            Factors of captions, by this method.
        images : sequence of Side
            The image at each layer, from the first layer to the last.
        memory : int
            About how many bytes to use at a time.
        """
        found = []
        for image in images:
            *_, last = self.refine(texts, image, 1, memory)
            found.append(last)
            yield None
        yield found


def stack_factors(texts: Sequence[Factors], like: Tensor) -> Float[Tensor, "rows embed"]:
    """Return the stacked factors of several captions: cotangents for an image tower.

    Each caption's factors are followed by its reference, if known, which gives the image's own terms.
    """
    return torch.from_numpy(np.concatenate([part for text in texts for part in cotangents_of(text)])).to(like)


def cotangents_of(text: Factors) -> list[Float[np.ndarray, "rows embed"]]:
    """Return a caption's factors and, if known, its reference."""
    return [text.values] if text.reference is None else [text.values, text.reference[None]]


def split_by_caption(
    texts: Sequence[Factors],
    interactions: Float[Tensor, "rows tokens"],
    embedding: Float[Tensor, " embed"],
    reference: Float[Tensor, " embed"] | None = None,
    error: Float[np.ndarray, "rows tokens"] | None = None,
    *,
    in_all: bool = False,
) -> list[Estimate]:
    """Split the interactions of all of `texts` into one estimate for each.

    Parameters
    ----------
    texts : sequence of Factors
        The captions.
    interactions : Tensor
        The result for the cotangents of `stack_factors`.
    embedding : Tensor
        The image's embedding, of any length.
    reference : Tensor, optional
        The embedding of the image's reference, in the same units. If it is not given but the captions'
        references are known, it is taken to be the part of the embedding that the interactions leave over.
    error : np.ndarray, optional
        How far off the interactions may be.
    in_all : bool
        Whether the last cotangent of each caption gave all that each of the image's tokens adds to the
        similarity, rather than its product with the caption's reference.
    """
    norm = norm_of(embedding, "image")
    unit = as_array(embedding / norm)
    start = None if reference is None else as_array(reference / norm)
    ends = np.cumsum([sum(map(len, cotangents_of(text))) for text in texts])[:-1]
    parts = np.split(as_array(interactions), ends)
    errors = [None] * len(texts) if error is None else np.split(error, ends)
    found = []
    for part, off, text in zip(parts, errors, texts, strict=True):
        matrix, own = part, None
        if text.reference is not None:
            matrix, of_image = part[:-1], part[-1]
            if in_all:
                of_image = of_image - matrix.sum(0)
            with_image, with_caption = text.values @ unit, text.reference @ unit
            own = (
                OwnTerms(with_image - matrix.sum(1), of_image, float(with_caption - of_image.sum()))
                if start is None
                else OwnTerms(text.values @ start, of_image, float(text.reference @ start))
            )
        of_rows = None if off is None else off[: len(matrix)]
        found.append(Estimate(matrix, of_rows, float(text.embedding @ unit), None, done=1, steps=1, own=own))
    return found


def interactions_at_input(texts: Sequence[Factors], path: Path, image: Side) -> list[Estimate]:
    """Return the interactions of each of `texts` with an image, from derivatives at the input alone.

    Parameters
    ----------
    texts : sequence of Factors
        The captions.
    path : Path
        A path that ends at the input.
    image : Side
        The image.
    """
    once = image.tokens.new_ones(1)
    (end,) = path.embeddings(once)
    require_width(texts, len(end))
    interactions = path.integrate_cotangents(once, once, stack_factors(texts, end))
    return split_by_caption(texts, interactions / norm_of(end, "image"), end)


def as_factors(
    method: Method,
    side: Side,
    values: Float[Tensor, "rows embed"],
    embedding: Float[Tensor, " embed"],
    *,
    change: Float[Tensor, " embed"] | None = None,
    reference: Float[Tensor, " embed"] | None = None,
    along: Float[Tensor, " rows"] | None = None,
    start: Float[Tensor, " embed"] | None = None,
    missing: Float[np.ndarray, " rows"] | None = None,
    samples: Samples | None = None,
    steps: int = 1,
    rule: str | None = None,
) -> Factors:
    """Return `values` as the factors of a side.

    Parameters
    ----------
    values, embedding, change, reference : Tensor
        The factors, the side's embedding, the change of the embedding that the factors explain, and what is
        left without the factors if that is not simply the remainder. All are in the embedding's own units;
        the result has them in units of the unit embedding.
    along : Tensor, optional
        If the factors are parts of the embedding's direction: what each row adds to its length, in the same
        units.
    start : Tensor, optional
        In that case also: the encoder's own embedding of the reference, in the same units.
    missing : np.ndarray, optional
        Approximate norm of what each row lacks, in units of the unit embedding.
    """
    norm = norm_of(embedding, side.name)
    return Factors(
        values=as_array(values / norm),
        embedding=as_array(embedding / norm),
        change=None if change is None else as_array(change / norm),
        samples=samples,
        rows=side.rows,
        method=method.name,
        layer=side.layer.name,
        steps=steps,
        rule=rule,
        reference=None if reference is None else as_array(reference / norm),
        along=None if along is None else as_array(along / norm),
        start=None if start is None else as_array(start / norm),
        missing=missing,
    )


def norm_of(embedding: Float[Tensor, " embed"], side: str) -> Float[Tensor, ""]:
    """Return the norm of an embedding, by which similarities are divided.

    Raises
    ------
    ModelError
        If it is zero or not finite, so that there is no similarity to explain.
    """
    norm: Tensor = embedding.norm()
    if not (torch.isfinite(norm) and norm > 0):
        raise ModelError(
            f"the {side} embedding has norm {float(norm):g}, so there is no cosine similarity; "
            "expected finite weights and an embedding other than zero"
        )
    return norm


def as_array(tensor: Float[Tensor, "..."]) -> Float[np.ndarray, "..."]:
    """Return a tensor as a float32 array, or as float64 if the model computes in float64."""
    wide = tensor.dtype == torch.float64
    array: np.ndarray = (tensor.detach() if wide else tensor.detach().float()).cpu().numpy()
    return array


def masked_embeddings(
    side: Side, present: Bool[Tensor, "masks tokens"], memory: int, *, hidden: bool = False
) -> Float[Tensor, "masks embed"]:
    """Return unit embeddings of a side, each with only the tokens that are `present`.

    The other tokens are replaced (see `Side.embed_masked`) or, if `hidden`, hidden (see
    `Side.embed_hidden`). Uses about `memory` bytes at a time.
    """
    embed = side.embed_hidden if hidden else side.embed_masked
    parts = in_chunks(present, 8 * max(side.tokens.nbytes, side.inputs.nbytes), memory)
    return torch.cat([embed(part) for part in parts])


def in_chunks(tensor: Tensor, bytes_each: int, memory: int) -> Sequence[Tensor]:
    """Split `tensor` along its first axis into chunks of as many entries as fit into `memory`, or of one."""
    return torch.split(tensor, max(1, memory // max(1, bytes_each)))
