"""Banzhaf interactions: exact with all masks, and within their stated error with some."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support import oracle
from support.explaining import IMAGE
from support.oracle import assert_close
from support.zoo.families import FAMILIES, family, of_open_clip
from support.zoo.models import build, inputs_of
from torch import Tensor, nn

from exclip_widget import Explainer, ModelError, ParameterError, explain
from exclip_widget.methods import Banzhaf
from exclip_widget.results import second_order_of

PLAYERS = 6


@pytest.fixture(scope="module")
def six_tokens_and_six_patches() -> Any:
    """Return a family with images of 2 x 3 patches, and a caption of six tokens."""
    this = of_open_clip(31, size=(16, 24), grids=((2, 3),) * 3, context=77)
    return this, "a red boat below two fish"


@pytest.fixture(scope="module", params=[0, 2])
def played(request: Any, six_tokens_and_six_patches: Any) -> tuple[Callable[..., float], dict[str, Any], Any]:
    """Evaluate all 4096 coalitions at a layer; return players' effects, our options, model and caption."""
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
    """With as many samples as there are masks, interactions and main effects are exact for any p."""
    effect, options, (model, caption) = played
    exact = np.array([[effect([t], [k], p) for k in range(PLAYERS)] for t in range(PLAYERS)])
    ours = explain(model, IMAGE, caption, samples=64, p=p, **options)
    found = ours.values[1:7].reshape(PLAYERS, PLAYERS)
    assert_close(found, exact, 1e-4)
    assert not ours.values[[0, 7]].any()
    assert not ours.error.any()
    # A player's main effect is its own term plus p times its interactions with the others.
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
    # Special tokens are not players.
    assert not terms.token_pairs[0].any()


def test_pairs_need_masks() -> None:
    model = build("plain")
    explainer = Explainer(model, method="exclip", **inputs_of(model))
    with pytest.raises(ParameterError, match="has no masks"):
        second_order_of(explainer.text_factors("a red boat"), explainer.image_factors(IMAGE))


def test_rarer_presence_is_drawn_as_told() -> None:
    model = build("plain")
    explainer = Explainer(model, method="banzhaf", samples=200, p=0.2, **inputs_of(model))
    present = explainer.image_factors(IMAGE).samples.present
    players = ~present.all(0)
    assert present[:, players].mean() == pytest.approx(0.2, abs=0.05)


def test_standard_error_is_the_spread_of_repetitions() -> None:
    """The error that a single run states is about the spread over forty seeds."""
    model = build("plain")
    options = {"method": "banzhaf", "samples": 64, **inputs_of(model)}
    runs = [explain(model, IMAGE, "a red boat", seed=seed, **options) for seed in range(40)]
    spread = np.std([run.values for run in runs], axis=0, ddof=1)
    stated = np.sqrt(np.mean([run.error**2 for run in runs], axis=0))
    words = slice(1, -1)
    assert np.median(stated[words] / spread[words]) == pytest.approx(1, abs=0.25)


# ------------------------------------------------------------------------------------ masks that hide


def masks_of(count: int) -> Tensor:
    """Return all masks, in the order of the axes of `oracle.banzhaf_effect`."""
    return torch.tensor([*itertools.product((False, True), repeat=count)])


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)


def test_hidden_words_and_patches_are_those_of_fixlip() -> None:
    """FIxLIP puts zeros in the attention mask of transformers' CLIP, and multiplies pixels by a mask."""
    this = family("transformers CLIP")
    caption = "a red boat"
    ids, pixels = this.ids(caption), this.pixels(IMAGE)["pixel_values"]
    words, patches = masks_of(3), masks_of(9)
    attended = torch.ones(len(words), ids["input_ids"].shape[1], dtype=torch.long)
    attended[:, 1:4] = words
    kept = patches.reshape(-1, 1, 3, 3).repeat_interleave(8, 2).repeat_interleave(8, 3)
    with torch.no_grad():
        texts = [
            this.encode_text(this.model, {"input_ids": ids["input_ids"], "attention_mask": one[None]})
            for one in attended
        ]
        images = this.encode_image(this.model, {"pixel_values": pixels * kept})
    game = (unit(torch.cat(texts)) @ unit(images).T).double().reshape([2] * 12)
    for p in (0.5, 0.3):
        exact = [[oracle.banzhaf_effect(game, [t, 3 + k], p) for k in range(9)] for t in range(3)]
        method = Banzhaf(samples=512, p=p, masks="hide")
        ours = explain(this.model, IMAGE, caption, method=method, **this.options)
        assert_close(ours.values[1:4].reshape(3, 9), np.array(exact), 1e-4)
        of_words = [oracle.banzhaf_effect(game, [t], p) for t in range(3)]
        assert_close(ours.token_terms[1:4] + p * ours.values[1:4].sum((1, 2)), np.array(of_words), 1e-4)
        replaced = explain(this.model, IMAGE, caption, method=Banzhaf(samples=512, p=p), **this.options)
        assert np.abs(replaced.values - ours.values).max() > 0.01 * np.abs(ours.values).max()


