"""Custom tables, as CSV or JSON lines: image, caption, phrase and box.

Consecutive rows with the same image, caption, foil and id form one pair with several phrases.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ..errors import FileError, ParameterError, named_type
from .pairs import Box, Pair, as_box, as_caption, as_id, phrase_in
from .reading import PathLike, file_of, folder_of, image_in, lines_of
from .reports import Fault, MalformedError, OnError, warn

COLUMNS = ("image", "caption", "phrase", "box", "foil", "id")
"""The columns that are read, and their default names."""


def read_table(
    path: PathLike,
    images: PathLike | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = warn,
) -> Iterator[Pair]:
    """Yield the pairs of a table.

    Parameters
    ----------
    path : path
        A file that ends in ``.csv``, ``.tsv`` or ``.jsonl``. The columns `image`, a file name, and `caption`
        are required; `phrase` with `box`, `foil` and `id` are optional. A box is left, top, right and bottom
        in pixels: in CSV, four numbers separated by spaces or commas, or a JSON list. A phrase must occur
        exactly once in its caption.
    images : path, optional
        Folder that contains the images. By default, the folder of the table.
    columns : mapping, optional
        Columns with different names, such as ``{"caption": "text"}``.
    on_error : callable, optional
        Called with each `Fault`; by default, issues a warning.

    Raises
    ------
    FileError
        If the file or the folder is missing, or the file is of another kind, lacks a column or has one twice.
    ParameterError
        If `columns` names an unknown column.
    """
    found = file_of(path)
    folder = folder_of(found.parent if images is None else images)
    names = names_of_columns(columns, COLUMNS)
    reader = _READERS.get(found.suffix.lower())
    if reader is None:
        raise FileError(f"table {str(found)!r:.200} is of an unknown kind; expected {', '.join(_READERS)}")
    return _pairs(found, folder, reader(found, names, on_error), on_error)


def names_of_columns(columns: Mapping[str, str] | None, known: tuple[str, ...]) -> dict[str, str]:
    """Return the name of each column.

    Raises
    ------
    ParameterError
        If `columns` is not a mapping, or names an unknown column.
    """
    if columns is not None and not isinstance(columns, Mapping):
        raise ParameterError(
            f"columns is {named_type(columns)}; expected a mapping, such as {{'caption': 'sentences'}}"
        )
    given = dict(columns or {})
    if unknown := set(given) - set(known):
        raise ParameterError(f"columns names {sorted(unknown)[0]!r}; expected some of {', '.join(known)}")
    return {name: given.get(name, name) for name in known}


class _Row(NamedTuple):
    source: str
    image: str
    caption: str
    foil: str | None
    id: str | None
    phrase: str | None
    box: Box | None


_Reader = Callable[[Path, Mapping[str, str], OnError], Iterator[_Row]]


def _pairs(path: Path, folder: Path, rows: Iterator[_Row], on_error: OnError) -> Iterator[Pair]:
    for (name, caption, foil, number), of_pair in groupby(
        rows, lambda row: (row.image, row.caption, row.foil, row.id)
    ):
        first, *others = of_pair
        try:
            image = image_in(folder, name)
        except MalformedError as error:
            on_error(Fault(first.source, str(error)))
            continue
        boxes: dict[str, list[Box]] = {}
        for row in (first, *others):
            if row.phrase is not None and row.box is not None:
                boxes.setdefault(row.phrase, []).append(row.box)
        line = first.source.rpartition(":")[2]
        yield Pair(
            id=number or f"{path.name}:{line}",
            image_id=name,
            image=image,
            caption=caption,
            phrases=tuple(phrase_in(caption, *one) for one in boxes.items()),
            foil=foil,
            source=first.source,
        )


def _as_row(record: Mapping[str, object], names: Mapping[str, str], source: str) -> _Row:
    """Return a validated row; everything is checked except the image file."""
    given = {name: record.get(names[name]) for name in COLUMNS}
    given = {name: None if value == "" else value for name, value in given.items()}
    caption = as_caption(given["caption"])
    phrase, box = given["phrase"], given["box"]
    if (phrase is None) != (box is None):
        raise MalformedError("a phrase needs a box, and a box needs a phrase; one of them is missing")
    if phrase is not None:
        phrase_in(caption, as_caption(phrase, "phrase"), ())
    return _Row(
        source=source,
        image=as_caption(given["image"], "image"),
        caption=caption,
        foil=None if given["foil"] is None else as_caption(given["foil"], "foil"),
        id=None if given["id"] is None else as_id(given["id"], "id"),
        phrase=None if phrase is None else str(phrase),
        box=None if box is None else as_box(_numbers(box) if isinstance(box, str) else box),
    )


def _numbers(text: str) -> object:
    """Return the numbers in a cell: a JSON list, or numbers separated by spaces or commas."""
    try:
        return (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [*map(float, text.replace(",", " ").split())]
        )
    except (ValueError, RecursionError):
        raise MalformedError(f"box {text!r:.80} is not four numbers") from None


def _from_csv(path: Path, names: Mapping[str, str], on_error: OnError) -> Iterator[_Row]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader((line for _, line in lines_of(path, on_error)), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise FileError(f"table {str(path)!r:.200} has no header: {error}") from None
    for name in ("image", "caption"):
        if names[name] not in header:
            raise FileError(
                f"table {str(path)!r:.200} has no column {names[name]!r}; its columns are {header!r:.200}"
            )
    if twice := [name for name in names.values() if header.count(name) > 1]:
        raise FileError(
            f"table {str(path)!r:.200} has {header.count(twice[0])} columns {twice[0]!r}; "
            "expected one of each name"
        )
    while True:
        before = reader.line_num
        source = f"{path}:{before + 1}"
        try:
            cells = next(reader)
            if cells:
                yield _as_row(_record(header, cells), names, source)
        except StopIteration:
            return
        except (csv.Error, MalformedError) as error:
            on_error(Fault(source, str(error)))
            if reader.line_num == before:
                return  # the file ended inside quotes


def _record(header: list[str], cells: list[str]) -> dict[str, object]:
    if len(cells) != len(header):
        raise MalformedError(f"the row has {len(cells)} cells; expected {len(header)}")
    return dict(zip(header, cells, strict=True))


def _from_json_lines(path: Path, names: Mapping[str, str], on_error: OnError) -> Iterator[_Row]:
    for number, line in lines_of(path, on_error):
        if not line.strip():
            continue
        source = f"{path}:{number}"
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise MalformedError(f"the line is {named_type(record)}; expected a JSON object")
            yield _as_row(record, names, source)
        except (MalformedError, RecursionError) as error:
            on_error(Fault(source, str(error)))
        except ValueError as error:
            on_error(Fault(source, f"the line is not valid JSON: {error!s:.120}"))


_READERS: dict[str, _Reader] = {".csv": _from_csv, ".tsv": _from_csv, ".jsonl": _from_json_lines}
