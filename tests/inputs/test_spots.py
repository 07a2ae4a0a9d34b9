"""A view is checked on the image itself, and found with it if test images do not show it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageOps
from support.zoo.inputs import scene
from torch import Tensor
from torchvision import transforms as T

from exclip_widget import ExclipError
from exclip_widget.inputs.preprocessing import field_of_view, preprocess_image
from exclip_widget.inputs.seen import SeenPart
from exclip_widget.inputs.spots import Trial

Box = tuple[float, float, float, float]
SIZE = (128, 96)
TO_PIXELS = T.Compose([T.Resize((48, 48)), T.ToTensor()])


def cropped(box: tuple[int, int, int, int]) -> Callable[[Image.Image], Tensor]:
    return lambda image: TO_PIXELS(image.crop(box))


def page(at: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    """Return a white page with a picture on it."""
    found = Image.new("RGB", SIZE, "white")
    found.paste(Image.fromarray(scene(3, size[::-1])), at)
    return found


def as_fractions(left: float, top: float, right: float, bottom: float) -> Box:
    return left / SIZE[0], top / SIZE[1], (right - left) / SIZE[0], (bottom - top) / SIZE[1]


def seen(preprocess: Callable[[Image.Image], Tensor], image: Image.Image) -> Box:
    return SeenPart(preprocess, image, preprocess_image(image, preprocess))()


def trim(image: Image.Image) -> Tensor:
    border = ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()
    return TO_PIXELS(image.crop(border))


def most_varied(image: Image.Image) -> tuple[int, int, int, int]:
    levels, side = np.asarray(image, float), 48
    corners = product(range(0, image.width - side + 1, 8), range(0, image.height - side + 1, 8))
    left, top = max(corners, key=lambda at: levels[at[1] : at[1] + side, at[0] : at[0] + side].std())
    return left, top, left + side, top + side


def only_pictures(image: Image.Image) -> Tensor:
    if len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) < 10:
        raise ValueError("there is nothing in it")
    return T.Compose([T.Resize(48), T.CenterCrop(48), T.ToTensor()])(image)


def test_white_borders_are_trimmed() -> None:
    assert (
        np.abs(np.subtract(seen(trim, page((48, 32), (64, 48))), as_fractions(48, 32, 112, 80))).max() < 0.01
    )


def test_the_most_varied_square() -> None:
    for at in ((8, 8), (56, 24)):
        image = page(at, (60, 56))
        found = seen(lambda given: TO_PIXELS(given.crop(most_varied(given))), image)
        assert np.abs(np.subtract(found, as_fractions(*most_varied(image)))).max() < 0.01


def test_test_images_are_rejected() -> None:
    found = seen(only_pictures, Image.fromarray(scene(1, SIZE[::-1])))
    assert np.abs(np.subtract(found, as_fractions(16, 0, 112, 96))).max() < 0.01


def drawn_over(image: Image.Image) -> Tensor:
    ImageDraw.Draw(image).rectangle((0, 0, image.width, image.height // 3), fill="black")
    return TO_PIXELS(image)


def test_a_view_holds_though_something_is_drawn_over_it() -> None:
    assert seen(drawn_over, Image.fromarray(scene(1, SIZE[::-1]))) == (0, 0, 1, 1)


def normalised(kind: str) -> Callable[[Tensor], Tensor]:
    return {
        "as it is": lambda pixels: pixels,
        "standardised": lambda pixels: (pixels - pixels.mean()) / (pixels.std() + 1e-6),
        "stretched": lambda pixels: (pixels - pixels.min()) / (pixels.max() - pixels.min() + 1e-6),
        "curved": lambda pixels: pixels**2.2,
    }[kind]


IMAGES = {
    "scene": Image.fromarray(scene(4, SIZE[::-1])),
    "noise": Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)),
    "dark": Image.fromarray(np.random.default_rng(0).integers(0, 20, (96, 128, 3), np.uint8)),
    "dots": Image.fromarray(
        np.where(np.random.default_rng(0).random((96, 128, 1)) < 0.03, 0, [255] * 3).astype(np.uint8)
    ),
    "white": Image.new("RGB", SIZE, "white"),
    "grey": Image.new("RGB", SIZE, (128, 128, 128)),
    "red": Image.new("RGB", SIZE, (255, 0, 0)),
}


@pytest.mark.parametrize("kind", ["as it is", "standardised", "stretched", "curved"])
@pytest.mark.parametrize("image", IMAGES)
def test_ordinary_views_hold_for_any_image(kind: str, image: str) -> None:
    crop = [T.Resize(48), T.CenterCrop(48), T.ToTensor()]
    for steps in ([T.Resize((48, 48)), T.ToTensor()], crop, [ImageOps.autocontrast, T.Grayscale(3), *crop]):
        preprocess = T.Compose([*steps, normalised(kind)])
        try:
            pixels = preprocess_image(IMAGES[image], preprocess)
        except ExclipError:
            continue
        view = field_of_view(preprocess, SIZE)
        assert Trial(preprocess, IMAGES[image], pixels).holds(view)


@pytest.mark.parametrize("image", ["scene", "noise", "white"])
def test_no_other_view_holds(image: str) -> None:
    preprocess = cropped((16, 8, 112, 88))
    trial = Trial(preprocess, IMAGES[image], preprocess_image(IMAGES[image], preprocess))
    assert trial.holds(as_fractions(16, 8, 112, 88))
    for other in [(0, 0, 128, 96), (24, 8, 112, 88), (16, 0, 112, 80), (16, 16, 112, 80), (8, 8, 104, 88)]:
        assert not trial.holds(as_fractions(*other))


@pytest.mark.parametrize("turn", [ImageOps.mirror, ImageOps.flip, lambda image: image.rotate(180)])
def test_no_turned_view_holds(turn: Callable[[Image.Image], Image.Image]) -> None:
    image = IMAGES["scene"]
    trial = Trial(lambda given: TO_PIXELS(turn(given)), image, TO_PIXELS(turn(image))[None])
    assert not trial.holds((0, 0, 1, 1))
    assert trial.find() is None
