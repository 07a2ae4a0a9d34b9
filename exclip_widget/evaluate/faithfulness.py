"""Faithfulness: whether interactions predict what the model itself says if parts of its inputs are masked.

Masked tokens and patches are replaced by the reference's before the first block, as in masking tests, so
these scores are about the model as it is and know nothing of what people expect.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ..checks import whole_number
from ..errors import ParameterError
from ..explainer import Explainer
from ..masking import on_grid, own_terms_or_zeros, predicted_similarities
from ..results.interactions import Interactions
from .metrics import area, correlation, explained, present_after
from .pairs import LabelledPair
from .plausibility import Explain, Score, explained_by

SHARES = (0.3, 0.5, 0.7)
"""Shares of players that random masks leave, as FIxLIP has them."""

KINDS = ("patches", "words", "both")
"""What is masked."""


@dataclass(frozen=True, eq=False)
class MaskedPair:
    """A pair under random masks, and what the model says of each.

    Attributes
    ----------
    tokens : dict
        From a share to which rows of the caption each mask leaves, bool, (masks, tokens).
    patches : dict
        From a share to which patches each mask leaves, bool, (masks, rows, columns).
    actual : dict
        From a kind and a share to the model's own similarities, (masks,).
    """

    tokens: dict[float, Bool[np.ndarray, "masks tokens"]]
    patches: dict[float, Bool[np.ndarray, "masks rows columns"]]
    actual: dict[tuple[str, float], Float[np.ndarray, " masks"]]

    def predicted(self, result: Interactions, kind: str, share: float) -> Float[np.ndarray, " masks"]:
        """Return the similarities that `result` predicts for the masks of a kind and share."""
        tokens, patches = self.tokens[share], on_grid(self.patches[share], *result.values.shape[1:])
        if kind == "patches":
            tokens = np.ones_like(tokens)
        elif kind == "words":
            patches = np.ones_like(patches)
        return predicted_similarities(result, tokens, patches)


def mask_pair(
    explainer: Explainer,
    pair: LabelledPair,
    *,
    shares: Sequence[float] = SHARES,
    samples: int = 64,
    seed: int = 0,
) -> MaskedPair:
    """Mask a pair at random, and ask the model for the similarity under each mask.

    Words' tokens are masked, and patches; special tokens and the class token stay. Masks of patches and of
    words are the same in all kinds, so the model runs once for each mask of a side.

    Parameters
    ----------
    explainer : Explainer
        Of the model.
    pair : LabelledPair
        The image and the caption.
    shares : sequence of float
        Which shares to leave, each between 0 and 1.
    samples : int
        How many masks of each share.
    seed : int
        Seed of the masks.

    Raises
    ------
    ParameterError
        If a share is not between 0 and 1, or `samples` is no whole number from 2 on.
    """
    samples = whole_number("samples", samples, least=2)
    for share in shares:
        if not 0 < share < 1:
            raise ParameterError(f"shares has {share!r}; expected numbers between 0 and 1")
    rng = np.random.default_rng(seed)
    rows = explainer.read_caption(pair.caption).rows
    words = np.array(rows.words) >= 0
    grid = explainer.grid(pair.image)
    tokens = {share: ~words | (rng.random((samples, len(rows))) < share) for share in shares}
    patches = {share: rng.random((samples, *grid)) < share for share in shares}
    whole = np.ones((1, len(rows)), bool), np.ones((1, *grid), bool)
    captions, images = explainer.masked_embeddings(
        pair.image,
        pair.caption,
        np.concatenate([whole[0], *tokens.values()]),
        np.concatenate([whole[1], *patches.values()]),
    )
    actual = {}
    for number, share in enumerate(shares):
        part = slice(1 + number * samples, 1 + (number + 1) * samples)
        text, image = captions[part], images[part]
        actual["patches", share] = image @ captions[0]
        actual["words", share] = text @ images[0]
        actual["both", share] = (text * image).sum(1)
    return MaskedPair(tokens, patches, actual)


@dataclass(frozen=True)
class Faithfulness:
    """How well interactions predict the model under masks.

    Attributes
    ----------
    correlation, explained : dict
        From a kind of masks, `"patches"`, `"words"` or `"both"`, and the share that they leave, to one score
        a pair; see `metrics.correlation` and `metrics.explained`.
    """

    correlation: dict[tuple[str, float], Score]
    explained: dict[tuple[str, float], Score]

    def mean_correlation(self, kind: str) -> float:
        """Return the mean correlation for one kind of masks, over all shares."""
        return float(np.mean([score.mean for (of, _), score in self.correlation.items() if of == kind]))


def faithfulness(
    explainer: Explainer,
    pairs: Iterable[LabelledPair],
    *,
    explain: Explain | None = None,
    masked: Sequence[MaskedPair] | None = None,
    shares: Sequence[float] = SHARES,
    samples: int = 64,
    seed: int = 0,
) -> Faithfulness:
    """Score how well explanations predict the model under random masks.

    The p-faithfulness of FIxLIP (Baniecki et al., NeurIPS 2025), with correlation and R2.

    Parameters
    ----------
    explainer : Explainer
        Explains, and runs the model.
    pairs : iterable of LabelledPair
        Images and captions; what is labelled is of no account here.
    explain : callable, optional
        Explains a pair instead of `explainer.explain`.
    masked : sequence of MaskedPair, optional
        What `mask_pair` gave for each pair, to score several explanations against the same masks.
    shares, samples, seed
        Otherwise, as for `mask_pair`.

    Raises
    ------
    ParameterError
        If there are no pairs, or `masked` has another number of them.
    """
    pairs = list(pairs)
    if not pairs or (masked is not None and len(masked) != len(pairs)):
        raise ParameterError(
            "there are no pairs to score; expected at least one"
            if not pairs
            else f"masked has {len(masked or ())} pairs; expected one for each of the {len(pairs)} pairs"
        )
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for number, pair in enumerate(pairs):
        result = explained_by(explainer, explain)(pair)
        truth = (
            mask_pair(explainer, pair, shares=shares, samples=samples, seed=seed + number)
            if masked is None
            else masked[number]
        )
        for (kind, share), actual in truth.actual.items():
            predicted = truth.predicted(result, kind, share)
            found.setdefault((kind, share), []).append(
                (correlation(predicted, actual), explained(predicted, actual))
            )
    groups = tuple(range(len(pairs)))
    parts = [
        {case: Score(np.array(scores)[:, which], groups) for case, scores in found.items()}
        for which in (0, 1)
    ]
    return Faithfulness(*parts)


@dataclass(frozen=True)
class Curves:
    """Areas under the similarity while parts of a pair are deleted in the order of an explanation.

    Attributes
    ----------
    insertion, deletion : Score
        Patches alone: the similarity as they come, the strongest first, and as they go, the strongest first;
        mean heights, in units of cosine similarity. RISE (Petsiuk et al., BMVC 2018).
    gap : Score
        `insertion` minus `deletion`; 0 by chance.
    both : Score
        The same gap if words and patches go, each time the one that changes the predicted similarity most:
        the AID of FIxLIP (Baniecki et al., NeurIPS 2025).
    """

    insertion: Score
    deletion: Score
    gap: Score
    both: Score


def deletion_curves(
    explainer: Explainer,
    pairs: Iterable[LabelledPair],
    *,
    explain: Explain | None = None,
    steps: int = 16,
) -> Curves:
    """Score explanations by deleting what they call strongest, or weakest, first.

    Parameters
    ----------
    explainer : Explainer
        Explains, and runs the model.
    pairs : iterable of LabelledPair
        Images and captions.
    explain : callable, optional
        Explains a pair instead of `explainer.explain`.
    steps : int
        In how many steps everything is deleted.

    Raises
    ------
    ParameterError
        If there are no pairs.
    """
    areas = []
    for pair in pairs:
        result = explained_by(explainer, explain)(pair)
        words = np.flatnonzero(np.array(result.words) >= 0)
        count, rows, columns = result.values.shape
        everything = np.arange(rows * columns)
        orders = [
            deletion_order(result, players, everything, strongest=strongest)
            for players in (words[:0], words)
            for strongest in (True, False)
        ]
        present = np.concatenate([present_after(order, count + len(everything), steps) for order in orders])
        captions, images = explainer.masked_embeddings(
            pair.image, pair.caption, present[:, :count], present[:, count:].reshape(-1, rows, columns)
        )
        areas.append([area(curve) for curve in np.split((captions * images).sum(1), len(orders))])
    if not areas:
        raise ParameterError("there are no pairs to score; expected at least one")
    deletion, insertion, both_down, both_up = np.array(areas).T
    groups = tuple(range(len(areas)))
    return Curves(
        insertion=Score(insertion, groups),
        deletion=Score(deletion, groups),
        gap=Score(insertion - deletion, groups),
        both=Score(both_up - both_down, groups),
    )


def deletion_order(
    result: Interactions, words: Sequence[int] | np.ndarray, patches: np.ndarray, *, strongest: bool
) -> list[int]:
    """Return words and patches in the order in which to delete them, patches counted after all rows.

    Each time the one goes that takes most, or least, of the predicted similarity with it, given what has
    gone before: with interactions of pairs, an order by sums would delete the partners of what is gone.
    """
    count = len(result.rows)
    values = result.values.reshape(count, -1).astype(np.float64)
    # What each would take with it: its interactions with all that is still there.
    token_terms, patch_terms = own_terms_or_zeros(result)
    of_words = values.sum(1) + result.cls + token_terms
    of_patches = values.sum(0) + patch_terms
    worst = -np.inf if strongest else np.inf
    gains = np.full(count + values.shape[1], worst)
    left = [*words, *(count + patches)]
    order: list[int] = []
    here = np.zeros(len(gains), bool)
    here[left] = True
    for _ in left:
        gains[:] = np.where(here, np.concatenate([of_words, of_patches]), worst)
        player = int(gains.argmax() if strongest else gains.argmin())
        order.append(player)
        here[player] = False
        if player < count:
            of_patches -= values[player]
        else:
            of_words -= values[:, player - count]
    return order
