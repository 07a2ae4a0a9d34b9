"""Pulling back a few directions of the captions' factors instead of all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.oracle import relative_error
from support.zoo.families import FAMILIES, family
from support.zoo.inputs import picture
from support.zoo.models import build, inputs_of

from exclip_widget import (
    Explainer,
    FrozenGates,
    IntegratedJacobians,
    Interactions,
    ParameterError,
    explain,
    explain_layers,
    interactions_of,
)
from exclip_widget.methods.directions import Directions
from exclip_widget.paths.frozen import HeldPass
from exclip_widget.results.normalisation import Normalisation

CAPTION, FOIL = "a red boat and two dogs", "a blue boat"
LAYERS: Any = {"text_layer": 0, "image_layer": 1}
METHODS = {
    "frozen": lambda rank: FrozenGates(rank=rank),
    "exclip": lambda rank: IntegratedJacobians(steps=3, rank=rank),
}


@pytest.fixture(scope="module")
def model() -> Any:
    return build("plain")


def explained(model: Any, method: Any, **options: Any) -> Interactions:
    return explain(model, picture(), CAPTION, method=method, **(LAYERS | options), **inputs_of(model))


def off(found: Interactions, whole: Interactions) -> float:
    return float(np.linalg.norm(found.values - whole.values) / np.linalg.norm(whole.values))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_the_whole_caption_is_exact_whatever_the_rank(model: Any, method: str, rank: int) -> None:
    whole, found = (explained(model, METHODS[method](r)) for r in (None, rank))
    assert relative_error(found.values.sum(0), whole.values.sum(0)) < 1e-5
    assert found.cls.sum() == pytest.approx(whole.cls.sum(), rel=1e-4, abs=1e-7)
    assert found.total == pytest.approx(whole.total, rel=1e-5, abs=1e-7)
    np.testing.assert_allclose(found.patch_terms, whole.patch_terms, atol=1e-6)
    assert found.similarity == pytest.approx(whole.similarity, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_it_is_off_by_less_than_it_says_and_the_less_the_more_directions(model: Any, method: str) -> None:
    whole = explained(model, METHODS[method](None))
    assert whole.error is None
    last = np.inf
    for rank in (2, 4, 6):
        found = explained(model, METHODS[method](rank))
        assert found.error is not None
        actual = np.linalg.norm(found.values - whole.values)
        assert 0 < actual < np.linalg.norm(found.error)
        assert actual < last
        last = float(actual)


@pytest.mark.parametrize("method", METHODS)
def test_a_rank_above_the_number_of_tokens_is_all_there_is(model: Any, method: str) -> None:
    whole, found = (explained(model, METHODS[method](rank)) for rank in (None, 1000))
    assert off(found, whole) < 1e-5
    assert found.error is None


@pytest.mark.parametrize("length", [False, True])
def test_all_directions_are_the_product_of_the_factors(model: Any, length: bool) -> None:
    explainer = Explainer(model, method=FrozenGates(length=length), **LAYERS, **inputs_of(model))
    product = interactions_of(explainer.text_factors(CAPTION), explainer.image_factors(picture()))
    found = explainer.explain(picture(), CAPTION)
    assert off(found, product) < 1e-5
    for one, other in ((found.token_terms, product.token_terms), (found.patch_terms, product.patch_terms)):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert found.cls_term == pytest.approx(product.cls_term, abs=1e-6)
    assert found.reference_term == pytest.approx(product.reference_term, abs=1e-6)
    assert found.total == pytest.approx(product.total, rel=1e-4)


@pytest.mark.parametrize("tolerance", [0.3, 0.05, 0.001])
def test_a_tolerance_is_kept(model: Any, tolerance: float) -> None:
    whole, found = (explained(model, FrozenGates(tolerance=t)) for t in (None, tolerance))
    assert off(found, whole) <= tolerance
    assert found.steps == found.nodes <= whole.steps


@pytest.mark.parametrize("name", list(FAMILIES)[::5])
def test_a_tolerance_is_kept_by_every_family(name: str) -> None:
    this = family(name)
    image_layer = this.image_layers[0]
    whole, found = (
        explain(
            this.explained(this.model),
            picture(),
            CAPTION,
            method=FrozenGates(tolerance=tolerance),
            text_layer=0,
            image_layer=image_layer,
            **this.options,
        )
        for tolerance in (None, 0.1)
    )
    assert off(found, whole) <= 0.1


def test_less_is_pulled_back_for_a_larger_tolerance(model: Any) -> None:
    loose, tight = (explained(model, FrozenGates(tolerance=tolerance)).steps for tolerance in (1, 1e-4))
    assert loose < tight


def test_estimates_begin_with_the_whole_caption_and_end_with_the_result(model: Any) -> None:
    explainer = Explainer(model, method="frozen", **LAYERS, **inputs_of(model))
    texts = [explainer.text_factors(CAPTION)]
    found = [one for (one,) in explainer.refine(texts, picture(), 5)]
    whole = explainer.explain(picture(), CAPTION)
    assert [one.nodes for one in found] == [1, 3, 7, 8]  # the whole caption first, then two at a time
    for one in found:
        assert relative_error(one.values.sum(0), whole.values.sum(0)) < 1e-5
    errors = [off(one, whole) for one in found]
    assert errors == sorted(errors, reverse=True)
    np.testing.assert_array_equal(found[-1].values, whole.values)
    assert found[-1].error is None


def test_a_foil_has_a_whole_too(model: Any) -> None:
    explainer = Explainer(model, method=FrozenGates(rank=1), **LAYERS, **inputs_of(model))
    texts = [explainer.text_factors(caption) for caption in (CAPTION, FOIL)]
    ((caption, foil),) = explainer.refine(texts, picture())
    exact = Explainer(model, method="frozen", **LAYERS, **inputs_of(model))
    for found, text in ((caption, CAPTION), (foil, FOIL)):
        whole = exact.explain(picture(), text)
        assert relative_error(found.values.sum(0), whole.values.sum(0)) < 1e-5
        assert found.rows.caption == text


def test_layers_share_their_directions(model: Any) -> None:
    found = explain_layers(model, picture(), CAPTION, method=FrozenGates(tolerance=0.05), **inputs_of(model))
    whole = explain_layers(model, picture(), CAPTION, method="frozen", **inputs_of(model))
    assert list(found) == list(whole)
    for layers, one in found.items():
        assert off(one, whole[layers]) <= 0.05


def test_the_basis_is_orthonormal_and_spans_the_factors(model: Any) -> None:
    explainer = Explainer(model, method="frozen", **LAYERS, **inputs_of(model))
    factors = explainer.text_factors(CAPTION)
    directions = Directions.of([factors])
    np.testing.assert_allclose(
        directions.basis @ directions.basis.T, np.eye(len(directions.basis)), atol=1e-9
    )
    spanned = directions.coefficients @ directions.basis
    np.testing.assert_allclose(spanned[:-1], factors.values, atol=1e-6)
    np.testing.assert_allclose(spanned[-1], factors.reference, atol=1e-6)
    assert directions.needed == 2


def test_length_moves_from_interactions_to_own_terms(model: Any) -> None:
    """The predicted effect of masking words does not change, and neither does the total."""
    with_it, without = (explained(model, FrozenGates(length=length)) for length in (True, False))
    assert off(without, with_it) > 0.01
    of_words = [one.values.sum((1, 2)) + one.cls + one.token_terms for one in (with_it, without)]
    np.testing.assert_allclose(*of_words, atol=1e-6)


def test_patches_add_in_all_what_turns_the_embedding(model: Any) -> None:
    """The path runs between two embeddings of the held pass, from one direction to the other."""
    held, other = (
        Explainer(model, method=FrozenGates(length=length), **LAYERS, **inputs_of(model))
        for length in (True, False)
    )
    text, image = other.text_factors(CAPTION), other.image_factors(picture())
    start = held.image_factors(picture()).reference
    normalisation = Normalisation.between(start, image.embedding)
    parts = held.image_factors(picture()).values
    image = replace(image, start=start, values=normalisation.of_pairs(parts))
    found = interactions_of(text, image)
    everything = found.values.sum() + found.cls.sum() + found.patch_terms.sum() + found.cls_term
    expected = text.embedding @ (image.embedding - start / np.linalg.norm(start))
    assert everything == pytest.approx(expected, abs=1e-5)


def test_the_embedding_of_the_reference_is_computed_once(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer = Explainer(model, method=FrozenGates(length=False), **LAYERS, **inputs_of(model))
    first = explainer.explain(picture(), CAPTION)
    monkeypatch.setattr("exclip_widget.models.activation_cache.embedding_of", None)
    again = explainer.explain(picture(), CAPTION)
    np.testing.assert_array_equal(first.patch_terms, again.patch_terms)


@pytest.mark.parametrize("length", [None, 1, "yes"])
def test_a_length_that_is_no_choice_is_refused(length: Any) -> None:
    with pytest.raises(ParameterError, match="length="):
        FrozenGates(length=length)


@pytest.mark.parametrize("rank", [0, -1, 1.5, True, "3"])
@pytest.mark.parametrize("method", [FrozenGates, IntegratedJacobians])
def test_a_rank_that_is_none_is_refused(method: Any, rank: Any) -> None:
    with pytest.raises(ParameterError, match="rank="):
        method(rank=rank)


@pytest.mark.parametrize("tolerance", [0, -0.1, float("nan"), float("inf"), "loose"])
def test_a_tolerance_that_is_none_is_refused(tolerance: Any) -> None:
    with pytest.raises(ParameterError, match="tolerance="):
        FrozenGates(tolerance=tolerance)


def test_a_rank_and_a_tolerance_at_once_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"rank=3 and tolerance=0\.1"):
        FrozenGates(rank=3, tolerance=0.1)


@pytest.mark.parametrize("tolerance", [0.2, 0.02])
def test_a_grid_of_layers_is_as_exact_as_asked(model: Any, tolerance: float) -> None:
    found, whole = (
        explain_layers(model, picture(), CAPTION, method=FrozenGates(tolerance=t), **inputs_of(model))
        for t in (tolerance, None)
    )
    assert list(found) == list(whole)
    for layers, one in found.items():
        assert off(one, whole[layers]) <= tolerance
        assert relative_error(one.values.sum(0), whole[layers].values.sum(0)) <= tolerance
        assert one.similarity == pytest.approx(whole[layers].similarity, abs=1e-6)
        np.testing.assert_allclose(one.token_terms, whole[layers].token_terms, atol=tolerance)


@pytest.mark.parametrize("name", list(FAMILIES)[1::4])
def test_a_grid_of_layers_of_every_family(name: str) -> None:
    this = family(name)
    found, whole = (
        explain_layers(
            this.explained(this.model), picture(), CAPTION, method=FrozenGates(tolerance=t), **this.options
        )
        for t in (0.05, None)
    )
    for layers, one in found.items():
        scale = np.linalg.norm(whole[layers].values)
        assert np.linalg.norm(one.values - whole[layers].values) <= 0.05 * scale + 1e-7


def test_text_layers_in_any_order(model: Any) -> None:
    options: Any = {"method": FrozenGates(tolerance=0.01), "image_layers": [1], **inputs_of(model)}
    up, down = (
        explain_layers(model, picture(), CAPTION, text_layers=layers, **options)
        for layers in ([0, 1, "output"], ["output", 1, 0])
    )
    assert list(down) == [("output", 1), (1, 1), (0, 1)]
    for layers, one in down.items():
        np.testing.assert_allclose(one.values, up[layers].values, atol=1e-6)
        assert one.text_layer == up[layers].text_layer


def test_factors_of_few_directions_say_what_they_lack(model: Any) -> None:
    """The result passes it on as an error that bounds what is missing."""
    found, whole = (
        explain_layers(model, picture(), CAPTION, method=FrozenGates(tolerance=t), **inputs_of(model))
        for t in (0.3, None)
    )
    for layers, one in found.items():
        if (away := np.linalg.norm(one.values - whole[layers].values)) > 1e-6:
            assert one.error is not None
            assert away < np.linalg.norm(one.error)


def test_the_range_is_found_in_one_pass(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[object] = []

    def spy(*arguments: Any) -> Any:
        passes.append(HeldPass(*arguments))
        return passes[-1]

    monkeypatch.setattr("exclip_widget.methods.frozen.HeldPass", spy)
    explain_layers(model, picture(), CAPTION, method=FrozenGates(tolerance=0.1), **inputs_of(model))
    assert len(passes) == 2  # one for each tower
