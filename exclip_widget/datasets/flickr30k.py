"""Flickr30k Entities: sentences with marked phrases, and an XML file of boxes for each image.

Plummer et al., "Flickr30k Entities: Collecting Region-to-Phrase Correspondences for Richer Image-to-Sentence
Models", ICCV 2015. A line of ``Sentences/ID.txt`` is a caption such as ``[/EN#1/people Two men] in
[/EN#2/clothing green shirts]``, and ``Annotations/ID.xml`` contains the boxes for these numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ..errors import FileError
from .pairs import Box, Pair, Phrase, as_box, as_caption
from .reading import MOST_XML, PathLike, file_of, folder_of, image_in, lines_of, read_whole
from .reports import Fault, MalformedError, OnError, warn

MARKED = re.compile(r"\[/EN#(\d+)(?:/[^\s/\]]+)+ ([^\[\]]*)\]")
"""Matches a phrase with its number and types."""


def read_flickr30k(
    root: PathLike, images: PathLike, *, split: PathLike | None = None, on_error: OnError = warn
) -> Iterator[Pair]:
    """Yield the sentences of Flickr30k Entities, with the boxes of their phrases.

    Phrases without a box, because they refer to something unseen or to the whole scene, are left out.

    Parameters
    ----------
    root : path
        Folder that contains ``Sentences`` and ``Annotations``.
    images : path
        Folder that contains the images of Flickr30k.
    split : path, optional
        File that lists one image number per line, such as ``test.txt``. By default, all images are read.
    on_error : callable, optional
        Called with each `Fault`; by default, issues a warning.

    Raises
    ------
    FileError
        If a file or folder is missing.
    """
    found = folder_of(root)
    sentences, boxes = folder_of(found / "Sentences"), folder_of(found / "Annotations")
    numbers = None if split is None else file_of(split)
    return _pairs(sentences, boxes, folder_of(images), numbers, on_error)


def _pairs(
    sentences: Path, annotations: Path, folder: Path, split: Path | None, on_error: OnError
) -> Iterator[Pair]:
    for source, number in _numbers(sentences, split, on_error):
        try:
            if not re.fullmatch(r"\w+", number):
                raise MalformedError(f"{number!r:.80} is not an image number")
            image = image_in(folder, f"{number}.jpg")
            text = file_of(sentences / f"{number}.txt")
            xml = file_of(annotations / f"{number}.xml")
        except (MalformedError, FileError) as error:
            on_error(Fault(source, str(error)))
            continue
        boxes = _boxes(xml, on_error)
        if boxes is None:
            continue
        count = 0
        for line, sentence in lines_of(text, on_error):
            if not sentence.strip():
                continue
            try:
                caption, phrases = _read_sentence(sentence.strip(), boxes)
                yield Pair(f"{number}.jpg#{count}", number, image, caption, phrases, source=f"{text}:{line}")
            except MalformedError as error:
                on_error(Fault(f"{text}:{line}", str(error)))
            count += 1


def _numbers(sentences: Path, split: Path | None, on_error: OnError) -> Iterable[tuple[str, str]]:
    """Yield each image number, preceded by where it was read from."""
    if split is None:
        for path in sorted(sentences.glob("*.txt")):
            yield f"{path}:1", path.stem
        return
    for line, number in lines_of(split, on_error):
        if number.strip():
            yield f"{split}:{line}", number.strip()


def _read_sentence(marked: str, boxes: dict[str, list[Box]]) -> tuple[str, tuple[Phrase, ...]]:
    """Return a caption without its markup, and those of its phrases that have boxes."""
    caption, phrases, at = "", [], 0
    for one in MARKED.finditer(marked):
        caption += marked[at : one.start()]
        text = one[2]
        if one[1] in boxes and text:
            phrases.append(Phrase(text, (len(caption), len(caption) + len(text)), tuple(boxes[one[1]])))
        caption += text
        at = one.end()
    caption += marked[at:]
    if "[/EN#" in caption or "[" in caption[:1]:
        raise MalformedError(f"a phrase in {marked!r:.200} is not marked as [/EN#number/type words]")
    return as_caption(caption), tuple(phrases)


def _boxes(path: Path, on_error: OnError) -> dict[str, list[Box]] | None:
    """Return the boxes of each phrase number in an XML file, or None if it cannot be read."""
    try:
        objects = _read_objects(path)
    except (FileError, MalformedError) as error:
        on_error(Fault(f"{path}:{getattr(error, 'line', 1)}", str(error)))
        return None
    boxes: dict[str, list[Box]] = {}
    for line, thing in objects:
        edges = thing.find("bndbox")
        if edges is None:
            continue
        try:
            box = _as_box(edges)
        except MalformedError as error:
            on_error(Fault(f"{path}:{line}", str(error)))
            continue
        for name in thing.findall("name"):
            boxes.setdefault((name.text or "").strip(), []).append(box)
    return boxes


def _as_box(edges: Element) -> Box:
    """Convert a box of Flickr30k, whose coordinates are 1-based and inclusive."""
    try:
        left, top, right, bottom = (
            int(edges.findtext(name, "")) for name in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError:
        raise MalformedError("bndbox lacks a whole number; expected xmin, ymin, xmax and ymax") from None
    return as_box((left - 1, top - 1, right, bottom))


class _XmlError(MalformedError):
    """An XML file cannot be read; records the line."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


def _read_objects(path: Path) -> list[tuple[int, Element]]:
    """Return the objects of an XML file with their lines. Refuse document types, and therefore entities."""
    builder, lines = TreeBuilder(), []
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "object":
            lines.append(parser.CurrentLineNumber)
        builder.start(name, attributes)

    def refuse(*_: object) -> None:
        raise _XmlError("the XML declares a document type, which is not supported", parser.CurrentLineNumber)

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_whole(path, MOST_XML), True)
    except expat.ExpatError as error:
        raise _XmlError(f"it is not valid XML: {expat.ErrorString(error.code)}", error.lineno) from None
    return list(zip(lines, builder.close().iter("object"), strict=True))
