"""All scores of several explanations, as tables and a figure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from ..checks import whole_number
from ..errors import ParameterError, named_type
from ..explainer import Explainer
from ..results.interactions import Interactions
from ..results.latex import escape
from ..results.tables import require_library
from .faithfulness import (
    KINDS,
    Curves,
    Faithfulness,
    MaskedPair,
    deletion_curves,
    faithfulness,
    masked_pairs,
    require_one_origin,
)
from .pairs import LabelledPair, several
from .plausibility import Baseline, Explain, Plausibility, Score, explained_by, plausibility

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Trial:
    """What explanations are scored on.

    Attributes
    ----------
    pairs : iterable of LabelledPair
        For `plausibility`. It becomes a list.
    collages : iterable of iterable of LabelledPair
        For recognition: collages whose captions name one object, then those that name two, and so on. Each
        becomes a list.
    masked : iterable of MaskedPair
        The model's similarities of the first few `pairs` under masks, from `mask_pair`. It becomes a list.

    Raises
    ------
    ParameterError
        If there are no pairs, one of `collages` is empty, there are more `masked` than `pairs`, `masked` are
        of different models or references, or something is not a list of pairs.
    """

    pairs: Sequence[LabelledPair]
    collages: Sequence[Sequence[LabelledPair]]
    masked: Sequence[MaskedPair]

    def __post_init__(self) -> None:
        collages = several("collages", self.collages, "lists of LabelledPair")
        lists = {
            "pairs": list(several("pairs", self.pairs)),
            "collages": [list(several(f"collages[{n}]", some)) for n, some in enumerate(collages)],
            "masked": masked_pairs(self.masked),
        }
        for name, found in lists.items():
            object.__setattr__(self, name, found)
        if not self.pairs:
            raise ParameterError("pairs is empty; expected at least one labelled pair")
        for number, some in enumerate(self.collages):
            if not some:
                raise ParameterError(
                    f"collages[{number}] is empty; expected at least one labelled pair in each list"
                )
        if len(self.masked) > len(self.pairs):
            raise ParameterError(
                f"masked has {len(self.masked)} pairs, and pairs {len(self.pairs)}; expected masks of the "
                "first few of pairs"
            )
        require_one_origin(self.masked)


@dataclass(frozen=True, eq=False)
class Report:
    """The scores of one kind of explanation, or of a baseline.

    Attributes
    ----------
    name : str
        What is scored.
    plausibility : Plausibility
        Scores on the labelled pairs.
    recognition : tuple of Score
        Scores on collages whose captions name one object, two, and so on.
    faithfulness, curves : Faithfulness, Curves, or None
        Scores on the masked pairs; None if there are none, and for maps that predict nothing.
    seconds : float
        Median time of an explanation in seconds.
    """

    name: str
    plausibility: Plausibility
    recognition: tuple[Score, ...]
    faithfulness: Faithfulness | None
    curves: Curves | None
    seconds: float


def make_report(
    name: str,
    explainer: Explainer,
    trial: Trial,
    *,
    explain: Explain | None = None,
    baseline: Baseline | None = None,
    most: int | None = None,
) -> Report:
    """Return the scores of one kind of explanation.

    Parameters
    ----------
    name : str
        What to call it.
    explainer : Explainer
        Explains pairs and runs the model.
    trial : Trial
        What to score it on.
    explain : callable, optional
        Explains a pair instead of `explainer.explain`.
    baseline : callable, optional
        Replaces each explanation before scoring. Its faithfulness is not scored.
    most : int, optional
        Largest number of `trial.pairs` to use, and a quarter as many collages of each kind, for slow methods.

    Raises
    ------
    ParameterError
        If `name` is not a string, `most` is not a whole number of at least 1, or a pair, a mask or an
        explanation is not what `plausibility`, `faithfulness` and `deletion_curves` take.
    """
    if not isinstance(name, str):
        raise ParameterError(f"name is {named_type(name)} ({name!r:.80}); expected a string")
    most = None if most is None else whole_number("most", most)
    timed = _Timed(explained_by(explainer, explain))
    pairs, masked = trial.pairs[:most], trial.masked[:most]
    # The masked pairs are the first of the labelled ones, so explain them only once.
    known = {id(pair): timed(pair) for pair in pairs[: len(masked)]}

    def look_up(pair: LabelledPair) -> Interactions:
        return known[id(pair)] if id(pair) in known else timed(pair)

    few = None if most is None else max(1, most // 4)
    predicts = len(masked) > 0 and baseline is None
    return Report(
        name=name,
        plausibility=plausibility(explainer, pairs, explain=look_up, baseline=baseline),
        recognition=tuple(
            plausibility(explainer, some[:few], explain=timed, baseline=baseline).recognition
            for some in trial.collages
        ),
        faithfulness=faithfulness(explainer, pairs[: len(masked)], explain=look_up, masked=masked)
        if predicts
        else None,
        curves=deletion_curves(explainer, pairs[: len(masked)], explain=look_up) if predicts else None,
        seconds=float(np.median(timed.seconds)),
    )


class _Timed:
    """Explains pairs, and records how long each explanation took."""

    def __init__(self, explain: Callable[[LabelledPair], Interactions]) -> None:
        self.seconds: list[float] = []
        self._explain = explain

    def __call__(self, pair: LabelledPair) -> Interactions:
        start = time.perf_counter()
        result = self._explain(pair)
        self.seconds.append(time.perf_counter() - start)
        return result


def as_markdown(reports: Iterable[Report]) -> str:
    """Return the scores as two tables, plausibility and faithfulness, with 95 % bootstrap intervals."""
    reports = list(reports)
    objects = max((len(one.recognition) for one in reports), default=0)
    lines = [
        "| explanation | pairs | hit | energy |"
        + "".join(f" recognition, {n + 1} |" for n in range(objects)),
        "|---|---|---|---|" + "---|" * objects,
    ]
    for one in reports:
        scores = (one.plausibility.hit, one.plausibility.energy, *one.recognition)
        cells = [str(len(one.plausibility.recognition)), *map(_cell, scores)]
        lines.append(f"| {_name(one)} | " + " | ".join(cells) + " |")
    predicting = [(one, one.faithfulness, one.curves) for one in reports if one.faithfulness and one.curves]
    heads = [f"{kind} masked" for kind in KINDS]
    lines += [
        "",
        "| explanation | pairs | "
        + " | ".join(heads)
        + " | R2, both | insertion - deletion | AID | residual | s |",
        "|---|---|" + "---|" * (len(heads) + 5),
    ]
    for one, faith, curves in predicting:
        means = [_cell(_pooled(faith.correlation, kind)) for kind in KINDS]
        residual = one.plausibility.residual
        cells = [
            str(len(curves.gap)),
            *means,
            _rough(_pooled(faith.explained, "both").mean),
            _cell(curves.gap),
            _cell(curves.both),
            "" if np.isnan(residual) else f"{residual:.2%}",
            f"{one.seconds:.2f}",
        ]
        lines.append(f"| {_name(one)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _rough(number: float) -> str:
    return f"{number:.1f}" if abs(number) < 1000 else f"{number:.1e}"


def as_latex(reports: Iterable[Report]) -> str:
    r"""Return the scores as a LaTeX table with 95 % bootstrap intervals. Requires the package booktabs.

    Names are printed literally. A missing score is a dash.
    """
    heads = ("explanation", "hit", "energy", *(f"{kind} masked" for kind in KINDS), "insertion - deletion")
    lines = [
        rf"\begin{{tabular}}{{l{'c' * (len(heads) - 1)}}}",
        r"\toprule",
        _row_of_latex(heads),
        r"\midrule",
    ]
    for one in reports:
        faith, curves = one.faithfulness, one.curves
        scores = [
            one.plausibility.hit,
            one.plausibility.energy,
            *(None if faith is None else _pooled(faith.correlation, kind) for kind in KINDS),
            None if curves is None else curves.gap,
        ]
        cells = ["--" if score is None else _cell_of_latex(score) for score in scores]
        lines.append(_row_of_latex([escape(" ".join(one.name.split()))], cells))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _row_of_latex(*cells: Iterable[str]) -> str:
    return " & ".join(chain(*cells)) + r" \\"


def _cell_of_latex(score: Score) -> str:
    low, high = score.interval
    return rf"${score.mean:.2f}$ {{\footnotesize $[{low:.2f}, {high:.2f}]$}}"


def _pooled(scores: dict[tuple[str, float], Score], kind: str) -> Score:
    """Return the scores of one kind of masks, pooled over all shares."""
    some = [score for (of, _), score in scores.items() if of == kind]
    return Score(
        np.concatenate([one.values for one in some]), tuple(group for one in some for group in one.groups)
    )


def _name(report: Report) -> str:
    """Return a report's name on one line, escaped for a table cell."""
    return " ".join(report.name.split()).replace("|", "\\|")


