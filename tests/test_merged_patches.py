"""Patches of later stages, which merge those of earlier ones, are drawn where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.zoo.families import of_open_clip
from support.zoo.inputs import preprocess_to
from support.zoo.models import openai_model
from support.zoo.tokenizers import CONTEXT, clip_tokenizer
from torch import Tensor, nn

from exclip_widget import DualEncoder, Explainer
from exclip_widget.demo import load
from exclip_widget.results.regions import patch_boxes
from exclip_widget.widget.request import Request
from exclip_widget.widget.wire import request_traits


def silenced(model: nn.Module, *endings: str) -> nn.Module:
    """Set the weights whose names have these endings to zero, so that blocks pass on what they get."""
    for name, weight in model.named_parameters():
        if name.endswith(endings):
            nn.init.zeros_(weight)
    return model


def convnext() -> tuple[nn.Module, str]:
    this = of_open_clip(
        33,
        context=CONTEXT,
        size=(44, 60),
        vision={"timm_model_name": "convnext_base", "timm_pool": "", "timm_proj": "linear"},
        named={"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 24)},
    )
    return silenced(this.model, ".gamma"), "trunk.stages"


def swin() -> tuple[nn.Module, str]:
    this = of_open_clip(
        36,
        context=CONTEXT,
        size=(36, 60),
        vision={"timm_model_name": "swin_base_patch4_window7_224", "timm_pool": "", "timm_proj": "linear"},
        named={
            "img_size": (36, 60),
            "embed_dim": 8,
            "depths": (1, 1, 1),
            "num_heads": (2, 2, 4),
            "window_size": 3,
        },
    )
    return silenced(this.model, "attn.proj.weight", "mlp.fc2.weight"), "trunk.layers"


def clip_resnet() -> tuple[nn.Module, str]:
    model = openai_model(image_resolution=76, vision_layers=(1, 1, 1, 1), vision_width=8)
    return silenced(model, ".0.bn3.weight").eval(), "layer"


Tower = Callable[[], tuple[nn.Module, str]]

CASES: list[tuple[Tower, tuple[int, int], str, tuple[int, int]]] = [
    (convnext, (44, 60), "2", (5, 7)),
    (convnext, (44, 60), "3", (2, 3)),
    (convnext, (44, 60), "output", (1, 1)),
    (swin, (36, 60), "2", (5, 8)),
    (swin, (36, 60), "output", (3, 4)),
    (clip_resnet, (76, 76), "3", (9, 9)),
    (clip_resnet, (76, 76), "4", (4, 4)),
    (clip_resnet, (76, 76), "output", (2, 2)),
]
"""Towers, heights and widths of images, layers, and the grids there."""


def read_by(model: Any, module: nn.Module, at_output: bool, pixels: Tensor, row: int, column: int) -> Tensor:
    """Return which pixels the token of a patch depends on at a layer, (height, width)."""
    seen: list[Tensor] = []
    if at_output:
        handle = module.register_forward_hook(lambda _, __, output: seen.append(output))
    else:
        handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    pixels = pixels.clone().requires_grad_()
    model.encode_image(pixels)
    handle.remove()
    (held,) = seen
    is_last = held.shape[-1] > held.shape[1]  # more channels than places: they come last
    token = held[0, row, column] if is_last else held[0, :, row, column]
    (gradient,) = torch.autograd.grad(token.square().sum(), pixels)
    return gradient.abs().sum((0, 1)) > 0


def described(model: Any, layers: list[str]) -> DualEncoder:
    return DualEncoder(
        model,
        encode_text=model.encode_text,
        encode_image=model.encode_image,
        text_layers=["transformer.resblocks.0"],
        image_layers=layers,
        padded=False,
    )


@pytest.mark.parametrize(
    ("tower", "size", "layer", "grid", "in_user_code"),
    [
        *((*case, False) for case in CASES),
        # Patches that overlap, as a ResNet's, say little about which pixels a user's code reads.
        *((*case, True) for case in CASES if case[0] is not clip_resnet),
    ],
)
def test_patches_are_drawn_where_they_are(
    tower: Tower, size: tuple[int, int], layer: str, grid: tuple[int, int], in_user_code: bool
) -> None:
    model, stages = tower()
    (height, width), at_output = size, layer == "output"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    join = "" if tower is clip_resnet else "."
    named = dict(model.visual.named_modules())
    names = [f"{stages}{join}{n}" for n in range(5) if f"{stages}{join}{n}" in named]
    given = described(model, [f"visual.{name}" for name in names]) if in_user_code else model
    explainer = Explainer(
        given,
        preprocess=preprocess_to(height, width),
        tokenizer=clip_tokenizer(),
        method="similarity" if at_output else "gradient",
        image_layer="output" if at_output else f"visual.{stages}{join}{layer}",
        text_layer="output" if at_output else 0,
    )
    found = explainer.explain(image, "a red boat")
    assert found.values.shape[1:] == grid
    boxes = patch_boxes(found.view, grid)
    for part in [*model.visual.modules()]:
        for name, child in part.named_children():
            if isinstance(child, nn.ReLU):  # it would hide that a patch depends on a pixel
                setattr(part, name, nn.Identity())
    module = named[names[-1] if at_output else f"{stages}{join}{layer}"]
    halo = 6 if tower is clip_resnet else 0.2  # the convolutions of its stem overlap
    pixels = explainer.read_image(image)
    for row, column in ((0, 0), (grid[0] - 1, grid[1] - 1)):
        lit = read_by(model, module, at_output, pixels, row, column).nonzero()
        read = [lit[:, 1].min(), lit[:, 0].min(), lit[:, 1].max() + 1, lit[:, 0].max() + 1]
        drawn = np.clip(boxes[row, column], 0, [width, height, width, height])
        np.testing.assert_allclose(drawn, read, atol=halo)


def test_what_a_widget_is_sent_before_its_result() -> None:
    model, _ = convnext()
    options = {"preprocess": preprocess_to(44, 60), "tokenizer": clip_tokenizer()}
    request = Request.read(model, load().pages[0].image, "a red boat", options | {"image_layer": 3})
    grid = request_traits(request)["_grid"]
    assert (grid["width"], grid["height"]) == pytest.approx((48 / 60, 32 / 44))
    assert request.changed({"image_layer": 0}).view.crop == pytest.approx((0, 0, 1, 1))
