"""Files of results: safetensors with JSON metadata, version 1.

A file contains one result in the safetensors format, which has only numbers and strings, and no code.

- Tensors, float32 or float64: `values` (tokens, rows, columns) and `cls` (tokens,); if the method gives them,
  `error` (tokens, rows, columns), `token_terms` (tokens,) and `patch_terms` (rows, columns). If known,
  `outliers`, bool, (rows, columns).
- Metadata: `format` is ``"exclip_widget.Interactions"``, `version` is ``"1"``, and `result` is a JSON object
  with all other attributes of `Interactions` by their names. `rows` is an object of `caption`, `texts`,
  `spans` and `words`; `grid` of `rows`, `columns` and `first`; `view` of `size`, `crop` and `digest`, or
  null; `origin` of `model`, `options`, `version`, `weights` and `references`, or null. A number that is
  unknown (NaN) is null. `digest` is the XXH3-128 of the image's RGB pixels, and `weights` a hash of the
  model's weights, or null. If they are missing, they are read as null, and `references` as empty.

Later versions of the package read the files of all earlier ones. `version` rises if the meaning changes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import FileError, ParameterError, named_type
from ..whole_file import named, reason, write_whole
from .interactions import Interactions, shapes_of
from .origin import Origin, View
from .rows import Grid, Tokens

FORMAT = "exclip_widget.Interactions"
VERSION = 1
SUFFIX = ".safetensors"

ARRAYS = ("values", "cls", "error", "token_terms", "patch_terms", "outliers")
"""Attributes that are tensors; those that a method does not provide are left out."""

NUMBERS = ("similarity", "total", "cls_term", "reference_term")
"""Attributes that are NaN if unknown, which is null in the file."""

DAMAGE = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
"""Exceptions that reading unexpected data may raise."""

MOST = 2**31 - 1
"""Largest whole number in a file."""

MOST_PIXELS = 2**30
"""Largest image that a file may describe, because masks are made at its size."""

MOST_CROP = 1e6
"""How far the crop may reach, in multiples of the image's size."""

T = TypeVar("T")


