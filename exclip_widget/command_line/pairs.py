"""Files of pairs: CSV with a header, or JSON lines. Unusable rows are reported by line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CaptionError, FileError, named_type
from ..whole_file import named, reason
from .texts import require_text, slug

NEEDED = ("image", "caption")
NAMES = ("id", "name")
"""Columns that may name the files of a pair; the first non-empty one is used."""

COLUMNS = (*NEEDED, "foil", *NAMES)
"""All columns that are read."""

LONGEST_ID = 160
"""Largest number of bytes of an id in a file name."""


@dataclass(frozen=True)
class Entry:
    """A pair to explain.

    Attributes
    ----------
    line : int
        Line of the file where it begins, from 1.
    image : str
        Path of the image; a relative path starts from the folder of the file.
    caption : str
        The caption.
    foil : str or None
        Another caption to compare with.
    name : str
        Name of its output files, without a suffix.
    """

    line: int
    image: str
    caption: str
    foil: str | None
    name: str


@dataclass(frozen=True)
class BadEntry:
    """A row that cannot be used, and why."""

    line: int
    message: str


class _RowError(ValueError):
    """A row that cannot be used."""


def read_pairs(path: Path) -> list[Entry | BadEntry]:
    """Return the pairs of a file, in order.

    Raises
    ------
    FileError
        If the file as a whole cannot be read, or lacks a column or has it twice.
    """
    readers = {".csv": _csv_rows, ".jsonl": _json_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise FileError(
            f"{named(path)} ends in {path.suffix or 'no suffix'!r}; expected {' or '.join(readers)}"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileError(f"{named(path)} cannot be read: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{named(path)} is not in UTF-8: {error.reason}") from None
    return list(_entries(reader(text, path), path.parent))


def _entries(rows: Iterable[tuple[int, Any]], folder: Path) -> Iterator[Entry | BadEntry]:
    lines: dict[str, int] = {}
    for number, (line, row) in enumerate(rows, start=1):
        try:
            entry = _entry(number, line, row, folder)
            # Some file systems ignore case.
            if (first := lines.setdefault(entry.name.casefold(), line)) != line:
                raise _RowError(f"its files would be named {entry.name!r}, like those of line {first}")
        except (_RowError, CaptionError) as error:
            yield BadEntry(line, str(error))
        else:
            yield entry


def _entry(number: int, line: int, row: Any, folder: Path) -> Entry:
    if isinstance(row, _RowError):
        raise row
    image, caption = (_text(row, name) for name in NEEDED)
    for name, value in zip(NEEDED, (image, caption), strict=True):
        if not value.strip():
            raise _RowError(f"it has no {name}")
    foil = _text(row, "foil")
    require_text(image, "image")
    require_text(caption, "caption")
    require_text(foil, "foil")
    given = next((value for name in NAMES if (value := _text(row, name)).strip()), None)
    if given is None:
        # The digest ties the files to the contents of the pair, so a changed pair gets new ones.
        digest = hashlib.sha256("\0".join((image, caption, foil)).encode()).hexdigest()[:8]
        name = "-".join(part for part in (f"{number:05}", slug(caption), digest) if part)
    else:
        name = slug(given, LONGEST_ID)
        if not name:
            raise _RowError(f"its id {given!r:.80} has no letter or digit to name a file with")
    return Entry(line, _complete(image, folder), caption, foil if foil.strip() else None, name)


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and name in NAMES:
        value = str(value)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _RowError(f"its {name} is {named_type(value)}; expected a string")
    return value


def _complete(image: str, folder: Path) -> str:
    from ..image import URL

    if URL.match(image) or image.startswith("~"):
        return image
    return str(folder / image)


# ------------------------------------------------------------------------------------------------- formats


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as error:
        raise FileError(f"{named(path)} is not valid CSV: {error}") from None
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise FileError(
            f"{named(path)} has no column {missing[0]!r}; expected a header such as "
            f"image,caption, but the first line is {','.join(header)!r:.100}"
        )
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        raise FileError(
            f"{named(path)} has {header.count(twice[0])} columns {twice[0]!r}; expected one of "
            "each name, in upper or lower case"
        )
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            yield line, _RowError(f"it is not valid CSV: {error}; close each quote, and double those inside")
            continue
        if fields is None:
            return
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(header):
            yield (
                line,
                _RowError(
                    f"it has {len(fields)} fields; expected {len(header)}, with quotes around a caption that "
                    "contains a comma"
                ),
            )
            continue
        yield line, dict(zip(header, fields, strict=True))


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    del path
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            yield line, _RowError(f"it is not valid JSON: {error}")
            continue
        if not isinstance(row, dict):
            row = _RowError(f"it is {named_type(row)}; expected an object with image and caption")
        yield line, row
