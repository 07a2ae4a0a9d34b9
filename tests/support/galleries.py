"""Galleries under test: small data sets from the picture book, on a comm that records messages."""

from __future__ import annotations

import random
from typing import Any
from unittest import mock

import numpy as np
from ipywidgets.widgets import widget as ipywidgets_widget

from exclip_widget import Explainer, ExplainGallery
from exclip_widget.datasets import Pair, Phrase
from exclip_widget.demo.captions import describe
from exclip_widget.demo.retrieval import held_out_scenes
from exclip_widget.demo.scenes import swap_colours

from .widgets import Line, book, line, until

SIDE = 120


def explainer(**options: Any) -> Explainer:
    """Return an explainer with "similarity", whose image factors cost one pass per image."""
    return Explainer(book().model, tokenizer=book().tokenizer, **({"method": "similarity"} | options))


def scenes(count: int = 10) -> list[Pair]:
    """Return scenes with a caption, boxes, and a foil if colours can be swapped."""
    pairs = []
    for number, scene in enumerate(held_out_scenes(count)):
        caption, said = describe(scene, random.Random(number), full=True)
        swapped = swap_colours(scene, random.Random(number))
        foil = None if swapped is None else describe(swapped, random.Random(number), full=True).caption
        masks = scene.masks(SIDE)
        phrases = []
        for one in said:
            down, across = np.nonzero(masks[one.group])
            box = (int(across.min()), int(down.min()), int(across.max()) + 1, int(down.max()) + 1)
            phrases.append(Phrase(caption[one.start : one.end], (one.start, one.end), (box,)))
        key = str(number)
        pairs.append(Pair(key, f"scene {key}", scene.draw(SIDE), caption, tuple(phrases), foil))
    return pairs


def make_gallery(*given: Any, **options: Any) -> ExplainGallery:
    """Return a gallery connected to a `Line`."""
    with mock.patch.object(ipywidgets_widget.comm, "create_comm", Line):
        return ExplainGallery(*given, **options)


def window(gallery: ExplainGallery, *tiles: int, view: int = 7) -> None:
    """Send the message of a browser that needs these tiles."""
    request = line(gallery).state()["_request"]["shown"]
    line(gallery).says({"kind": "window", "view": view, "request": request, "tiles": list(tiles)})


def tiles_of(gallery: ExplainGallery, *wanted: int) -> dict[int, tuple[dict[str, Any], bytes, bytes]]:
    """Request tiles, wait for all of them, and return each with its picture and heat map."""
    gallery.wait(60)
    request = line(gallery).state()["_request"]["shown"]
    before = len(line(gallery).messages())
    window(gallery, *wanted)

    def came() -> dict[int, tuple[dict[str, Any], bytes, bytes]]:
        found = {}
        for content, buffers in line(gallery).messages()[before:]:
            if content["kind"] == "tiles" and content["request"] == request:
                for place, tile in enumerate(content["tiles"]):
                    found[tile["tile"]] = (tile, buffers[2 * place], buffers[2 * place + 1])
        return found

    until(lambda: set(wanted) <= came().keys())
    return came()


def heat_in(tile: dict[str, Any], data: bytes) -> np.ndarray:
    """Decode a tile's heat map as a browser does."""
    levels = np.frombuffer(data, np.int8).astype(np.float64)
    return levels.reshape(tile["rows"], tile["columns"]) * tile["end"] / 127
