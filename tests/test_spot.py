"""A spot in the image is found in its place, whatever tokens a tower keeps and in whatever order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from open_clip import CustomTextCLIP
from PIL import Image
from support.zoo.families import FAMILIES, Family, family, of_open_clip
from support.zoo.inputs import picture, preprocess_to
from support.zoo.models import build, inputs_of, open_clip_model, openai_model
from support.zoo.tokenizers import (
    CONTEXT,
    SMALL_CONTEXT,
    SMALL_VOCABULARY,
    SmallTokenizer,
    clip_tokenizer,
)
from support.zoo.weights import sharpen

from exclip_widget import Banzhaf, DualEncoder, Explainer, ModelError, explain
from exclip_widget.results.regions import patch_boxes

PLACES = [(0.2, 0.7), (0.8, 0.3)]
"""Where the spot is, as fractions of the image: down and across."""


def with_spot(image: Image.Image, down: float, across: float) -> Image.Image:
    """Return the image with a spot a tenth of its size."""
    pixels = np.array(image)
    height, width = pixels.shape[:2]
    rows = slice(round((down - 0.05) * height), round((down + 0.05) * height))
    columns = slice(round((across - 0.05) * width), round((across + 0.05) * width))
    pixels[rows, columns] = 255 - pixels[rows, columns]
    return Image.fromarray(pixels)


def place_of_the_spot(model: Any, down: float, across: float, **options: Any) -> tuple[float, float]:
    """Return where the heat lies if a spot is all that distinguishes the image from its reference."""
    image = picture()
    found = explain(
        model,
        with_spot(image, down, across),
        "a red boat",
        image_reference=image,
        method="exclip",
        steps=1,
        rule="midpoint",
        **options,
    )
    heat = np.abs(found.values).sum(0)
    heat /= heat.sum()
    down_of, across_of = ((np.arange(count) + 0.5) / count for count in heat.shape)
    return float(heat.sum(1) @ down_of), float(heat.sum(0) @ across_of)


def assert_found(model: Any, grid: tuple[int, int], **options: Any) -> None:
    for down, across in PLACES:
        found = place_of_the_spot(model, down, across, **options)
        # Convolutions before the cut spread the spot a little.
        assert abs(found[0] - down) <= max(0.5 / grid[0], 0.06), (found, (down, across))
        assert abs(found[1] - across) <= max(0.5 / grid[1], 0.06), (found, (down, across))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name: str) -> None:
    this = family(name)
    layer = this.image_layers[0]
    assert_found(this.explained(this.model), this.grids[0], image_layer=layer, **this.options)


def prompted(behind: bool) -> torch.nn.Module:
    """Return a model with four prompts before or after the patches, as in prompt tuning."""
    model = build("plain")
    prompts = torch.randn(
        1, 4, model.visual.class_embedding.numel(), generator=torch.Generator().manual_seed(1)
    )

    def add(module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        tokens, *others = args
        at = tokens.shape[1] if behind else 1
        parts = tokens[:, :at], prompts.to(tokens).expand(len(tokens), -1, -1), tokens[:, at:]
        return torch.cat(parts, 1), *others

    model.visual.transformer.register_forward_pre_hook(add)
    return model


@pytest.mark.parametrize("behind", [False, True])
def test_prompts_are_no_patches(behind: bool) -> None:
    model = prompted(behind)
    assert_found(model, (4, 4), image_layer=0, text_layer=0, **inputs_of(model))


@pytest.mark.parametrize("layer", [0, 1, -1])
def test_prompts_change_no_place(layer: int) -> None:
    """Their position among the tokens affects neither attention nor the explanation."""
    before, behind = (
        explain(model, picture(), "a red boat", image_layer=layer, **inputs_of(model), method="exclip")
        for model in (prompted(False), prompted(True))
    )
    np.testing.assert_allclose(before.values, behind.values, atol=1e-6)
    np.testing.assert_allclose(before.cls, behind.cls, atol=1e-6)


def test_tokens_that_are_no_patches_are_not_guessed() -> None:
    """Each token mixes all patches, so none belongs to a single patch."""
    model = build("plain")

    def mix(module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        tokens, *others = args
        mean = tokens.mean(1, keepdim=True)
        return torch.cat([mean.expand_as(tokens), mean], 1), *others

    model.visual.transformer.register_forward_pre_hook(mix)
    with pytest.raises(ModelError, match="it is unclear which"):
        explain(model, picture(), "a red boat", image_layer=0, **inputs_of(model), method="exclip")


def hiera() -> Family:
    """Make a tower that stores the tokens of each mask unit next to each other."""
    size = (64, 128)
    return of_open_clip(
        37,
        size=size,
        vision={"timm_model_name": "hiera_tiny_224", "timm_pool": "", "timm_proj": "linear"},
        named={"img_size": size, "embed_dim": 16, "num_heads": 1, "stages": (1, 2, 1, 1)},
        image_layers=tuple(f"visual.trunk.blocks.{n}" for n in range(5)),
        grids=((16, 32), (16, 32), (8, 16), (8, 16), (4, 8)),
    )


@pytest.mark.parametrize("number", range(5))
def test_units_are_in_the_order_of_the_image(number: int) -> None:
    this = hiera()
    layer, grid = this.image_layers[number], this.grids[number]
    found = explain(
        this.model, picture(), "a red boat", image_layer=layer, steps=2, **this.options, method="exclip"
    )
    assert found.values.shape[1:] == grid
    if number < 2:  # in later layers, attention has spread the spot
        assert_found(this.model, grid, image_layer=layer, **this.options)


def test_units_at_the_output() -> None:
    this = hiera()
    found = explain(
        this.model, picture(), "a red boat", image_layer="output", method="similarity", **this.options
    )
    assert found.values.shape[1:] == (2, 4)


@pytest.mark.parametrize(
    ("size", "patch", "grid"), [((64, 96), 16, (4, 6)), ((64, 92), 14, (4, 6)), ((63, 84), 16, (3, 5))]
)
def test_sizes_that_patches_do_not_divide(size: tuple[int, int], patch: int, grid: tuple[int, int]) -> None:
    """The grid is read from the tower, because the number of patches alone may fit several grids."""
    this = of_open_clip(
        38,
        make=CustomTextCLIP,
        size=size,
        vision={"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none"},
        named={"img_size": size, "embed_dim": 32, "depth": 1, "num_heads": 4, "patch_size": patch},
        image_layers=("visual.trunk.blocks.0",),
        grids=(grid,),
        embed_dim=32,
    )
    assert_found(this.model, grid, image_layer=0, **this.options)


def timm_tower(size: tuple[int, int], patch: int, **named: Any) -> Family:
    return of_open_clip(
        50,
        make=CustomTextCLIP,
        size=size,
        vision={"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none"},
        named={"img_size": size, "embed_dim": 32, "depth": 1, "num_heads": 4, "patch_size": patch} | named,
        embed_dim=32,
    )


def siglip() -> torch.nn.Module:
    """Make a tower with SigLIP SO400M's ratio of patches to image: 14 pixels of 384."""
    side = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 3}
    text = side | {"vocab_size": SMALL_VOCABULARY, "max_position_embeddings": SMALL_CONTEXT}
    vision = side | {"image_size": 48, "patch_size": 14}
    return sharpen(
        transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
    )


