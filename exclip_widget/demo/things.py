"""The things of the picture book: how each kind is drawn, and in which colours.

A drawing is a function of a `Pen` on the unit square, with (0, 0) at the top left, so one description works
for the 96 pixels that the model sees and the 480 that a reader sees. The thing's own colour covers most of
it. Details are drawn in shades of that colour or in ink, never in another colour of the palette, so that "the
colour of the thing" is unambiguous.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, RGB] = {
    "red": (214, 40, 44),
    "orange": (246, 139, 31),
    "yellow": (250, 214, 52),
    "green": (56, 156, 70),
    "blue": (40, 98, 200),
    "purple": (126, 62, 168),
    "pink": (244, 142, 180),
    "white": (250, 250, 246),
    "black": (46, 44, 50),
}

SUPERSAMPLING = 4
"""Drawings are made this many times larger and then reduced, because Pillow does not anti-alias."""


class Pen:
    """Draws shapes given in unit coordinates, each with an ink outline, on one transparent sprite."""

    def __init__(self, pixels: int, colour: RGB) -> None:
        self._scale = pixels * SUPERSAMPLING
        self._sprite = Image.new("RGBA", (self._scale, self._scale))
        self._draw = ImageDraw.Draw(self._sprite)
        self._line = max(2, round(self._scale * 0.028))
        self.main = colour
        self.light = _mix(colour, (255, 255, 255), 0.45)
        self.dark = _mix(colour, (20, 18, 26), 0.35)
        self.ink = _mix(colour, (20, 18, 26), 0.72)

    def _points(self, points: Iterable[Point]) -> list[Point]:
        return [(x * self._scale, y * self._scale) for x, y in points]

    def polygon(self, points: Sequence[Point], fill: RGB | None = None) -> None:
        """Draw a closed shape."""
        corners = self._points(points)
        self._draw.polygon(corners, fill=fill or self.main)
        self._draw.line([*corners, corners[0], corners[1]], self.ink, self._line, joint="curve")

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, fill: RGB | None = None) -> None:
        """Draw an ellipse within the box from (x0, y0) to (x1, y1)."""
        box = self._points([(x0, y0), (x1, y1)])
        self._draw.ellipse(box, fill=fill or self.main, outline=self.ink, width=self._line)

    def disc(self, x: float, y: float, radius: float, fill: RGB | None = None) -> None:
        """Draw a disc centred on (x, y)."""
        self.ellipse(x - radius, y - radius, x + radius, y + radius, fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: RGB | None = None) -> None:
        """Draw an upright rectangle."""
        corners = self._points([(x0, y0), (x1, y1)])
        self._draw.rectangle(corners, fill=fill or self.main, outline=self.ink, width=self._line)

    def slice(
        self, x: float, y: float, radius: float, start: float, end: float, fill: RGB | None = None
    ) -> None:
        """Draw a slice of a disc between two angles in degrees, clockwise from three o'clock."""
        box = self._points([(x - radius, y - radius), (x + radius, y + radius)])
        self._draw.pieslice(box, start, end, fill=fill or self.main, outline=self.ink, width=self._line)

    def line(self, points: Sequence[Point], width: float = 0.06, fill: RGB | None = None) -> None:
        """Draw an open line without an outline, in ink by default."""
        self._draw.line(
            self._points(points),
            fill or self.ink,
            max(2, round(width * self._scale)),
            joint="curve",
        )

    def sprite(self) -> Image.Image:
        """Return the drawing at its final size, RGBA with straight alpha."""
        # Reducing premultiplied colours keeps the transparent black out of the outline.
        return self._sprite.convert("RGBa").reduce(SUPERSAMPLING).convert("RGBA")


def _mix(colour: RGB, other: RGB, share: float) -> RGB:
    r, g, b = (round(c + (o - c) * share) for c, o in zip(colour, other, strict=True))
    return r, g, b


def _round(
    x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360, steps: int = 24
) -> list[Point]:
    """Return points on an elliptical arc, in degrees clockwise from three o'clock."""
    turn = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in turn]


def _apple(p: Pen) -> None:
    p.line([(0.5, 0.34), (0.55, 0.1)], 0.07)
    p.polygon([(0.56, 0.2), (0.72, 0.06), (0.86, 0.1), (0.74, 0.22)], p.dark)
    p.polygon(
        [
            *_round(0.32, 0.56, 0.26, 0.3, 90, 300),
            (0.5, 0.32),
            *_round(0.68, 0.56, 0.26, 0.3, -120, 90),
            (0.5, 0.9),
        ]
    )
    p.ellipse(0.2, 0.42, 0.32, 0.58, p.light)


