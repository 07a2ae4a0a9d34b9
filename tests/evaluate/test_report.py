"""The tables and the figure of all scores."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.libraries import hide_library
from support.widgets import book

from exclip_widget import Explainer, MissingLibraryError, ParameterError
from exclip_widget.demo.labelled import collages, held_out_pairs
from exclip_widget.evaluate import baselines, deletion_curves, mask_pair, plausibility
from exclip_widget.evaluate.report import Report, Trial, as_figure, as_latex, as_markdown, make_report


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(book().model, tokenizer=book().tokenizer, method="exclip")


@pytest.fixture(scope="module")
def trial(explainer: Explainer) -> Trial:
    pairs = held_out_pairs(4)
    several = [collages(2, objects) for objects in (1, 2)]
    return Trial(pairs, several, [mask_pair(explainer, pair, samples=8) for pair in pairs[:2]])


@pytest.fixture(scope="module")
def reports(explainer: Explainer, trial: Trial) -> list[Report]:
    return [
        make_report("the truth", explainer, trial, baseline=baselines.oracle),
        make_report("exclip, last", explainer, trial),
        make_report("slow", explainer, trial, most=1),
    ]


def test_scores_are_those_of_the_functions(explainer: Explainer, trial: Trial, reports: list[Report]) -> None:
    truth, exclip, slow = reports
    alone = plausibility(explainer, trial.pairs)
    np.testing.assert_array_equal(exclip.plausibility.energy.values, alone.energy.values)
    assert exclip.curves is not None
    curves = deletion_curves(explainer, trial.pairs[:2])
    np.testing.assert_array_equal(exclip.curves.gap.values, curves.gap.values)
    assert truth.faithfulness is truth.curves is None
    assert len(slow.plausibility.recognition) == 1
    assert exclip.seconds > 0


def test_tables(reports: list[Report]) -> None:
    first, second = as_markdown(reports).split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first.splitlines()]
    assert {len(row) for row in rows} == {6}
    assert rows[0] == ["explanation", "pairs", "hit", "energy", "recognition, 1", "recognition, 2"]
    assert rows[2][:3] == ["the truth", "4", "1.00 (1.00 to 1.00)"]
    assert "the truth" not in second
    assert len(second.splitlines()) == 4


def test_a_table_for_a_paper(reports: list[Report]) -> None:
    begin, top, head, middle, *rows, bottom, end = as_latex(reports).splitlines()
    assert (begin, top, middle) == (r"\begin{tabular}{lcccccc}", r"\toprule", r"\midrule")
    assert (bottom, end) == (r"\bottomrule", r"\end{tabular}")
    cells = [line.removesuffix(r" \\").split(" & ") for line in (head, *rows)]
    assert {len(line) for line in cells} == {7}
    assert cells[0][:3] == ["explanation", "hit", "energy"]
    assert cells[1] == ["the truth", r"$1.00$ {\footnotesize $[1.00, 1.00]$}", cells[1][2], *["--"] * 4]
    markdown = as_markdown(reports).splitlines()
    hit, energy = (cell.strip() for cell in markdown[3].split("|")[3:5])
    for name, cell in ((hit, cells[2][1]), (energy, cells[2][2])):
        assert re.findall(r"-?\d+\.\d+", name) == re.findall(r"-?\d+\.\d+", cell)
    odd = replace(reports[1], name="50% of_it & more")
    assert r"50\% of\_it \& more &" in as_latex([odd])


def test_figure(reports: list[Report], tmp_path) -> None:  # type: ignore[no-untyped-def]
    figure = as_figure(reports)
    figure.savefig(tmp_path / "scores.svg")
    assert (tmp_path / "scores.svg").read_text().count("<svg") == 1
    labels = figure.legends[0].get_texts()
    assert [label.get_text() for label in labels] == ["exclip, last", "slow"]


def test_figure_without_matplotlib(reports: list[Report], monkeypatch: pytest.MonkeyPatch) -> None:
    hide_library("matplotlib", monkeypatch)
    with pytest.raises(MissingLibraryError, match=r"pip install 'exclip-widget\[plot\]'"):
        as_figure(reports)


@pytest.mark.parametrize("most", [-1, 0, True, 2.5, "2"])
def test_most_is_a_whole_number(explainer: Explainer, trial: Trial, most: Any) -> None:
    with pytest.raises(ParameterError, match=f"most={most!r} is not a whole number of at least 1"):
        make_report("few", explainer, trial, most=most)


def test_without_masked_pairs_faithfulness_is_not_scored(explainer: Explainer, trial: Trial) -> None:
    found = make_report("plausible", explainer, Trial(trial.pairs[:1], [], []))
    assert found.faithfulness is found.curves is None
    assert len(found.plausibility.recognition) == 1
    assert "--" in as_latex([found])
    assert "plausible" in as_markdown([found])


def test_trials_that_are_refused(trial: Trial) -> None:
    for given, message in (
        (([], [], []), "pairs is empty; expected at least one"),
        ((trial.pairs, [trial.collages[0], []], []), r"collages\[1\] is empty; expected at least one"),
        ((trial.pairs[:1], [], trial.masked), "masked has 2 pairs, and pairs 1; expected"),
    ):
        with pytest.raises(ParameterError, match=message):
            Trial(*given)


def test_tables_of_no_reports() -> None:
    first, second = as_markdown([]).split("\n\n")
    assert len(first.splitlines()) == len(second.splitlines()) == 2
    assert len(as_latex([]).splitlines()) == 6
    assert as_figure([]).axes
