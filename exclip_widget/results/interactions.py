"""The result: how much each token of a caption and each patch of a picture add to their similarity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import ParameterError
from .factors import Factors
from .rows import Grid, Span, Tokens


class Estimate(NamedTuple):
    """Interactions of one caption and a picture, complete or on the way there.

    `matrix` is (text rows, image tokens), `error` its standard error or None, `total` what it sums to in
    the limit or None; `done` of `steps` evaluations of the image side are in it.
    """

    matrix: np.ndarray
    error: np.ndarray | None
    similarity: float
    total: float | None
    done: int
    steps: int


@dataclass(frozen=True, eq=False)
class Interactions:
    """Token-patch interactions of one caption and one picture, in units of cosine similarity.

    Attributes
    ----------
    caption : str
        The caption.
    tokens : tuple of str
        Its tokens from start-of-text to end-of-text, as the tokenizer spells them; then `<cls>` where
        the tower adds a class token, and `<pad>`, which stands for all padding, where the tower reads it.
    spans : tuple of (int, int) or None
        Which characters of the caption each token came from.
    words : tuple of int
        Which word each token is a piece of; -1 for special tokens.
    values : np.ndarray
        Interactions, float32, (tokens, rows, columns); row 0 is at the top of what the model saw.
    cls : np.ndarray
        Each token's interaction with what is no patch among the picture's tokens, such as its class
        token, float32, (tokens,): exclip drops it.
    similarity : float
        Cosine similarity of caption and picture.
    total : float
        What `values` and `cls` sum to in the limit of many steps, for `"exclip"`: the left side of the exact
        identity ``(f(x) - f(r)) . (g(y) - g(r')) / (|f(x)| |g(y)|)``, with references r and r'. NaN for
        methods that know no such identity.
    method : str
        Name of the method.
    text_layer, image_layer : str
        Names of the layers at which the towers were cut.
    steps : int
        Evaluations of the picture's side: nodes of the quadrature, or masks.
    nodes : int
        Those done so far; fewer than `steps` in an estimate on the way to the result.
    rule : str or None
        Name of the quadrature rule, for `"exclip"`.
    error : np.ndarray or None
        Standard error of each of `values`, for `"banzhaf"`.
    """

    caption: str
    tokens: tuple[str, ...]
    spans: tuple[Span | None, ...]
    words: tuple[int, ...]
    values: np.ndarray
    cls: np.ndarray
    similarity: float
    total: float
    method: str
    text_layer: str
    image_layer: str
    steps: int
    nodes: int
    rule: str | None
    error: np.ndarray | None = None

    @property
    def residual(self) -> float:
        """What quadrature leaves over of the exact identity, relative: |total - sum| / |total|; or NaN."""
        found = float(self.values.sum(dtype=np.float64) + self.cls.sum(dtype=np.float64))
        return residual(found, None if np.isnan(self.total) else self.total)

    def __repr__(self) -> str:
        rows, columns = self.values.shape[1:]
        residual = "" if np.isnan(self.total) else f", residual {self.residual:.2%}"
        return (
            f"Interactions({self.caption!r}: {len(self.tokens)} tokens x {rows} x {columns} patches, "
            f"similarity {self.similarity:.4f}{residual})"
        )


def interactions_of(
    texts: Factors | Sequence[Factors], images: Factors | Sequence[Factors]
) -> Interactions | list[list[Interactions]]:
    """Interactions of captions and pictures whose factors are known: products, no model needed.

    Parameters
    ----------
    texts, images : Factors, or a sequence of them
        As `Explainer.text` and `Explainer.image` give them, by one method and model.

    Returns
    -------
    Interactions, or a list of rows of them
        One where single factors were given; else ``result[i][j]`` for caption i and picture j.

    Raises
    ------
    ParameterError
        Where the factors are of different methods or models, or are given in the wrong order.
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
            if not isinstance(given, Factors) or not isinstance(given.labels, kind):
                other = "image" if kind is Tokens else "text"
                what = f"{other} factors" if isinstance(given, Factors) else f"a {type(given).__name__}"
                raise ParameterError(
                    f"{name} has {what}; expected {name[:-1]} factors of Explainer.{name[:-1]}"
                )
    kinds = {(one.method, one.values.shape[1]) for one in (*texts, *images)}
    if len(kinds) > 1:
        found = ", ".join(f"{method!r} with {width} dimensions" for method, width in sorted(kinds))
        raise ParameterError(f"factors are of different methods or models: {found}")


def _all_products(texts: list[Factors], images: list[Factors]) -> list[list[Interactions]]:
    if not texts or not images:
        return [[] for _ in texts]
    if any(one.samples is not None for one in texts):
        return [[interactions_from(product(t, i), t, i) for i in images] for t in texts]
    # One product of matrices for all of them.
    matrix = np.concatenate([one.values for one in texts]) @ np.concatenate([one.values for one in images]).T
    similarities = np.stack([one.embedding for one in texts]) @ np.stack([one.embedding for one in images]).T
    changes = [[one.change for one in side if one.change is not None] for side in (texts, images)]
    totals = np.stack(changes[0]) @ np.stack(changes[1]).T if all(changes) else None
    ends = (
        np.cumsum([len(one.values) for one in texts])[:-1],
        np.cumsum([len(one.values) for one in images])[:-1],
    )
    result = []
    for i, (text, row) in enumerate(zip(texts, np.split(matrix, ends[0]), strict=True)):
        met = []
        for j, (image, part) in enumerate(zip(images, np.split(row, ends[1], axis=1), strict=True)):
            total = None if totals is None else float(totals[i, j])
            estimate = Estimate(part, None, float(similarities[i, j]), total, image.steps, image.steps)
            met.append(interactions_from(estimate, text, image))
        result.append(met)
    return result


def interactions_from(estimate: Estimate, text: Factors, image: Factors | tuple[Grid, str]) -> Interactions:
    """An estimate with the names of its rows and columns; `image` gives its grid and layer."""
    grid, layer = (image.labels, image.layer) if isinstance(image, Factors) else image
    tokens = text.labels
    assert isinstance(tokens, Tokens)
    assert isinstance(grid, Grid)
    shape = (len(tokens.tokens), grid.rows, grid.columns)
    values = estimate.matrix[:, grid.patches]
    others = np.delete(estimate.matrix, grid.patches, axis=1)
    error = estimate.error
    return Interactions(
        caption=tokens.caption,
        tokens=tokens.tokens,
        spans=tokens.spans,
        words=tokens.words,
        values=values.reshape(shape).astype(np.float32, order="C"),
        cls=others.sum(1).astype(np.float32),
        similarity=estimate.similarity,
        total=float("nan") if estimate.total is None else estimate.total,
        method=text.method,
        text_layer=text.layer,
        image_layer=layer,
        steps=estimate.steps,
        nodes=estimate.done,
        rule=text.rule,
        error=None if error is None else error[:, grid.patches].reshape(shape),
    )


def product(text: Factors, image: Factors) -> Estimate:
    """Interactions of two sides whose factors are known."""
    total = None
    if text.change is not None and image.change is not None:
        total = float(text.change @ image.change)
    return Estimate(
        matrix=text.values @ image.values.T,
        error=_error(text, image),
        similarity=float(text.embedding @ image.embedding),
        total=total,
        done=image.steps,
        steps=image.steps,
    )


def _error(text: Factors, image: Factors) -> np.ndarray | None:
    if text.samples is None or image.samples is None:
        return None
    variance = text.samples.variance(image.values) + image.samples.variance(text.values).T
    error: np.ndarray = np.sqrt(variance).astype(np.float32)
    return error


def residual(found: float, total: float | None) -> float:
    """What is left over of an exact identity, relative: NaN where there is none."""
    if total is None:
        return float("nan")
    return abs(total - found) / abs(total) if total else float("inf")