def described(model: Any) -> DualEncoder:
    return DualEncoder(
        model,
        encode_text=model.encode_text,
        encode_image=model.encode_image,
        text_layers=["transformer.resblocks.0"],
        image_layers=["visual.transformer.resblocks.0"],
        context_length=CONTEXT,
        padded=False,
    )


UNEVEN: dict[str, tuple[Callable[[], Any], tuple[int, int], int]] = {
    "open_clip": (lambda: open_clip_model(vision={"image_size": (36, 47)}), (36, 47), 8),
    "openai": (lambda: openai_model(image_resolution=47), (47, 47), 8),
    "timm": (lambda: timm_tower((63, 84), 16).model, (63, 84), 16),
    "timm, padded": (
        lambda: timm_tower((32, 32), 8, dynamic_img_size=True, dynamic_img_pad=True).model,
        (33, 45),
        8,
    ),
    "transformers": (siglip, (48, 48), 14),
    "described": (lambda: described(open_clip_model(vision={"image_size": (36, 47)})), (36, 47), 8),
}
"""Models, the size of an image for each, and the side of its square patches."""


def tokenizer_of(name: str) -> Any:
    if name == "transformers":
        return SmallTokenizer()
    return timm_tower((32, 32), 8).options["tokenizer"] if "timm" in name else clip_tokenizer()


