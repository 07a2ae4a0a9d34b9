"""Interactions: how much each token of a caption and each patch of an image add to their similarity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..errors import ParameterError
from .factors import Factors
from .rows import Grid, Span, Tokens


class OwnTerms(NamedTuple):
    """What one side adds by itself: products with the other side's reference.

    With f = f_r + sum T and g = g_r + sum P the similarity has, beside the interactions T P^T, these terms.

    Attributes
    ----------
    text : np.ndarray
        T . g_r: each token's product with the reference image, (text rows,).
    image : np.ndarray
        f_r . P: each image token's product with the reference caption, (image tokens,).
    references : float
        f_r . g_r: the product of both references.
    """

    text: Float[np.ndarray, " rows"]
    image: Float[np.ndarray, " tokens"]
    references: float


class Estimate(NamedTuple):
    """Interactions as a method computes them, complete or on the way there.

    Attributes
    ----------
    matrix : np.ndarray
        Interactions, (text rows, image tokens).
    error : np.ndarray or None
        Standard error of each, for methods that sample.
    similarity : float
        Cosine similarity of the pair.
    total : float or None
        What `matrix` sums to in the limit of many steps, for methods that know it.
    done, steps : int
        How many evaluations of the image's tower are in it, and how many there will be.
    own : OwnTerms or None
        Each side's own terms, for methods that know them.
    """

    matrix: Float[np.ndarray, "rows tokens"]
    error: Float[np.ndarray, "rows tokens"] | None
    similarity: float
    total: float | None
    done: int
    steps: int
    own: OwnTerms | None = None


@dataclass(frozen=True, eq=False)
class Interactions:
    """Token-patch interactions of one caption and one image, in units of cosine similarity.

    Attributes
    ----------
    rows : Tokens
        The caption's tokens. `caption`, `tokens`, `spans` and `words` read from it.
    grid : Grid
        The image's patches.
    values : np.ndarray
        Interactions, float32, (tokens, rows, columns). Row 0 is at the top of what the model saw.
    cls : np.ndarray
        Each token's interaction with the image's tokens that are no patches, such as its class token,
        float32, (tokens,). exclip drops it.
    similarity : float
        Cosine similarity of caption and image.
    total : float
        What `values` and `cls` sum to in the limit of many steps, for `"exclip"`: the left side of the
        identity ``(f(x) - f(r)) . (g(y) - g(r')) / (|f(x)| |g(y)|)`` with references r and r'. NaN for
        methods that know no such identity.
    method : str
        Name of the method.
    text_layer, image_layer : str
        Names of the layers at which the towers were cut.
    steps : int
        Evaluations of the image's tower: nodes of the quadrature, or masks.
    nodes : int
        Those done so far; fewer than `steps` in an estimate.
    rule : str or None
        Name of the quadrature rule, for `"exclip"`.
    error : np.ndarray or None
        Standard error of each of `values`, for `"banzhaf"`.
    token_terms : np.ndarray or None
        What each token adds by itself: its product with the reference image, float32, (tokens,). None for
        methods that know no such terms, as for the following three.
    patch_terms : np.ndarray or None
        What each patch adds by itself: its product with the reference caption, float32, (rows, columns).
    cls_term : float
        The same of the image's tokens that are no patches, together; NaN if unknown.
    reference_term : float
        The product of both references; NaN if unknown. With `values`, `cls` and the own terms it sums to the
        similarity, but for the quadrature's residual.
    """

    rows: Tokens
    grid: Grid
    values: Float[np.ndarray, "tokens rows columns"]
    cls: Float[np.ndarray, " tokens"]
    similarity: float
    total: float
    method: str
    text_layer: str
    image_layer: str
    steps: int
    nodes: int
    rule: str | None
    error: Float[np.ndarray, "tokens rows columns"] | None = None
    token_terms: Float[np.ndarray, " tokens"] | None = None
    patch_terms: Float[np.ndarray, "rows columns"] | None = None
    cls_term: float = float("nan")
    reference_term: float = float("nan")

    @property
    def caption(self) -> str:
        """The caption as it was given."""
        return self.rows.caption

    @property
    def tokens(self) -> tuple[str, ...]:
        """The caption's tokens, special ones included; see `Tokens.texts`."""
        return self.rows.texts

    @property
    def spans(self) -> tuple[Span | None, ...]:
        """Which characters of the caption each token came from; see `Tokens.spans`."""
        return self.rows.spans

    @property
    def words(self) -> tuple[int, ...]:
        """Which word each token is a piece of; see `Tokens.words`."""
        return self.rows.words

    @property
    def residual(self) -> float:
        """Relative error of the quadrature, ``|total - sum| / |total|``; NaN if `total` is."""
        found = float(self.values.sum(dtype=np.float64) + self.cls.sum(dtype=np.float64))
        return relative_residual(found, None if np.isnan(self.total) else self.total)

    def __repr__(self) -> str:
        rows, columns = self.values.shape[1:]
        residual = "" if np.isnan(self.total) else f", residual {self.residual:.2%}"
        return (
            f"Interactions({self.caption!r}: {len(self.rows)} tokens x {rows} x {columns} patches, "
            f"similarity {self.similarity:.4f}{residual})"
        )


def interactions_of(
    texts: Factors | Sequence[Factors], images: Factors | Sequence[Factors]
) -> Interactions | list[list[Interactions]]:
    """Return the interactions of captions and images from their factors. Needs no model.

    Parameters
    ----------
    texts, images : Factors, or a sequence of them
        As `Explainer.text_factors` and `Explainer.image_factors` give them, by one method and model.

    Returns
    -------
    Interactions, or a list of lists of them
        One, if single factors were given; else ``result[i][j]`` for caption i and image j.

    Raises
    ------
    ParameterError
        If the factors are of different methods or models, or are given in the wrong order.
    """
    single = isinstance(texts, Factors) and isinstance(images, Factors)
    rows = list(texts) if isinstance(texts, Iterable) else [texts]
    columns = list(images) if isinstance(images, Iterable) else [images]
    _require_matching(rows, columns)
    result = _all_products(rows, columns)
    return result[0][0] if single else result


def _require_matching(texts: list[Factors], images: list[Factors]) -> None:
    for name, factors, kind in (("texts", texts, Tokens), ("images", images, Grid)):
        for one in factors:
            given: object = one
            if not isinstance(given, Factors) or not isinstance(given.rows, kind):
                other = "image" if kind is Tokens else "text"
                what = f"{other} factors" if isinstance(given, Factors) else f"a {type(given).__name__}"
                side = name.removesuffix("s")
                raise ParameterError(
                    f"{name} has {what}; expected {side} factors of Explainer.{side}_factors"
                )
    kinds = {(one.method, one.values.shape[1]) for one in (*texts, *images)}
    if len(kinds) > 1:
        found = ", ".join(f"{method!r} with {width} dimensions" for method, width in sorted(kinds))
        raise ParameterError(f"factors are of different methods or models: {found}")


def _all_products(texts: list[Factors], images: list[Factors]) -> list[list[Interactions]]:
    if not texts or not images:
        return [[] for _ in texts]
    if any(one.samples is not None for one in texts):
        return [[_product_of(text, image) for image in images] for text in texts]
    # One product of matrices for all of them.
    matrix = np.concatenate([one.values for one in texts]) @ np.concatenate([one.values for one in images]).T
    similarities = np.stack([one.embedding for one in texts]) @ np.stack([one.embedding for one in images]).T
    changes = [[one.change for one in side if one.change is not None] for side in (texts, images)]
    totals = np.stack(changes[0]) @ np.stack(changes[1]).T if all(changes) else None
    own = _all_own_terms(texts, images)
    text_ends, image_ends = (np.cumsum([len(one.values) for one in side])[:-1] for side in (texts, images))
    result = []
    for i, (text, row) in enumerate(zip(texts, np.split(matrix, text_ends), strict=True)):
        of_text = []
        for j, (image, part) in enumerate(zip(images, np.split(row, image_ends, axis=1), strict=True)):
            total = None if totals is None else float(totals[i, j])
            estimate = Estimate(
                matrix=part,
                error=None,
                similarity=float(similarities[i, j]),
                total=total,
                done=image.steps,
                steps=image.steps,
                own=None if own is None else own[i][j],
            )
            of_text.append(label_estimate(estimate, text, _grid_of(image), image.layer))
        result.append(of_text)
    return result


def _all_own_terms(texts: list[Factors], images: list[Factors]) -> list[list[OwnTerms]] | None:
    """Return the own terms of every pair; None if their method does not know them."""
    captions = [one.reference for one in texts if one.reference is not None]
    pictures = [one.reference for one in images if one.reference is not None]
    if not captions or not pictures:
        return None
    with_pictures = [text.values @ np.stack(pictures).T for text in texts]
    with_captions = [image.values @ np.stack(captions).T for image in images]
    references = np.stack(captions) @ np.stack(pictures).T
    return [
        [
            OwnTerms(of_text[:, j], of_image[:, i], float(references[i, j]))
            for j, of_image in enumerate(with_captions)
        ]
        for i, of_text in enumerate(with_pictures)
    ]


def _product_of(text: Factors, image: Factors) -> Interactions:
    return label_estimate(product(text, image), text, _grid_of(image), image.layer)


def _grid_of(image: Factors) -> Grid:
    assert isinstance(image.rows, Grid)
    return image.rows


def label_estimate(estimate: Estimate, text: Factors, grid: Grid, image_layer: str) -> Interactions:
    """Return an estimate as `Interactions`: with its tokens and patches, method and layers."""
    assert isinstance(text.rows, Tokens)
    shape = (len(text.rows), grid.rows, grid.columns)
    others = np.delete(estimate.matrix, grid.patches, axis=1)
    own = estimate.own
    return Interactions(
        rows=text.rows,
        grid=grid,
        values=estimate.matrix[:, grid.patches].reshape(shape).astype(np.float32, order="C"),
        cls=others.sum(1).astype(np.float32),
        similarity=estimate.similarity,
        total=float("nan") if estimate.total is None else estimate.total,
        method=text.method,
        text_layer=text.layer,
        image_layer=image_layer,
        steps=estimate.steps,
        nodes=estimate.done,
        rule=text.rule,
        error=None if estimate.error is None else estimate.error[:, grid.patches].reshape(shape),
        token_terms=None if own is None else own.text.astype(np.float32),
        patch_terms=None if own is None else own.image[grid.patches].reshape(shape[1:]).astype(np.float32),
        cls_term=float("nan") if own is None else float(np.delete(own.image, grid.patches).sum()),
        reference_term=float("nan") if own is None else own.references,
    )


def product(text: Factors, image: Factors) -> Estimate:
    """Return the interactions of a caption and an image as the product of their factors."""
    total = None
    if text.change is not None and image.change is not None:
        total = float(text.change @ image.change)
    own = _all_own_terms([text], [image])
    return Estimate(
        matrix=text.values @ image.values.T,
        error=_standard_error(text, image),
        similarity=float(text.embedding @ image.embedding),
        total=total,
        done=image.steps,
        steps=image.steps,
        own=None if own is None else own[0][0],
    )


def _standard_error(text: Factors, image: Factors) -> Float[np.ndarray, "rows tokens"] | None:
    if text.samples is None or image.samples is None:
        return None
    variance = text.samples.variance(image.values) + image.samples.variance(text.values).T
    error: np.ndarray = np.sqrt(variance).astype(np.float32)
    return error


def relative_residual(found: float, total: float | None) -> float:
    """Return ``|total - found| / |total|``, the relative error of a sum whose limit is `total`.

    NaN if `total` is None, infinite if it is 0.
    """
    if total is None:
        return float("nan")
    return abs(total - found) / abs(total) if total else float("inf")
