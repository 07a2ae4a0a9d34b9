"""Batched factors equal those computed one by one, and errors name the index of the bad input."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.oracle import assert_close
from support.zoo.families import FAMILIES, family
from support.zoo.inputs import CAPTIONS, scene
from support.zoo.models import build, inputs_of, open_clip_model

from exclip_widget import CaptionError, DualEncoder, Explainer, Factors, ImageError, demo, interactions_of
from exclip_widget.methods import METHODS, Banzhaf
from exclip_widget.methods.batches import sides_together

CAPTIONS_OF_MANY_LENGTHS = (*CAPTIONS, "a red boat", "two yellow fish", "boat", "a", "a red boat")
ROUNDING = 5e-5
"""Relative error of derivatives in float32."""

IMAGES = [Image.fromarray(scene(seed, (20 + 9 * seed, 60 - 5 * seed))) for seed in range(6)]


def explainer_of(name: str = "plain", **options: Any) -> Explainer:
    """Return an explainer of a fresh copy of the model, so that no activation is cached."""
    model = build(name)
    return Explainer(model, **inputs_of(model), **({"method": "exclip"} | options))


def assert_same(found: Factors, alone: Factors) -> None:
    assert (found.rows, found.view, found.origin) == (alone.rows, alone.view, alone.origin)
    assert (found.method, found.layer, found.steps, found.rule) == (
        alone.method,
        alone.layer,
        alone.steps,
        alone.rule,
    )
    assert_close(found.values, alone.values, ROUNDING)
    assert_close(found.embedding, alone.embedding, ROUNDING)
    for name in ("change", "samples"):
        assert (getattr(found, name) is None) == (getattr(alone, name) is None)
    if found.change is not None and alone.change is not None:
        assert_close(found.change, alone.change, ROUNDING)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that records the size of each batch that goes through a tower."""
    sizes: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Iterator[Any]:
        for batch in sides_together(*arguments, **options):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr("exclip_widget.explainer.sides_together", counted)
    return sizes


@pytest.mark.parametrize("name", ["plain", "openai", "wide picture", "custom text"])
@pytest.mark.parametrize("method", METHODS)
def test_many_are_each_of_them(method: str, name: str, passes: list[int]) -> None:
    options: dict[str, Any] = {"method": Banzhaf(samples=32) if method == "banzhaf" else method}
    together, alone = explainer_of(name, **options), explainer_of(name, **options)
    texts = together.text_factors(CAPTIONS_OF_MANY_LENGTHS)
    images = together.image_factors(IMAGES)
    assert [one.rows.caption for one in texts] == list(CAPTIONS_OF_MANY_LENGTHS)  # type: ignore[union-attr]
    for found, caption in zip(texts, CAPTIONS_OF_MANY_LENGTHS, strict=True):
        assert_same(found, alone.text_factors(caption))
    for found, image in zip(images, IMAGES, strict=True):
        assert found.view is not None
        assert found.view.size == image.size
        assert_same(found, alone.image_factors(image))
    assert sum(passes) == len(texts) + len(images)
    assert max(passes[-2:]) == len(IMAGES) - 1  # the first alone, then the others together


@pytest.mark.parametrize("name", FAMILIES)
def test_many_of_every_family(name: str) -> None:
    given = family(name)
    captions = ["a red boat", "two yellow fish", "boat", "a red boat"]
    together, alone = (
        Explainer(given.explained(copy.deepcopy(given.model)), method="similarity", **given.options)
        for _ in range(2)
    )
    for found, caption in zip(together.text_factors(captions), captions, strict=True):
        assert_same(found, alone.text_factors(caption))
    for found, image in zip(together.image_factors(IMAGES[:3]), IMAGES[:3], strict=True):
        assert_same(found, alone.image_factors(image))


@pytest.mark.parametrize("reference", ["blur", "mean", "noise"])
def test_each_image_has_its_own_reference(reference: str) -> None:
    together, alone = (explainer_of(image_reference=reference) for _ in range(2))
    for found, image in zip(together.image_factors(IMAGES), IMAGES, strict=True):
        assert_same(found, alone.image_factors(image))


