"""Faithfulness: scores of interactions with known predictions, and similarities of the masked model."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.widgets import book

from exclip_widget import Explainer, Interactions, ParameterError
from exclip_widget.demo.labelled import held_out_pairs
from exclip_widget.evaluate import (
    LabelledPair,
    MaskedPair,
    baselines,
    deletion_curves,
    faithfulness,
    mask_pair,
    plausibility,
)
from exclip_widget.evaluate.faithfulness import KINDS, SHARES, deletion_order
from exclip_widget.evaluate.plausibility import covers
from exclip_widget.evaluate.report import Trial, make_report

PAIRS = held_out_pairs(2)


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(book().model, tokenizer=book().tokenizer, method="exclip")


@pytest.fixture(scope="module")
def result(explainer: Explainer) -> Interactions:
    return explainer.explain(PAIRS[0].image, PAIRS[0].caption)


def obeying(result: Interactions, masks: int = 60) -> MaskedPair:
    """Return a masked pair that behaves exactly as the interactions predict, summed naively."""
    rng = np.random.default_rng(0)
    count, *grid = result.values.shape
    tokens, patches = rng.random((masks, count)) < 0.5, rng.random((masks, *grid)) < 0.5
    own = result.token_terms

    def says(some: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.array(
            [
                sum(float(result.values[t][b].sum() + result.cls[t] + own[t]) for t in np.flatnonzero(a))
                + float(result.patch_terms[b].sum())
                for a, b in zip(some, others, strict=True)
            ]
        )

    all_tokens, all_patches = np.ones_like(tokens), np.ones_like(patches)
    left = {
        "patches": says(all_tokens, patches),
        "words": says(tokens, all_patches),
        "both": says(tokens, patches),
    }
    whole = says(all_tokens[:1], all_patches[:1])
    actual = {(kind, 0.5): result.similarity + one - whole for kind, one in left.items()}
    return MaskedPair({0.5: tokens}, {0.5: patches}, actual, result.caption)


def scaled(result: Interactions, factor: float) -> Interactions:
    """Return the result with all its terms multiplied by a factor."""
    names = ("values", "cls", "token_terms", "patch_terms")
    return replace(result, **{name: (factor * getattr(result, name)).astype(np.float32) for name in names})


def test_perfect_random_and_inverted(explainer: Explainer, result: Interactions) -> None:
    masked = [obeying(result)]

    def score(found: Interactions) -> dict[str, tuple[float, float]]:
        scores = faithfulness(explainer, PAIRS[:1], explain=lambda _: found, masked=masked)
        return {
            kind: (scores.correlation[kind, 0.5].mean, scores.explained[kind, 0.5].mean) for kind in KINDS
        }

    for correlation, explained in score(result).values():
        assert correlation == pytest.approx(1, abs=1e-5)
        assert explained == pytest.approx(1, abs=1e-4)
    for correlation, explained in score(scaled(result, -1)).values():
        assert correlation == pytest.approx(-1, abs=1e-5)
        assert explained < -2
    # Ten times too large: still perfectly correlated, but far off.
    large = score(scaled(result, 10))
    assert large["patches"][0] == pytest.approx(1, abs=1e-5)
    assert large["patches"][1] < -10
    draw = baselines.chance()
    guesses = [score(draw(result, []))["both"][0] for _ in range(40)]
    assert np.mean(guesses) == pytest.approx(0, abs=0.15)


def test_masks_are_of_the_model(explainer: Explainer) -> None:
    """Each similarity equals that of `Explainer.test`, which applies one mask at a time in other code."""
    pair = PAIRS[0]
    found = mask_pair(explainer, pair, samples=3)
    result = explainer.explain(pair.image, pair.caption)
    assert set(found.actual) == {(kind, share) for kind in KINDS for share in SHARES}
    for share in SHARES:
        special = np.array(result.words) < 0
        assert found.tokens[share][:, special].all()
        for mask in range(3):
            tokens = np.flatnonzero(~found.tokens[share][mask])
            region = np.flatnonzero(~found.patches[share][mask])
            by_patches = explainer.test(result, pair.image, region=region).actual
            by_words = explainer.test(result, pair.image, tokens=tokens).actual if len(tokens) else 0.0
            together = (
                explainer.test(result, pair.image, tokens=tokens, region=region).actual
                if len(tokens)
                else 0.0
            )
            change = {"patches": by_patches, "words": by_words, "both": by_patches + by_words + together}
            for kind in KINDS:
                expected = result.similarity + change[kind]
                assert found.actual[kind, share][mask] == pytest.approx(expected, abs=1e-5)


def test_shares_are_left(explainer: Explainer) -> None:
    found = mask_pair(explainer, PAIRS[0], samples=16)
    for share in SHARES:
        assert found.patches[share].mean() == pytest.approx(share, abs=0.04)


def test_exact_banzhaf_predicts_what_it_averages() -> None:
    explainer = Explainer(book().model, tokenizer=book().tokenizer, method="banzhaf", samples=128)
    scores = faithfulness(explainer, PAIRS[:1], samples=16)
    assert scores.mean_correlation("patches") > 0.3


def small(values: list[list[float]], cls: list[float], like: Interactions) -> Interactions:
    """Return a result with two words and three patches, built from a real one."""
    tokens = replace(like.rows, texts=("a", "b"), spans=((0, 1), (1, 2)), words=(0, 1), caption="ab")
    return replace(
        like,
        rows=tokens,
        grid=replace(like.grid, rows=1, columns=3),
        token_terms=None,
        patch_terms=None,
        outliers=None,
        values=np.array(values, np.float32)[:, None],
        cls=np.array(cls, np.float32),
    )


def test_deletion_order_by_hand(result: Interactions) -> None:
    """Players 0 and 1 are the words, 2 to 4 the patches."""
    one = small([[5, 1, 0], [0, 0, 3]], [0, 1], result)
    patches, words = np.arange(3), np.arange(2)
    assert deletion_order(one, [], patches, strongest=True) == [2, 4, 3]
    assert deletion_order(one, [], patches, strongest=False) == [3, 4, 2]
    # Deleting "a" costs 6. Patch 2 has then lost its partner, so "b" costs 4, and nothing is left.
    assert deletion_order(one, words, patches, strongest=True)[:2] == [0, 1]
    # Patch 3 costs 1, patch 4 costs 3, then "b" its 1 with the class token; either of the rest costs 5.
    assert deletion_order(one, words, patches, strongest=False)[:3] == [3, 4, 1]


def test_deletion_order_is_greedy(result: Interactions) -> None:
    """Compare with evaluating every possible deletion at each step."""
    words = np.flatnonzero(np.array(result.words) >= 0)
    count, rows, columns = result.values.shape
    patches = np.arange(0, rows * columns, 9)
    values = result.values.reshape(count, -1).astype(np.float64)
    there = np.ones(count, bool), np.ones(rows * columns, bool)
    by_token = (result.cls + result.token_terms).astype(np.float64)
    by_patch = result.patch_terms.ravel().astype(np.float64)

    def left() -> float:
        of_pairs = values[there[0]][:, there[1]].sum()
        return float(of_pairs + by_token[there[0]].sum() + by_patch[there[1]].sum())

    for player in deletion_order(result, words, patches, strongest=True):
        losses = {}
        for other in [*words[there[0][words]], *(count + patches[there[1][patches]])]:
            side, place = (0, other) if other < count else (1, other - count)
            before = left()
            there[side][place] = False
            losses[other] = before - left()
            there[side][place] = True
        assert losses[player] == pytest.approx(max(losses.values()), abs=1e-9)
        side, place = (0, player) if player < count else (1, player - count)
        there[side][place] = False


def test_curves_of_the_truth_and_its_inverse(explainer: Explainer) -> None:
    """The model recognises things by their own patches; without them, no similarity is left."""

    def truth(pair: LabelledPair, sign: float = 1) -> Interactions:
        result = explainer.explain(pair.image, pair.caption)
        masks = baselines.oracle(result, covers(explainer, pair, result))
        return replace(masks, values=sign * masks.values)

    right = deletion_curves(explainer, PAIRS, explain=truth, steps=8)
    wrong = deletion_curves(explainer, PAIRS, explain=lambda pair: truth(pair, -1), steps=8)
    assert right.gap.mean > 0.3
    assert wrong.gap.mean < -0.3
    assert right.gap.mean == pytest.approx(right.insertion.mean - right.deletion.mean)
    assert right.both.mean > 0.3 > -0.3 > wrong.both.mean


def test_curves_of_chance(explainer: Explainer) -> None:
    draw = baselines.chance()

    def guess(pair: LabelledPair) -> Interactions:
        return draw(explainer.explain(pair.image, pair.caption), [])

    assert deletion_curves(explainer, PAIRS * 3, explain=guess, steps=6).gap.mean == pytest.approx(0, abs=0.1)


def test_refused(explainer: Explainer) -> None:
    with pytest.raises(ParameterError, match="there are no pairs"):
        faithfulness(explainer, [])
    with pytest.raises(ParameterError, match="there are no pairs"):
        deletion_curves(explainer, [])
    with pytest.raises(ParameterError, match="masked has 0 pairs; expected one for each of the 2"):
        faithfulness(explainer, PAIRS, masked=[])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": [0.5, 1.5]}, r"shares has 1\.5; expected numbers between 0 and 1"),
        ({"shares": (0.5, 0.3, 0.5)}, r"shares has 0\.5 twice"),
        ({"shares": 0.5}, r"shares=0\.5 is not a list of numbers"),
        ({"shares": "0.5"}, r"shares='0\.5' is not a list of numbers"),
        ({"shares": ["half"]}, "one of shares='half' is not a finite number"),
        ({"shares": []}, "shares is empty"),
        ({"samples": 1}, "samples=1 is not a whole number of at least 2"),
        ({"seed": -1}, "seed=-1 is not a whole number of at least 0"),
        ({"seed": None}, "seed=None is not a whole number"),
    ],
)
def test_masks_that_are_refused(explainer: Explainer, options: dict[str, Any], message: str) -> None:
    for made in (
        lambda: mask_pair(explainer, PAIRS[0], **options),
        lambda: faithfulness(explainer, PAIRS[:1], **options),
    ):
        with pytest.raises(ParameterError, match=message):
            made()


@pytest.mark.parametrize("steps", [0, -1, 2.5, "8"])
def test_curves_take_a_whole_number_of_steps(explainer: Explainer, steps: Any) -> None:
    with pytest.raises(ParameterError, match=f"steps={steps!r} is not a whole number of at least 1"):
        deletion_curves(explainer, PAIRS[:1], steps=steps)


def test_options_of_numpy_are_numbers(explainer: Explainer) -> None:
    options = {"shares": np.array([0.5]), "samples": np.int64(4), "seed": np.int64(3)}
    found = mask_pair(explainer, PAIRS[0], **options)
    expected = mask_pair(explainer, PAIRS[0], shares=[0.5], samples=4, seed=3)
    for kind in KINDS:
        np.testing.assert_array_equal(found.actual[kind, 0.5], expected.actual[kind, 0.5])


def test_a_kind_of_masks_that_is_not_there(explainer: Explainer, result: Interactions) -> None:
    scores = faithfulness(explainer, PAIRS[:1], explain=lambda _: result, masked=[obeying(result)])
    with pytest.raises(ParameterError, match="kind='image' is not one of 'patches', 'words', 'both'"):
        scores.mean_correlation("image")


def test_masks_of_another_pair_are_refused(explainer: Explainer) -> None:
    """Even if the other caption has as many tokens, or the image alone is another one."""
    pair = PAIRS[0]
    masked = mask_pair(explainer, pair, samples=2)
    scene = LabelledPair(PAIRS[1].image, pair.caption, pair.mentions)
    for other, message in (
        (replace(pair, caption=f"{pair.caption} there"), "the masks of the .* tokens of"),
        (replace(pair, caption=pair.caption.replace("a", "the", 1)), "the masks of the .* tokens of"),
        (scene, "it has other pixels"),
    ):
        with pytest.raises(ParameterError, match=message):
            faithfulness(explainer, [other], masked=[masked])


def of_other_weights() -> Explainer:
    """Return an explainer of another checkpoint of the model."""
    model = deepcopy(book().model)
    with torch.no_grad():
        model.visual.ln_post.weight.mul_(1.5)
    return Explainer(model, tokenizer=book().tokenizer, method="exclip")


def test_masks_of_another_model_are_refused(explainer: Explainer, result: Interactions) -> None:
    """The masked similarities of one checkpoint say nothing about another, nor about another reference."""
    masked = [mask_pair(explainer, PAIRS[0], samples=2)]
    blurred = Explainer(book().model, tokenizer=book().tokenizer, method="exclip", image_reference="blur")
    for other, name in ((of_other_weights(), "weights"), (blurred, "image_reference")):
        with pytest.raises(ParameterError, match=rf"masked\[0\]: {name} is .* expected masks and"):
            faithfulness(other, PAIRS[:1], masked=masked)
        own = [mask_pair(other, PAIRS[0], samples=2)]
        with pytest.raises(ParameterError, match=rf"interactions: {name} is "):
            own[0].predicted(result, "both", 0.5)
        with pytest.raises(ParameterError, match=rf"masked\[1\]: {name} is "):
            Trial(PAIRS, [], [*masked, *own])
        with pytest.raises(ParameterError, match=rf"masked\[0\]: {name} is "):
            make_report("other", other, Trial(PAIRS, [], masked))
        unknown = [replace(masked[0], origin=None)]
        assert faithfulness(other, PAIRS[:1], masked=unknown).mean_correlation("both") is not None
    # A method without references is scored against the masks of any explainer that has the same.
    plain = Explainer(book().model, tokenizer=book().tokenizer, method="similarity")
    assert faithfulness(plain, PAIRS[:1], masked=masked).mean_correlation("both") is not None
    assert pickle.loads(pickle.dumps(masked[0])).origin == explainer.origin_of_masked()


@pytest.mark.parametrize("score", [plausibility, faithfulness, deletion_curves])
def test_explanations_of_another_model_are_refused(result: Interactions, score: Any) -> None:
    with pytest.raises(ParameterError, match="explain returned interactions of a model with weights"):
        score(of_other_weights(), PAIRS[:1], explain=lambda _: result)
    unknown = replace(result, origin=None)
    assert score(of_other_weights(), PAIRS[:1], explain=lambda _: unknown) is not None


@pytest.mark.parametrize("score", [faithfulness, deletion_curves])
def test_explanations_with_another_reference_are_refused(result: Interactions, score: Any) -> None:
    blurred = Explainer(book().model, tokenizer=book().tokenizer, method="exclip", image_reference="blur")
    with pytest.raises(ParameterError, match=r"interactions: image_reference is 'zeros'.* 'blur'; expected"):
        score(blurred, PAIRS[:1], explain=lambda _: result)
    assert plausibility(blurred, PAIRS[:1], explain=lambda _: result) is not None


@pytest.mark.parametrize("score", [plausibility, faithfulness, deletion_curves])
def test_explanations_of_another_pair_are_refused(
    explainer: Explainer, result: Interactions, score: Any
) -> None:
    """Such as saved ones that are looked up in another order."""
    moved = replace(PAIRS[0], image=PAIRS[1].image)
    for pair, returned, message in (
        (PAIRS[1], result, "explain returned interactions of .* for the pair of"),
        (moved, result, "it has other pixels"),
        (PAIRS[0], result.values, "explain returned an ndarray; expected Interactions"),
        ((PAIRS[0].image, PAIRS[0].caption), result, "pairs has a tuple; expected LabelledPair"),
    ):
        with pytest.raises(ParameterError, match=message):
            score(explainer, [pair], explain=lambda _, found=returned: found)
