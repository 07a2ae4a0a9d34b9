"""Arguments of the scores that are something else than what is expected, and iterators as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.widgets import book

from exclip_widget import Explainer, ParameterError
from exclip_widget.demo.labelled import held_out_pairs
from exclip_widget.evaluate import baselines, deletion_curves, faithfulness, mask_pair, metrics, plausibility
from exclip_widget.evaluate.pairs import LabelledPair
from exclip_widget.evaluate.report import Trial, as_latex, as_markdown, make_report


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(book().model, tokenizer=book().tokenizer, method="exclip")


@pytest.fixture(scope="module")
def pair() -> LabelledPair:
    return held_out_pairs(1)[0]


Call = Callable[[Any, Any], Any]

WRONG: dict[str, tuple[Call, str]] = {
    "a single pair": (lambda e, p: plausibility(e, p), "pairs is a LabelledPair; expected a list of"),
    "no pairs": (lambda e, _: plausibility(e, None), "pairs is a NoneType; expected a list of"),
    "text": (lambda e, _: faithfulness(e, "a red boat"), "pairs is a str; expected a list of"),
    "a single pair of curves": (lambda e, p: deletion_curves(e, p), "pairs is a LabelledPair"),
    "a single mask": (
        lambda e, p: faithfulness(e, [p], masked=mask_pair(e, p, samples=2)),
        "masked is a Mas",
    ),
    "masks of another kind": (
        lambda e, p: faithfulness(e, [p], masked=[p]),
        r"masked\[0\] is a LabelledPair",
    ),
    "no collages": (lambda _, p: Trial([p], None, None), "collages is a NoneType; expected a list of lists"),
    "flat collages": (lambda _, p: Trial([p], [p], []), r"collages\[0\] is a LabelledPair"),
    "no masks": (lambda _, p: Trial([p], [], None), "masked is a NoneType; expected a list of MaskedPair"),
    "explain": (
        lambda e, p: plausibility(e, [p], explain=5),
        "explain=5 is not callable; expected one that maps",
    ),
    "baseline": (lambda e, p: plausibility(e, [p], baseline="chance"), "baseline='chance' is not callable"),
    "what a baseline returns": (
        lambda e, p: plausibility(e, [p], baseline=lambda *_: None),
        "baseline returned a NoneType; expected Interactions",
    ),
    "a shape": (
        lambda e, p: plausibility(e, [p], baseline=lambda *_: e.explain(p.image, "two fish")),
        r"baseline returned interactions of shape .*; expected \(",
    ),
    "resamples": (lambda *_: metrics.interval(np.ones(3), resamples=0), "resamples=0 is not a whole"),
    "a name": (
        lambda e, p: make_report(3, e, Trial([p], [], [])),
        r"name is an int \(3\); expected a string",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_each_is_one_error(case: str, explainer: Explainer, pair: LabelledPair) -> None:
    call, message = WRONG[case]
    with pytest.raises(ParameterError, match=message):
        call(explainer, pair)


def test_iterators(explainer: Explainer, pair: LabelledPair) -> None:
    masked = mask_pair(explainer, pair, samples=8)
    found = faithfulness(explainer, iter([pair]), masked=iter([masked]))
    expected = faithfulness(explainer, [pair], masked=[masked])
    assert found.mean_correlation("both") == expected.mean_correlation("both")
    trial = Trial(iter([pair]), iter([iter([pair])]), iter([masked]))
    reports = [
        make_report("first\n line", explainer, trial),
        make_report("again", explainer, trial, baseline=baselines.blob),
    ]
    assert [len(one.recognition) for one in reports] == [1, 1]
    assert "| first line |" in as_markdown(reports)
    assert "first line & " in as_latex(reports)
