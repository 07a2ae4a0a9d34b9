"""The things in the picture book's scenes."""

from __future__ import annotations

import numpy as np
import pytest

from exclip_widget.demo.things import COLOURS, KINDS, draw_thing


@pytest.mark.parametrize("kind", KINDS)
def test_every_thing_is_of_its_colour(kind: str) -> None:
    """More of a thing has the colour that a caption names than any other colour of the palette."""
    for colour in COLOURS:
        sprite = np.asarray(draw_thing(kind, colour, 96)).astype(float)
        pixels = sprite[sprite[..., 3] > 200][:, :3]
        shares = {name: (np.abs(pixels - rgb).max(1) < 12).mean() for name, rgb in COLOURS.items()}
        assert max(shares, key=shares.__getitem__) == colour
        assert shares[colour] > 0.2