def _balloon(p: Pen) -> None:
    p.line([(0.5, 0.72), (0.44, 0.82), (0.54, 0.9), (0.48, 1.0)], 0.03)
    p.polygon([(0.5, 0.66), (0.41, 0.77), (0.59, 0.77)], p.dark)
    p.ellipse(0.2, 0.02, 0.8, 0.7)
    p.ellipse(0.3, 0.14, 0.42, 0.32, p.light)


def _bell(p: Pen) -> None:
    p.disc(0.5, 0.84, 0.1, p.dark)
    p.polygon(
        [
            (0.1, 0.76),
            (0.22, 0.62),
            *_round(0.5, 0.42, 0.26, 0.32, 180, 360),
            (0.78, 0.62),
            (0.9, 0.76),
        ]
    )
    p.box(0.1, 0.7, 0.9, 0.8, p.light)
    p.disc(0.5, 0.08, 0.07)


def _bird(p: Pen) -> None:
    p.line([(0.44, 0.74), (0.4, 0.94)], 0.04)
    p.line([(0.56, 0.74), (0.56, 0.94)], 0.04)
    p.polygon([(0.2, 0.52), (0.0, 0.36), (0.04, 0.66)], p.dark)
    p.ellipse(0.12, 0.36, 0.76, 0.8)
    p.disc(0.72, 0.32, 0.19)
    p.polygon([(0.88, 0.28), (1.0, 0.34), (0.88, 0.4)], p.dark)
    p.disc(0.76, 0.27, 0.035, p.ink)
    p.polygon([(0.28, 0.5), (0.6, 0.48), (0.36, 0.7)], p.light)


def _boat(p: Pen) -> None:
    p.line([(0.48, 0.04), (0.48, 0.66)], 0.05)
    p.polygon([(0.54, 0.06), (0.9, 0.56), (0.54, 0.56)], p.light)
    p.polygon([(0.42, 0.14), (0.14, 0.56), (0.42, 0.56)])
    p.polygon([(0.02, 0.64), (0.98, 0.64), (0.78, 0.94), (0.22, 0.94)])


def _butterfly(p: Pen) -> None:
    for side in (-1, 1):
        left, right = sorted((0.5 + side * 0.06, 0.5 + side * 0.48))
        p.ellipse(left, 0.08, right, 0.54)
        left, right = sorted((0.5 + side * 0.04, 0.5 + side * 0.38))
        p.ellipse(left, 0.5, right, 0.92, p.dark)
        p.disc(0.5 + side * 0.28, 0.3, 0.08, p.light)
        p.line([(0.5, 0.2), (0.5 + side * 0.12, 0.02)], 0.035)
    p.ellipse(0.44, 0.16, 0.56, 0.86, p.ink)


def _car(p: Pen) -> None:
    p.polygon([(0.2, 0.48), (0.32, 0.24), (0.68, 0.24), (0.84, 0.48)])
    p.polygon([(0.29, 0.47), (0.37, 0.31), (0.48, 0.31), (0.48, 0.47)], p.light)
    p.polygon([(0.54, 0.47), (0.54, 0.31), (0.64, 0.31), (0.73, 0.47)], p.light)
    p.box(0.02, 0.47, 0.98, 0.7)
    for x in (0.24, 0.76):
        p.disc(x, 0.72, 0.14, p.ink)
        p.disc(x, 0.72, 0.06, p.light)


def _cloud(p: Pen) -> None:
    p.polygon(
        [
            *_round(0.2, 0.6, 0.19, 0.19, 90, 250),
            *_round(0.42, 0.42, 0.24, 0.24, 200, 300),
            *_round(0.68, 0.48, 0.2, 0.2, 250, 360),
            *_round(0.82, 0.64, 0.16, 0.16, 290, 450),
        ]
    )


def _crown(p: Pen) -> None:
    p.polygon(
        [
            (0.08, 0.26),
            (0.3, 0.52),
            (0.5, 0.14),
            (0.7, 0.52),
            (0.92, 0.26),
            (0.86, 0.78),
            (0.14, 0.78),
        ]
    )
    p.box(0.14, 0.7, 0.86, 0.86, p.dark)
    for x, y in ((0.08, 0.24), (0.5, 0.12), (0.92, 0.24)):
        p.disc(x, y, 0.07, p.light)


