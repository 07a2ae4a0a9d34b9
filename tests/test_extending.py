"""A new method with an option, and a new family of models: each takes one class and one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from support.widgets import book, make
from torch import nn

from exclip_widget import Explainer, ParameterError, explain
from exclip_widget.checks import positive_number
from exclip_widget.methods import METHODS, Method
from exclip_widget.methods.base import as_factors
from exclip_widget.methods.side import Side
from exclip_widget.models.family import Family
from exclip_widget.models.tower import ImageTower, TextTower, layers_at
from exclip_widget.models.towers import FAMILIES
from exclip_widget.results import Factors

PAGE = book().pages[0]

# ------------------------------------------------------------------------------- a method, in one class


@dataclass(frozen=True)
class Norms(Method):
    """Each token's norm to some power, in the direction of the side's embedding."""

    name: ClassVar = "norms"
    default_layers: ClassVar = (0, 0)
    needs_gradients: ClassVar = False

    power: float = 1.0

    def __post_init__(self) -> None:
        positive_number("power", self.power)

    def factors(self, side: Side, memory: int) -> Factors:
        del memory
        (embedding,) = side.run(side.tokens[None])
        strength = side.tokens.norm(dim=1, keepdim=True) ** self.power
        return as_factors(self, side, strength * embedding, embedding)


@pytest.fixture
def _norms() -> Iterator[None]:
    METHODS["norms"] = Norms  # the one line
    yield
    del METHODS["norms"]


@pytest.mark.usefixtures("_norms")
def test_a_method_with_an_option() -> None:
    inputs = book().model, PAGE.image, "a red boat"
    plain, squared = (
        explain(*inputs, tokenizer=book().tokenizer, **options)
        for options in ({"method": "norms"}, {"method": Norms(power=2)})
    )
    by_name = explain(*inputs, tokenizer=book().tokenizer, method="norms", power=2)
    np.testing.assert_array_equal(by_name.values, squared.values)
    np.testing.assert_allclose(squared.values * plain.similarity, plain.values**2, rtol=1e-4)
    assert plain.method == "norms"
    with pytest.raises(ParameterError, match="power=0 is not a positive number"):
        explain(*inputs, tokenizer=book().tokenizer, method="norms", power=0)
    with pytest.raises(ParameterError, match="power=2 is an option of method 'norms', not of 'exclip'"):
        explain(*inputs, tokenizer=book().tokenizer, power=2, method="exclip")


@pytest.mark.usefixtures("_norms")
def test_a_method_is_offered_by_the_widget() -> None:
    widget = make(caption="a red boat")
    assert "norms" in widget._choices["methods"]
    widget.method = Norms(power=2)
    assert widget.method == "norms"
    squared = widget.wait(60)
    widget.method = "exclip"
    widget.wait(60)
    widget.method = "norms"  # the name selects the instance given above
    np.testing.assert_array_equal(widget.wait(60).values, squared.values)


# ------------------------------------------------------------------------------- a family, in one class


class Toy(nn.Module):
    """Two encoders of one layer each."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.read = nn.Identity()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.look = nn.Identity()

    def see(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.look(self.patches(pixels)).tanh().sum((2, 3))

    def hear(self, ids: torch.Tensor) -> torch.Tensor:
        return self.read(self.words(ids)).tanh().sum(1)


class ToyFamily(Family):
    """Toy models, with their own preprocessing and tokenizer."""

    models = "a Toy"

    def recognises(self, model: Any) -> bool:
        return isinstance(model, Toy)

    def towers(self, model: Toy) -> tuple[TextTower, ImageTower]:
        text = TextTower(
            side="text",
            root=model,
            encode=model.hear,
            layers=layers_at(model, [model.read]),
            context_length=6,
            vocabulary=20,
            padded=False,
            end_of=lambda ids: len(ids) - 1,
        )
        image = ImageTower(
            side="image",
            root=model,
            encode=model.see,
            layers=layers_at(model, [model.look]),
            size=(16, 16),
            grid_of=lambda height, width: (height // 4, width // 4),
        )
        return text, image

    def preprocess(self, model: Toy) -> Callable[[Any], torch.Tensor]:
        del model
        return lambda image: torch.from_numpy(np.array(image.resize((16, 16)))).permute(2, 0, 1) / 255

    def tokenizer(self, text: TextTower) -> Callable[[str], torch.Tensor]:
        del text
        return lambda caption: torch.tensor([[1, *(2 + len(word) for word in caption.split()), 19]])


@pytest.fixture
def _toys() -> Iterator[None]:
    FAMILIES.append(ToyFamily())  # the one line
    yield
    FAMILIES.pop()


@pytest.mark.usefixtures("_toys")
def test_a_family() -> None:
    torch.manual_seed(0)
    toy = Toy()
    found = Explainer(toy, method="exclip").explain(PAGE.image, "a red boat")
    assert found.values.shape == (5, 4, 4)
    assert found.residual < 0.01
    pixels = ToyFamily().preprocess(toy)(PAGE.image)[None]
    ids = ToyFamily().tokenizer(None)("a red boat")
    expected = torch.cosine_similarity(toy.hear(ids), toy.see(pixels))
    assert found.similarity == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.usefixtures("_toys")
def test_errors_name_the_family() -> None:
    with pytest.raises(TypeError, match=r"expected a model of open_clip.*, or a Toy; wrap any other"):
        Explainer(nn.Linear(2, 2), method="exclip")
