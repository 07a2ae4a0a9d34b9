"""The oracle and the zoo themselves: definitions are consistent, and no family is a trivial case."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support import oracle
from support.cuts import CUTS, EVERY, KINKED, STEPS, as_shown, cut, layers, picture, truth
from support.oracle import assert_close, explain_slowly
from support.zoo.families import family
from torch import Tensor


@pytest.mark.parametrize("name", EVERY)
def test_family_is_what_it_says(name: str) -> None:
    this = family(name)
    names = [path for path, _ in this.model.named_modules()]
    for paths in (this.text_layers, this.image_layers):
        assert [path for path in names if path in paths] == list(paths)
    assert not this.model.training
    for image_layer, (rows, columns) in zip(this.image_layers, this.grids, strict=True):
        _, image = oracle.cut_both(
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
    noisy = []
    for site in range(len(text.by_site(text.x))):
        noise = torch.randn(text.by_site(text.x).shape[1], generator=torch.Generator().manual_seed(site))
        noisy.append(text.x.clone())
        text.by_site(noisy[-1])[site] += noise
    with torch.no_grad():
        read = ((text.run_each(noisy) - text.run(text.x)).abs().amax(1) > 1e-9).tolist()
    length = this.length(this.ids("a red boat"))
    assert all(read[:length])
    assert any(read[length:]) == (this.text_pads or this.text_extra_after > 0)
    if this.text_extra_after:
        assert read[-1]


@pytest.mark.parametrize("name", [name for name in EVERY if name not in KINKED])
def test_definition_is_complete(name: str) -> None:
    for text, image, caption in CUTS[:1] if name == "open_clip Swin" else CUTS[::3]:
        for steps in (15, 30, 60):  # most paths converge with the fewest nodes, and each costs time
            found = oracle.exclip(*cut(name, text, image, caption), rule="gauss-legendre", steps=steps)
            left_over = abs(found.values.sum() - found.total) / np.abs(found.values).max()
            if left_over < 1e-4:
                break
        assert left_over < 1e-4


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
    """It is the mixed second difference of f . g as both inputs shrink towards zero at one site each."""
    text, image = cut(name, -1, -1, "a red boat")
    found = oracle.gradient(text, image)
    step = 1e-4

    def slope(side: oracle.Cut, site: int) -> Tensor:
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
    """The two sides meet only in a product, and their coalitions are independent."""
    text, image = cut(name, -1, -1, "a red boat")
    players = ([0, 1, 2], [0, 3, 4, 7])
    found = oracle.banzhaf_exact(text, image, *players)
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
    whole = oracle.Cut(image.module, image.encode, image.everywhere(5), image.r, image.sites_last)
    found = oracle.similarity(text, whole)
    for patch in range(found.values.shape[1]):
        assert found.values[:, patch] == pytest.approx(found.values[:, 5], abs=1e-12)
    assert found.values[0, 0] == pytest.approx(oracle.similarity(text, image).values[0, 5], abs=1e-12)
