"""The crop is that of the preprocessing that made the pixels, whenever it is looked at."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.explaining import MODEL
from support.zoo.inputs import picture, scene
from support.zoo.models import inputs_of
from torch import Tensor
from torchvision import transforms as T

from exclip_widget import Explainer, ExplainWidget, ImageError, ParameterError, explain
from exclip_widget.inputs import seen
from exclip_widget.inputs.preprocessing import preprocess_image
from exclip_widget.inputs.seen import SeenPart

CENTRE: Callable[[Image.Image], Tensor] = T.Compose([T.Resize(32), T.CenterCrop(32), T.ToTensor()])
WHOLE: Callable[[Image.Image], Tensor] = T.Compose([T.Resize((32, 32)), T.ToTensor()])
WIDE = Image.fromarray(scene(0, (64, 96)))


class Changing:
    """Preprocessing whose steps can be replaced, and which counts its runs."""

    def __init__(self, steps: Callable[[Image.Image], Tensor] = CENTRE) -> None:
        self.steps = steps
        self.runs = 0

    def __call__(self, image: Image.Image) -> Tensor:
        self.runs += 1
        return self.steps(image)


def seen_by(preprocess: Callable[[Image.Image], Tensor], image: Image.Image = WIDE) -> SeenPart:
    return SeenPart(preprocess, image, preprocess_image(image, preprocess))


@pytest.mark.parametrize("other", [WHOLE, lambda _: 1 / 0])
@pytest.mark.parametrize("known", [False, True])
def test_preprocessing_that_has_changed_since(other: Callable[[Image.Image], Tensor], known: bool) -> None:
    preprocess = Changing()
    if known:
        seen_by(preprocess)()
    part = seen_by(preprocess)
    preprocess.steps = other
    for _ in range(2):
        with pytest.raises(ParameterError, match="preprocess has changed since the image was explained"):
            part()


def test_a_view_that_was_known_before_a_change() -> None:
    preprocess = Changing()
    np.testing.assert_allclose(seen_by(preprocess)(), (1 / 6, 0, 2 / 3, 1), atol=0.01)
    preprocess.steps = WHOLE
    assert seen_by(preprocess)() == (0, 0, 1, 1)


def test_a_processor_that_is_changed_in_place() -> None:
    preprocess = Changing()
    options = inputs_of(MODEL) | {"preprocess": preprocess}
    early, late = (explain(MODEL, WIDE, "a boat", **options) for _ in range(2))
    np.testing.assert_allclose(early.view.crop, (1 / 6, 0, 2 / 3, 1), atol=0.01)
    preprocess.steps = WHOLE
    np.testing.assert_allclose(
        early.boxes("boat").boxes[:, [0, 2]].clip(16, 80), early.boxes("boat").boxes[:, [0, 2]]
    )
    with pytest.raises(ParameterError, match="preprocess has changed"):
        late.boxes("boat")
    assert "without a heat map: preprocess has changed" in late._repr_mimebundle_()["text/plain"]
    assert explain(MODEL, WIDE, "a boat", **options).view.crop == (0, 0, 1, 1)


def test_the_same_size_again_takes_one_run() -> None:
    preprocess = Changing()
    seen_by(preprocess)()
    part = seen_by(preprocess, Image.fromarray(scene(5, (64, 96))))
    preprocess.runs = 0
    part()
    part()
    assert preprocess.runs == 1


def test_an_explanation_looks_nothing_up() -> None:
    preprocess = Changing()
    explainer = Explainer(MODEL, **inputs_of(MODEL) | {"preprocess": preprocess})
    explainer.explain(picture(), "a boat")
    preprocess.runs = 0
    explainer.explain(picture(1), "a boat")
    assert preprocess.runs == 1


def test_the_oldest_are_looked_up_if_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = seen._Waiting()
    monkeypatch.setattr(seen, "_waiting", waiting)
    preprocess = Changing()
    parts = [seen_by(preprocess)]
    each = parts[0].bytes
    monkeypatch.setattr(seen, "MOST_WAITING", 4 * each)
    parts += [seen_by(preprocess) for _ in range(4)]
    assert [part.bytes > 0 for part in parts] == [False, False, False, True, True]
    preprocess.steps = WHOLE
    for part in parts[:3]:
        np.testing.assert_allclose(part(), (1 / 6, 0, 2 / 3, 1), atol=0.01)
    del parts, part
    gc.collect()
    runs = preprocess.runs
    for most in (4 * each, 1.5 * each):
        monkeypatch.setattr(seen, "MOST_WAITING", most)
        for _ in range(9):
            seen_by(preprocess)  # which nobody keeps
    assert preprocess.runs == runs + 18


def test_an_unknown_crop_is_never_shown_as_the_whole_image(tmp_path: Path) -> None:
    def scrambled(image: Image.Image) -> Tensor:
        rows = CENTRE(image)
        return rows[:, torch.randperm(32, generator=torch.Generator().manual_seed(0))]

    options: dict[str, Any] = inputs_of(MODEL) | {"preprocess": scrambled}
    result = explain(MODEL, WIDE, "a boat", **options)
    for show in (
        lambda: result.crop,
        lambda: result.boxes("boat"),
        lambda: result.save(tmp_path / "a.safetensors"),
    ):
        with pytest.raises(ImageError, match="it is unknown which part of the image the model saw"):
            show()
    with pytest.raises(ImageError, match="it is unknown which part"):
        ExplainWidget(MODEL, WIDE, "a boat", **options)
    explainer = Explainer(MODEL, **options)
    without = explainer.explain(explainer.read_image(WIDE), "a boat")
    np.testing.assert_array_equal(without.values, result.values)
    assert without.crop is None