def _cup(p: Pen) -> None:
    p.ellipse(0.58, 0.32, 0.96, 0.72, p.dark)
    p.ellipse(0.68, 0.42, 0.86, 0.62, p.light)
    p.polygon([(0.1, 0.2), (0.74, 0.2), (0.7, 0.78), (0.6, 0.9), (0.24, 0.9), (0.14, 0.78)])
    p.ellipse(0.1, 0.12, 0.74, 0.3, p.light)


def _fish(p: Pen) -> None:
    p.polygon([(0.28, 0.5), (0.0, 0.22), (0.06, 0.5), (0.0, 0.78)], p.dark)
    p.polygon([(0.46, 0.3), (0.6, 0.12), (0.74, 0.34)], p.dark)
    p.ellipse(0.18, 0.26, 0.98, 0.76)
    p.line([(0.66, 0.32), (0.58, 0.5), (0.66, 0.7)], 0.035)
    p.disc(0.8, 0.44, 0.055, p.ink)


def _flower(p: Pen) -> None:
    p.line([(0.5, 0.5), (0.5, 1.0)], 0.07)
    p.polygon([(0.5, 0.9), (0.7, 0.7), (0.82, 0.72), (0.7, 0.88)], p.dark)
    for k in range(6):
        a = math.pi * k / 3
        p.disc(0.5 + 0.21 * math.cos(a), 0.34 + 0.21 * math.sin(a), 0.14)
    p.disc(0.5, 0.34, 0.12, p.light)


def _hat(p: Pen) -> None:
    p.box(0.26, 0.14, 0.74, 0.72)
    p.box(0.26, 0.54, 0.74, 0.68, p.dark)
    p.ellipse(0.02, 0.64, 0.98, 0.86)


def _heart(p: Pen) -> None:
    p.polygon(
        [
            (0.5, 0.92),
            *_round(0.28, 0.34, 0.25, 0.25, 140, 340),
            *_round(0.72, 0.34, 0.25, 0.25, 200, 400),
        ]
    )
    p.ellipse(0.16, 0.22, 0.3, 0.36, p.light)


def _house(p: Pen) -> None:
    p.box(0.68, 0.1, 0.8, 0.4, p.dark)
    p.box(0.14, 0.44, 0.86, 0.94)
    p.polygon([(0.5, 0.06), (0.02, 0.48), (0.98, 0.48)], p.dark)
    p.box(0.42, 0.64, 0.58, 0.94, p.ink)
    p.box(0.2, 0.56, 0.36, 0.72, p.light)
    p.box(0.64, 0.56, 0.8, 0.72, p.light)


def _key(p: Pen) -> None:
    p.box(0.36, 0.44, 0.96, 0.56)
    p.box(0.66, 0.54, 0.74, 0.72)
    p.box(0.84, 0.54, 0.92, 0.76)
    p.disc(0.25, 0.5, 0.23)
    p.disc(0.25, 0.5, 0.09, p.light)


def _kite(p: Pen) -> None:
    p.line([(0.5, 0.7), (0.4, 0.8), (0.56, 0.88), (0.44, 1.0)], 0.035)
    p.polygon([(0.5, 0.02), (0.86, 0.32), (0.5, 0.76), (0.14, 0.32)])
    p.polygon([(0.5, 0.02), (0.86, 0.32), (0.5, 0.32)], p.light)
    p.polygon([(0.14, 0.32), (0.5, 0.32), (0.5, 0.76)], p.dark)


def _leaf(p: Pen) -> None:
    p.line([(0.24, 0.78), (0.06, 0.96)], 0.06)
    p.polygon([*_round(0.34, 0.28, 0.56, 0.5, 10, 105), *_round(0.74, 0.72, 0.56, 0.52, 190, 280)])
    p.line([(0.22, 0.8), (0.76, 0.28)], 0.035)
    p.line([(0.5, 0.53), (0.7, 0.56)], 0.03)
    p.line([(0.44, 0.58), (0.44, 0.38)], 0.03)


def _moon(p: Pen) -> None:
    p.polygon([*_round(0.52, 0.5, 0.44, 0.44, 60, 300), *reversed(_round(0.72, 0.5, 0.37, 0.38, 90, 270))])


