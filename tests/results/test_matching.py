"""Factors that do not belong together are refused in words, wherever they meet."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.explaining import IMAGE
from support.zoo.models import build, inputs_of, open_clip_model
from torch import nn

from exclip_widget import Explainer, Factors, ModelError, ParameterError, interactions_of
from exclip_widget.methods import METHODS
from exclip_widget.models import fingerprint

CAPTION = "a red boat"


def explainer_of(method: str = "frozen", **options: Any) -> Explainer:
    model = build("plain")
    options |= {"samples": 16} if method == "banzhaf" else {}
    return Explainer(model, method=method, **options, **inputs_of(model))


@functools.cache
def text_of(method: str) -> Factors:
    return explainer_of(method).text_factors(CAPTION)


def refine(explainer: Explainer, texts: Any) -> Any:
    return list(explainer.refine(texts, IMAGE))[-1]


def refine_layers(explainer: Explainer, texts: Any) -> Any:
    return list(explainer.refine_layers(texts, IMAGE, [1]))[-1]


Refine = Callable[[Explainer, Any], object]
both = pytest.mark.parametrize("refined", [refine, refine_layers])


@both
@pytest.mark.parametrize("method", METHODS)
def test_factors_of_another_method_are_not_refined(refined: Refine, method: str) -> None:
    explainer = explainer_of(method)
    for other in METHODS:
        texts = [text_of(method), text_of(other)]
        if other == method:
            refined(explainer, texts)
            continue
        message = rf"texts\[1\] has method '{other}', and the explainer '{method}'; expected"
        with pytest.raises(ParameterError, match=message):
            refined(explainer, texts)


@both
def test_factors_of_another_layer_are_not_refined(refined: Refine) -> None:
    texts = [explainer_of(text_layer=1).text_factors(CAPTION)]
    message = "has text layer 'transformer.resblocks.1', and the explainer 'transformer.resblocks.0'"
    with pytest.raises(ParameterError, match=message):
        refined(explainer_of(), texts)


OPTIONS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("banzhaf", {"p": 0.5}, {"p": 0.3}),
    ("exclip", {"steps": 4}, {"steps": 5}),
    ("frozen", {}, {"length": True}),
]


@pytest.mark.parametrize(("method", "first", "second"), OPTIONS)
def test_factors_of_other_options_do_not_meet(
    method: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    """A result names one side's options as those of both."""
    one, other = explainer_of(method, **first), explainer_of(method, **second)
    text, image = one.text_factors(CAPTION), other.image_factors(IMAGE)
    with pytest.raises(ParameterError, match=f"method '{method}' with options {{'.*}} and {{'.*}}; expected"):
        interactions_of(text, image)
    for refined in (refine, refine_layers):
        with pytest.raises(ParameterError, match=r"texts\[0\] has options {'.*}, and the explainer {'"):
            refined(other, [text])
    unknown = replace(text, origin=None if text.origin is None else replace(text.origin, options={}))
    interactions_of(unknown, image)
    interactions_of(text, one.image_factors(IMAGE))


@both
@pytest.mark.parametrize("method", METHODS)
def test_factors_of_another_width_are_not_refined(refined: Refine, method: str) -> None:
    """Nothing else shows it if the factors do not say which model made them."""
    text = text_of(method)
    narrow = replace(
        text,
        values=text.values[:, :-1],
        embedding=text.embedding[:-1],
        change=None if text.change is None else text.change[:-1],
        reference=None if text.reference is None else text.reference[:-1],
        origin=None,
    )
    with pytest.raises(ModelError, match="captions are embedded in 11 numbers and images in 12"):
        refined(explainer_of(method), [narrow])


@both
def test_what_is_no_list_of_factors_of_captions_is_not_refined(refined: Refine) -> None:
    explainer, text = explainer_of(), text_of("frozen")
    cases: list[tuple[object, str]] = [
        ([], "texts is empty; expected factors of at least one caption"),
        (text, "texts is a Factors; expected a list of what Explainer.text_factors returns"),
        (None, "texts is a NoneType; expected a list"),
        ([explainer.image_factors(IMAGE)], "texts has image factors; expected text factors"),
        ([text, CAPTION], "texts has a str; expected text factors"),
        (CAPTION, "texts has a str; expected text factors"),
    ]
    for texts, message in cases:
        with pytest.raises(ParameterError, match=message):
            refined(explainer, texts)
    refined(explainer, (one for one in (text, text)))


# -------------------------------------------------------------------------- weights and references


def of_weights(weights: int, **options: Any) -> Explainer:
    """Return an explainer of a model that differs from others in nothing but its weights."""
    model = open_clip_model(seed=weights)
    return Explainer(model, **inputs_of(model), **options)


def test_another_checkpoint_of_a_model_is_another_model() -> None:
    one, other = of_weights(1), of_weights(2)
    text, image = one.text_factors(CAPTION), other.image_factors(IMAGE)
    with pytest.raises(ParameterError, match=r"different models, with weights '[0-9a-f]{32}' and '"):
        interactions_of(text, image)
    for refined in (refine, refine_layers):
        with pytest.raises(ParameterError, match=r"texts\[0\] has weights .*, and the explainer '"):
            refined(other, [text])
    with pytest.raises(ParameterError, match=r"weights=.*, and"):
        _ = one.explain(IMAGE, CAPTION) - other.explain(IMAGE, CAPTION)


