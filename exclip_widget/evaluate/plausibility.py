"""Plausibility: whether explanations lie on what the words name.

This is what people expect of a model. If the model looks elsewhere, a correct explanation scores low here, so
always consider `faithfulness` as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from ..checks import callable_or_none
from ..errors import ParameterError, named_type
from ..explainer import Explainer
from ..image import open_image
from ..masking import require_same_image
from ..results.interactions import Interactions
from ..results.origin import View
from ..results.regions import cover
from .metrics import energy, hit, interval, recognition
from .pairs import LabelledPair, Mention, several

Explain: TypeAlias = Callable[[LabelledPair], Interactions]
"""Maps a pair to the interactions to score: a method at certain layers, for example, or a baseline."""

Baseline: TypeAlias = Callable[[Interactions, Sequence[tuple[Mention, np.ndarray]]], Interactions]
"""Maps an explanation and its mentions with their cover to a map that knows less, or more."""


@dataclass(frozen=True, eq=False)
class Score:
    """Scores of one kind, with the image that each belongs to. The mean is the value to quote."""

    values: Float[np.ndarray, " scores"]
    groups: tuple[int, ...]

    @property
    def mean(self) -> float:
        """The mean; NaN if there are no scores."""
        known = self.values[~np.isnan(self.values)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """A 95 % bootstrap interval for the mean, resampling images rather than scores."""
        return interval(self.values, self.groups)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        low, high = self.interval
        return f"{self.mean:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True)
class Plausibility:
    """How well explanations match what words name.

    Attributes
    ----------
    hit : Score
        For each mention, whether the strongest patch lies on it; see `metrics.hit`.
    energy : Score
        For each mention, the share of positive interaction that lies on it; see `metrics.energy`.
    recognition : Score
        For each pair, the share that is positive on what a word names, or negative elsewhere; see
        `metrics.recognition`.
    chance : float
        The mean share of the image that a mention covers: `hit` and `energy` of a map that knows nothing.
    residual : float
        The median completeness residual of the explanations; NaN for methods without one.
    """

    hit: Score
    energy: Score
    recognition: Score
    chance: float
    residual: float


def plausibility(
    explainer: Explainer,
    pairs: Iterable[LabelledPair],
    *,
    explain: Explain | None = None,
    baseline: Baseline | None = None,
) -> Plausibility:
    """Score explanations of labelled pairs.

    The heat map of a mention is the sum over its tokens.

    Parameters
    ----------
    explainer : Explainer
        Explains pairs, and determines what the model sees of an image.
    pairs : iterable of LabelledPair
        Labelled images and captions.
    explain : callable, optional
        Explains a pair instead of `explainer.explain`.
    baseline : callable, optional
        Replaces each explanation before scoring; one of `exclip_widget.evaluate.baselines`.

    Raises
    ------
    ParameterError
        If there are no pairs, one is not a labelled pair, labelled words contain no whole token of the
        caption, `explain` returns the interactions of another pair or model, or `baseline` those of other
        tokens or patches.

    Examples
    --------
    >>> from exclip_widget import demo
    >>> from exclip_widget.demo.labelled import held_out_pairs
    >>> book = demo.load()
    >>> plausibility(Explainer(book.model, tokenizer=book.tokenizer), held_out_pairs(2)).hit
    0... [..., ...]
    """
    hits: list[tuple[int, float]] = []
    energies: list[float] = []
    recognitions: list[tuple[int, float]] = []
    chances: list[float] = []
    residuals: list[float] = []
    images = ImageNumbers()
    explain = explained_by(explainer, explain)
    callable_or_none("baseline", baseline, "one of evaluate.baselines, such as blob or chance()")
    for pair in several("pairs", pairs):
        found = explain(pair)
        number = images.number_of(pair)
        known = covers(explainer, pair, found)
        if baseline is not None:
            found = _of_baseline(baseline(found, known), found)
        heats = np.stack([heat_of(found, mention) for mention, _ in known])
        inside = np.stack([shares for _, shares in known])
        hits += [(number, float(hit(*one))) for one in zip(heats, inside, strict=True)]
        energies += [energy(*one) for one in zip(heats, inside, strict=True)]
        recognitions.append((number, recognition(heats, inside)))
        chances += [float(shares.mean()) for shares in inside]
        residuals.append(found.residual)
    if not hits:
        raise ParameterError("there are no pairs to score; expected at least one")
    groups = tuple(number for number, _ in hits)
    return Plausibility(
        hit=Score(np.array([one for _, one in hits]), groups),
        energy=Score(np.array(energies), groups),
        recognition=Score(
            np.array([one for _, one in recognitions]), tuple(number for number, _ in recognitions)
        ),
        chance=float(np.mean(chances)),
        residual=float(np.median(residuals)),
    )


def _of_baseline(result: object, of: Interactions) -> Interactions:
    """Return what a baseline returned, if it is of the same tokens and patches as what it was given."""
    if not isinstance(result, Interactions):
        raise ParameterError(f"baseline returned {named_type(result)}; expected Interactions")
    if result.values.shape != of.values.shape:
        raise ParameterError(
            f"baseline returned interactions of shape {result.values.shape}; expected {of.values.shape}, as "
            "of those that it is given"
        )
    return result


def explained_by(explainer: Explainer, explain: Explain | None) -> Explain:
    """Return `explain`, or `explainer.explain` of a pair if it is None.

    What `explain` returns is checked: it must be of the pair that it is given and of the explainer's model,
    such as not a saved result of another pair or checkpoint.

    Raises
    ------
    ParameterError
        If `explain` is not callable. When it is called, if it is not given a labelled pair, or does not
        return the interactions of that pair by the explainer's model, as far as it is known.
    """
    callable_or_none("explain", explain, "one that maps a LabelledPair to Interactions")

    def checked(pair: LabelledPair) -> Interactions:
        given: object = pair
        if not isinstance(given, LabelledPair):
            raise ParameterError(
                f"pairs has {named_type(given)}; expected LabelledPair, as labelled_pair returns"
            )
        if explain is None:
            return explainer.explain(pair.image, pair.caption)
        result: object = explain(pair)
        if not isinstance(result, Interactions):
            raise ParameterError(f"explain returned {named_type(result)}; expected Interactions")
        if result.caption != pair.caption:
            raise ParameterError(
                f"explain returned interactions of {result.caption!r:.80} for the pair of "
                f"{pair.caption!r:.80}; expected those of the pair"
            )
        require_same_image(result, view_of(pair))
        if result.origin is not None:
            found = result.origin.difference_of_models(explainer.origin_of_masked())
            if found is not None:
                name, theirs, ours = found
                raise ParameterError(
                    f"explain returned interactions of a model with {name} {theirs!r:.80}, and the "
                    f"explainer's has {ours!r:.80}; expected those of the explainer's model"
                )
        return result

    return checked


class ImageNumbers:
    """Numbers the images of pairs, so that the scores of one image are known to belong together."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[object, ...], int] = {}

    def number_of(self, pair: LabelledPair) -> int:
        """Return the number of a pair's image: the same for all pairs of one image."""
        view = view_of(pair)
        return self._numbers.setdefault((view.size, view.digest), len(self._numbers))


