"""Scenes of the picture book: what is where, drawn at any size, with ground truth for every pixel."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from .things import COLOURS, KINDS, RGB, draw_thing

BIG = 0.40
SMALL = 0.27
"""Smallest side of a thing called big and largest of one called small, as fractions of the picture."""

MOST_THINGS = 4

BACKDROPS: dict[str, RGB] = {
    "sky": (164, 196, 218),
    "meadow": (180, 200, 156),
    "sand": (222, 206, 172),
    "paper": (214, 212, 206),
    "mist": (196, 190, 208),
    "stone": (168, 170, 172),
}
"""Muted colours, so that none could be mistaken for one that a caption names."""


@dataclass(frozen=True)
class Group:
    """Things of one kind, colour and size, which one noun phrase of a caption refers to.

    `places` are the centres and `size` the side of each thing's square, as fractions of the picture.
    """

    kind: str
    colour: str
    size: float
    places: tuple[tuple[float, float], ...]

    @property
    def count(self) -> int:
        """Number of things."""
        return len(self.places)

    @property
    def centre(self) -> tuple[float, float]:
        """Mean of the places."""
        xs, ys = zip(*self.places, strict=True)
        return sum(xs) / self.count, sum(ys) / self.count


@dataclass(frozen=True)
class Scene:
    """Groups in front of a textured backdrop; later groups cover earlier ones."""

    groups: tuple[Group, ...]
    backdrop: str
    texture: int

    def draw(self, pixels: int) -> Image.Image:
        """Draw the scene as an RGB image of `pixels` per side."""
        picture = _backdrop(self.backdrop, self.texture, pixels)
        for sprite, corner, _ in self._sprites(pixels):
            picture.paste(sprite, corner, sprite)
        return picture

    def masks(self, pixels: int) -> np.ndarray:
        """Return the pixels that show each group, (groups, pixels, pixels). Hidden parts are not included."""
        shown = np.full((pixels, pixels), -1)
        for sprite, (left, top), group in self._sprites(pixels):
            alpha = Image.new("L", (pixels, pixels))
            alpha.paste(sprite.getchannel("A"), (left, top))
            shown[np.asarray(alpha) > 127] = group
        return np.stack([shown == g for g in range(len(self.groups))])

    def boxes(self, pixels: int) -> list[tuple[int, int, int, int]]:
        """Return left, top, right and bottom of each group's visible part; right and bottom are exclusive."""
        boxes = []
        for mask in self.masks(pixels):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if len(rows) else (0,) * 4)
        return [tuple(int(edge) for edge in box) for box in boxes]  # type: ignore[misc]

    def _sprites(self, pixels: int) -> list[tuple[Image.Image, tuple[int, int], int]]:
        placed = []
        for index, group in enumerate(self.groups):
            side = max(4, round(group.size * pixels))
            sprite = draw_thing(group.kind, group.colour, side)
            for x, y in group.places:
                corner = (round(x * pixels - side / 2), round(y * pixels - side / 2))
                placed.append((sprite, corner, index))
        return placed


def _backdrop(name: str, texture: int, pixels: int) -> Image.Image:
    """Draw a pale tone with soft clouds of light and shade, and a gentle gradient from top to bottom."""
    rng = np.random.default_rng(texture)
    shade = np.linspace(rng.uniform(-10, 10), rng.uniform(-10, 10), pixels)[:, None]
    for cells, strength in ((5, 9.0), (16, 5.0)):
        noise = Image.fromarray(rng.normal(0, strength, (cells, cells)).astype(np.float32))
        shade = shade + np.asarray(noise.resize((pixels, pixels), Image.Resampling.BICUBIC))
    if rng.random() < 0.4:  # stripes, horizontal or vertical
        period = pixels / rng.integers(5, 12)
        stripes = 5 * np.sign(np.sin(np.arange(pixels) * (2 * np.pi / period)))
        shade = shade + (stripes[:, None] if rng.random() < 0.5 else stripes[None, :])
    tone = np.asarray(BACKDROPS[name], np.float32) + shade[..., None]
    return Image.fromarray(np.clip(tone, 0, 255).astype(np.uint8))


