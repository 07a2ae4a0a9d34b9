"""Every family of models against the definition of every method, computed naively in float64."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from support import held, oracle
from support.cuts import (
    CUTS,
    EVERY,
    KINK,
    KINKED,
    STEPS,
    TOLERANCE,
    Record,
    assert_agree,
    cut,
    explained,
    layers,
    picture,
    rows_of,
    truth,
)
from support.oracle import assert_close, in_float64, relative_error
from support.snapshots import unchanged
from support.support_table import FAMILY, RUN, VERIFIED, family_row
from support.zoo.families import family

from exclip_widget import ExclipError, Interactions, explain_layers
from exclip_widget.models.fingerprint import fingerprint, outline
from exclip_widget.models.towers import find_towers
from exclip_widget.paths.frozen import HeldPass


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("text", "image", "caption"), CUTS)
def test_exclip_is_the_definition(
    name: str, text: int, image: int | str, caption: str, record_property: Record
) -> None:
    this = family(name)
    text_layer, image_layer = layers(this, text, image)
    record_property(VERIFIED, f"{name}|exclip|{text_layer}|{image_layer}")
    found = explained(name, text_layer, image_layer, caption, steps=STEPS)
    expected = truth(name, text, image, caption)
    grid = this.grids[this.image_layers.index(image_layer)]
    if name in KINKED:
        # Rounding to float32 may move an activation across its kink and so change one node's derivative.
        # Which one depends on the processor. In float64, this does not happen.
        exact = explained(name, text_layer, image_layer, caption, in_float64(this.model), steps=STEPS)
        assert_agree(exact, this, expected, caption, grid)
        assert_agree(found, this, expected, caption, grid, tolerance=KINK)
    else:
        assert_agree(found, this, expected, caption, grid)
    assert found.total == pytest.approx(expected.total, abs=1e-4)
    assert found.error is None
    # The residual reports what is missing from the sum.
    everything = found.values.sum(dtype=float) + found.cls.sum(dtype=float)
    assert found.residual == pytest.approx(
        abs(found.total - everything) / abs(found.total), rel=1e-3, abs=1e-4
    )


@pytest.mark.parametrize("name", [name for name in EVERY if name != "own"])
def test_inspection_recognises_the_librarys_own_code(name: str) -> None:
    """Otherwise each edit of the caption would run the image tower again."""
    towers = find_towers(family(name).model)
    assert towers.image.is_own
    assert towers.text.is_own
    assert fingerprint(towers.image.modules()) is not None
    assert outline(towers.model.modules()) is not None


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("text", "image", "caption"), CUTS)
def test_frozen_is_the_pass_run_again_with_its_gates_held(
    name: str, text: int, image: int | str, caption: str, record_property: Record
) -> None:
    this = family(name)
    text_layer, image_layer = layers(this, text, image)
    record_property(VERIFIED, f"{name}|frozen|{text_layer}|{image_layer}")
    expected = held.frozen(*cut(name, text, image, caption), gated_units=name in GATED_UNITS)
    grid = this.grids[this.image_layers.index(image_layer)]
    found = explained(name, text_layer, image_layer, caption, method="frozen")
    assert_agree(found, this, expected, caption, grid)
    exact = explained(name, text_layer, image_layer, caption, in_float64(this.model), method="frozen")
    assert_agree(exact, this, expected, caption, grid, tolerance=1e-6)  # results are float32
    assert found.residual < 1e-5
    # Own terms of each side. Together with the interactions, they add up to the similarity.
    text_terms = np.array([expected.text_terms[row].sum() for row in rows_of(this, caption)])
    largest = max(np.abs(text_terms).max(), np.abs(expected.image_terms).max(), 1e-3)
    np.testing.assert_allclose(exact.token_terms, text_terms, atol=1e-6 * largest)
    own = exact.patch_terms.sum(dtype=float) + exact.cls_term
    assert own == pytest.approx(expected.image_terms.sum(), abs=1e-5 * largest * len(expected.image_terms))
    assert exact.reference_term == pytest.approx(expected.reference_term, abs=1e-5 * largest)
    patches = expected.image_terms[this.extra_before :][: grid[0] * grid[1]].reshape(grid)
    np.testing.assert_allclose(exact.patch_terms, patches, atol=1e-6 * largest)
    assert sum_of_all(found) == pytest.approx(found.similarity, abs=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_frozen_with_the_length_of_the_embedding_held(name: str) -> None:
    this = family(name)
    text, image, caption = CUTS[0]
    text_layer, image_layer = layers(this, text, image)
    truth = held.frozen(*cut(name, text, image, caption), gated_units=name in GATED_UNITS, length=True)
    found = explained(
        name, text_layer, image_layer, caption, in_float64(this.model), method="frozen", length=True
    )
    grid = this.grids[this.image_layers.index(image_layer)]
    assert_agree(found, this, truth, caption, grid, tolerance=1e-6)
    text_terms = np.array([truth.text_terms[row].sum() for row in rows_of(this, caption)])
    largest = max(np.abs(text_terms).max(), np.abs(truth.image_terms).max(), 1e-3)
    np.testing.assert_allclose(found.token_terms, text_terms, atol=1e-6 * largest)
    assert sum_of_all(found) == pytest.approx(found.similarity, abs=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_frozen_at_all_layers_is_one_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One held pass serves all image layers, and each result is that of its layer alone."""
    this = family(name)
    passes: list[object] = []

    def spy(*arguments: Any) -> Any:
        passes.append(HeldPass(*arguments))
        return passes[-1]

    monkeypatch.setattr("exclip_widget.methods.frozen.HeldPass", spy)
    text = this.text_layers[0]
    together = explain_layers(
        this.explained(this.model),
        picture(),
        "a red boat",
        text_layers=[text],
        image_layers=[*reversed(this.image_layers), "output"],
        method="frozen",
        **this.options,
    )
    assert len(passes) == 1
    for (_, image_layer), found in together.items():
        alone = explained(name, text, image_layer, "a red boat", method="frozen")
        # At the output of a tower that pools its class token, the values of all patches are zero.
        for one, other in ((found.values, alone.values), (found.patch_terms, alone.patch_terms)):
            np.testing.assert_allclose(one, other, atol=TOLERANCE * max(np.abs(other).max(), 1e-3))
        assert found.image_layer == alone.image_layer