def view_of(pair: LabelledPair) -> View:
    """Return the size and the hash of a pair's image."""
    return View.of(open_image(pair.image))


def covers(
    explainer: Explainer, pair: LabelledPair, result: Interactions
) -> list[tuple[Mention, Float[np.ndarray, "rows columns"]]]:
    """Return the mentions of a pair, each with the share of each patch of `result` that it covers.

    Mentions that are cropped out of the model's view are left out.
    """
    grid = result.grid.rows, result.grid.columns
    crop = result.crop
    if crop is None:
        pixels, view = explainer.read_view(pair.image)
        crop = explainer.view_of_patches(view, pixels, grid).crop
    found = [(one, cover(one.mask, crop, grid)) for one in pair.mentions]
    seen = [(one, shares) for one, shares in found if shares.any()]
    if not seen:
        raise ParameterError(
            f"nothing that is labelled in {pair.caption!r} is in the model's view of the image"
        )
    return seen


def heat_of(result: Interactions, mention: Mention) -> Float[np.ndarray, "rows columns"]:
    """Return the heat map of a mention: the sum of its tokens' interactions with each patch.

    Raises
    ------
    ParameterError
        If it contains no whole token.
    """
    tokens = mention.tokens_of(result.rows)
    if not tokens:
        start, end = mention.span
        raise ParameterError(
            f"{result.caption[start:end]!r} is not a token of {result.caption!r}; its tokens: {result.tokens}"
        )
    heat: np.ndarray = result.values[tokens].sum(0, dtype=np.float64)
    return heat


def with_values(result: Interactions, values: Float[np.ndarray, "tokens rows columns"]) -> Interactions:
    """Return a result with `values` as its only interactions: a heat map that is not an explanation."""
    nothing = np.zeros_like(result.cls)
    return replace(
        result,
        values=values.astype(np.float32),
        cls=nothing,
        total=float("nan"),
        error=None,
        token_terms=None,
        patch_terms=None,
    )
