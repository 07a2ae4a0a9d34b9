"""Masking tests: predicted and actual change, each against an independent computation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.snapshots import unchanged
from support.widgets import book
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of, residual_networks
from torch import Tensor
from torch.nn import functional as F

from exclip_widget import Explainer, Interactions, ParameterError
from exclip_widget.masking import patches_as_tokens
from exclip_widget.results import View

PAGE = book().pages[0]
PATCH = 8  # side in pixels, for the picture book's model


def pair(method: str = "exclip", **options: Any) -> tuple[Explainer, Interactions]:
    explainer = Explainer(book().model, tokenizer=book().tokenizer, method=method, **options)
    return explainer, explainer.explain(PAGE.image, PAGE.caption)


EXPLAINER, INTERACTIONS = pair()
ROWS, COLUMNS = INTERACTIONS.values.shape[1:]


def picture_without(region: Sequence[int]) -> Tensor:
    """Return the image's unit embedding with the preprocessed pixels of some patches set to zero."""
    pixels = book().preprocess(PAGE.image)[None].clone()
    for patch in region:
        row, column = divmod(patch, COLUMNS)
        pixels[..., row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = 0
    with torch.no_grad():
        return F.normalize(book().model.encode_image(pixels), dim=-1)[0]


def caption_without(tokens: Sequence[int]) -> Tensor:
    """Return the caption's unit embedding with some ids replaced by those of `<sot> <pad> <eot> 0 0 ...`."""
    model = book().model
    ids = book().tokenizer(PAGE.caption)
    reference = torch.zeros_like(ids)
    reference[0, 0], reference[0, 2] = ids[0, 0], ids.max()
    masked = ids.clone()
    masked[0, list(tokens)] = reference[0, list(tokens)]
    with torch.no_grad():
        x = model.token_embedding(masked) + model.positional_embedding
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
        return F.normalize(x[0, ids.argmax()] @ model.text_projection, dim=-1)


SELECTIONS = [
    ([2, 3], []),
    ([], [27, 28, 40]),
    ([2, 3], [27, 28, 40]),
    ([7, 8], range(0, 144, 2)),
    ([1], [0]),
]


@pytest.mark.parametrize(("tokens", "region"), SELECTIONS)
def test_actual_change_is_that_of_the_masked_model(tokens: Sequence[int], region: Sequence[int]) -> None:
    similarity = {
        (with_tokens, with_region): float(
            caption_without([] if with_tokens else tokens) @ picture_without([] if with_region else region)
        )
        for with_tokens in (True, False)
        for with_region in (True, False)
    }
    if tokens and region:
        expected = similarity[1, 1] - similarity[0, 1] - similarity[1, 0] + similarity[0, 0]
    else:
        expected = similarity[not tokens, not region] - similarity[1, 1]
    test = EXPLAINER.test(INTERACTIONS, PAGE.image, tokens, region)
    assert test.actual == pytest.approx(expected, abs=2e-6)
    assert abs(expected) > 2e-5  # there was something to find


@pytest.mark.parametrize(("tokens", "region"), SELECTIONS)
def test_predicted_change_is_a_sum_of_terms(tokens: Sequence[int], region: Sequence[int]) -> None:
    everything = np.concatenate([INTERACTIONS.values.reshape(10, -1), INTERACTIONS.cls[:, None]], 1)
    if tokens and region:
        expected = sum(float(everything[token, patch]) for token in tokens for patch in region)
    elif tokens:
        expected = -sum(float(everything[token].sum() + INTERACTIONS.token_terms[token]) for token in tokens)
    else:
        own = INTERACTIONS.patch_terms.ravel()
        expected = -sum(float(everything[:, patch].sum() + own[patch]) for patch in region)
    assert EXPLAINER.test(INTERACTIONS, PAGE.image, tokens, region).predicted == pytest.approx(
        expected, abs=1e-5
    )


def test_all_of_the_picture_masked_is_the_reference_picture() -> None:
    """At a layer with a coarser grid than the first, masking a patch masks all that it covers."""
    model, _ = residual_networks()
    explainer = Explainer(model, **inputs_of(model), method="exclip")
    image = Image.fromarray(scene())
    interactions = explainer.explain(image, "a red boat")
    rows, columns = interactions.values.shape[1:]
    test = explainer.test(interactions, image, region=range(rows * columns))
    with torch.no_grad():
        pixels = inputs_of(model)["preprocess"](image)[None]
        masked, whole = F.normalize(model.encode_image(torch.cat([torch.zeros_like(pixels), pixels])), dim=-1)
        caption = F.normalize(model.encode_text(inputs_of(model)["tokenizer"]("a red boat")), dim=-1)[0]
    assert test.actual == pytest.approx(float(caption @ masked - caption @ whole), abs=1e-5)


def test_patches_cover_all_cells_of_a_finer_grid_once() -> None:
    model, _ = residual_networks()
    explainer = Explainer(model, image_layer=3, **inputs_of(model), method="exclip")
    pixels = explainer.read_image(Image.fromarray(scene()))
    ((first,),) = explainer._image_sides([pixels], explainer._towers.image.layers[:1])
    ((last,),) = explainer._image_sides([pixels], explainer._towers.image.layers[-1:])
    grid = last.rows.rows, last.rows.columns
    assert (first.rows.rows, first.rows.columns) > grid
    masks = patches_as_tokens(first, np.eye(grid[0] * grid[1], dtype=bool).reshape(-1, *grid))
    np.testing.assert_array_equal(masks[:, first.rows.patches].sum(0), 1)
    cells = masks[0].reshape(first.rows.rows, first.rows.columns)
    assert cells[: cells.shape[0] // grid[0], : cells.shape[1] // grid[1]].all()


def test_prediction_of_exact_banzhaf_is_of_the_right_size() -> None:
    """By definition, the two agree on average over contexts; in this one, they should at least be alike."""
    explainer, interactions = pair("banzhaf", samples=256)
    test = explainer.test(interactions, PAGE.image, tokens=[2, 3])
    assert np.sign(test.actual) == np.sign(test.predicted) == -1


@pytest.mark.parametrize(
    ("tokens", "region", "label"),
    [
        ([2, 3], [1, 2, 3], "red boat × 3 patches"),
        ([3], [], "boat"),
        ([2, 7, 8], [4], "red … yellow fish × 1 patch"),
        ([], [4, 4, 5], "2 patches"),
        ([0, 1], [], "<sot> a"),
    ],
)
def test_label(tokens: list[int], region: list[int], label: str) -> None:
    assert EXPLAINER.test(INTERACTIONS, PAGE.image, tokens, region).label == label


@pytest.mark.parametrize(
    ("tokens", "region", "message"),
    [
        ([], [], "nothing is selected"),
        ([10], [], "tokens has 10; expected numbers from 0 to 9"),
        ([], [144], "region has 144"),
        ([-1], [], "tokens=-1"),
        ([1.5], [], r"tokens=1\.5"),
        ([True], [], "tokens=True"),
        (1, [], "tokens=1 is not a list; give one number as a list of one"),
        ([], 1, "region=1 is not a list"),
    ],
)
def test_bad_selections_are_refused(tokens: Any, region: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        EXPLAINER.test(INTERACTIONS, PAGE.image, tokens, region)


MASKS = np.ones((2, len(INTERACTIONS.rows)), bool), np.ones((1, 4, 4), bool)


def test_masks_may_be_of_any_kind() -> None:
    tokens, patches = (masks.copy() for masks in MASKS)
    tokens[1, 2], patches[0, 1, 2] = False, False
    expected = EXPLAINER.masked_embeddings(PAGE.image, PAGE.caption, tokens, patches)
    read_only = tokens.copy()
    read_only.flags.writeable = False
    for given in (
        (tokens.tolist(), patches.tolist()),
        (torch.from_numpy(tokens), torch.from_numpy(patches)),
        (read_only, np.ascontiguousarray(patches[:, ::-1])[:, ::-1]),
    ):
        found = EXPLAINER.masked_embeddings(PAGE.image, PAGE.caption, *given)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("tokens", "patches", "message"),
    [
        (
            MASKS[0].astype(int),
            MASKS[1],
            r"tokens is of int64 \(2, 10\); expected an array of booleans, \(mas",
        ),
        (
            MASKS[0][0],
            MASKS[1],
            r"tokens is of bool \(10,\); expected an array of booleans, \(masks, rows of",
        ),
        (MASKS[0], MASKS[1][0], r"patches is of bool \(4, 4\); .*, \(masks, rows, columns\)"),
        ([[True], [True, False]], MASKS[1], "tokens is a list; expected an array of booleans"),
        (None, MASKS[1], "tokens is a NoneType"),
        (MASKS[0][:, 1:], MASKS[1], "tokens has 9 columns; expected 10"),
    ],
)
def test_bad_masks_are_refused(tokens: Any, patches: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        EXPLAINER.masked_embeddings(PAGE.image, PAGE.caption, tokens, patches)


def test_what_is_no_result_is_refused() -> None:
    for given in (None, EXPLAINER.text_factors("a boat")):
        with pytest.raises(ParameterError, match=r"interactions is a .*; expected what explain returns"):
            EXPLAINER.test(given, PAGE.image, [1])  # type: ignore[arg-type]


def test_words_that_have_changed_since() -> None:
    class Cut(type(book().tokenizer)):
        words = 99

        def __call__(self, text: str) -> Tensor:
            return super().__call__(" ".join(text.split()[: self.words]))

    tokenizer = Cut()
    explainer = Explainer(book().model, tokenizer=tokenizer)
    interactions = explainer.explain(PAGE.image, PAGE.caption)
    explainer.test(interactions, PAGE.image, [2])
    tokenizer.words = 3
    with pytest.raises(ParameterError, match=r"tokens 'a red boat left of .*now gives .*; explain .* again"):
        explainer.test(interactions, PAGE.image, [2])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            book().pages[1].image,
            r"'a red boat left of .* explained: it has other pixels; give that image, or",
        ),
        (PAGE.image.resize((64, 48)), "it has 64 x 48 pixels, not 480 x 480"),
    ],
)
def test_another_image_is_refused(other: Image.Image, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        EXPLAINER.test(INTERACTIONS, other, [2])


def test_an_image_of_which_nothing_is_known_is_taken() -> None:
    """Preprocessed pixels show nothing of their image, and neither does a result of them."""
    pixels = book().preprocess(PAGE.image)
    found = [
        EXPLAINER.test(INTERACTIONS, pixels, [2]),
        EXPLAINER.test(EXPLAINER.explain(pixels, PAGE.caption), PAGE.image, [2]),
        EXPLAINER.test(replace(INTERACTIONS, view=View(PAGE.image.size)), PAGE.image, [2]),
    ]
    assert [test.actual for test in found] == pytest.approx([found[0].actual] * 3)


def test_model_is_as_it_was() -> None:
    model = build("plain")
    explainer = Explainer(model, **inputs_of(model), method="exclip")
    image = Image.fromarray(scene())
    interactions = explainer.explain(image, "a red boat")
    model.train()
    with unchanged(model):
        explainer.test(interactions, image, [1], [1])
    assert model.training
