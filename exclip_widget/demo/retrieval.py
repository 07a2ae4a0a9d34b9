"""Retrieval: how well a picture-book model tells held-out scenes, and scenes with one change, apart."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from open_clip.model import CLIP
from PIL import Image

from .captions import describe
from .picture_book import PREPROCESS, PictureBookTokenizer
from .scenes import Scene, sample_scene, swap_colours

HELD_OUT = "held out"
"""Prefix of the seeds of scenes that are never drawn in training."""


def pixels_to_input(pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Turn bytes, (..., 96, 96, 3), into the model's input, (..., 3, 96, 96), normalised."""
    scaled = torch.as_tensor(pixels).movedim(-1, -3).float() / 255
    mean, std = (scaled.new_tensor(v).reshape(3, 1, 1) for v in (PREPROCESS.mean, PREPROCESS.std))
    return (scaled - mean) / std


@torch.no_grad()
def similarities(
    model: CLIP,
    tokenizer: PictureBookTokenizer,
    pictures: Sequence[Image.Image],
    captions: Sequence[str],
) -> torch.Tensor:
    """Return cosine similarities, (images, captions)."""
    images = pixels_to_input(np.stack([np.asarray(picture) for picture in pictures]))
    embedded = model.encode_image(images, normalize=True)
    scores: torch.Tensor = embedded @ model.encode_text(tokenizer(list(captions)), normalize=True).T
    return scores


def held_out_scenes(count: int) -> list[Scene]:
    """Return scenes, none of which shows all coloured kinds of another, so that each has one right answer."""
    scenes: list[Scene] = []
    shown: list[set[tuple[str, str]]] = []
    for index in range(100 * count):
        scene = sample_scene(random.Random(f"{HELD_OUT} {index}"))
        things = {(group.colour, group.kind) for group in scene.groups}
        if not any(things <= other or other <= things for other in shown):
            scenes.append(scene)
            shown.append(things)
        if len(scenes) == count:
            break
    return scenes


def recall_at_1(model: CLIP, tokenizer: PictureBookTokenizer, count: int = 256) -> tuple[float, float]:
    """Return the share of held-out pictures that find their caption among `count`, and vice versa."""
    scenes = held_out_scenes(count)
    captions = [describe(scene, random.Random(str(i)), full=True).caption for i, scene in enumerate(scenes)]
    scores = similarities(model, tokenizer, [s.draw(PREPROCESS.size) for s in scenes], captions)
    truth = torch.arange(count, device="cpu")
    to_caption = (scores.argmax(1) == truth).float().mean()
    to_picture = (scores.argmax(0) == truth).float().mean()
    return float(to_caption), float(to_picture)


def colour_binding(model: CLIP, tokenizer: PictureBookTokenizer, count: int = 256) -> tuple[float, float]:
    """Return the share of pairs ranked correctly when two groups of a held-out scene exchange their colours.

    The first number is for finding the right caption of a picture, the second for finding the right picture
    of a caption. Chance is 0.5.
    """
    pictures: list[Image.Image] = []
    captions: list[str] = []
    index = 0
    while len(captions) < 2 * count:
        seed = f"{HELD_OUT} {index}"
        index += 1
        scene = sample_scene(random.Random(seed))
        swapped = swap_colours(scene, random.Random(seed))
        if swapped is None:
            continue
        for twin in (scene, swapped):
            pictures.append(twin.draw(PREPROCESS.size))
            captions.append(describe(twin, random.Random(seed), full=True).caption)
    # Only the 2 x 2 blocks of twins matter.
    scores = similarities(model, tokenizer, pictures, captions)
    blocks = torch.stack([scores[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] for i in range(count)])
    right = blocks.diagonal(dim1=1, dim2=2)
    of_caption = (right > blocks.flip(2).diagonal(dim1=1, dim2=2)).float().mean()
    of_picture = (right > blocks.flip(1).diagonal(dim1=1, dim2=2)).float().mean()
    return float(of_caption), float(of_picture)
