"""Random preprocessing is refused, and the caller's random state is left alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image
from support.captions import tokenizer
from support.explaining import MODEL
from support.zoo.inputs import picture
from torch import Tensor
from torchvision import transforms as T

from exclip_widget import Explainer, ParameterError, explain
from exclip_widget.inputs.preprocessing import field_of_view, preprocess_image

Preprocess = Callable[[Image.Image], Tensor]


def resized(*steps: Any) -> Preprocess:
    return T.Compose([T.Resize((32, 32)), *steps])


def by_numpy(image: Image.Image) -> Tensor:
    return resized(T.ToTensor())(image) * np.random.uniform(0.5, 1)  # noqa: NPY002


def by_python(image: Image.Image) -> Tensor:
    return resized(T.ToTensor())(image) * random.uniform(0.5, 1)


RANDOM = {
    "crop": T.Compose([T.RandomResizedCrop(32), T.ToTensor()]),
    "size": T.Compose(
        [T.Resize((32, 32)), T.RandomChoice([T.Resize((32, 33)), T.Resize((33, 32))]), T.ToTensor()]
    ),
    "flip": resized(T.RandomHorizontalFlip(), T.ToTensor()),
    "augment": resized(T.RandAugment(), T.ToTensor()),
    "erase": resized(T.ToTensor(), T.RandomErasing(0.2)),
    "open_clip": image_transform(32, is_train=True),
    "numpy": by_numpy,
    "python": by_python,
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_preprocessing_is_refused(name: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(
        ParameterError, match=r"preprocess is random: .* pass the preprocessing for evaluation"
    ):
        preprocess_image(picture(), RANDOM[name])


def test_an_explanation_refuses_it() -> None:
    with pytest.raises(ParameterError, match="preprocess is random"):
        explain(MODEL, picture(), "a boat", preprocess=RANDOM["crop"])


def test_a_generator_of_its_own() -> None:
    own = np.random.default_rng(0)
    with pytest.raises(ParameterError, match="preprocess is random"):
        preprocess_image(picture(), lambda image: resized(T.ToTensor())(image) * own.uniform(0.5, 1))


def test_preprocessing_that_rejects_the_test_image() -> None:
    def preprocess(image: Image.Image) -> Tensor:
        assert image.size == picture().size
        return resized(T.ToTensor())(image)

    assert preprocess_image(picture(), preprocess).shape == (1, 3, 32, 32)


def test_drawing_without_effect_is_accepted_and_tried_once() -> None:
    runs: list[int] = []

    def preprocess(image: Image.Image) -> Tensor:
        runs.append(1)
        return resized(T.RandomHorizontalFlip(0), T.ToTensor())(image)

    first = preprocess_image(picture(), preprocess)
    runs.clear()
    torch.testing.assert_close(preprocess_image(picture(), preprocess), first, rtol=0, atol=0)
    assert len(runs) == 1


def test_preprocessing_that_draws_nothing_runs_once() -> None:
    runs: list[int] = []

    def preprocess(image: Image.Image) -> Tensor:
        runs.append(1)
        return resized(T.ToTensor())(image)

    preprocess_image(picture(), preprocess)
    runs.clear()  # the first time, it is also tried on a test image
    preprocess_image(picture(), preprocess)
    assert len(runs) == 1


def draws() -> tuple[float, float, float]:
    return torch.rand(1).item(), np.random.uniform(), random.random()  # noqa: NPY002


def seeded() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)


def test_trying_leaves_the_random_state_alone() -> None:
    def preprocess(image: Image.Image) -> Tensor:
        draws()
        return resized(T.ToTensor())(image)

    seeded()
    preprocess(picture())
    expected = draws()
    seeded()
    preprocess_image(picture(), preprocess)
    assert draws() == expected  # as after one run
    seeded()
    expected = draws()
    seeded()
    field_of_view(preprocess, (64, 48))
    assert draws() == expected


def with_dropout() -> Any:
    """Return one of Hugging Face's tokenizers that leaves out some merges of its byte pairs."""
    import tokenizers
    import transformers

    given = json.loads(tokenizer("clip of transformers").backend_tokenizer.to_str())
    given["model"]["dropout"] = 0.5
    inner = tokenizers.Tokenizer.from_str(json.dumps(given))
    end = "<|endoftext|>"
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|startoftext|>", eos_token=end, pad_token=end
    )


def with_random_template() -> Any:
    templates, read = ["a photo of {}", "{}"], open_clip.SimpleTokenizer()
    return lambda text: read(random.choice(templates).format(text))


@pytest.mark.parametrize("make", [with_dropout, with_random_template])
def test_a_random_tokenizer_is_refused(make: Callable[[], Any]) -> None:
    explainer = Explainer(MODEL, tokenizer=make(), preprocess=resized(T.ToTensor()))
    before = random.getstate()
    with pytest.raises(ParameterError, match=r"tokenizer is random: .* gave other ids"):
        explainer.text_factors("a")
    with pytest.raises(ParameterError, match=r"tokenizer is random: .* gave other ids"):
        explainer.classify(picture(), ["a red boat", "two dogs"])
    assert random.getstate() == before


def test_a_tokenizer_is_tried_once() -> None:
    calls, read = [], open_clip.SimpleTokenizer()

    def given(text: str) -> Tensor:
        calls.append(text)
        ids: Tensor = read(text)
        return ids

    explainer = Explainer(MODEL, tokenizer=given, preprocess=resized(T.ToTensor()))
    explainer.read_caption("a red boat")
    first = len(calls)
    explainer.read_caption("two dogs")
    assert calls[first:].count("two dogs") == len(calls[first:]) < 3
