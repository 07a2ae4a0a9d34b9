"""Captions of scenes from a small grammar: number, size, colour, kind, place and relation.

A caption says only what its scene shows, and records which words refer to which group: a ground truth to
check explanations against.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from .scenes import BIG, SMALL, Group, Scene
from .things import COLOURS, KINDS, plural

NUMBERS = {2: "two", 3: "three", 4: "four"}

APART = 0.16
"""Minimum distance between any two centres, as a fraction of the picture, for a relation to be stated."""

RELATIONS = ("left of", "right of", "above", "below")
PLACES = ("on the left", "on the right", "at the top", "at the bottom", "in the middle")


@dataclass(frozen=True)
class Mention:
    """The words `caption[start:end]`, which refer to group `group` of the scene."""

    start: int
    end: int
    group: int


class Description(NamedTuple):
    """A caption, and what its noun phrases refer to."""

    caption: str
    mentions: tuple[Mention, ...]


def describe(scene: Scene, rng: random.Random, *, full: bool = False) -> Description:
    """Return a true caption of `scene`; with `full`, it says everything that the grammar can express."""

    def say(probability: float) -> bool:
        return rng.random() < probability or full

    order = list(range(len(scene.groups)))
    rng.shuffle(order)
    parts: list[str | int] = []
    sized = say(0.6)
    if len(order) == 1:
        parts = [*order]
        if (places := _places(scene.groups[0])) and say(0.6):
            parts.append(" " + rng.choice(places))
    else:
        first, second = order[:2]
        relations = _relations(scene.groups[first], scene.groups[second])
        link = rng.choice(relations) if relations and say(0.75) else rng.choice(("and", "with"))
        parts = [first, f" {link} ", second]
        for index in order[2:]:
            parts += [" and ", index]

    caption, mentions = "", []
    for part in parts:
        if isinstance(part, int):
            start = len(caption)
            caption += noun_phrase(scene.groups[part], sized=sized)
            mentions.append(Mention(start, len(caption), part))
        else:
            caption += part
    return Description(caption, tuple(mentions))


def noun_phrase(group: Group, *, sized: bool) -> str:
    """Return a phrase like `a big red boat` or `two yellow fish`."""
    size = "big" if group.size >= BIG else "small" if group.size <= SMALL else ""
    noun = group.kind if group.count == 1 else plural(group.kind)
    words = [size if sized else "", group.colour, noun]
    described = " ".join(word for word in words if word)
    if group.count > 1:
        return f"{NUMBERS[group.count]} {described}"
    return f"{'an' if described[0] in 'aeiou' else 'a'} {described}"


def _places(group: Group) -> list[str]:
    xs, ys = zip(*group.places, strict=True)
    found = []
    for low, high, values in ((PLACES[0], PLACES[1], xs), (PLACES[2], PLACES[3], ys)):
        if max(values) < 0.4:
            found.append(low)
        if min(values) > 0.6:
            found.append(high)
    if all(0.4 < value < 0.6 for value in (*xs, *ys)):
        found.append(PLACES[4])
    return found


def _relations(group: Group, other: Group) -> list[str]:
    """Return the relations of `group` to `other` that hold for every pair of their things."""
    steps = [(x - u, y - v) for x, y in group.places for u, v in other.places]
    across, down = zip(*steps, strict=True)
    truths = (max(across) < -APART, min(across) > APART, max(down) < -APART, min(down) > APART)
    return [relation for relation, true in zip(RELATIONS, truths, strict=True) if true]


def vocabulary() -> list[str]:
    """Return every word of the grammar, sorted."""
    words = {"a", "an", "and", "with", "big", "small", *COLOURS, *KINDS, *NUMBERS.values()}
    words.update(plural(kind) for kind in KINDS)
    words.update(word for phrase in (*RELATIONS, *PLACES) for word in phrase.split())
    return sorted(words)
