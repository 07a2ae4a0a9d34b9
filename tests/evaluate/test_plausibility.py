"""Plausibility of whole explanations: the truth, its inverse, chance and a blob, on the picture book."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.widgets import book

from exclip_widget import Explainer, ParameterError
from exclip_widget.demo.labelled import collages, held_out_pairs
from exclip_widget.evaluate import (
    LabelledPair,
    baselines,
    deletion_curves,
    faithfulness,
    labelled_pair,
    plausibility,
)
from exclip_widget.evaluate.pairs import Mention


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(book().model, tokenizer=book().tokenizer, method="similarity")


def test_the_truth_chance_and_a_blob(explainer: Explainer) -> None:
    pairs = held_out_pairs(12)
    truth = plausibility(explainer, pairs, baseline=baselines.oracle)
    chance = plausibility(explainer, pairs, baseline=baselines.chance())
    blob = plausibility(explainer, pairs, baseline=baselines.blob)
    assert truth.hit.mean == 1
    assert truth.energy.mean > 0.6 > 0.2 > max(chance.energy.mean, blob.energy.mean)
    low, high = chance.energy.interval
    assert low <= chance.chance <= high
    assert chance.recognition.mean == pytest.approx(0.5, abs=0.03)


def test_explanations_lie_on_what_words_name() -> None:
    """Scores are far above chance, and better the earlier the image tower is cut."""
    pairs = held_out_pairs(8)
    last = plausibility(Explainer(book().model, tokenizer=book().tokenizer, method="exclip"), pairs)
    early = Explainer(book().model, tokenizer=book().tokenizer, text_layer=0, image_layer=2, method="exclip")
    first = plausibility(early, pairs[:3])
    for found in (last, first):
        assert min(found.hit.mean, found.energy.mean) > 2 * found.chance
    assert first.energy.mean > last.energy.mean


def test_collages(explainer: Explainer) -> None:
    """A map that ignores the words has a quarter of its positive part in each of four quadrants."""
    pairs = collages(3, objects=4)
    assert plausibility(explainer, pairs, baseline=baselines.oracle).recognition.mean == 1
    assert plausibility(explainer, pairs, baseline=baselines.blob).recognition.mean == pytest.approx(0.25)

    def wrong(result, known):  # type: ignore[no-untyped-def]
        return baselines.inverted(baselines.oracle(result, known), known)

    assert plausibility(explainer, pairs, baseline=wrong).recognition.mean == 0


def test_scores_keep_the_image_they_belong_to(explainer: Explainer) -> None:
    pairs = held_out_pairs(3)
    found = plausibility(explainer, pairs)
    assert found.hit.groups == tuple(i for i, pair in enumerate(pairs) for _ in pair.mentions)
    assert len(found.hit) == len(found.energy) == sum(len(pair.mentions) for pair in pairs)
    assert len(found.recognition) == 3
    assert re.fullmatch(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", repr(found.energy))


def test_what_is_scored_is_the_explanation_given(explainer: Explainer) -> None:
    pairs = held_out_pairs(3)
    own = plausibility(explainer, pairs, explain=lambda pair: explainer.explain(pair.image, pair.caption))
    assert own.energy.values.tolist() == plausibility(explainer, pairs).energy.values.tolist()


def test_a_box_on_what_is_cropped_away(explainer: Explainer) -> None:
    """The picture book's preprocessing keeps only the middle of a wide image."""
    image = held_out_pairs(1)[0].image.resize((300, 96))
    outside = labelled_pair(image, "a red boat", {"boat": (0, 0, 20, 96)})
    with pytest.raises(ParameterError, match=r"nothing that is labelled .* is in the model's view"):
        plausibility(explainer, [outside])
    edge = labelled_pair(image, "a red boat", {"boat": (0, 0, 150, 96)})
    found = plausibility(explainer, [edge], baseline=baselines.oracle)
    assert found.chance == pytest.approx(0.5, abs=0.02)


def test_refused(explainer: Explainer) -> None:
    with pytest.raises(ParameterError, match="there are no pairs"):
        plausibility(explainer, [])
    image = held_out_pairs(1)[0].image
    part = LabelledPair(image, "a red boat", (Mention((7, 9), np.ones(image.size[::-1], bool)),))
    with pytest.raises(ParameterError, match="'oa' is not a token of 'a red boat'"):
        plausibility(explainer, [part])


def test_scores_of_one_image_belong_together(explainer: Explainer) -> None:
    """Whether an image has one pair with all mentions, or a pair for each of them."""
    together = held_out_pairs(3)
    apart = [LabelledPair(pair.image, pair.caption, (one,)) for pair in together for one in pair.mentions]
    assert len(apart) > len(together)
    expected, found = plausibility(explainer, together), plausibility(explainer, apart)
    assert found.energy.groups == expected.energy.groups
    assert found.energy.interval == expected.energy.interval
    assert len(found.recognition) == len(apart)
    assert len(set(found.recognition.groups)) == len(together)
    curves = deletion_curves(explainer, apart, steps=2)
    assert curves.gap.groups == found.recognition.groups
    faithful = faithfulness(explainer, apart, samples=2, shares=[0.5])
    assert faithful.correlation["both", 0.5].groups == found.recognition.groups


def test_cls_and_total_are_no_part_of_a_baseline(explainer: Explainer) -> None:
    result = explainer.explain(held_out_pairs(1)[0].image, "a red boat")
    blob = baselines.blob(result, [])
    assert not blob.cls.any()
    assert np.isnan(blob.total)