def test_the_same_weights_are_the_same_model() -> None:
    """It does not matter which copy of a model, or which process, an explanation is from."""
    one, other = of_weights(1), of_weights(1)
    interactions_of(one.text_factors(CAPTION), other.image_factors(IMAGE))
    refine(other, [one.text_factors(CAPTION)])
    result = other.explain(IMAGE, "a boat")
    assert (one.explain(IMAGE, CAPTION) - result).foil == "a boat"
    assert result.origin is not None
    assert result.origin.weights == one.recipe()["weights"]


def test_a_model_in_another_precision_goes_with_itself() -> None:
    """A GPU may hold the images' model in half precision, and a laptop the captions' in float32."""
    one, other = of_weights(1), of_weights(1)
    expected = interactions_of(one.text_factors(CAPTION), one.image_factors(IMAGE)).values
    other.model.half()
    text, image = one.text_factors(CAPTION), other.image_factors(IMAGE)
    assert image.origin is not None
    assert str(image.origin.weights).endswith("-float16")
    found = interactions_of(text, image).values
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())


def test_a_compiled_part_has_the_weights_of_the_part() -> None:
    one, other = of_weights(1), of_weights(1)
    other.model.visual = torch.compile(other.model.visual, backend="eager")
    assert other.recipe()["weights"] == one.recipe()["weights"]


@pytest.mark.parametrize("method", ["gradient", "similarity"])
def test_methods_without_references_have_none_to_compare(method: str) -> None:
    one, other = of_weights(1, method=method), of_weights(1, method=method, image_reference="blur")
    result = one.explain(IMAGE, CAPTION)
    np.testing.assert_array_equal(result.values, other.explain(IMAGE, CAPTION).values)
    assert (result - other.explain(IMAGE, "a boat")).foil == "a boat"


@pytest.mark.parametrize("through", ["autograd", "data", "numpy", "replaced"])
def test_weights_that_change_are_other_weights(through: str) -> None:
    explainer = of_weights(1)
    text = explainer.text_factors(CAPTION)
    for parameter in explainer.model.parameters():
        if through == "autograd":
            with torch.no_grad():
                parameter.view(-1)[:1] *= 1.5  # a single value
        elif through == "data":
            parameter.data.mul_(1.5)
        elif through == "numpy":
            parameter.detach().numpy()[...] *= 1.5
        else:
            parameter.data = 1.5 * parameter.data
    with pytest.raises(ParameterError, match="has weights"):
        refine(explainer, [text])
    found = explainer.text_factors(CAPTION).origin
    assert found is not None
    assert found.weights == explainer.recipe()["weights"]


def test_all_weights_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    hashed = fingerprint.weights_fingerprint

    def counted(module: nn.Module) -> str:
        read.append(module)
        return hashed(module)

    monkeypatch.setattr(fingerprint, "weights_fingerprint", counted)
    explainer = of_weights(1)
    for caption in (CAPTION, "a boat"):
        refine(explainer, explainer.text_factors([caption, "two dogs"]))
        explainer.image_factors([IMAGE, IMAGE])
    assert read == [explainer.model]


def test_weights_that_cannot_be_hashed_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(module: nn.Module) -> str:
        raise NotImplementedError(f"no bytes in {module}")

    monkeypatch.setattr(fingerprint, "weights_fingerprint", fail)
    one, other = of_weights(1), of_weights(2)
    result = one.explain(IMAGE, CAPTION)
    assert result.origin is not None
    assert result.origin.weights is None
    assert (result - other.explain(IMAGE, CAPTION)).foil == CAPTION
    with pytest.raises(ModelError, match="the weights of CLIP cannot be hashed"):
        one.recipe()


REFERENCES: list[tuple[dict[str, Any], str]] = [
    ({"image_reference": "blur"}, "image_reference='zeros', and 'blur' for the foil"),
    ({"image_reference": Image.new("RGB", (32, 32))}, "image_reference='zeros', and 'image [0-9a-f]+'"),
    ({"text_reference": "a photo"}, "text_reference=None, and 'a photo' for the foil"),
]


@pytest.mark.parametrize(("options", "message"), REFERENCES)
def test_other_references_are_another_explanation(options: dict[str, Any], message: str) -> None:
    one, other = of_weights(1), of_weights(1, **options)
    first, second = one.explain(IMAGE, CAPTION), other.explain(IMAGE, CAPTION)
    product = interactions_of(one.text_factors(CAPTION), one.image_factors(IMAGE))
    for of_zeros in (first, product):
        with pytest.raises(ParameterError, match=message):
            _ = of_zeros - second
    _ = second - other.explain(IMAGE, "a boat")
    layers = other.explain_layers(IMAGE, CAPTION, text_layers=[0], image_layers=[0, 1])
    assert {one.origin for one in layers.values()} == {second.origin}


def test_noise_of_another_seed_is_another_reference() -> None:
    noise, zeros = (
        [of_weights(1, image_reference=kind, seed=seed).explain(IMAGE, CAPTION) for seed in (0, 1)]
        for kind in ("noise", "zeros")
    )
    with pytest.raises(ParameterError, match="seed=0, and 1 for the foil"):
        _ = noise[0] - noise[1]
    _ = zeros[0] - zeros[1]


def test_each_side_knows_its_own_reference() -> None:
    """Factors of a caption do not depend on the image's reference, and can be used with any."""
    one, other = of_weights(1), of_weights(1, image_reference="blur")
    text = one.text_factors(CAPTION)
    expected = other.explain(IMAGE, CAPTION)
    for found in (refine(other, [text])[0], interactions_of(text, other.image_factors(IMAGE))):
        assert found.origin == expected.origin
        np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
    described = of_weights(1, text_reference="a photo")
    with pytest.raises(ParameterError, match=r"has text_reference None, and the explainer 'a photo'"):
        refine(described, [text])
