"""Images, captions and preprocessing for the tiny models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
Preprocess = Callable[[Image.Image], Tensor]


def scene(seed: int = 0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Draw a gradient with coloured blocks and noise, (height, width, 3), uint8, without any symmetry."""
    random = np.random.default_rng(seed)
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    slopes = random.uniform(-1, 1, (3, 2))
    base = slopes[:, 0, None, None] * y / height + slopes[:, 1, None, None] * x / width
    values = 127 + 90 * base.transpose(1, 2, 0)
    for _ in range(4):
        top, left = random.integers(0, height), random.integers(0, width)
        values[top : top + height // 3, left : left + width // 3] = random.integers(0, 256, 3)
    values += random.normal(0, 12, values.shape)
    return values.clip(0, 255).astype(np.uint8)


def saved(picture: Image.Image, folder: Path, name: str, **options: Any) -> Path:
    """Save a picture and return its path."""
    path = folder / name
    picture.save(path, **options)
    return path


CAPTIONS = (
    "boat",
    "a red boat left of two yellow fish",
    "Two Dogs, one café: the cat's nap!",
    "a a a house house under the counterclockwise antidisestablishmentarianism of 1984",
)
"""From one word to many pieces: repeats, capitals, an accent, punctuation, and words of many pieces."""

SMALL_CAPTIONS = ("boat", "a red boat", "two yellow fish, a house")


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(scene(seed))


def preprocess_to(height: int, width: int) -> Preprocess:
    """Return preprocessing like that of the real models, for a fixed size."""
    return partial(_preprocess, height, width)


def _preprocess(height: int, width: int, picture: Image.Image) -> Tensor:
    rgb = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    values = (np.asarray(rgb, dtype=np.float32) / 255.0 - MEAN) / STD
    return torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1).contiguous()