@pytest.mark.parametrize("name", UNEVEN)
def test_patches_that_do_not_divide_an_image_are_drawn_where_they_are(name: str) -> None:
    """Each is as large as the stem reads it, and what no patch covers lies outside."""
    make, (height, width), patch = UNEVEN[name]
    grey = np.full((height, width, 3), 128, np.uint8)
    options = {"preprocess": preprocess_to(height, width), "tokenizer": tokenizer_of(name)}
    options |= {"method": "exclip", "text_layer": 0, "image_layer": 0, "steps": 1}
    explainer = Explainer(make(), image_reference=Image.fromarray(grey), **options)
    pad = "padded" in name
    last = [(-(-side // patch) if pad else side // patch) - 1 for side in (height, width)]
    for row, column in (last, (1, 1)):
        pixels = grey.copy()
        at = slice(row * patch, (row + 1) * patch), slice(column * patch, (column + 1) * patch)
        pixels[at] = np.random.default_rng(0).integers(0, 256, pixels[at].shape)
        found = explainer.explain(Image.fromarray(pixels), "a red boat")
        heat = np.abs(found.values).sum(0)
        assert heat.argmax() == row * heat.shape[1] + column
        (box,) = np.array(patch_boxes(found.view, heat.shape)).reshape(*heat.shape, 4)[[row], [column]]
        edges = [column * patch, row * patch, (column + 1) * patch, (row + 1) * patch]
        np.testing.assert_allclose(box, edges, atol=0.2)


@pytest.mark.parametrize("name", ["open_clip", "openai", "timm", "transformers"])
def test_patches_that_do_not_divide_an_image_are_hidden_as_a_whole(name: str) -> None:
    """At the first block of a ViT, to hide a patch and to replace its token are the same."""
    make, size, _ = UNEVEN[name]
    options = {"preprocess": preprocess_to(*size), "tokenizer": tokenizer_of(name)}
    hidden, replaced = (
        Explainer(make(), method=Banzhaf(samples=32, masks=masks), **options).image_factors(picture()).values
        for masks in ("hide", "replace")
    )
    np.testing.assert_allclose(hidden, replaced, atol=1e-5 * np.abs(replaced).max())


@pytest.mark.parametrize("size", [(96, 64), (48, 128)])
def test_a_tower_that_takes_any_size(size: tuple[int, int]) -> None:
    named = {"img_size": 64, "embed_dim": 32, "depth": 1, "num_heads": 4, "patch_size": 8}
    this = of_open_clip(
        48,
        size=(64, 64),
        vision={"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "timm_proj": "linear"},
        named=named | {"dynamic_img_size": True},
        embed_dim=32,
    )
    options = this.options | {"preprocess": preprocess_to(*size)}
    assert_found(this.model, (size[0] // 8, size[1] // 8), image_layer=0, **options)


def test_blocks_in_lists() -> None:
    named = {"img_size": 64, "embed_dims": (8, 16, 16, 24), "depths": (1, 2, 1, 2), "num_heads": (1, 2, 2, 3)}
    this = of_open_clip(
        49,
        size=(64, 64),
        vision={"timm_model_name": "twins_svt_small", "timm_pool": "", "timm_proj": "linear"},
        named=named,
        embed_dim=32,
    )
    assert_found(this.model, (16, 16), image_layer=0, **this.options)


def map_tower(name: str, size: tuple[int, int], layers: tuple[str, ...], grids: Any, **named: Any) -> Family:
    """Make a timm tower whose blocks take feature maps."""
    return of_open_clip(
        39,
        size=size,
        vision={"timm_model_name": name, "timm_pool": "", "timm_proj": "linear"},
        named={"img_size": size, **named},
        image_layers=layers,
        grids=grids,
    )


def sam(side: int = 64, width: int = 32) -> Family:
    """Make a tower whose blocks take maps with channels last, but which does not declare it."""
    size, grid = (side, side), (side // 16,) * 2
    named = {"embed_dim": width, "depth": 2, "num_heads": 2, "neck_chans": 16, "global_attn_indexes": (1,)}
    layers = tuple(f"visual.trunk.blocks.{n}" for n in range(2))
    return map_tower("samvit_base_patch16", size, layers, (grid,) * 2, **named)


def pyramid() -> Family:
    """Make a tower whose first stage takes a map with channels last, and all others channels first."""
    named = {"embed_dims": (16, 24, 32, 40), "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
    named |= {"img_size": None}
    layers = tuple(f"visual.trunk.stages.{n}" for n in range(4))
    grids = ((24, 32), (24, 32), (12, 16), (6, 8))
    return map_tower("pvt_v2_b0", (96, 128), layers, grids, **named)


@pytest.mark.parametrize("tower", [sam, pyramid])
@pytest.mark.parametrize("number", [0, 1])
def test_maps_are_read_as_their_modules_hold_them(tower: Any, number: int) -> None:
    this = tower()
    layer, grid = this.image_layers[number], this.grids[number]
    found = explain(
        this.model, picture(), "a red boat", image_layer=layer, steps=2, **this.options, method="exclip"
    )
    assert found.values.shape[1:] == grid
    if number == 0:
        assert_found(this.model, grid, image_layer=layer, **this.options)


def test_a_map_as_wide_as_it_is_high() -> None:
    """Its shape fits both layouts: an image twice as wide tells them apart, or there is an error."""
    this = map_tower(
        *("convnext_atto", (64, 64), ("visual.trunk.stages.0",), ((16, 16),)),
        **{"img_size": None, "dims": (16, 16, 16, 16), "depths": (1, 1, 1, 1)},
    )
    assert_found(this.model, (16, 16), image_layer=0, **this.options)
    last = sam(64, 4)
    assert_found(last.model, (4, 4), image_layer=0, **last.options)
    last.model.visual.trunk.patch_embed.strict_img_size = True
    with pytest.raises(ModelError, match=r"shape \(1, 4, 4, 4\).*pass channels_last="):
        explain(last.model, picture(), "a red boat", image_layer=0, **last.options, method="exclip")


class Arranged(torch.nn.Module):
    """A custom model that arranges the tokens of a convolution in some way."""

    def __init__(self, arrange: Any, **convolution: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.arrange = arrange
        self.prepare: Callable[[torch.Tensor], torch.Tensor] = lambda pixels: pixels
        self.convolution = torch.nn.Conv2d(3, 16, **({"kernel_size": 8, "stride": 8} | convolution))
        self.words, self.patches = torch.nn.Embedding(64, 16), torch.nn.Linear(16, 16)
        self.last = torch.nn.Linear(16, 6)

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens = self.arrange(self.convolution(self.prepare(pixels)).flatten(2).transpose(1, 2))
        return self.last(self.patches(tokens).tanh().mean(1))

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        return self.last(self.words(ids)).tanh().mean(1)

    def described(self, **more: Any) -> DualEncoder:
        layers = {"text_layers": ["last"], "image_layers": ["patches"]}
        return DualEncoder(self, encode_text=self.text, encode_image=self.image, **layers, **more)


def own_inputs(height: int = 32, width: int = 32) -> dict[str, Any]:
    return {"preprocess": preprocess_to(height, width), "tokenizer": SmallTokenizer()}


@pytest.mark.parametrize("side", [35, 39, 50])
def test_pixels_that_are_resized_in_the_model(side: int) -> None:
    """Then the patches cover the whole image, whether or not they would divide it."""
    model = Arranged(lambda tokens: tokens)
    model.prepare = lambda pixels: F.interpolate(pixels, (32, 32), mode="bilinear", antialias=True)
    found = explain(model.described(), picture(), "a boat", **own_inputs(side, side))
    assert found.crop == pytest.approx((0, 0, 1, 1), abs=0.02)
    assert_found(model.described(), (4, 4), **own_inputs(side, side))


@pytest.mark.parametrize("side", [36, 50])
def test_pixels_that_are_cropped_in_the_model(side: int) -> None:
    """A corner is what patches that do not divide an image leave over; anything else is refused."""
    model, inputs = Arranged(lambda tokens: tokens), own_inputs(side, side)
    if side - 32 < 8:
        model.prepare = lambda pixels: pixels[..., :32, :32]
        found = explain(model.described(), picture(), "a boat", **inputs)
        assert found.crop == pytest.approx((0, 0, 32 / side, 32 / side), abs=0.02)
    edge = (side - 32) // 2
    model.prepare = lambda pixels: pixels[..., edge : edge + 32, edge : edge + 32]
    with pytest.raises(ModelError, match=r"does not read rows 0 to \d of the .*crop in preprocess"):
        explain(model.described(), picture(), "a boat", **inputs)


@pytest.mark.parametrize("side", [32, 56])
@pytest.mark.parametrize("pads", [(0, 1, 0, 0), (0, 3, 0, 0), (0, 0, 1, 0)])
def test_pixels_that_are_padded_in_the_model(side: int, pads: tuple[int, ...]) -> None:
    """Then a patch shows another part of the image than its place in the grid."""
    model = Arranged(lambda tokens: tokens)
    model.prepare = lambda pixels: F.interpolate(F.pad(pixels, [side * one for one in pads]), (side, side))
    with pytest.raises(ModelError, match="it is unclear which of them are the"):
        explain(model.described(), picture(), "a boat", **own_inputs(side, side))


def by_norm(tokens: torch.Tensor) -> torch.Tensor:
    order = tokens.norm(dim=-1).argsort(1)[..., None].expand_as(tokens)
    return tokens.gather(1, order)


def latents(tokens: torch.Tensor) -> torch.Tensor:
    queries = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    return (5 * queries @ tokens.mT).softmax(-1) @ tokens


def test_a_class_token_behind_the_patches() -> None:
    model = Arranged(lambda tokens: torch.cat([tokens, torch.ones_like(tokens[:, :1])], 1)).described()
    assert_found(model, (4, 4), **own_inputs())


@pytest.mark.parametrize(
    "arrange",
    [
        by_norm,
        latents,
        lambda tokens: tokens[:, torch.randperm(16, generator=torch.Generator().manual_seed(0))],
        lambda tokens: tokens[:, [0, 2, 3, 5, 7, 8, 10, 13, 15]],
        lambda tokens: tokens.unflatten(1, (4, 4)).transpose(1, 2).flatten(1, 2),
        lambda tokens: torch.cat(
            [tokens[:, [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]], tokens[:, :3] * 0], 1
        ),
    ],
    ids=["sorted", "latents", "shuffled", "nine kept", "by columns", "pruned"],
)
def test_tokens_in_another_order_are_refused(arrange: Any) -> None:
    with pytest.raises(ModelError, match="in the order of the image"):
        explain(Arranged(arrange).described(), picture(), "a boat", **own_inputs(), method="exclip")


def test_overlapping_patches_of_another_grid() -> None:
    """Their number fits into a grid with the image's proportions, but a test run contradicts it."""
    model = Arranged(lambda tokens: tokens, kernel_size=16, stride=12, padding=2)
    with pytest.raises(ModelError, match=r"the 4 x 6 patches in the order.*DualEncoder\(grid="):
        explain(model.described(), picture(), "a boat", **own_inputs(64, 96), method="exclip")
    assert_found(model.described(grid=(5, 8)), (5, 8), **own_inputs(64, 96))


@pytest.mark.parametrize("moved", [[*range(1, 17), 0], [0, *range(16, 0, -1)]], ids=["behind", "reversed"])
def test_a_hook_that_moves_tokens(moved: list[int]) -> None:
    model = build("plain")
    model.visual.ln_pre.register_forward_hook(lambda _, __, out: out[:, moved])
    if moved[-1] == 0:
        assert_found(model, (4, 4), image_layer=0, text_layer=0, **inputs_of(model))
        return
    with pytest.raises(ModelError, match="in the order of the image"):
        explain(model, picture(), "a red boat", image_layer=0, **inputs_of(model), method="exclip")
