"""Classification: similarities and probabilities match those that each library computes itself."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.snapshots import unchanged
from support.zoo.families import FAMILIES, family
from support.zoo.inputs import scene

from exclip_widget import (
    CaptionError,
    DualEncoder,
    Explainer,
    ImageError,
    ModelError,
    ParameterError,
    classify,
    demo,
    explain,
)

IMAGE = Image.fromarray(scene(1))
CAPTIONS = ("a red boat", "boat", "two red boats", "a boat")


def unit(embedding: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(embedding.double(), dim=-1)


@pytest.mark.parametrize("name", FAMILIES)
def test_numbers_are_those_of_the_librarys_own_calls(name: str) -> None:
    this = family(name)
    model = copy.deepcopy(this.model)
    captions = ("a boat", "boat") if name == "own" else CAPTIONS
    with unchanged(model):
        found = classify(this.explained(model), IMAGE, captions, **this.options)
    model.eval()
    with torch.no_grad():
        image = unit(this.encode_image(model, this.pixels(IMAGE)))
        texts = torch.cat([unit(this.encode_text(model, this.ids(caption))) for caption in captions])
        similarities = (texts @ image[0]).numpy()
        np.testing.assert_allclose(found.similarities, similarities, atol=2e-6)
        scale, bias = getattr(model, "logit_scale", None), getattr(model, "logit_bias", None)
        if name == "own":
            assert found.probabilities is None
        elif bias is None:
            expected = (scale.double().exp() * (texts @ image[0])).softmax(0)
            np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
        else:
            assert "SigLIP" in name
            expected = (scale.double().exp() * (texts @ image[0]) + bias.double()).sigmoid()
            np.testing.assert_allclose(found.probabilities, expected, rtol=1e-3)
    assert found.rule == (None if name == "own" else "softmax" if bias is None else "sigmoid")
    assert found.captions == captions


def test_logits_are_those_that_transformers_returns() -> None:
    this = family("transformers SigLIP")
    found = classify(this.model, IMAGE, ["a boat"], **this.options)
    with torch.no_grad():
        ids: Any = this.ids("a boat")
        inputs = ids if isinstance(ids, dict) else {"input_ids": ids}
        pixels: Any = this.pixels(IMAGE)
        images = pixels if isinstance(pixels, dict) else {"pixel_values": pixels}
        (expected,) = torch.sigmoid(this.model(**inputs, **images).logits_per_image[0])
    assert found.probabilities is not None
    assert found.probabilities[0] == pytest.approx(float(expected), rel=1e-4)


book = demo.load()


def explainer(**options: Any) -> Explainer:
    return Explainer(book.model, tokenizer=book.tokenizer, **options)


def test_similarities_are_those_that_are_explained() -> None:
    captions = [page.caption for page in book.pages[:6]]
    found = explainer().classify(book.pages[2].image, captions)
    expected = [
        explain(book.model, book.pages[2].image, caption, tokenizer=book.tokenizer).similarity
        for caption in captions
    ]
    np.testing.assert_allclose(found.similarities, expected, atol=1e-5)
    assert found.best == captions[2]


def test_batches_change_nothing() -> None:
    captions = [
        f"a {colour} {thing}" for colour in ("red", "green", "light green") for thing in ("boat", "car")
    ]
    together = explainer().text_embeddings(captions * 20)
    alone = [explainer(memory=1).text_embeddings([caption])[0] for caption in captions]
    np.testing.assert_allclose(together, np.stack(alone * 20), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_memory_bounds_how_many_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    embed = Explainer._text_units

    def spy(self: Explainer, batch: Any) -> Any:
        seen.append(len(batch))
        return embed(self, batch)

    monkeypatch.setattr(Explainer, "_text_units", spy)
    explainer().text_embeddings(["a red boat"] * 40 + ["two"] * 3)
    assert seen == [1, 2, 32, 8]  # the shortest first; one runs alone to measure its memory
    del seen[:]
    explainer(memory=1).text_embeddings(["a red boat"] * 3)
    assert seen == [1, 1, 1]


@pytest.mark.parametrize(
    ("captions", "words"),
    [
        ([], "captions is empty; expected at least one string"),
        ("a boat", r"captions is a str \('a boat'\); expected a list of strings"),
        (None, "captions is a NoneType"),
        (["a boat", 3], r"captions\[1\]: caption is an int \(3\)"),
        (["a boat", "a fish", " "], r"captions\[2\]: caption ' ' has no words"),
        (["boat " * 50], r"captions\[0\]: .* context is 32"),
    ],
)
def test_captions_that_cannot_be_read_are_named(captions: Any, words: str) -> None:
    with pytest.raises(CaptionError, match=words):
        explainer().classify(book.pages[0].image, captions)


def test_an_image_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ImageError, match=r"nowhere\.png"):
        explainer().classify("nowhere.png", ["a boat"])


def test_embeddings_that_are_none_are_named() -> None:
    model = copy.deepcopy(book.model)
    with torch.no_grad():
        model.text_projection.mul_(torch.nan)
    with pytest.raises(ModelError, match=r"embedding of 'a boat' has norm nan"):
        classify(model, book.pages[0].image, ["a boat"], tokenizer=book.tokenizer)


def _of_tokens(embeddings: torch.Tensor) -> torch.Tensor:
    return embeddings[:, None].expand(-1, 17, -1)


def _squeezed(embeddings: torch.Tensor) -> torch.Tensor:
    return embeddings.squeeze(0)


@pytest.mark.parametrize(("change", "shape"), [(_of_tokens, r"\(1, 17, \d+\)"), (_squeezed, r"\(\d+,\)")])
@pytest.mark.parametrize("side", ["encode_text", "encode_image"])
def test_what_is_not_one_embedding_for_each_input_is_refused(change: Any, shape: str, side: str) -> None:
    model: Any = copy.deepcopy(book.model)
    own = getattr(model, side)
    setattr(model, side, lambda inputs, **_: change(own(inputs)))
    explains, image = Explainer(model, tokenizer=book.tokenizer), book.pages[0].image
    with pytest.raises(ModelError, match=rf"gave shape {shape} for 1 input; expected embeddings"):
        explains.classify(image, ["a boat", "a red boat"])
    alone = {
        "encode_text": lambda: explains.text_embeddings(["a boat"]),
        "encode_image": lambda: explains.image_embedding(image),
    }
    with pytest.raises(ModelError, match=rf"gave shape {shape} for 1 input; expected embeddings"):
        alone[side]()


def test_a_scale_that_is_no_number_is_refused() -> None:
    model = copy.deepcopy(book.model)
    with torch.no_grad():
        model.logit_scale.fill_(torch.inf)
    with pytest.raises(ModelError, match="logit_scale=inf"):
        classify(model, book.pages[0].image, ["a boat"], tokenizer=book.tokenizer)


def own(**more: Any) -> DualEncoder:
    return DualEncoder(
        book.model,
        encode_text=book.model.encode_text,
        encode_image=book.model.encode_image,
        text_layers=["transformer.resblocks.0"],
        image_layers=["visual.transformer.resblocks.0"],
        context_length=32,
        padded=True,
        **more,
    )


def test_an_own_model_says_its_scale() -> None:
    captions = [book.pages[0].caption, "a green car"]
    options = {"tokenizer": book.tokenizer, "preprocess": book.preprocess}
    expected = classify(book.model, book.pages[0].image, captions, tokenizer=book.tokenizer)

    def found(**more: Any) -> Any:
        return classify(own(**more), book.pages[0].image, captions, **options)

    scale = float(book.model.logit_scale.detach().exp())
    np.testing.assert_allclose(found().similarities, expected.similarities, atol=2e-6)
    assert found().probabilities is None
    np.testing.assert_allclose(found(logit_scale=scale).probabilities, expected.probabilities, atol=1e-4)
    assert found(logit_scale=scale, logit_bias=-10).rule == "sigmoid"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"logit_scale": 0}, "logit_scale=0 is not a positive number"),
        ({"logit_scale": "100"}, "logit_scale='100' is not a positive number"),
        ({"logit_scale": 10, "logit_bias": float("nan")}, "logit_bias=nan is not a finite number"),
        ({"logit_bias": -10}, "logit_bias=-10 needs a logit_scale"),
    ],
)
def test_a_scale_that_cannot_be_one_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        own(**given)