def _mushroom(p: Pen) -> None:
    p.polygon([(0.38, 0.5), (0.62, 0.5), (0.68, 0.94), (0.32, 0.94)], p.light)
    p.slice(0.5, 0.54, 0.46, 180, 360)
    for x, y, r in ((0.3, 0.4, 0.07), (0.52, 0.26, 0.08), (0.72, 0.42, 0.06)):
        p.disc(x, y, r, p.light)


def _rocket(p: Pen) -> None:
    p.polygon([(0.34, 0.56), (0.12, 0.86), (0.36, 0.8)], p.dark)
    p.polygon([(0.66, 0.56), (0.88, 0.86), (0.64, 0.8)], p.dark)
    p.polygon([(0.4, 0.8), (0.5, 1.0), (0.6, 0.8)], p.light)
    p.polygon([(0.5, 0.0), (0.66, 0.22), (0.7, 0.5), (0.64, 0.82), (0.36, 0.82), (0.3, 0.5), (0.34, 0.22)])
    p.disc(0.5, 0.4, 0.1, p.light)


def _snail(p: Pen) -> None:
    p.line([(0.86, 0.56), (0.8, 0.3)], 0.035)
    p.line([(0.9, 0.56), (0.98, 0.32)], 0.035)
    p.polygon(
        [
            (0.04, 0.9),
            (0.2, 0.74),
            (0.76, 0.74),
            (0.8, 0.52),
            (0.96, 0.54),
            (0.96, 0.82),
            (0.84, 0.9),
        ],
        p.light,
    )
    p.disc(0.44, 0.5, 0.32)
    p.disc(0.47, 0.52, 0.2, p.dark)
    p.disc(0.44, 0.54, 0.09, p.light)


def _star(p: Pen) -> None:
    points = []
    for k in range(10):
        radius = 0.5 if k % 2 == 0 else 0.21
        a = math.pi * (k / 5 - 0.5)
        points.append((0.5 + radius * math.cos(a), 0.53 + radius * math.sin(a)))
    p.polygon(points)


def _sun(p: Pen) -> None:
    for k in range(8):
        a = math.pi * k / 4
        c, s = math.cos(a), math.sin(a)
        p.polygon(
            [
                (0.5 + 0.3 * c - 0.1 * s, 0.5 + 0.3 * s + 0.1 * c),
                (0.5 + 0.5 * c, 0.5 + 0.5 * s),
                (0.5 + 0.3 * c + 0.1 * s, 0.5 + 0.3 * s - 0.1 * c),
            ],
            p.light,
        )
    p.disc(0.5, 0.5, 0.29)


def _tree(p: Pen) -> None:
    p.box(0.43, 0.6, 0.57, 0.98, p.dark)
    p.disc(0.28, 0.46, 0.22)
    p.disc(0.72, 0.46, 0.22)
    p.disc(0.5, 0.28, 0.26)
    p.polygon(_round(0.5, 0.5, 0.24, 0.2))


def _umbrella(p: Pen) -> None:
    p.line([(0.5, 0.5), (0.5, 0.86), (0.58, 0.95), (0.68, 0.88)], 0.06)
    p.slice(0.5, 0.54, 0.48, 180, 360)
    p.polygon([(0.34, 0.54), (0.5, 0.06), (0.66, 0.54)], p.light)


KINDS: dict[str, Callable[[Pen], None]] = {
    "apple": _apple,
    "balloon": _balloon,
    "bell": _bell,
    "bird": _bird,
    "boat": _boat,
    "butterfly": _butterfly,
    "car": _car,
    "cloud": _cloud,
    "crown": _crown,
    "cup": _cup,
    "fish": _fish,
    "flower": _flower,
    "hat": _hat,
    "heart": _heart,
    "house": _house,
    "key": _key,
    "kite": _kite,
    "leaf": _leaf,
    "moon": _moon,
    "mushroom": _mushroom,
    "rocket": _rocket,
    "snail": _snail,
    "star": _star,
    "sun": _sun,
    "tree": _tree,
    "umbrella": _umbrella,
}

PLURALS = {
    "butterfly": "butterflies",
    "fish": "fish",
    "leaf": "leaves",
}


def plural(kind: str) -> str:
    """Return the plural: `boat` -> `boats`, `fish` -> `fish`."""
    return PLURALS.get(kind, f"{kind}s")


def draw_thing(kind: str, colour: str, pixels: int) -> Image.Image:
    """Draw one thing on a transparent RGBA square of `pixels` per side."""
    pen = Pen(pixels, COLOURS[colour])
    KINDS[kind](pen)
    return pen.sprite()