def _cell(score: Score) -> str:
    low, high = score.interval
    return f"{score.mean:.2f} ({low:.2f} to {high:.2f})"


def as_figure(reports: Sequence[Report]) -> Figure:
    """Return a plot of faithfulness against plausibility, with a point and both intervals for each report.

    Raises
    ------
    MissingLibraryError
        If matplotlib is not installed.
    """
    figure: Figure = require_library("matplotlib.figure", "plot").Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    shown = [one for one in reports if one.faithfulness]
    for axis, (title, score_of) in zip(axes, _PANELS, strict=True):
        for number, one in enumerate(shown):
            assert one.faithfulness is not None
            across, up = score_of(one), _pooled(one.faithfulness.correlation, "patches")
            (left, right), (low, high) = across.interval, up.interval
            axis.errorbar(
                across.mean,
                up.mean,
                xerr=[[across.mean - left], [right - across.mean]],
                yerr=[[up.mean - low], [high - up.mean]],
                linestyle="none",
                color=f"C{number % 10}",
                marker="os^Dv"[number // 10],
                label=one.name,
                linewidth=0.8,
                markersize=5,
            )
        for one in reports:
            if not one.faithfulness:
                axis.axvline(score_of(one).mean, color="0.6", linewidth=0.8, linestyle=":")
                axis.annotate(
                    one.name,
                    (score_of(one).mean, 0),
                    xycoords=("data", "axes fraction"),
                    rotation=90,
                    fontsize=7,
                    color="0.4",
                    ha="right",
                    va="bottom",
                )
        axis.set_xlabel(title)
    axes[0].set_ylabel("predicted and actual similarity,\npatches masked: correlation")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7, frameon=False)
    return figure


_PANELS: tuple[tuple[str, Callable[[Report], Score]], ...] = (
    ("hit: strongest patch on what is named", lambda one: one.plausibility.hit),
    ("energy: positive part on what is named", lambda one: one.plausibility.energy),
)
