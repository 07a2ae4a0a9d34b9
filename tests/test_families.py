"""Every family of models against the definitions of every method, computed naively in float64.

The first part tests the definitions (``cut_oracle``) and the families themselves; the second the engine.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cut_oracle
import numpy as np
import pytest
import torch
from families import FAMILIES, Family
from models import scene
from oracle import assert_close, explain_slowly, relative_error
from PIL import Image
from support_table import RUN, VERIFIED
from torch import Tensor, nn

from exclip_widget import ExclipError, explain

STEPS = 5
TOLERANCE = 1e-4  # of the largest entry: what float32 leaves of a network

Record = Callable[[str, object], None]
"""Pytest's `record_property`: tells tests/support_table.py what has been seen."""

EVERY = tuple(FAMILIES)
KINKED = ("OpenAI ResNet", "open_clip ResNet", "open_clip MobileCLIP")
"""Towers of ReLUs: the embedding has kinks along the path, and quadrature converges slowly."""

CUTS = (
    (0, -1, "a red boat"),
    (1, "middle", "two yellow fish"),
    (-1, 0, "a small house"),
    (-1, -1, "a house"),
)
"""Text layer, image layer, caption."""


@functools.cache
def family(name: str) -> Family:
    """A family that no test may change."""
    return FAMILIES[name]()


@functools.cache
def picture(height: int = 48, width: int = 64) -> Image.Image:
    return Image.fromarray(scene(3, (height, width)))


def layers(this: Family, text: int, image: int | str) -> tuple[str, str]:
    """Module paths of a cut. A tower may have one layer only."""
    place = len(this.image_layers) // 2 if image == "middle" else int(image)
    return this.text_layers[min(text, len(this.text_layers) - 1)], this.image_layers[place]


@functools.cache
def cut(name: str, text: int, image: int | str, caption: str) -> tuple[cut_oracle.Cut, cut_oracle.Cut]:
    this = family(name)
    text_layer, image_layer = layers(this, text, image)
    return cut_oracle.cut_both(this, picture(), caption, text_layer=text_layer, image_layer=image_layer)


@functools.cache
def truth(name: str, text: int, image: int | str, caption: str) -> cut_oracle.CutTruth:
    return cut_oracle.exclip(*cut(name, text, image, caption), rule="arc-length", steps=STEPS)


def rows_of(this: Family, caption: str) -> list[list[int]]:
    """Which text sites make up each token of an explanation: padding, where it is read, is the last."""
    ids = this.ids(caption)
    positions = (ids if isinstance(ids, Tensor) else ids["input_ids"]).shape[1]
    length = this.length(ids)
    rows = [[site] for site in range(length)]
    rows += [[positions + extra] for extra in range(this.text_extra_after)]
    return [*rows, list(range(length, positions))] if this.text_pads else rows


