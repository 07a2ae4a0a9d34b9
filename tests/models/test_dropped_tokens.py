"""Towers with fewer tokens at later layers: merged into a coarser grid, or dropped by what is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.cuts import picture
from support.zoo.inputs import preprocess_to
from support.zoo.models import open_clip_model
from support.zoo.tokenizers import clip_tokenizer
from torch import Tensor

from exclip_widget import DualEncoder, ModelError, explain

CAPTION = "a red boat"
BLOCKS = "visual.transformer.resblocks"


def merged(tokens: Tensor) -> Tensor:
    """Merge each square of four patches."""
    grid = tokens[:, 1:].unflatten(1, (8, 8)).movedim(-1, 1)
    return torch.cat([tokens[:, :1], torch.nn.functional.avg_pool2d(grid, 2).flatten(2).mT], 1)


def longest(tokens: Tensor) -> Tensor:
    """Keep a quarter of the patches, those of largest norm, in their order."""
    chosen = tokens[:, 1:].norm(dim=-1).topk(16).indices.sort(1).values
    kept = tokens[:, 1:].gather(1, chosen[..., None].expand(-1, -1, tokens.shape[-1]))
    return torch.cat([tokens[:, :1], kept], 1)


def with_fewer(change: Callable[[Tensor], Tensor], seed: int) -> DualEncoder:
    model: Any = open_clip_model(vision={"image_size": 64, "layers": 3}, seed=seed)
    model.visual.transformer.resblocks[0].register_forward_hook(lambda _, __, tokens: change(tokens))
    return DualEncoder(
        model,
        encode_text=model.encode_text,
        encode_image=model.encode_image,
        text_layers=["transformer.resblocks.0"],
        image_layers=[f"{BLOCKS}.{number}" for number in range(3)],
    )


OPTIONS = {"tokenizer": clip_tokenizer(), "preprocess": preprocess_to(64, 64), "method": "similarity"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layer", [1, 2, "output"])
def test_tokens_dropped_by_what_they_hold_are_refused(layer: int | str, seed: int) -> None:
    own = with_fewer(longest, seed)
    with pytest.raises(ModelError, match=r"17 tokens, fewer than the first layer.*not a grid of 4 x 4"):
        explain(own, picture(), CAPTION, image_layer=layer, **OPTIONS)
    assert explain(own, picture(), CAPTION, image_layer=0, **OPTIONS).values.shape[1:] == (8, 8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layer", [1, 2, "output"])
def test_merged_neighbours_are_a_coarser_grid(layer: int | str, seed: int) -> None:
    found = explain(with_fewer(merged, seed), picture(), CAPTION, image_layer=layer, **OPTIONS)
    assert found.values.shape[1:] == (4, 4)