def sample_scene(rng: random.Random) -> Scene:
    """Return a random scene of one to four things in one to three groups."""
    counts = rng.choice(_COUNTS)
    kinds = rng.sample(sorted(KINDS), len(counts))
    # A colour may occur twice in a scene: binding colours to things must cope with that.
    colours = [rng.choice(sorted(COLOURS)) for _ in counts]
    largest = {1: 0.62, 2: 0.50, 3: 0.42, 4: 0.36}[sum(counts)]
    groups: list[Group] = []
    taken: list[tuple[float, float, float]] = []
    for kind, colour, count in zip(kinds, colours, counts, strict=True):
        size = rng.uniform(0.2, largest)
        places: list[tuple[float, float]] = []
        for _ in range(count):
            place = _free_place(rng, size, taken, near=places[0] if places else None)
            places.append(place)
            taken.append((*place, size))
        groups.append(Group(kind, colour, size, tuple(places)))
    return Scene(tuple(groups), rng.choice(sorted(BACKDROPS)), rng.getrandbits(31))


_COUNTS = ((1,), (1,), (2,), (3,), (1, 1), (1, 1), (1, 1), (1, 2), (2, 1), (1, 1, 1), (1, 1, 2))


def _free_place(
    rng: random.Random,
    size: float,
    taken: list[tuple[float, float, float]],
    near: tuple[float, float] | None,
) -> tuple[float, float]:
    """Return the best of several random places: little overlap, and close to the rest of its group."""
    low, high = size / 2 - 0.02, 1.02 - size / 2

    def cost(place: tuple[float, float]) -> float:
        x, y = place
        overlap = sum(max(0.0, 0.9 - max(abs(x - u), abs(y - v)) / ((size + s) / 2)) for u, v, s in taken)
        stray = max(abs(x - near[0]), abs(y - near[1])) - 1.4 * size if near else 0.0
        return overlap + max(0.0, stray)

    tries = [(rng.uniform(low, high), rng.uniform(low, high)) for _ in range(12)]
    free = [place for place in tries if cost(place) == 0]
    return free[0] if free else min(tries, key=cost)


# Twins: copies of a scene with one change that a caption can express.


def swap_colours(scene: Scene, rng: random.Random) -> Scene | None:
    """Exchange the colours of two groups, or return None if no two differ in colour."""
    return _swap(scene, rng, "colour", lambda one, other: one.colour != other.colour)


def swap_places(scene: Scene, rng: random.Random) -> Scene | None:
    """Exchange the places of two groups of as many things, or return None if there are no such groups."""
    return _swap(scene, rng, "places", lambda one, other: one.count == other.count)


def _swap(scene: Scene, rng: random.Random, what: str, can: Callable[[Group, Group], bool]) -> Scene | None:
    groups = list(scene.groups)
    pairs = [(i, j) for i in range(len(groups)) for j in range(i) if can(groups[i], groups[j])]
    if not pairs:
        return None
    i, j = rng.choice(pairs)
    one, other = groups[i], groups[j]
    groups[i] = replace(one, **{what: getattr(other, what)})
    groups[j] = replace(other, **{what: getattr(one, what)})
    return replace(scene, groups=tuple(groups))


def recolour(scene: Scene, rng: random.Random) -> Scene:
    """Give one group another colour."""
    return _change_one(scene, rng, lambda g: replace(g, colour=_other(rng, COLOURS, g.colour)))


def replace_kind(scene: Scene, rng: random.Random) -> Scene:
    """Change the kind of one group to one that is not in the scene."""
    there = [group.kind for group in scene.groups]
    return _change_one(scene, rng, lambda g: replace(g, kind=_other(rng, KINDS, *there)))


def recount(scene: Scene, rng: random.Random) -> Scene:
    """Remove a thing from one group, or add one."""

    def change(group: Group) -> Group:
        if group.count > 1:
            return replace(group, places=group.places[:-1])
        taken = [(x, y, g.size) for g in scene.groups for x, y in g.places]
        place = _free_place(rng, group.size, taken, near=group.places[0])
        return replace(group, places=(*group.places, place))

    return _change_one(scene, rng, change)


def _change_one(scene: Scene, rng: random.Random, change: Callable[[Group], Group]) -> Scene:
    index = rng.randrange(len(scene.groups))
    groups = tuple(change(g) if i == index else g for i, g in enumerate(scene.groups))
    return replace(scene, groups=groups)


def _other(rng: random.Random, names: Iterable[str], *unlike: str) -> str:
    return rng.choice([name for name in sorted(names) if name not in unlike])
