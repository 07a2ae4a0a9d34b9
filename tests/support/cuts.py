"""The oracle's values for every family, cut at its layers, arranged like those of an explanation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from exclip_widget import explain
from support import oracle
from support.zoo.families import FAMILIES, Family, family
from support.zoo.inputs import scene

STEPS = 5
TOLERANCE = 1e-4  # of the largest entry: the accuracy of a network in float32
Record = Callable[[str, object], None]
"""Pytest's `record_property`: reports to tests/support/support_table.py what was tested."""

EVERY = tuple(FAMILIES)
KINKED = ("OpenAI ResNet", "open_clip ResNet", "open_clip MobileCLIP")
"""Towers with ReLUs: the embedding has kinks along the path, so quadrature converges slowly."""
KINK = 0.1  # of the largest entry: how much one node of five on the other side of a kink may change

CUTS = (
    (0, -1, "a red boat"),
    (1, "middle", "two yellow fish"),
    (-1, 0, "a small house"),
    (-1, -1, "a house"),
)
"""Text layer, image layer, caption."""


@functools.cache
def picture(height: int = 48, width: int = 64) -> Image.Image:
    return Image.fromarray(scene(3, (height, width)))


def layers(this: Family, text: int, image: int | str) -> tuple[str, str]:
    """Return the module paths of a cut. A tower may have only one layer."""
    place = len(this.image_layers) // 2 if image == "middle" else int(image)
    return this.text_layers[min(text, len(this.text_layers) - 1)], this.image_layers[place]


@functools.cache
def cut(name: str, text: int, image: int | str, caption: str) -> tuple[oracle.Cut, oracle.Cut]:
    this = family(name)
    text_layer, image_layer = layers(this, text, image)
    return oracle.cut_both(this, picture(), caption, text_layer=text_layer, image_layer=image_layer)


@functools.cache
def truth(name: str, text: int, image: int | str, caption: str) -> oracle.CutTruth:
    return oracle.exclip(*cut(name, text, image, caption), rule="arc-length", steps=STEPS)


def rows_of(this: Family, caption: str) -> list[list[int]]:
    """Return the text sites of each token of an explanation; padding, if the tower reads it, comes last."""
    ids = this.ids(caption)
    positions = (ids if isinstance(ids, Tensor) else ids["input_ids"]).shape[1]
    length = this.length(ids)
    rows = [[site] for site in range(length)]
    rows += [[positions + extra] for extra in range(this.text_extra_after)]
    return [*rows, list(range(length, positions))] if this.text_pads else rows


def as_shown(
    this: Family, values: np.ndarray, caption: str, grid: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Arrange interactions of all sites like an explanation's: those of patches, and those of class tokens.

    Masked padding is dropped.
    """
    tokens = np.stack([values[row].sum(0) for row in rows_of(this, caption)])
    others, patches, _ = np.split(tokens, [this.extra_before, tokens.shape[1] - this.extra_after], axis=1)
    return patches.reshape(-1, *grid), others.sum(1)


def assert_agree(
    found: Any,
    this: Family,
    expected: oracle.CutTruth,
    caption: str,
    grid: tuple[int, int],
    tolerance: float = TOLERANCE,
) -> None:
    values, others = as_shown(this, expected.values, caption, grid)
    assert found.values.shape == values.shape
    assert found.cls.shape == others.shape
    away = max(np.abs(found.values - values).max(), np.abs(found.cls - others).max())
    assert away <= max(tolerance * np.abs(values).max(), 1e-6 * expected.cancelled)
    assert found.similarity == pytest.approx(expected.similarity, abs=1e-5)


def explained(
    name: str, text: int | str, image: int | str, caption: str, model: nn.Module | None = None, **more: Any
) -> Any:
    """Explain the picture with a family's model, or with another `model` of that family."""
    this = family(name)
    given = this.model if model is None else model
    is_double = next(given.parameters()).dtype == torch.float64
    with oracle.float64_by_default() if is_double else nullcontext():
        return explain(
            this.explained(given),
            picture(),
            caption,
            text_layer=text,
            image_layer=image,
            **this.options,
            **({"method": "exclip"} | more),
        )
