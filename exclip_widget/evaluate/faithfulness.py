"""Faithfulness: whether interactions predict the model's own similarity when parts of its inputs are masked.

Masked tokens and patches are replaced by those of the reference before the first block, as in masking tests.
These scores therefore measure the model itself, regardless of what people expect of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ..checks import finite_number, random_seed, whole_number
from ..errors import ParameterError, named_type
from ..explainer import Explainer
from ..masking import on_grid, own_terms_or_zeros, predicted_similarities, require_same_image
from ..results.interactions import Interactions
from ..results.origin import Origin, View
from .metrics import area, correlation, explained, present_after
from .pairs import LabelledPair, several
from .plausibility import Explain, ImageNumbers, Score, explained_by, view_of

SHARES = (0.3, 0.5, 0.7)
"""Shares of players that random masks leave unmasked, as in FIxLIP."""

KINDS = ("patches", "words", "both")
"""Kinds of masks: what they mask."""


@dataclass(frozen=True, eq=False)
class MaskedPair:
    """A pair with random masks, and the model's similarity under each.

    Attributes
    ----------
    tokens : dict
        Maps a share to the rows of the caption that each mask leaves, bool, (masks, tokens).
    patches : dict
        Maps a share to the patches that each mask leaves, bool, (masks, rows, columns).
    actual : dict
        Maps a kind and a share to the model's own similarities, (masks,).
    caption : str
        The caption that was masked.
    view : View or None
        Size and hash of the image that was masked; None if unknown.
    origin : Origin or None
        The model that was run, and the references that took the place of what was masked; None if unknown.
    """

    tokens: dict[float, Bool[np.ndarray, "masks tokens"]]
    patches: dict[float, Bool[np.ndarray, "masks rows columns"]]
    actual: dict[tuple[str, float], Float[np.ndarray, " masks"]]
    caption: str
    view: View | None = None
    origin: Origin | None = None

    def predicted(self, result: Interactions, kind: str, share: float) -> Float[np.ndarray, " masks"]:
        """Return the similarities that `result` predicts for the masks of one kind and share.

        Raises
        ------
        ParameterError
            If the result is of another caption, image, model or reference.
        """
        count = self.tokens[share].shape[1]
        if result.caption != self.caption or len(result.rows) != count:
            raise ParameterError(
                f"interactions are of the {len(result.rows)} tokens of {result.caption!r:.80}, and the masks "
                f"of the {count} tokens of {self.caption!r:.80}; expected those of mask_pair for that pair"
            )
        require_same_image(result, self.view)
        _require_same_origin("interactions", result.origin, self.origin)
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
    """Mask a pair at random, and compute the model's similarity under each mask.

    Patches and the tokens of words are masked, but not special tokens or the class token. All kinds use the
    same masks, so each tower runs only once per mask.

    Parameters
    ----------
    explainer : Explainer
        Explainer of the model.
    pair : LabelledPair
        The image and the caption.
    shares : sequence of float
        The shares to leave unmasked, each between 0 and 1.
    samples : int
        Number of masks for each share.
    seed : int
        Random seed of the masks.

    Raises
    ------
    ParameterError
        If there are no shares, one is not between 0 and 1 or is given twice, `samples` is not a whole number
        of at least 2, or `seed` is out of range.
    """
    samples, shares = whole_number("samples", samples, least=2), _read_shares(shares)
    rng = np.random.default_rng(random_seed(seed))
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
    return MaskedPair(tokens, patches, actual, pair.caption, view_of(pair), explainer.origin_of_masked())


def masked_pairs(given: object) -> list[MaskedPair]:
    """Return masked pairs as a list.

    Raises
    ------
    ParameterError
        If they are something else.
    """
    found = list(several("masked", given, "MaskedPair"))
    for number, one in enumerate(found):
        if not isinstance(one, MaskedPair):
            raise ParameterError(
                f"masked[{number}] is {named_type(one)}; expected MaskedPair, as mask_pair returns"
            )
    return found


def require_one_origin(masked: Sequence[MaskedPair], other: Origin | None = None) -> None:
    """Require that masked pairs are of one model and the same references, as far as they are known.

    Parameters
    ----------
    masked : sequence of MaskedPair
        The pairs.
    other : Origin, optional
        That of masked pairs which the explainer would make; by default, that of the first one.

    Raises
    ------
    ParameterError
        If one differs. The message gives its index.
    """
    for number, one in enumerate(masked):
        other = one.origin if other is None else other
        _require_same_origin(f"masked[{number}]", one.origin, other)


def _require_same_origin(name: str, origin: Origin | None, other: Origin | None) -> None:
    """Require that similarities under masks are of one model and the same references as something else."""
    if origin is None or other is None:
        return
    found = origin.difference_of_models(other) or origin.difference_of_references(other)
    if found is not None:
        what, ours, theirs = found
        raise ParameterError(
            f"{name}: {what} is {ours!r:.80}, and that of the masked model {theirs!r:.80}; expected masks "
            "and explanations of one model with the same references, such as of one explainer"
        )


def _read_shares(given: object) -> list[float]:
    """Return shares as a list, if they are distinct numbers between 0 and 1."""
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes)):
        raise ParameterError(f"shares={given!r:.80} is not a list of numbers; give one as a list of one")
    shares = list(given)
    if not shares:
        raise ParameterError("shares is empty; expected at least one number between 0 and 1")
    for number, share in enumerate(shares):
        if not 0 < finite_number("one of shares", share) < 1:
            raise ParameterError(f"shares has {share!r}; expected numbers between 0 and 1")
        if share in shares[:number]:
            raise ParameterError(f"shares has {share!r} twice; raise samples for more masks of one share")
    return shares


@dataclass(frozen=True)
class Faithfulness:
    """How well interactions predict the model under masks.

    Attributes
    ----------
    correlation, explained : dict
        Maps a kind of masks, `"patches"`, `"words"` or `"both"`, and the share that they leave to one score
        per pair; see `metrics.correlation` and `metrics.explained`.
    """

    correlation: dict[tuple[str, float], Score]
    explained: dict[tuple[str, float], Score]

    def mean_correlation(self, kind: str) -> float:
        """Return the mean correlation for one kind of masks over all shares.

        Raises
        ------
        ParameterError
            If there is no such kind.
        """
        if kind not in KINDS:
            raise ParameterError(f"kind={kind!r:.80} is not one of {', '.join(map(repr, KINDS))}")
        return float(np.mean([score.mean for (of, _), score in self.correlation.items() if of == kind]))


def faithfulness(
    explainer: Explainer,
    pairs: Iterable[LabelledPair],
    *,
    explain: Explain | None = None,
    masked: Iterable[MaskedPair] | None = None,
    shares: Sequence[float] = SHARES,
    samples: int = 64,
    seed: int = 0,
) -> Faithfulness:
    """Score how well explanations predict the model under random masks.

    This is the p-faithfulness of FIxLIP (Baniecki et al., NeurIPS 2025), as correlation and R2.

    Parameters
    ----------
    explainer : Explainer
        Explains pairs and runs the model.
    pairs : iterable of LabelledPair
        Images and captions; their labels are not used here.
    explain : callable, optional
        Explains a pair instead of `explainer.explain`.
    masked : iterable of MaskedPair, optional
        The result of `mask_pair` for each pair, to score several explanations against the same masks.
    shares, samples, seed
        As in `mask_pair`; used only if `masked` is not given.

    Raises
    ------
    ParameterError
        If there are no pairs, `masked` contains a different number of them or is of other pairs, another
        model or other references, `explain` returns the interactions of another pair, model or reference, or
        one of `shares`, `samples` and `seed` is out of range.
    """
    seed = random_seed(seed)
    pairs = list(several("pairs", pairs))
    masked = None if masked is None else masked_pairs(masked)
    if not pairs or (masked is not None and len(masked) != len(pairs)):
        raise ParameterError(
            "there are no pairs to score; expected at least one"
            if not pairs
            else f"masked has {len(masked or ())} pairs; expected one for each of the {len(pairs)} pairs"
        )
    if masked is not None:
        require_one_origin(masked, explainer.origin_of_masked())
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    explain = explained_by(explainer, explain)
    for number, pair in enumerate(pairs):
        result = explain(pair)
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
    groups = tuple(map(ImageNumbers().number_of, pairs))
    parts = [
        {case: Score(np.array(scores)[:, which], groups) for case, scores in found.items()}
        for which in (0, 1)
    ]
    return Faithfulness(*parts)


@dataclass(frozen=True)
class Curves:
    """Areas under the curve of similarity while parts of a pair are deleted in the order of an explanation.

    Attributes
    ----------
    insertion, deletion : Score
        Mean height of the curve, in units of cosine similarity, as patches are inserted or deleted, the
        strongest first. From RISE (Petsiuk et al., BMVC 2018).
    gap : Score
        `insertion` minus `deletion`; 0 by chance.
    both : Score
        The same gap if both words and patches are deleted, each time the one that changes the predicted
        similarity most: the AID of FIxLIP (Baniecki et al., NeurIPS 2025).
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
    """Score explanations by deleting the parts that they rank strongest, or weakest, first.

    Parameters
    ----------
    explainer : Explainer
        Explains pairs and runs the model.
    pairs : iterable of LabelledPair
        Images and captions.
    explain : callable, optional
        Explains a pair instead of `explainer.explain`.
    steps : int
        Number of steps in which everything is deleted.

    Raises
    ------
    ParameterError
        If there are no pairs, `steps` is not a whole number of at least 1, or `explain` returns the
        interactions of another pair, model or reference.
    """
    steps = whole_number("steps", steps)
    origin = explainer.origin_of_masked()
    areas, groups, numbers = [], [], ImageNumbers()
    explain = explained_by(explainer, explain)
    for pair in several("pairs", pairs):
        result = explain(pair)
        _require_same_origin("interactions", result.origin, origin)
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
        groups.append(numbers.number_of(pair))
        areas.append([area(curve) for curve in np.split((captions * images).sum(1), len(orders))])
    if not areas:
        raise ParameterError("there are no pairs to score; expected at least one")
    deletion, insertion, both_down, both_up = np.array(areas).T
    return Curves(
        insertion=Score(insertion, tuple(groups)),
        deletion=Score(deletion, tuple(groups)),
        gap=Score(insertion - deletion, tuple(groups)),
        both=Score(both_up - both_down, tuple(groups)),
    )


def deletion_order(
    result: Interactions, words: Sequence[int] | np.ndarray, patches: np.ndarray, *, strongest: bool
) -> list[int]:
    """Return words and patches in the order in which to delete them; patches are numbered after all rows.

    Each step deletes whatever reduces the predicted similarity most, or least, given what is already gone.
    Since interactions are between pairs, sorting by sums instead would delete parts whose partners are gone.
    """
    count = len(result.rows)
    values = result.values.reshape(count, -1).astype(np.float64)
    # What deleting each would remove: its interactions with everything that is still there.
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