def as_shown(
    this: Family, values: np.ndarray, caption: str, grid: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Interactions of all sites as an explanation has them: of patches, and of class tokens.

    Padding that is masked is no site at all.
    """
    tokens = np.stack([values[row].sum(0) for row in rows_of(this, caption)])
    others, patches, _ = np.split(tokens, [this.extra_before, tokens.shape[1] - this.extra_after], axis=1)
    return patches.reshape(-1, *grid), others.sum(1)


def assert_agree(
    found: Any, this: Family, expected: cut_oracle.CutTruth, caption: str, grid: tuple[int, int]
) -> None:
    values, others = as_shown(this, expected.values, caption, grid)
    assert found.values.shape == values.shape
    assert found.cls.shape == others.shape
    away = max(np.abs(found.values - values).max(), np.abs(found.cls - others).max())
    assert away <= max(TOLERANCE * np.abs(values).max(), 1e-6 * expected.cancelled)
    assert found.similarity == pytest.approx(expected.similarity, abs=1e-5)


def explained(
    name: str, text: int | str, image: int | str, caption: str, model: nn.Module | None = None, **more: Any
) -> Any:
    this = family(name)
    return explain(
        this.explained(this.model if model is None else model),
        picture(),
        caption,
        text_layer=text,
        image_layer=image,
        **this.options,
        **more,
    )


# ------------------------------------------------------------------------- families and definitions


@pytest.mark.parametrize("name", EVERY)
def test_family_is_what_it_says(name: str) -> None:
    this = family(name)
    names = [path for path, _ in this.model.named_modules()]
    for paths in (this.text_layers, this.image_layers):
        assert [path for path in names if path in paths] == list(paths)
    assert not this.model.training
    for image_layer, (rows, columns) in zip(this.image_layers, this.grids, strict=True):
        _, image = cut_oracle.cut_both(
            this, picture(), "a red boat", text_layer=this.text_layers[0], image_layer=image_layer
        )
        sites = len(image.by_site(image.x))
        assert sites == rows * columns + this.extra_before + this.extra_after


@pytest.mark.parametrize("name", EVERY)
def test_family_is_no_trivial_case(name: str) -> None:
    for text, image, caption in CUTS:
        for side in cut(name, text, image, caption):
            with torch.no_grad():
                embedding, start = side.run(side.x), side.run(side.r)
            assert 0.1 < embedding.norm() < 100
            assert (embedding - start).norm() > 0.1 * embedding.norm()
        largest = np.linalg.svd(truth(name, text, image, caption).values, compute_uv=False)
        assert largest[1] > 0.01 * largest[0], "tokens differ in sign and size only"


@pytest.mark.parametrize("name", EVERY)
def test_padding_is_read_where_the_family_says_so(name: str) -> None:
    this = family(name)
    text, _ = cut(name, -1, -1, "a red boat")
    read = []
    with torch.no_grad():
        for site in range(len(text.by_site(text.x))):
            noise = torch.randn(text.by_site(text.x).shape[1], generator=torch.Generator().manual_seed(site))
            moved = text.x.clone()
            text.by_site(moved)[site] += noise
            read.append(bool((text.run(moved) - text.run(text.x)).abs().max() > 1e-9))
    length = this.length(this.ids("a red boat"))
    assert all(read[:length])
    assert any(read[length:]) == (this.text_pads or this.text_extra_after > 0)
    if this.text_extra_after:
        assert read[-1]


@pytest.mark.parametrize("name", [name for name in EVERY if name not in KINKED])
def test_definition_is_complete(name: str) -> None:
    for text, image, caption in CUTS[:1] if name == "open_clip Swin" else CUTS[::3]:
        many = cut_oracle.exclip(*cut(name, text, image, caption), rule="gauss-legendre", steps=60)
        assert abs(many.values.sum() - many.total) < 1e-4 * np.abs(many.values).max()


@pytest.mark.parametrize("name", ["OpenAI ViT", "open_clip ViT", "open_clip ViT, custom text"])
@pytest.mark.parametrize(("text", "image", "caption"), CUTS)
def test_definition_is_that_of_the_other_oracle(name: str, text: int, image: int | str, caption: str) -> None:
    this = family(name)
    found = truth(name, text, image, caption)
    pixels, ids = this.pixels(picture()), this.ids(caption)
    places = layers(this, text, image)
    expected = explain_slowly(
        this.model,
        pixels[0],
        ids,
        rule="arc-length",
        steps=STEPS,
        layers=(this.text_layers.index(places[0]), this.image_layers.index(places[1])),
    )
    values, others = as_shown(this, found.values, caption, this.grids[0])
    assert_close(values, expected.values, 1e-10)
    assert np.abs(others - expected.cls).max() <= 1e-10 * np.abs(expected.values).max()
    assert found.total == pytest.approx(expected.total, rel=1e-10)
    assert found.similarity == pytest.approx(expected.similarity, rel=1e-10)


@pytest.mark.parametrize("name", ["open_clip SigLIP 2", "own"])
def test_gradient_is_what_a_small_step_gains(name: str) -> None:
    """Joint second difference of f . g, as both inputs shrink towards zero at one site each."""
    text, image = cut(name, -1, -1, "a red boat")
    found = cut_oracle.gradient(text, image)
    step = 1e-4

    def slope(side: cut_oracle.Cut, site: int) -> Tensor:
        ends = []
        for sign in (1, -1):
            moved = side.x.clone()
            side.by_site(moved)[site] *= 1 + sign * step
            ends.append(side.run(moved))
        return (ends[0] - ends[1]) / (2 * step)

    with torch.no_grad():
        norms = text.run(text.x).norm() * image.run(image.x).norm()
        for token, patch in ((0, 0), (1, 3), (2, 5)):
            expected = float(slope(text, token) @ slope(image, patch) / norms)
            assert found.values[token, patch] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["open_clip SigLIP 2", "own"])
def test_banzhaf_interactions_are_products_of_mean_gains(name: str) -> None:
    """The two sides meet in a product only, and their coalitions are independent."""
    text, image = cut(name, -1, -1, "a red boat")
    players = ([0, 1, 2], [0, 3, 4, 7])
    found = cut_oracle.banzhaf_exact(text, image, *players)
    gains = []
    with torch.no_grad():
        for side, playing in zip((text, image), players, strict=True):
            sites = len(side.by_site(side.x))
            coalitions = np.array(list(np.ndindex(*[2] * len(playing))), bool)
            rows = []
            for coalition in coalitions:
                present = torch.ones(sites, dtype=torch.bool)
                present[playing] = torch.from_numpy(coalition)
                embedding = side.run(side.masked(present))
                rows.append((embedding / embedding.norm()).numpy())
            rows = np.stack(rows)
            gains.append([rows[with_it].mean(0) - rows[~with_it].mean(0) for with_it in coalitions.T])
    expected = np.array(gains[0]) @ np.array(gains[1]).T
    assert_close(found.values[np.ix_(*players)], expected, 1e-10)
    assert np.isnan(found.values[-1]).all()


def test_similarity_of_a_site_that_stands_everywhere_already() -> None:
    text, image = cut("open_clip SigLIP", 0, 0, "a red boat")
    whole = cut_oracle.Cut(image.module, image.encode, image.everywhere(5), image.r, image.sites_last)
    found = cut_oracle.similarity(text, whole)
    for patch in range(found.values.shape[1]):
        assert found.values[:, patch] == pytest.approx(found.values[:, 5], abs=1e-12)
    assert found.values[0, 0] == pytest.approx(cut_oracle.similarity(text, image).values[0, 5], abs=1e-12)


# -------------------------------------------------------------------------------------- the engine


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
    assert_agree(found, this, expected, caption, grid)
    assert found.total == pytest.approx(expected.total, abs=1e-4)
    assert found.error is None
    # What is missing from the sum is told.
    everything = found.values.sum(dtype=float) + found.cls.sum(dtype=float)
    assert found.residual == pytest.approx(
        abs(found.total - everything) / abs(found.total), rel=1e-3, abs=1e-4
    )


@pytest.mark.parametrize("name", EVERY)
def test_tokens_end_where_the_caption_does(name: str) -> None:
    this = family(name)
    found = explained(name, -1, -1, "a red boat", steps=2)
    assert len(found.tokens) == len(found.values) == len(rows_of(this, "a red boat"))
    assert ("<pad>" in found.tokens) == this.text_pads
    if this.text_pads:
        assert found.tokens[-1] == "<pad>"


@pytest.mark.parametrize("name", EVERY)
def test_layers_by_name_are_those_by_number(name: str) -> None:
    this = family(name)
    for text, image in ((0, len(this.image_layers) - 1), (len(this.text_layers) - 1, 0)):
        by_name = explained(name, this.text_layers[text], this.image_layers[image], "a red boat", steps=2)
        by_number = explained(name, text, image, "a red boat", steps=2)
        from_the_end = explained(
            name, text - len(this.text_layers), image - len(this.image_layers), "a red boat", steps=2
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
    expected = getattr(cut_oracle, method)(*cut(name, text, image, caption))
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
"""Families whose last image layer has few enough patches for every coalition to be tried."""


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
    exact = cut_oracle.banzhaf_exact(text, image, tokens, patches).values[np.ix_(tokens, patches)]
    assert found.error.shape == found.values.shape
    assert np.isnan(found.residual)
    values, error = (part[tokens].reshape(exact.shape) for part in (found.values, found.error))
    assert not np.delete(found.values, tokens, axis=0).any()
    away = np.abs(values - exact)
    largest = np.abs(exact).max()
    assert (away <= 6 * error + TOLERANCE * largest).all()
    # The error is no excuse: it is of the size of what it bounds, and more coalitions make it smaller.
    assert np.sqrt((away**2).mean()) > 0.1 * np.sqrt((error**2).mean()) - TOLERANCE * largest
    longer = explained(name, -1, -1, caption, method="banzhaf", samples=4000, seed=1)
    assert longer.error.mean() <= 0.7 * found.error.mean()
    again = explained(name, -1, -1, caption, method="banzhaf", samples=1000, seed=1)
    np.testing.assert_array_equal(again.values, found.values)
    other = explained(name, -1, -1, caption, method="banzhaf", samples=1000, seed=2)
    assert relative_error(other.values, found.values) < 1


def test_grid_is_that_of_the_picture() -> None:
    """NaFlex: as many patches upright as wide, whose reference must not stand in for each other's."""
    this, caption = family("transformers SigLIP 2"), "a red boat"
    model = copy.deepcopy(this.model)
    text_layer, image_layer = this.text_layers[0], this.image_layers[1]
    for shown, grid in ((picture(), (3, 4)), (picture(64, 48), (4, 3)), (picture(), (3, 4))):
        cuts = cut_oracle.cut_both(this, shown, caption, text_layer=text_layer, image_layer=image_layer)
        expected = cut_oracle.exclip(*cuts, rule="arc-length", steps=STEPS)
        where = {"text_layer": text_layer, "image_layer": image_layer}
        found = explain(model, shown, caption, steps=STEPS, **where, **this.options)
        assert found.values.shape[1:] == grid
        assert_agree(found, this, expected, caption, grid)


# ------------------------------------------------------------------- nothing of the model is changed


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything an explanation might leave behind, as something that compares."""
    hooks = [attribute for attribute in vars(model) if "_hooks" in attribute]
    return {
        "weights": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "buffers": {name: tensor.clone() for name, tensor in model.named_buffers()},
        "training": {name: module.training for name, module in model.named_modules()},
        "wants gradient": {name: weight.requires_grad for name, weight in model.named_parameters()},
        "gradient": {name: weight.grad for name, weight in model.named_parameters()},
        "hooks": {
            (name, kind): list(getattr(module, kind))
            for name, module in model.named_modules()
            for kind in hooks
        },
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for kind in before:
        assert before[kind].keys() == after[kind].keys(), kind
        for name, was in before[kind].items():
            now = after[kind][name]
            same = torch.equal(was, now) if isinstance(was, Tensor) else was == now
            assert same, f"{kind} of {name!r} changed"


@contextmanager
def settings_kept() -> Iterator[None]:
    def settings() -> tuple[object, ...]:
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cudnn.enabled,
            torch.get_default_dtype(),
            torch.get_rng_state().tolist(),
        )

    before = settings()
    yield
    assert settings() == before


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("method", ["exclip", "similarity", "gradient", "banzhaf"])
def test_model_is_left_alone(name: str, method: str, record_property: Record) -> None:
    # Normalised towers have no gradient times activation at their last layer but for float's noise.
    layer = 0 if method == "gradient" else -1
    record_property(RUN, f"{name}|{method}|{layer}|{layer}")
    this = family(name)
    model = copy.deepcopy(this.model)
    # A model as somebody may have it while training: parts frozen, gradients kept, hooks of their own.
    model.train()
    modules = dict(model.named_modules())
    modules[this.text_layers[0]].eval()
    seen: list[int] = []
    modules[this.image_layers[0]].register_forward_hook(lambda *_: seen.append(1))
    modules[this.text_layers[-1]].register_forward_pre_hook(lambda *_: None)
    weights = list(model.parameters())
    weights[0].requires_grad_(False)
    weights[1].grad = torch.ones_like(weights[1])
    before = state_of(model)
    more = {"samples": 20, "seed": 0} if method == "banzhaf" else {}
    with settings_kept():
        found = explained(name, layer, layer, "a red boat", model, method=method, **more)
    assert_same(before, state_of(model))
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
    before = state_of(model)
    with settings_kept(), pytest.raises((ZeroDivisionError, ExclipError)):
        explained(name, -1, -1, "a red boat", model)
    assert_same(before, state_of(model))
    handle.remove()
    explained(name, -1, -1, "a red boat", model, steps=2)


@pytest.mark.parametrize("name", ["OpenAI ResNet", "open_clip CoCa", "transformers CLIP", "own"])
@pytest.mark.parametrize("layer", ["nowhere", "logit_scale", "", 99, 1.5, True])
def test_layer_that_is_none_is_named(name: str, layer: Any) -> None:
    with pytest.raises(ExclipError, match="image_layer"):
        explained(name, -1, layer, "a red boat")
    with pytest.raises(ExclipError, match="text_layer"):
        explained(name, layer, -1, "a red boat")
