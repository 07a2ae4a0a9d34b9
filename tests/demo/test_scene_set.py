"""A data set of scenes in files, whose contents agree with the scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from exclip_widget.datasets import read_table
from exclip_widget.demo.scene_set import IMAGES, PIXELS, TABLE, write_scenes
from exclip_widget.demo.things import COLOURS


def test_files_say_what_scenes_show(tmp_path: Path) -> None:
    pairs = list(write_scenes(tmp_path, 30))
    assert [pair.image_id for pair in pairs] == [f"{number:05d}.png" for number in range(30)]
    again = list(read_table(tmp_path / TABLE, tmp_path / IMAGES))
    assert [pair.caption for pair in again] == [pair.caption for pair in pairs]
    for pair in pairs:
        assert pair.foil not in (None, pair.caption)
        assert pair.phrases
        picture = np.asarray(Image.open(pair.image)).astype(int)  # type: ignore[arg-type]
        assert picture.shape == (PIXELS, PIXELS, 3)
        for phrase in pair.phrases:
            (colour,) = set(phrase.text.split()) & set(COLOURS)
            ((left, top, right, bottom),) = (tuple(map(int, box)) for box in phrase.boxes)
            near = np.abs(picture - COLOURS[colour]).max(-1) < 24
            # The named colour covers part of the box, and a larger share of it than of the picture around it.
            outside = near.copy()
            outside[top:bottom, left:right] = False
            assert near[top:bottom, left:right].mean() > 0.02
            assert near[top:bottom, left:right].mean() > outside.mean()


def test_pictures_that_are_there_are_left(tmp_path: Path) -> None:
    list(write_scenes(tmp_path, 2))
    first, second = sorted((tmp_path / IMAGES).iterdir())
    first.write_bytes(b"mine")
    whole = second.read_bytes()
    assert len(list(write_scenes(tmp_path, 3))) == 3
    assert first.read_bytes() == b"mine"
    assert second.read_bytes() == whole
