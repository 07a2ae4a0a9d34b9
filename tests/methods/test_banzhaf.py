"""Banzhaf interactions: exact with all masks, and as far off as they say with some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import oracle
from support.explaining import IMAGE
from support.oracle import assert_close
from support.zoo.families import of_open_clip
from support.zoo.models import build, inputs_of

from exclip_widget import Explainer, ParameterError, explain
from exclip_widget.results import second_order_of

PLAYERS = 6


@pytest.fixture(scope="module")
def six_tokens_and_six_patches() -> Any:
    """A caption of six tokens before a picture of 2 x 3 patches, at two layers of either tower."""
    this = of_open_clip(31, size=(16, 24), grids=((2, 3),) * 3, context=77)
    return this, "a red boat below two fish"


@pytest.fixture(scope="module", params=[0, 2])
def played(request: Any, six_tokens_and_six_patches: Any) -> tuple[Callable[..., float], dict[str, Any], Any]:
    """All 4096 coalitions at a layer: effects of players, the options of ours, and the model."""
    this, caption = six_tokens_and_six_patches
    layer = request.param
    text, image = oracle.cut_both(
        this, IMAGE, caption, text_layer=this.text_layers[layer], image_layer=this.image_layers[layer]
    )
    numbers = range(1, 1 + PLAYERS)
    game = oracle.banzhaf_game(text, image, numbers, numbers)

    def effect(tokens: list[int], patches: list[int], p: float = 0.5) -> float:
        return oracle.banzhaf_effect(game, [*tokens, *(PLAYERS + patch for patch in patches)], p)

    options = this.options | {"method": "banzhaf", "text_layer": layer, "image_layer": layer}
    return effect, options, (this.model, caption)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_banzhaf_equals_exact_enumeration(played: Any, p: float) -> None:
    """With no fewer masks than there are, interactions and main effects are exact, for any p."""
    effect, options, (model, caption) = played
    exact = np.array([[effect([t], [k], p) for k in range(PLAYERS)] for t in range(PLAYERS)])
    ours = explain(model, IMAGE, caption, samples=64, p=p, **options)
    found = ours.values[1:7].reshape(PLAYERS, PLAYERS)
    assert_close(found, exact, 1e-4)
    assert not ours.values[[0, 7]].any()
    assert not ours.error.any()
    # A player's main effect: its own term, and its interactions with the mean of the others.
    of_tokens = np.array([effect([t], [], p) for t in range(PLAYERS)])
    of_patches = np.array([effect([], [k], p) for k in range(PLAYERS)])
    assert_close(ours.token_terms[1:7] + p * found.sum(1), of_tokens, 1e-4)
    assert_close(ours.patch_terms.ravel() + p * found.sum(0), of_patches, 1e-4)


def test_drawn_masks_come_near_within_their_error(played: Any) -> None:
    effect, options, (model, caption) = played
    exact = np.array([[effect([t], [k]) for k in range(PLAYERS)] for t in range(PLAYERS)])
    drawn = explain(model, IMAGE, caption, samples=60, seed=3, **options)
    away = np.abs(drawn.values[1:7].reshape(PLAYERS, PLAYERS) - exact)
    error = drawn.error[1:7].reshape(PLAYERS, PLAYERS)
    assert (error > 0).all()
    assert (away < 6 * error).all()
    assert away.max() > 1e-3 * np.abs(exact).max()


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_pairs_within_a_side_equal_exact_enumeration(played: Any, p: float) -> None:
    effect, options, (model, caption) = played
    explainer = Explainer(model, samples=64, p=p, **options)
    terms = second_order_of(explainer.text_factors(caption), explainer.image_factors(IMAGE))
    pairs = [(one, other) for one in range(PLAYERS) for other in range(PLAYERS) if one != other]
    tokens = [terms.token_pairs[1 + one, 1 + other] for one, other in pairs]
    assert_close(np.array(tokens), np.array([effect([*pair], [], p) for pair in pairs]), 1e-4)
    patches = [terms.patch_pairs[1 + one, 1 + other] for one, other in pairs]
    assert_close(np.array(patches), np.array([effect([], [*pair], p) for pair in pairs]), 1e-4)
    third = [terms.token_pairs_by_patch[1 + one, 1 + other].ravel() for one, other in pairs]
    exact = [[effect([*pair], [k], p) for k in range(PLAYERS)] for pair in pairs]
    assert_close(np.array(third), np.array(exact), 1e-4)
    # Special tokens are no players.
    assert not terms.token_pairs[0].any()


def test_pairs_need_masks() -> None:
    model = build("plain")
    explainer = Explainer(model, method="exclip", **inputs_of(model))
    with pytest.raises(ParameterError, match="knows no masks"):
        second_order_of(explainer.text_factors("a red boat"), explainer.image_factors(IMAGE))


def test_rarer_presence_is_drawn_as_told() -> None:
    model = build("plain")
    explainer = Explainer(model, method="banzhaf", samples=200, p=0.2, **inputs_of(model))
    present = explainer.image_factors(IMAGE).samples.present
    players = ~present.all(0)
    assert present[:, players].mean() == pytest.approx(0.2, abs=0.05)


def test_standard_error_is_the_spread_of_repetitions() -> None:
    """Over forty seeds, the error that one of them states is about what the forty differ by."""
    model = build("plain")
    options = {"method": "banzhaf", "samples": 64, **inputs_of(model)}
    runs = [explain(model, IMAGE, "a red boat", seed=seed, **options) for seed in range(40)]
    spread = np.std([run.values for run in runs], axis=0, ddof=1)
    stated = np.sqrt(np.mean([run.error**2 for run in runs], axis=0))
    words = slice(1, -1)
    assert np.median(stated[words] / spread[words]) == pytest.approx(1, abs=0.25)
