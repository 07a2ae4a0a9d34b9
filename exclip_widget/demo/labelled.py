"""Held-out scenes and collages of the picture book, with exact masks of what each phrase names."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count as counting
from itertools import islice

import numpy as np
from PIL import Image

from ..evaluate.pairs import LabelledPair, Mention
from .captions import describe, noun_phrase
from .picture_book import PREPROCESS
from .retrieval import HELD_OUT
from .scenes import BACKDROPS, Group, Scene, sample_scene
from .things import COLOURS, KINDS

PIXELS = PREPROCESS.size


def held_out_pairs(count: int) -> list[LabelledPair]:
    """Return held-out scenes of two or more groups, with captions that name them all."""
    return list(islice(_pairs(), count))


def _pairs() -> Iterator[LabelledPair]:
    for index in counting():
        seed = f"{HELD_OUT} {index}"
        scene = sample_scene(random.Random(seed))
        if len(scene.groups) < 2:
            continue
        caption, said = describe(scene, random.Random(seed), full=True)
        masks = scene.masks(PIXELS)
        mentions = tuple(Mention((one.start, one.end), masks[one.group]) for one in said)
        yield LabelledPair(scene.draw(PIXELS), caption, mentions)


def collages(count: int, objects: int) -> list[LabelledPair]:
    """Return 2 x 2 collages of four things, whose captions name 1 to 4 of them, following FIxLIP's protocol.

    All things in a collage differ in kind and colour. The mask of a phrase is its whole quadrant.

    Parameters
    ----------
    count : int
        Number of collages.
    objects : int
        Number of the four things that the caption names.
    """
    return [_collage(random.Random(f"{HELD_OUT} collage {index}"), objects) for index in range(count)]


def _collage(rng: random.Random, objects: int) -> LabelledPair:
    half = PIXELS // 2
    image = Image.new("RGB", (2 * half, 2 * half))
    things = list(zip(rng.sample(sorted(KINDS), 4), rng.sample(sorted(COLOURS), 4), strict=True))
    groups = []
    for quadrant, (kind, colour) in enumerate(things):
        group = Group(kind, colour, rng.uniform(0.6, 0.8), ((0.5, 0.5),))
        groups.append(group)
        scene = Scene((group,), rng.choice(sorted(BACKDROPS)), rng.getrandbits(31))
        image.paste(scene.draw(half), (quadrant % 2 * half, quadrant // 2 * half))
    caption, mentions = "", []
    for quadrant in rng.sample(range(4), objects):
        caption += " and " if caption else ""
        phrase = noun_phrase(groups[quadrant], sized=False)
        mask = np.zeros((2 * half, 2 * half), bool)
        top, left = quadrant // 2 * half, quadrant % 2 * half
        mask[top : top + half, left : left + half] = True
        mentions.append(Mention((len(caption), len(caption) + len(phrase)), mask))
        caption += phrase
    return LabelledPair(image, caption, tuple(mentions))
