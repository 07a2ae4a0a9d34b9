"""The pointing game on the picture book: whether explanations lie on what the words speak of."""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np
from open_clip.model import CLIP

from ..explainer import explain
from .captions import Mention, describe
from .picture_book import PREPROCESS, PictureBookTokenizer
from .retrieval import HELD_OUT
from .scenes import sample_scene

ON = 0.25
"""A patch lies on what covers at least this share of it."""


class Pointing(NamedTuple):
    """Means over mentions; `chance` is the share of the picture that the things cover.

    `hit` counts mentions whose strongest patch lies on their group, `energy` is the share of positive
    interaction on it, `residual` the median completeness residual of the explanations.
    """

    hit: float
    energy: float
    chance: float
    residual: float


def pointing_game(
    model: CLIP,
    tokenizer: PictureBookTokenizer,
    *,
    layers: tuple[int, int],
    scenes: int = 80,
    steps: int = 10,
) -> Pointing:
    """Explain held-out scenes of two and more groups at `layers` (text, image), and score the mentions."""
    scores: list[tuple[float, float, float]] = []
    residuals: list[float] = []
    index = 0
    while len(residuals) < scenes:
        seed = f"{HELD_OUT} {index}"
        index += 1
        scene = sample_scene(random.Random(seed))
        if len(scene.groups) < 2:
            continue
        description = describe(scene, random.Random(seed), full=True)
        result = explain(
            model,
            scene.draw(PREPROCESS.size),
            description.caption,
            tokenizer=tokenizer,
            text_layer=layers[0],
            image_layer=layers[1],
            steps=steps,
        )
        residuals.append(result.residual)
        rows, columns = result.values.shape[1:]
        masks = scene.masks(PREPROCESS.size).astype(float)
        covered = masks.reshape(len(masks), rows, -1, columns, PREPROCESS.size // columns).mean((2, 4))
        for mention in description.mentions:
            heat = result.values[[within(span, mention) for span in result.spans]].sum(0)
            cover = covered[mention.group]
            positive = heat.clip(min=0)
            on_group = float((positive * cover).sum() / positive.sum()) if positive.any() else 0.0
            hit = cover.flat[int(heat.argmax())] >= ON
            scores.append((float(hit), on_group, float(cover.mean())))
    hit, energy, chance = np.mean(scores, 0).tolist()
    return Pointing(hit, energy, chance, float(np.median(residuals)))


def within(span: tuple[int, int] | None, mention: Mention) -> bool:
    """Whether a token belongs to the mention."""
    return span is not None and mention.start <= span[0] and span[1] <= mention.end