def sum_of_all(found: Interactions) -> float:
    """Return the sum of interactions, own terms and the constant."""
    parts = (found.values, found.cls, found.token_terms, found.patch_terms)
    of_pairs_and_sides = sum(float(part.sum(dtype=float)) for part in parts)
    return of_pairs_and_sides + found.cls_term + found.reference_term


@pytest.mark.parametrize("name", ["OpenAI ViT", "open_clip SigLIP", "transformers CLIP", "own"])
def test_own_terms_of_exclip_are_products_with_the_reference(name: str) -> None:
    """With the interactions, they add up to the similarity, up to quadrature error."""
    found = explained(name, -1, -1, "a red boat", steps=40)
    text, image = cut(name, -1, -1, "a red boat")
    with torch.no_grad():
        f, g = text.run(text.x), image.run(image.x)
        f_r, g_r = text.run(text.r), image.run(image.r)
    norms = float(f.norm() * g.norm())
    scale = np.abs(found.values).max() + 1e-3
    assert found.token_terms.sum() == pytest.approx(float((f - f_r) @ g_r) / norms, abs=5e-3 * scale + 1e-4)
    of_image = found.patch_terms.sum() + found.cls_term
    assert of_image == pytest.approx(float((g - g_r) @ f_r) / norms, abs=5e-3 * scale + 1e-4)
    assert found.reference_term == pytest.approx(float(f_r @ g_r) / norms, abs=1e-5)
    assert sum_of_all(found) == pytest.approx(found.similarity, abs=1e-2 * scale + 1e-3)


ONE_NODE: dict[str, Any] = {"rule": "right", "steps": 1}
"""The cheapest path, for tests that do not need exact results."""

GATED_UNITS = ("open_clip EVA02",)
"""Families whose activations gate another signal."""


@pytest.mark.parametrize("name", EVERY)
def test_tokens_end_where_the_caption_does(name: str) -> None:
    this = family(name)
    found = explained(name, -1, -1, "a red boat", **ONE_NODE)
    assert len(found.tokens) == len(found.values) == len(rows_of(this, "a red boat"))
    assert ("<pad>" in found.tokens) == this.text_pads
    if this.text_pads:
        assert found.tokens[-1] == "<pad>"


@pytest.mark.parametrize("name", EVERY)
def test_layers_by_name_are_those_by_number(name: str, record_property: Record) -> None:
    this = family(name)
    row = family_row(EVERY.index(name), len(EVERY), name, this.image_layers, this.text_layers)
    record_property(FAMILY, row)
    for text, image in ((0, len(this.image_layers) - 1), (len(this.text_layers) - 1, 0)):
        by_name = explained(name, this.text_layers[text], this.image_layers[image], "a red boat", **ONE_NODE)
        by_number = explained(name, text, image, "a red boat", **ONE_NODE)
        from_the_end = explained(
            name, text - len(this.text_layers), image - len(this.image_layers), "a red boat", **ONE_NODE
        )
        np.testing.assert_array_equal(by_number.values, by_name.values)
        np.testing.assert_array_equal(from_the_end.values, by_name.values)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in KINKED])
def test_residual_vanishes(name: str) -> None:
    found = explained(name, -1, -1, "a red boat", steps=40)
    everything = found.values.sum(dtype=float) + found.cls.sum(dtype=float)
    assert abs(found.total - everything) < 1e-3 * np.abs(found.values).max() + 1e-6
    assert found.residual == pytest.approx(abs(found.total - everything) / abs(found.total), abs=1e-4)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("text", "image", "caption"), [CUTS[1], CUTS[3]])
