"""Second-order terms of one side: what two words, or two patches, do together that neither does alone.

They come from the masks that `"banzhaf"` has already drawn (FIxLIP, Baniecki et al., NeurIPS 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..errors import ParameterError
from .factors import Factors
from .rows import Grid, Tokens


@dataclass(frozen=True, eq=False)
class SecondOrder:
    """Mean second differences within a side, in units of cosine similarity. Zero between a row and itself.

    Attributes
    ----------
    token_pairs : np.ndarray
        How much two tokens add together beyond what each adds, with the image's masks averaged over,
        (tokens, tokens).
    patch_pairs : np.ndarray
        The same for two of the image's tokens, with the caption's masks averaged over, (tokens of its tower,
        tokens of its tower).
    token_pairs_by_patch : np.ndarray
        How `token_pairs` depend on each patch: a third difference, (tokens, tokens, rows, columns).
    """

    token_pairs: Float[np.ndarray, "tokens tokens"]
    patch_pairs: Float[np.ndarray, "patches patches"]
    token_pairs_by_patch: Float[np.ndarray, "tokens tokens rows columns"]


def second_order_of(text: Factors, image: Factors) -> SecondOrder:
    """Return the second-order terms within each side of a caption and an image. Needs no model.

    Parameters
    ----------
    text, image : Factors
        Factors by `"banzhaf"`, as `Explainer.text_factors` and `Explainer.image_factors` return them.

    Raises
    ------
    ParameterError
        If the factors have no masks, because they are of another method or were read from a store.

    Notes
    -----
    Only a quarter of the masks show a pair in each of its four states, so these terms need more masks than
    interactions do; with all possible masks, they are exact.

    Examples
    --------
    >>> from exclip_widget import Explainer, demo
    >>> book = demo.load()
    >>> explainer = Explainer(book.model, tokenizer=book.tokenizer, method="banzhaf", samples=64)
    >>> text = explainer.text_factors("a red boat")
    >>> terms = second_order_of(text, explainer.image_factors(book.pages[0].image))
    >>> terms.token_pairs.shape, terms.token_pairs_by_patch.shape
    ((5, 5), (5, 5, 12, 12))
    """
    if not isinstance(text.rows, Tokens) or not isinstance(image.rows, Grid):
        raise ParameterError(f"text={text!r} and image={image!r}; expected factors of a caption and an image")
    grid = image.rows
    with_image = np.concatenate([_mean(image)[None], image.values[grid.patches]])
    of_tokens = _pair_effects(text, with_image).astype(np.float32)
    of_patches = _pair_effects(image, _mean(text)[None])[..., 0].astype(np.float32)
    by_patch = of_tokens[..., 1:].reshape(*of_tokens.shape[:2], grid.rows, grid.columns)
    return SecondOrder(of_tokens[..., 0], of_patches, by_patch)


def _mean(factors: Factors) -> Float[np.ndarray, " embed"]:
    """Return the mean embedding over the masks."""
    samples = factors.samples
    if samples is None:
        raise ParameterError(
            f"{factors!r} has no masks; expected factors from an explainer with method='banzhaf'"
        )
    mean: np.ndarray = np.average(samples.outputs, axis=0, weights=samples.weights)
    return mean


def _pair_effects(
    factors: Factors, others: Float[np.ndarray, "others embed"]
) -> Float[np.ndarray, "rows rows others"]:
    """Return the mean second difference of the products with `others`, for every two rows.

    With independent masks z, it is ``E[f (z_s - p) (z_t - p)] / (p (1 - p))^2``. What single rows explain of
    f is subtracted first, which changes no expectation and reduces the noise.
    """
    samples = factors.samples
    assert samples is not None
    weights = np.ones(len(samples.present)) if samples.weights is None else samples.weights
    weights = weights.astype(np.float64) / weights.sum()
    present = samples.present.astype(np.float64)
    share = weights @ present
    spread = share * (1 - share)
    centred = (present - share) / np.where(spread > 0, spread, np.inf)
    scores = (samples.outputs - _mean(factors)) @ others.T
    scores = scores - (present - share) @ (factors.values @ others.T)
    found: np.ndarray = np.einsum("m,ms,mt,mk->stk", weights, centred, centred, scores, optimize=True)
    rows = np.arange(len(found))
    found[rows, rows] = 0
    return found
