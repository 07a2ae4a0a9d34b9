"""The crop frame shows where the model looks, whatever the image's shape and the preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision import transforms as T

from exclip_widget import ParameterError
from exclip_widget.inputs.preprocessing import field_of_view

Box = tuple[float, float, float, float]
TO_PIXELS = T.Compose([T.ToTensor(), T.Normalize([0.48, 0.46, 0.41], [0.27, 0.26, 0.28])])


def crop(resize: int, size: int) -> T.Compose:
    return T.Compose([T.Resize(resize, T.InterpolationMode.BICUBIC), T.CenterCrop(size), TO_PIXELS])


def standardised(steps: Callable[[Image.Image], Tensor]) -> Callable[[Image.Image], Tensor]:
    def preprocess(image: Image.Image) -> Tensor:
        pixels = steps(image)
        return (pixels - pixels.mean()) / pixels.std()

    return preprocess


def padded(image: Image.Image) -> Tensor:
    return TO_PIXELS(ImageOps.pad(image, (64, 64), color=(120, 110, 100)))


def central(size: tuple[int, int], share: float = 1.0) -> Box:
    short = share * min(size)
    across, down = short / size[0], short / size[1]
    return (1 - across) / 2, (1 - down) / 2, across, down


def assert_near(found: Box, wanted: Box, tolerance: float = 0.04) -> None:
    scale = np.array([wanted[2], wanted[3]] * 2)
    assert (np.abs(np.subtract(found, wanted)) / scale).max() < tolerance, (found, wanted)


SIZES = [
    (1, 1),
    (2, 1),
    (3, 5),
    (40, 30),
    (500, 1),
    (1, 700),
    (1500, 3),
    (64, 3000),
    (640, 480),
    (4000, 3000),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("each_by_itself", [False, True])
def test_a_central_crop(size: tuple[int, int], each_by_itself: bool) -> None:
    steps = crop(32, 32)
    preprocess = standardised(steps) if each_by_itself else steps
    assert_near(field_of_view(preprocess, size), central(size))


@pytest.mark.parametrize("size", [(640, 480), (300, 5000)])
def test_a_crop_of_a_larger_image(size: tuple[int, int]) -> None:
    for preprocess in (crop(256, 224), standardised(crop(256, 224))):
        assert_near(field_of_view(preprocess, size), central(size, 224 / 256), 0.02)


@pytest.mark.parametrize("size", SIZES)
def test_the_whole_image_squeezed(size: tuple[int, int]) -> None:
    for steps in (T.Compose([T.Resize((32, 48)), TO_PIXELS]), T.Compose([T.Resize((32, 48), 0), TO_PIXELS])):
        for preprocess in (steps, standardised(steps)):
            assert field_of_view(preprocess, size) == (0, 0, 1, 1)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (2000, 100), (64, 4000), (3, 2)])
def test_the_whole_image_with_padding(size: tuple[int, int]) -> None:
    width, height = (max(size) / side for side in size)
    wanted = (1 - width) / 2, (1 - height) / 2, width, height
    # A panorama is reduced to three of the 64 pixels.
    assert_near(field_of_view(padded, size), wanted, 0.03 if max(width, height) < 10 else 0.12)


@pytest.mark.parametrize("size", [(1000, 700), (300, 240), (4000, 3000), (5000, 250)])
def test_a_crop_of_so_many_pixels(size: tuple[int, int]) -> None:
    preprocess = T.Compose([T.CenterCrop(224), TO_PIXELS])
    width, height = 224 / size[0], 224 / size[1]
    assert_near(field_of_view(preprocess, size), ((1 - width) / 2, (1 - height) / 2, width, height), 0.02)


@pytest.mark.parametrize("corner", range(5))
def test_a_crop_of_a_corner(corner: int) -> None:
    preprocess = T.Compose([T.Resize(64), T.FiveCrop(32), lambda crops: TO_PIXELS(crops[corner])])
    left, top = [(0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5)][corner]
    for size in ((640, 480), (128, 96)):
        width, height = 0.5 * min(size) / size[0], 0.5 * min(size) / size[1]
        assert_near(field_of_view(preprocess, size), (left * (1 - width), top * (1 - height), width, height))


@pytest.mark.parametrize(
    "normalise",
    [
        lambda pixels: (pixels - pixels.min()) / (pixels.max() - pixels.min()),
        lambda pixels: pixels / pixels.max(),
        lambda pixels: (pixels - pixels.mean()) / (pixels.std() + 1e-6),
        lambda pixels: (pixels - pixels.mean()).float() / pixels.std().clamp(min=1e-3),
        lambda pixels: pixels**2.2,
        lambda pixels: 1 - pixels,
        lambda pixels: pixels.half(),
        lambda pixels: (pixels * 4).round(),
        lambda pixels: pixels[None],
    ],
)
def test_other_ways_to_normalise(normalise: Callable[[Tensor], Tensor]) -> None:
    preprocess = T.Compose([T.Resize(48), T.CenterCrop(48), T.ToTensor(), normalise])
    for size in ((640, 480), (1000, 20)):
        assert_near(field_of_view(preprocess, size), central(size), 0.06)


def _without_first(pixels: Tensor) -> Tensor:
    return pixels * torch.tensor([0.0, 1.0, 1.0])[:, None, None]


@pytest.mark.parametrize(
    "steps",
    [
        [T.ToTensor(), _without_first],
        [T.ToTensor(), lambda pixels: pixels.flip(0), _without_first, lambda pixels: pixels.flip(0)],
        [lambda image: image.convert("HSV"), T.ToTensor()],
        [T.ToTensor(), lambda pixels: torch.stack([pixels[0].clamp(0, 0.01), pixels[1], pixels[2] * 0])],
        [T.ToTensor(), lambda pixels: pixels - pixels.mean((1, 2), keepdim=True), _without_first],
    ],
)
def test_channels_that_are_constant(steps: list[Callable[..., Any]]) -> None:
    preprocess = T.Compose([T.Resize(48), T.CenterCrop(48), *steps])
    for size in ((640, 480), (1000, 20)):
        assert_near(field_of_view(preprocess, size), central(size), 0.06)
    with pytest.raises(ParameterError, match="preprocess mirrors or turns the image"):
        field_of_view(T.Compose([ImageOps.mirror, preprocess]), (640, 480))


def test_stretched_contrast() -> None:
    """Autocontrast stretches the visible part of a ramp, which must not pass for the whole image."""
    preprocess = T.Compose([T.Resize(48), T.CenterCrop(48), ImageOps.autocontrast, TO_PIXELS])
    assert_near(field_of_view(preprocess, (960, 480)), central((960, 480)))


@pytest.mark.parametrize(
    "preprocess",
    [
        lambda _: torch.zeros(3, 8, 8),
        lambda _: torch.full((3, 8, 8), torch.nan),
        lambda _: 1 / 0,
        lambda _: None,
    ],
)
def test_the_whole_image_if_nothing_can_be_found_out(preprocess: Callable[[Image.Image], Tensor]) -> None:
    assert field_of_view(preprocess, (64, 48)) == (0, 0, 1, 1)


def test_the_images_stay_small() -> None:
    pixels: list[int] = []

    def preprocess(image: Image.Image) -> Tensor:
        pixels.append(image.width * image.height)
        return crop(32, 32)(image)

    field_of_view(preprocess, (12000, 9000))
    assert sum(pixels) < 2**20
    assert len(pixels) <= 12


def turned(
    turn: Callable[[Image.Image], Image.Image], *steps: Callable[..., object]
) -> Callable[..., Tensor]:
    return T.Compose([T.Resize((48, 48)), turn, TO_PIXELS, *steps])


TURNS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": ImageOps.mirror,
    "flipped": ImageOps.flip,
    "by 90": lambda image: image.rotate(90),
    "by 180": lambda image: image.rotate(180),
    "by 270": lambda image: image.rotate(270),
    "by 10": lambda image: image.rotate(10),
    "by 45": lambda image: image.rotate(45),
    "transposed": lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    "transversed": lambda image: image.transpose(Image.Transpose.TRANSVERSE),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("each_by_itself", [False, True])
def test_an_image_that_is_not_upright_is_refused(turn: str, each_by_itself: bool) -> None:
    steps = turned(TURNS[turn])
    preprocess = standardised(steps) if each_by_itself else steps
    for size in ((64, 64), (640, 480), (1000, 1500)):
        with pytest.raises(ParameterError, match="preprocess mirrors or turns the image"):
            field_of_view(preprocess, size)


@pytest.mark.parametrize("each_by_itself", [False, True])
def test_a_mirrored_crop_with_padding_is_refused(each_by_itself: bool) -> None:
    steps = T.Compose([T.CenterCrop(224), ImageOps.mirror, T.Resize(64), TO_PIXELS])
    preprocess = standardised(steps) if each_by_itself else steps
    for size in ((640, 480), (640, 160)):
        with pytest.raises(ParameterError, match="preprocess mirrors or turns the image"):
            field_of_view(preprocess, size)


def test_edges_of_an_image_are_refused() -> None:
    preprocess = turned(lambda image: image.filter(ImageFilter.FIND_EDGES))
    with pytest.raises(ParameterError, match=r"or changes what it shows, such as to its edges.*only resizes"):
        field_of_view(preprocess, (64, 64))


def test_an_inverted_image_is_upright() -> None:
    """Inverted brightness looks like a mirrored edge."""
    preprocess = standardised(turned(ImageOps.invert))
    assert_near(field_of_view(preprocess, (640, 480)), (0, 0, 1, 1))
