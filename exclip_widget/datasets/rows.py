"""Rows in memory or from a stream, such as Hugging Face `datasets`: any iterable of dicts."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np
from PIL import Image

from ..errors import FileError, ParameterError, named_type
from ..image import ImageLike
from .pairs import Pair, as_caption, as_id
from .reports import Fault, MalformedError, OnError, warn
from .tables import names_of_columns

COLUMNS = ("image", "caption", "foil", "id", "image_id")
"""The columns that are read, and their default names."""


def read_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    columns: Mapping[str, str] | None = None,
    name: str = "rows",
    on_error: OnError = warn,
) -> Iterator[Pair]:
    """Yield pairs from rows, such as those of a Hugging Face data set, streamed or not.

    Parameters
    ----------
    rows : iterable of mapping
        Each has an `image`, which may be a PIL image, an array, a path, the bytes of a file, or
        ``{"bytes": ..., "path": ...}`` as from ``Image(decode=False)``; a `caption`, or a list of them;
        and optionally a `foil`, an `id` and an `image_id`.
    columns : mapping, optional
        Columns with different names, such as ``{"caption": "sentences"}``.
    name : str
        Prefix of `Pair.source` and of generated ids.
    on_error : callable, optional
        Called with each `Fault`; by default, issues a warning.

    Raises
    ------
    ParameterError
        If `rows` contains several splits or is not an iterable, or if `columns` names an unknown column.
    FileError
        If reading a stream of rows fails.

    Examples
    --------
    >>> rows = [{"image": np.zeros((8, 8)), "text": ["a boat", "a red boat"]}]
    >>> [pair.id for pair in read_rows(rows, columns={"caption": "text"})]
    ['rows:0#0', 'rows:0#1']
    """
    given: object = rows
    if isinstance(given, Mapping):
        raise ParameterError(f"rows has several splits, {', '.join(map(repr, given))}; expected one of them")
    for attribute, call in (
        ("iterrows", 'to_dict("records")'),
        ("to_pylist", "to_pylist()"),
        ("to_dicts", "to_dicts()"),
    ):
        if hasattr(given, attribute):
            raise ParameterError(
                f"rows is {named_type(given)}; expected an iterable of dicts: pass rows.{call}"
            )
    if isinstance(given, (str, bytes)) or not (isinstance(given, Iterable) or _is_indexed(given)):
        raise ParameterError(f"rows is {named_type(given)}; expected an iterable of dicts")
    return _pairs(rows, names_of_columns(columns, COLUMNS), name, on_error)


def _pairs(
    rows: Iterable[Mapping[str, Any]], names: Mapping[str, str], name: str, on_error: OnError
) -> Iterator[Pair]:
    for number, row in _numbered(rows, name, on_error):
        source = f"{name}:{number}"
        try:
            yield from _of_row(row, names, source)
        except MalformedError as error:
            on_error(Fault(source, str(error)))


def _numbered(rows: Any, name: str, on_error: OnError) -> Iterator[tuple[int, Any]]:
    """Yield rows with their numbers. If rows can be indexed, a failure affects only its own row."""
    if _is_indexed(rows):
        for number in range(len(rows)):
            try:
                row = rows[number]
            except Exception as error:  # the library's decoders may raise anything
                on_error(Fault(f"{name}:{number}", f"the row cannot be read: {error!s:.200}"))
                continue
            yield number, row
        return
    stream, number = iter(rows), 0
    while True:
        try:
            row = next(stream)
        except StopIteration:
            return
        except Exception as error:
            raise FileError(
                f"{name}:{number} cannot be read, nor the rows after it: {error!s:.200}"
            ) from error
        yield number, row
        number += 1


def _is_indexed(rows: object) -> bool:
    return isinstance(rows, Sized) and hasattr(rows, "__getitem__")


def _of_row(row: Any, names: Mapping[str, str], source: str) -> list[Pair]:
    if not isinstance(row, Mapping):
        raise MalformedError(f"the row is {named_type(row)}; expected a mapping")
    image = _as_image(row.get(names["image"]))
    given = row.get(names["caption"])
    if isinstance(given, np.ndarray) and given.ndim == 1:  # as pandas reads a list from Parquet
        given = given.tolist()
    several = isinstance(given, (list, tuple))
    captions: Sequence[object] = given if isinstance(given, (list, tuple)) else [given]
    optional = (row.get(names[column]) for column in ("id", "image_id", "foil"))
    number, group, foil = (None if _is_missing(one) else one for one in optional)
    own = source if number is None else as_id(number, "id")
    read = [as_caption(one) for one in captions]
    if not read:
        raise MalformedError("the row has no caption")
    return [
        Pair(
            id=f"{own}#{place}" if several else own,
            image_id=own if group is None else as_id(group, "image_id"),
            image=image,
            caption=caption,
            foil=None if foil is None else as_caption(foil, "foil"),
            source=source,
        )
        for place, caption in enumerate(read)
    ]


def _is_missing(given: object) -> bool:
    """Return whether this is what a table has in an empty cell: None, NaN, or NA as in pandas."""
    is_nan = isinstance(given, (float, np.floating)) and bool(given != given)
    return given is None or is_nan or type(given).__name__ in ("NAType", "NaTType")


def _as_image(given: object) -> ImageLike:
    if isinstance(given, Mapping):
        given = given.get("bytes") or given.get("path")
    if isinstance(given, bytes):
        return io.BytesIO(given)
    if isinstance(given, (Image.Image, np.ndarray, os.PathLike)) or (isinstance(given, str) and given):
        return given
    raise MalformedError(f"image is {named_type(given)}; expected an image, its bytes or its path")