def test_pixels_of_several_sizes() -> None:
    """Images of the same size share a batch, and results keep the order of the inputs."""
    model = demo.load().model
    tensors = [torch.randn(3, 96, 96, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    explainer = Explainer(model, tokenizer=demo.load().tokenizer, method="exclip")
    other = Explainer(demo.load().model, tokenizer=demo.load().tokenizer, method="exclip")
    for found, pixels in zip(explainer.image_factors(iter(tensors)), tensors, strict=True):
        assert found.view is None
        assert_same(found, other.image_factors(pixels))


@pytest.mark.parametrize("memory", [1, 2**12, 2**16, 2**27])
def test_the_budget_sets_how_many_go_together(memory: int, passes: list[int]) -> None:
    found = explainer_of(memory=memory).image_factors(IMAGES)
    for one, image in zip(found, IMAGES, strict=True):
        assert_same(one, explainer_of().image_factors(image))
    tokens = 17 * 32 * 4
    assert max(passes) <= max(1, memory // (8 * tokens))
    assert memory < 2**27 or max(passes) == 5


def test_a_model_with_a_hook_is_asked_one_by_one(passes: list[int]) -> None:
    """A hook may mix the images of a batch; this one adds their mean."""
    models = [build("plain") for _ in range(2)]
    for model in models:
        model.visual.transformer.resblocks[0].register_forward_hook(  # type: ignore[union-attr, index, operator]
            lambda _, __, output: output + output.mean(0, keepdim=True)
        )
    together, alone = (Explainer(model, **inputs_of(model), method="exclip") for model in models)
    for found, image in zip(together.image_factors(IMAGES), IMAGES, strict=True):
        assert_same(found, alone.image_factors(image))
    assert set(passes) == {1}


def test_an_own_model_is_asked_one_by_one(passes: list[int]) -> None:
    model: Any = open_clip_model()
    own = DualEncoder(
        model,
        encode_text=model.encode_text,
        encode_image=lambda pixels: model.encode_image(pixels),
        text_layers=["transformer.resblocks.0"],
        image_layers=["visual.transformer.resblocks.0"],
    )
    explainer = Explainer(own, method="similarity", **inputs_of(model))
    assert len(explainer.image_factors(IMAGES[:3])) == 3
    assert set(passes) == {1}


def test_a_bad_one_is_named_by_its_index() -> None:
    explainer = explainer_of()
    with pytest.raises(CaptionError, match=r"^captions\[2\]: caption '' has no words"):
        explainer.text_factors(["a boat", "two boats", "", 3])  # type: ignore[list-item]
    with pytest.raises(CaptionError, match=r"^captions\[1\]: caption is an int"):
        explainer.text_factors(iter(["a boat", 3]))  # type: ignore[list-item]
    with pytest.raises(ImageError, match=r"^images\[3\]: there is no image 'gone.jpg'"):
        explainer.image_factors([*IMAGES[:3], "gone.jpg", IMAGES[4]])
    black = torch.full((3, 32, 32), torch.nan)
    with pytest.raises(ImageError, match=r"^images\[1\]: "):
        explainer.image_factors([torch.zeros(3, 32, 32), black])
    # A single input has no index.
    with pytest.raises(ImageError, match=r"^there is no image"):
        explainer.image_factors("gone.jpg")
    with pytest.raises(CaptionError, match=r"^caption is a bytes"):
        explainer.text_factors(b"a boat")  # type: ignore[call-overload]
    with pytest.raises(CaptionError, match=r"^caption is a NoneType"):
        explainer.text_factors(None)  # type: ignore[call-overload]
    with pytest.raises(ImageError, match=r"^image is a bytes"):
        explainer.image_factors(b"")  # type: ignore[call-overload]
    with pytest.raises(ImageError, match=r"^image is a dict"):
        explainer.image_factors({})  # type: ignore[call-overload]


def test_a_fault_in_a_batch_is_of_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a batch fails, its inputs are run one by one, and the one that fails alone is named."""
    from exclip_widget import ModelError
    from exclip_widget import explainer as module

    ours = module.image_sides

    def failing(towers: Any, layers: Any, batch: Any, references: Any) -> Any:
        if any(float(pixels.min()) < -1e3 for pixels in batch):
            raise ModelError("activations are NaN")
        return ours(towers, layers, batch, references)

    monkeypatch.setattr(module, "image_sides", failing)
    images = [torch.zeros(3, 32, 32) + number for number in range(5)]
    images[3] -= 1e6
    with pytest.raises(ModelError, match=r"^images\[3\]: activations are NaN$"):
        explainer_of().image_factors(images)


def test_none_are_none() -> None:
    explainer = explainer_of()
    assert explainer.text_factors([]) == explainer.image_factors(iter([])) == []


def test_arrays_and_tensors_are_one_image() -> None:
    explainer = explainer_of()
    pixels = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))
    for image in (scene(1), pixels, pixels[None]):
        assert isinstance(explainer.image_factors(image), Factors)
        (found,) = explainer.image_factors([image])
        assert_same(found, explainer.image_factors(image))


def test_progress_is_shown_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    explainer = explainer_of()
    explainer.text_factors(["a", "boat"])
    assert capsys.readouterr().err == ""
    explainer.text_factors(["a", "boat"], progress=True)
    assert "2/2" in capsys.readouterr().err
    explainer.image_factors(iter(IMAGES), progress=True)
    assert "6image" in capsys.readouterr().err.replace(" ", "")


def test_the_model_is_as_it_was_while_images_are_read() -> None:
    """The caller's iterator runs between batches, in the caller's own modes."""
    model = build("plain").train()
    explainer = Explainer(model, **inputs_of(model), method="exclip")
    modes = []

    def read() -> Iterator[Image.Image]:
        for image in IMAGES:
            modes.append((model.training, torch.is_grad_enabled()))
            yield image

    explainer.image_factors(read())
    assert set(modes) == {(True, True)}
    assert model.training


def test_products_of_many() -> None:
    explainer = explainer_of()
    table = interactions_of(explainer.text_factors(["a boat", "a cup"]), explainer.image_factors(IMAGES[:2]))
    assert isinstance(table, list)
    one = explainer.explain(IMAGES[1], "a cup")
    np.testing.assert_allclose(table[1][1].values, one.values, atol=1e-6)