def save(result: Interactions, path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write a result to a file; see `Interactions.save`."""
    target = path_of(path, SUFFIX)
    data = to_bytes(result)
    write_whole(target, lambda partial: partial.write_bytes(data), overwrite=overwrite)


def load(path: str | os.PathLike[str]) -> Interactions:
    """Read a result from a file; see `Interactions.load`."""
    source = path_of(path, SUFFIX)
    try:
        data = source.read_bytes()
    except (OSError, ValueError) as error:
        raise FileError(f"{named(path)} cannot be read: {reason(error)}") from None
    try:
        return from_bytes(data)
    except FileError as error:
        raise FileError(f"{named(path)} {error}") from None


def path_of(path: str | os.PathLike[str], suffix: str) -> Path:
    """Return the path of a file of one kind, with `~` as the home directory.

    Raises
    ------
    FileError
        If it is not a path, or has another suffix.
    """
    given: object = path
    if not isinstance(given, (str, os.PathLike)):
        raise FileError(f"path={given!r:.80} is {named_type(given)}; expected the path of a file")
    try:
        found = Path(os.fsdecode(given)).expanduser()
    except RuntimeError as error:  # no home directory
        raise FileError(f"{named(path)} cannot be resolved: {error}") from None
    if found.suffix.lower() != suffix:
        raise FileError(f"{named(path)} ends in {found.suffix or 'no suffix'!r}; expected {suffix!r}")
    return found


# ------------------------------------------------------------------------------------------------ the bytes


def to_bytes(result: Interactions) -> bytes:
    """Return the bytes of a file with a result.

    Raises
    ------
    FileError
        If one of its numbers is infinite, which JSON cannot represent.
    """
    from safetensors.numpy import save as save_tensors

    arrays = {name: getattr(result, name) for name in ARRAYS}
    rest = {field.name: getattr(result, field.name) for field in fields(result) if field.name not in ARRAYS}
    for name in NUMBERS:
        rest[name] = None if math.isnan(rest[name]) else rest[name]
    view, origin = result.view, result.origin
    rest |= {
        "rows": asdict(result.rows),
        "grid": asdict(result.grid),
        "view": None if view is None else {"size": view.size, "crop": view.crop, "digest": view.digest},
        "origin": None if origin is None else asdict(origin),
    }
    try:
        text = json.dumps(rest, allow_nan=False)
    except ValueError:
        raise FileError(f"{result!r} has numbers that are infinite; expected finite ones to save") from None
    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
    data: bytes = save_tensors(tensors, {"format": FORMAT, "version": str(VERSION), "result": text})
    return data


def from_bytes(data: bytes) -> Interactions:
    """Return the result in the bytes of a file.

    Raises
    ------
    FileError
        If they are damaged, in another format, or from a later version.
    """
    tensors, metadata = _parse(data)
    if metadata.get("format") != FORMAT:
        said = f"format {metadata['format']!r:.60}" if "format" in metadata else "no format"
        raise FileError(f"is not a result of this package: it names {said}; expected {FORMAT!r}")
    version = metadata.get("version", "")
    if version != str(VERSION):
        raise FileError(
            f"has version {version!r:.60} of the format; this version of the package reads {VERSION}. Update "
            "exclip-widget, if the file is from a later one"
        )
    try:
        return _result(json.loads(metadata["result"], parse_constant=_refuse_constant), tensors)
    except RecursionError:
        raise FileError("is damaged: its metadata is nested too deeply") from None
    except DAMAGE as error:
        missing = isinstance(error, KeyError)
        raise FileError(f"is damaged: {'it lacks ' if missing else ''}{error!s:.200}") from None


def _parse(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_tensors

    try:
        tensors = load_tensors(data)
        # The library returns metadata only for files on disk. It has just checked that the header is valid.
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
        if not isinstance(metadata, dict):
            raise TypeError("metadata is not an object")
    except (SafetensorError, RecursionError, *DAMAGE) as error:
        raise FileError(f"is not a safetensors file, or a damaged one ({error!s:.120})") from None
    return tensors, metadata


def _result(given: Any, tensors: Mapping[str, np.ndarray]) -> Interactions:
    if not isinstance(given, dict):
        raise TypeError(f"its metadata is {named_type(given)}, not an object")
    names = {field.name for field in fields(Interactions)} - set(ARRAYS)
    if unknown := sorted({*given} - names) + sorted({*tensors} - set(ARRAYS)):
        raise ValueError(f"it has {unknown[0]!r}, which a result does not have")
    for name, array in tensors.items():
        if name == "outliers" and array.dtype != bool:
            raise TypeError(f"{name} is {array.dtype}, not bool")
        if name != "outliers" and array.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name} is {array.dtype}, neither float32 nor float64")
    rest: dict[str, Any] = {
        "rows": _tokens(_object("rows", given["rows"])),
        "grid": _grid(_object("grid", given["grid"])),
        "view": _view(given["view"]),
        "origin": _origin(given["origin"]),
    }
    for name in NUMBERS:
        rest[name] = math.nan if given[name] is None else _number(name, given[name])
    for name in ("method", "text_layer", "image_layer"):
        rest[name] = _text(name, given[name])
    for name in ("rule", "foil"):
        rest[name] = None if given[name] is None else _text(name, given[name])
    for name in ("steps", "nodes"):
        rest[name] = _whole(name, given[name])
    for name in ("values", "cls"):
        rest[name] = tensors[name]
    _require_shapes(tensors, rest["rows"], rest["grid"])
    return Interactions(**rest | dict(tensors))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has the number {name}")


def _require_shapes(arrays: Mapping[str, np.ndarray], tokens: Tokens, grid: Grid) -> None:
    for name, wanted in shapes_of(tokens, grid).items():
        if name in arrays and arrays[name].shape != wanted:
            raise ParameterError(f"{name} is {arrays[name].shape}, not {wanted}")


def _tokens(given: dict[str, Any]) -> Tokens:
    caption = _text("caption", given["caption"])
    texts = _each("texts", given["texts"], _text)
    words = _each("words", given["words"], lambda name, one: _whole(name, one, least=-1))
    spans = _each("spans", given["spans"], lambda _, one: None if one is None else _span(one, caption))
    if not len(texts) == len(words) == len(spans):
        raise ValueError(f"it has {len(texts)} texts, {len(words)} words and {len(spans)} spans")
    return Tokens(caption, texts, spans, words)


def _span(given: Any, caption: str) -> tuple[int, int]:
    start, end = _each("spans", given, _whole)
    if not start <= end <= len(caption):
        raise ValueError(f"span {given} is not in the caption of {len(caption)} characters")
    return start, end


def _grid(given: dict[str, Any]) -> Grid:
    rows, columns = (_whole(name, given[name], least=1) for name in ("rows", "columns"))
    return Grid(rows, columns, _whole("first", given["first"]))


def _view(given: Any) -> View | None:
    if given is None:
        return None
    found = _object("view", given)
    width, height = _each("size", found["size"], lambda name, one: _whole(name, one, least=1))
    left, top, across, down = _each("crop", found["crop"], _number)
    if width * height > MOST_PIXELS:
        raise ValueError(f"size {found['size']} has more than {MOST_PIXELS} pixels")
    if across <= 0 or down <= 0:
        raise ValueError(f"crop {found['crop']} has no area")
    if max(map(abs, (left, top, across, down))) > MOST_CROP or min(across, down) < 1 / MOST_CROP:
        raise ValueError(f"crop {found['crop']} is out of range")
    digest = found.get("digest")
    return View(
        (width, height), (left, top, across, down), None if digest is None else _text("digest", digest)
    )


def _origin(given: Any) -> Origin | None:
    if given is None:
        return None
    found = _object("origin", given)
    options = _object("options", found["options"])
    references = _object("references", found.get("references", {}))
    for name, value in (*options.items(), *references.items()):
        if not (value is None or isinstance(value, (bool, int, float, str))):
            raise TypeError(f"option {name!r} is {named_type(value)}")
    weights = found.get("weights")
    return Origin(
        _text("model", found["model"]),
        options,
        _text("version", found["version"]),
        None if weights is None else _text("weights", weights),
        references,
    )


def _object(name: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise TypeError(f"{name} is {named_type(given)}, not an object")
    return given


def _each(name: str, given: Any, read: Callable[[str, Any], T]) -> tuple[T, ...]:
    if not isinstance(given, list):
        raise TypeError(f"{name} is {named_type(given)}, not a list")
    return tuple(read(name, one) for one in given)


def _text(name: str, given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{name} is {named_type(given)}, not a string")
    return given


def _whole(name: str, given: Any, *, least: int = 0) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= MOST:
        raise ValueError(f"{name} has {given!r:.40}, not a whole number from {least} to {MOST}")
    return given


def _number(name: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given):
        raise ValueError(f"{name} has {given!r:.40}, not a finite number")
    return float(given)