MEAN_POOLED = {"open_clip, RoBERTa", "open_clip, XLM-RoBERTa"}


@pytest.mark.parametrize("name", FAMILIES)
def test_no_word_that_is_hidden_is_seen(name: str) -> None:
    """The output does not depend on words that are hidden."""
    this = family(name)
    explainer = Explainer(
        this.explained(this.model), method=Banzhaf(samples=16, masks="hide"), **this.options
    )
    if name == "own" or name in MEAN_POOLED:
        with pytest.raises(ModelError, match="changes with words that no token attends to"):
            explainer.text_factors("a red boat")
        return
    factors = explainer.text_factors("a red boat")
    samples = factors.samples
    assert samples is not None
    (nobody,) = np.flatnonzero(~samples.present[:, samples.present.any(0) & ~samples.present.all(0)].any(1))
    words = [row for row, word in enumerate(factors.rows.words) if word >= 0]
    other = explainer.text_factors("two blue fish")
    assert [row for row, word in enumerate(other.rows.words) if word >= 0] == words
    # With all words hidden, captions of the same length give the same output.
    assert_close(samples.outputs[nobody], other.samples.outputs[nobody], 1e-5)
    (everybody,) = np.flatnonzero(samples.present.all(1))
    assert_close(samples.outputs[everybody], factors.embedding, 1e-5)
    assert np.abs(samples.outputs[nobody] - factors.embedding).max() > 1e-2


class Experts(nn.Module):
    """A soft mixture of experts: a softmax for each token, but not over tokens."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.c_fc = nn.Linear(width, count)  # open_clip looks up its dtype
        nn.init.normal_(self.c_fc.weight, std=2 / width**0.5, generator=generator)
        self.experts = nn.Parameter(torch.randn(count, width, width, generator=generator) / width**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...e,...w,ewv->...v", self.c_fc(x).softmax(-1), x, self.experts)


def with_experts(count: int) -> Any:
    model: Any = build("plain")
    for block in model.transformer.resblocks:
        block.mlp = Experts(model.ln_final.normalized_shape[0], count)
    return model


def test_experts_are_not_hidden_with_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word is hidden by its column of the tower's own attention mask."""
    model, caption = with_experts(8), "a red boat"
    inputs = inputs_of(model)
    ids, own, outputs = inputs["tokenizer"](caption), model.attn_mask, []
    for words in masks_of(3):
        mask = own.clone()
        mask[:, 1:4] = mask[:, 1:4].masked_fill(~words, -torch.inf)
        mask.fill_diagonal_(0)
        monkeypatch.setattr(model, "attn_mask", mask)
        with torch.no_grad():
            outputs.append(unit(model.encode_text(ids))[0])
    monkeypatch.setattr(model, "attn_mask", own)
    game = torch.stack(outputs).reshape(2, 2, 2, -1)
    exact = [(game.select(word, 1) - game.select(word, 0)).mean((0, 1)) for word in range(3)]
    factors = Explainer(model, method=Banzhaf(samples=8, masks="hide"), **inputs).text_factors(caption)
    assert_close(factors.values[1:4], torch.stack(exact).numpy(), 1e-4)


def test_as_many_experts_as_tokens_are_refused() -> None:
    model = with_experts(build("plain").context_length)
    explainer = Explainer(model, method=Banzhaf(samples=8, masks="hide"), **inputs_of(model))
    with pytest.raises(ModelError, match=r"softmax of shape .* that is not over tokens .*masks='replace'"):
        explainer.text_factors("a red boat")


@pytest.mark.parametrize("name", ["open_clip ViT", "OpenAI ResNet", "open_clip SigLIP"])
def test_hidden_patches_have_the_pixels_of_the_reference(name: str) -> None:
    this = family(name)
    method = Banzhaf(samples=24, masks="hide")
    factors = Explainer(
        this.explained(this.model), method=method, image_reference="mean", **this.options
    ).image_factors(IMAGE)
    samples, grid = factors.samples, factors.rows
    assert samples is not None
    pixels = this.pixels(IMAGE)
    given = pixels if isinstance(pixels, Tensor) else pixels["pixel_values"]
    mean = given.mean((-2, -1), keepdim=True)
    height, width = (
        side // part for side, part in zip(given.shape[-2:], (grid.rows, grid.columns), strict=True)
    )
    for present, output in zip(samples.present, samples.outputs, strict=True):
        masked = given.clone()
        for place, kept in enumerate(present[grid.patches]):
            row, column = divmod(place, grid.columns)
            if not kept:
                masked[..., row * height : (row + 1) * height, column * width : (column + 1) * width] = mean
        with torch.no_grad():
            expected = unit(
                this.encode_image(
                    this.model, masked if isinstance(pixels, Tensor) else {"pixel_values": masked}
                )
            )
        assert_close(output, expected[0].numpy(), 1e-4)


def test_masks_that_are_not_known_are_refused() -> None:
    with pytest.raises(ParameterError, match="masks='pixels'; expected one of 'replace', 'hide'"):
        Banzhaf(masks="pixels")
