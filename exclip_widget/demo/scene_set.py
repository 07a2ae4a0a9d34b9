"""A data set of scenes on disk: pictures, and a table of captions, foils, phrases and boxes."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

from ..datasets.pairs import Pair
from ..datasets.tables import read_table
from .captions import describe
from .retrieval import HELD_OUT
from .scenes import Scene, recolour, sample_scene, swap_colours

PIXELS = 240
TABLE, IMAGES = "pairs.jsonl", "images"


def write_scenes(folder: str | os.PathLike[str], count: int) -> Iterator[Pair]:
    """Write held-out scenes to files like those of a typical data set, and return an iterator of them.

    The folder will contain ``images/``, with a picture of each scene, and ``pairs.jsonl``, a table of
    captions, foils, and phrases with boxes around what they name. In a foil, two things exchange their
    colours, or one changes its colour. Existing pictures are left unchanged.

    Parameters
    ----------
    folder : path
        The output folder, created if it does not exist.
    count : int
        Number of scenes.

    Returns
    -------
    iterator of Pair
        The scenes, as read by `exclip_widget.datasets.read_table`.

    Examples
    --------
    >>> import tempfile
    >>> pair = next(write_scenes(tempfile.mkdtemp(), 2))
    >>> pair.caption, pair.foil
    ('a small green key below a big black mushroom', 'a small black key below a big green mushroom')
    >>> pair.phrases[0]
    Phrase(text='a small green key', span=(0, 17), boxes=((0.0, 172.0, 61.0, 204.0),))
    """
    images = Path(folder) / IMAGES
    images.mkdir(parents=True, exist_ok=True)
    table = Path(folder) / TABLE
    with table.open("w", encoding="utf-8") as file:
        for number in range(count):
            scene = sample_scene(random.Random(f"{HELD_OUT} {number}"))
            name = f"{number:05d}.png"
            if not (images / name).exists():
                scene.draw(PIXELS).save(images / name)
            for row in _rows(scene, number):
                file.write(json.dumps({"image": name, "id": f"{number:05d}"} | row) + "\n")
    return read_table(table, images)


def _rows(scene: Scene, number: int) -> Iterator[dict[str, object]]:
    """Yield the table rows of a scene: one for each phrase that names something visible."""
    caption, said = describe(scene, random.Random(number), full=True)
    other = swap_colours(scene, random.Random(number)) or recolour(scene, random.Random(number))
    foil = describe(other, random.Random(number), full=True).caption
    boxes = scene.boxes(PIXELS)
    for one in said:
        if any(boxes[one.group]):
            yield {
                "caption": caption,
                "foil": foil,
                "phrase": caption[one.start : one.end],
                "box": boxes[one.group],
            }
