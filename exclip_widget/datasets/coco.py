"""COCO: captions in one JSON file, and the boxes of objects in another.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; Chen et al., "Microsoft COCO Captions",
2015. The format is described at https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from ..errors import named_type
from .pairs import Box, Pair, as_box_of_size, as_caption, as_id, named_phrases
from .reading import Entry, PathLike, file_of, folder_of, image_in, json_entries
from .reports import Fault, MalformedError, OnError, warn


def read_coco(
    captions: PathLike,
    images: PathLike,
    *,
    instances: PathLike | None = None,
    on_error: OnError = warn,
) -> Iterator[Pair]:
    """Yield the captions of COCO, grouped by image.

    Parameters
    ----------
    captions : path
        ``captions_*.json``.
    images : path
        Folder that contains the images.
    instances : path, optional
        ``instances_*.json`` of the same images. Captions that mention objects by the names of their
        categories then have phrases with boxes; see `exclip_widget.datasets.pairs.named_phrases`.
    on_error : callable, optional
        Called with each `Fault`; by default, issues a warning.

    Raises
    ------
    FileError
        If a file or the folder is missing, or a file is not in the expected format.
    """
    found, folder = file_of(captions), folder_of(images)
    things = None if instances is None else file_of(instances)
    return _pairs(found, folder, things, on_error)


def _pairs(captions: Path, folder: Path, instances: Path | None, on_error: OnError) -> Iterator[Pair]:
    names: dict[str, str] = {}
    records: list[tuple[str, str, str, str]] = []
    for entry in json_entries(captions, ("images", "annotations")):
        source = f"{captions}:{entry.line}"
        try:
            record = _record(entry)
            if entry.key == "images":
                name = record.get("file_name")
                if not isinstance(name, str):
                    raise MalformedError(f"file_name is {name!r:.80}; expected the name of a file")
                names[as_id(record.get("id"), "id")] = name
            else:
                image = as_id(record.get("image_id"), "image_id")
                caption = as_caption(record.get("caption"))
                records.append((image, as_id(record.get("id"), "id"), caption, source))
        except MalformedError as error:
            on_error(Fault(source, f"{entry.where}: {error}"))
    boxes = {} if instances is None else _boxes(instances, on_error)
    # In COCO's own files, the captions of an image are far apart.
    order = {image: place for place, image in enumerate(names)}
    records.sort(key=lambda one: order.get(one[0], len(order)))
    for image, of_image in groupby(records, itemgetter(0)):
        for _, number, caption, source in of_image:
            try:
                if image not in names:
                    raise MalformedError(f"image_id {image!r:.40} is not among the images")
                path = image_in(folder, names[image])
            except MalformedError as error:
                on_error(Fault(source, f"annotation {number}: {error}"))
                continue
            phrases = named_phrases(caption, boxes.get(image, ()))
            yield Pair(number, image, path, caption, phrases, source=source)


def _record(entry: Entry) -> dict[str, object]:
    if not isinstance(entry.value, dict):
        raise MalformedError(f"it is {named_type(entry.value)}; expected an object")
    return entry.value


def _boxes(instances: Path, on_error: OnError) -> dict[str, list[tuple[str, Box]]]:
    """Return the name and box of each object, by image."""
    names: dict[str, str] = {}
    things: list[tuple[str, str, Box, str]] = []
    for entry in json_entries(instances, ("categories", "annotations")):
        source = f"{instances}:{entry.line}"
        try:
            record = _record(entry)
            if entry.key == "categories":
                names[as_id(record.get("id"), "id")] = as_caption(record.get("name"), "name")
            else:
                image = as_id(record.get("image_id"), "image_id")
                category = as_id(record.get("category_id"), "category_id")
                things.append((image, category, as_box_of_size(record.get("bbox")), source))
        except MalformedError as error:
            on_error(Fault(source, f"{entry.where}: {error}"))
    boxes: dict[str, list[tuple[str, Box]]] = {}
    for image, category, box, source in things:
        if category in names:
            boxes.setdefault(image, []).append((names[category], box))
        else:
            on_error(Fault(source, f"category_id {category!r:.40} is not among the categories"))
    return boxes
