"""HNC: captions of GQA images, each with a foil that gets one thing wrong.

Dönmez, Tilli, Yang, Vu and Silberer, "HNC: Leveraging Hard Negative Captions towards Models with Fine-Grained
Visual-Linguistic Comprehension Capabilities", CoNLL 2023. Its JSON file has an object for each image, with
its captions by number; ``label`` says whether a caption is correct (1) or a foil (0), ``cpt_p_id`` which
caption a foil belongs to, and ``bboxes`` where the objects are. The test set uses image file names instead of
numbers, and has no ``cpt_p_id``: its foils belong to the captions of the same ``type``, in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import named_type
from .pairs import Box, Pair, as_box_of_size, as_caption, named_phrases
from .reading import Entry, PathLike, file_of, folder_of, image_in, json_entries
from .reports import Fault, MalformedError, OnError, warn


def read_hnc(path: PathLike, images: PathLike, *, on_error: OnError = warn) -> Iterator[Pair]:
    """Yield the captions of HNC, each with its foil.

    Parameters
    ----------
    path : path
        The JSON file.
    images : path
        Folder that contains the images of GQA.
    on_error : callable, optional
        Called with each `Fault`; by default, issues a warning.

    Raises
    ------
    FileError
        If the file or the folder is missing, or the file is not in the expected format.
    """
    return _pairs(file_of(path), folder_of(images), on_error)


def _pairs(path: Path, folder: Path, on_error: OnError) -> Iterator[Pair]:
    for entry in json_entries(path):
        source = f"{path}:{entry.line}"
        try:
            captions = _captions(entry)
            name = entry.key if entry.key.lower().endswith((".jpg", ".png")) else f"{entry.key}.jpg"
            image = image_in(folder, name)
        except MalformedError as error:
            on_error(Fault(source, f"{entry.where}: {error}"))
            continue
        right: dict[str, Mapping[str, object]] = {}
        foils: dict[str, Mapping[str, object]] = {}
        for number, record in captions.items():
            try:
                caption = _record(record)
                as_caption(caption.get("caption"))
                (right if _is_right(caption) else foils)[number] = caption
            except MalformedError as error:
                on_error(Fault(source, f"caption {number!r:.40} of {entry.where}: {error}"))
        foil_of: dict[str, object] = {}
        for number, owner in _owners(right, foils).items():
            if owner is None:
                on_error(Fault(source, f"caption {number!r:.40} of {entry.where}: a foil without a caption"))
            else:
                foil_of.setdefault(owner, foils[number]["caption"])
        for number, caption in right.items():
            text = str(caption["caption"])
            try:
                phrases = named_phrases(text, _boxes(caption.get("bboxes")))
            except MalformedError as error:
                on_error(Fault(source, f"caption {number!r:.40} of {entry.where}: {error}"))
                continue
            foil = foil_of.get(number)
            yield Pair(
                id=f"{entry.key}#{number}",
                image_id=entry.key,
                image=image,
                caption=text,
                phrases=phrases,
                foil=None if foil is None else str(foil),
                source=source,
            )


def _captions(entry: Entry) -> Mapping[str, object]:
    found = _record(entry.value)
    return _record(found["captions"]) if "captions" in found else found


def _record(given: object) -> Mapping[str, object]:
    if not isinstance(given, dict):
        raise MalformedError(f"it is {named_type(given)}; expected an object")
    return given


def _is_right(caption: Mapping[str, object]) -> bool:
    label = caption.get("label")
    if label not in (0, 1):
        raise MalformedError(f"label is {label!r:.40}; expected 0 or 1")
    return label == 1


def _owners(
    right: Mapping[str, Mapping[str, object]], foils: Mapping[str, Mapping[str, object]]
) -> dict[str, str | None]:
    """Return the number of the caption that each foil belongs to, or None if there is none."""
    waiting: dict[str, list[str]] = {}
    for number, caption in right.items():
        waiting.setdefault(str(caption.get("type")), []).append(number)
    found: dict[str, str | None] = {}
    for number, foil in foils.items():
        owner = foil.get("cpt_p_id")
        if owner is not None:
            found[number] = str(owner) if str(owner) in right else None
        else:
            of_type = waiting.get(str(foil.get("type")))
            found[number] = of_type.pop(0) if of_type else None
    return found


def _boxes(given: object) -> Iterator[tuple[str, Box]]:
    """Yield the name and box of each object."""
    for thing in () if given is None else _record(given).values():
        found = _record(thing)
        box = _record(found.get("bbox"))
        name = as_caption(found.get("name"), "name")
        yield name, as_box_of_size([box.get(side) for side in ("x", "y", "w", "h")])