@pytest.mark.parametrize("method", ["gradient", "similarity"])
def test_other_methods_are_their_definitions(
    name: str, text: int, image: int | str, caption: str, method: str, record_property: Record
) -> None:
    this = family(name)
    text_layer, image_layer = layers(this, text, image)
    record_property(VERIFIED, f"{name}|{method}|{text_layer}|{image_layer}")
    found = explained(name, text_layer, image_layer, caption, method=method)
    expected = getattr(oracle, method)(*cut(name, text, image, caption))
    assert_agree(found, this, expected, caption, this.grids[this.image_layers.index(image_layer)])
    assert np.isnan(found.residual)
    assert found.error is None


FEW_PATCHES = (
    "OpenAI ViT",
    "open_clip SigLIP 2",
    "open_clip, BERT",
    "open_clip, RoBERTa",
    "transformers CLIP",
    "transformers SigLIP",
    "own",
)
"""Families with so few patches at the last image layer that every coalition can be evaluated."""


@pytest.mark.parametrize("name", FEW_PATCHES)
def test_banzhaf_is_the_exact_one_within_its_error(name: str, record_property: Record) -> None:
    caption = "a red boat"
    record_property(VERIFIED, f"{name}|banzhaf|-1|-1")
    text, image = cut(name, -1, -1, caption)
    first = family(name).extra_before
    patches = list(range(first, len(image.by_site(image.x)) - family(name).extra_after))
    found = explained(name, -1, -1, caption, method="banzhaf", samples=1000, seed=1)
    # Special tokens are always present, as padding and class tokens are.
    tokens = [site for site, word in enumerate(found.words) if word >= 0]
    assert len(tokens) >= 3
    exact = oracle.banzhaf_exact(text, image, tokens, patches).values[np.ix_(tokens, patches)]
    assert found.error.shape == found.values.shape
    assert np.isnan(found.residual)
    values, error = (part[tokens].reshape(exact.shape) for part in (found.values, found.error))
    assert not np.delete(found.values, tokens, axis=0).any()
    away = np.abs(values - exact)
    largest = np.abs(exact).max()
    assert (away <= 6 * error + TOLERANCE * largest).all()
    # The error must not be inflated: it has the size of what it bounds, and more coalitions shrink it.
    assert np.sqrt((away**2).mean()) > 0.1 * np.sqrt((error**2).mean()) - TOLERANCE * largest
    longer = explained(name, -1, -1, caption, method="banzhaf", samples=4000, seed=1)
    assert longer.error.mean() <= 0.7 * found.error.mean()
    again = explained(name, -1, -1, caption, method="banzhaf", samples=1000, seed=1)
    np.testing.assert_array_equal(again.values, found.values)
    other = explained(name, -1, -1, caption, method="banzhaf", samples=1000, seed=2)
    assert relative_error(other.values, found.values) < 1


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("method", ["exclip", "frozen", "similarity", "gradient", "banzhaf"])
def test_model_is_left_alone(name: str, method: str, record_property: Record) -> None:
    # At the last layer of a normalised tower, gradient times activation is zero up to rounding.
    layer = 0 if method == "gradient" else -1
    record_property(RUN, f"{name}|{method}|{layer}|{layer}")
    this = family(name)
    model = copy.deepcopy(this.model)
    # A model as it may be during training: parts frozen, gradients stored, hooks registered.
    model.train()
    modules = dict(model.named_modules())
    modules[this.text_layers[0]].eval()
    seen: list[int] = []
    modules[this.image_layers[0]].register_forward_hook(lambda *_: seen.append(1))
    modules[this.text_layers[-1]].register_forward_pre_hook(lambda *_: None)
    weights = list(model.parameters())
    weights[0].requires_grad_(False)
    weights[1].grad = torch.ones_like(weights[1])
    more = {"samples": 20, "seed": 0} if method == "banzhaf" else {}
    with unchanged(model):
        found = explained(name, layer, layer, "a red boat", model, method=method, **more)
    calm = explained(name, layer, layer, "a red boat", method=method, **more)
    assert_close(found.values, calm.values, TOLERANCE)


@pytest.mark.parametrize("name", ["open_clip ViT", "transformers SigLIP 2", "own"])
def test_model_is_left_alone_by_a_failure(name: str) -> None:
    this = family(name)
    model = copy.deepcopy(this.model)
    layer = dict(model.named_modules())[this.image_layers[-1]]

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    handle = layer.register_forward_hook(fail)
    with unchanged(model), pytest.raises((ZeroDivisionError, ExclipError)):
        explained(name, -1, -1, "a red boat", model)
    handle.remove()
    explained(name, -1, -1, "a red boat", model, steps=2)
