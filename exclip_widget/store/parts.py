"""Parts of a store: Parquet files in which each row is one caption or one image.

Factors are a column of bytes: numbers in the dtype of the store's head, little-endian, row after row of
``(rows, embed)``. As lists of numbers, more tools could read them, but Parquet stores the length of each list
beside every number and takes ten times as long to read them; bytes are read as fast as memory is copied.
``np.frombuffer(bytes, dtype).reshape(-1, embed)`` reads them. `embedding` and `change` are float32.
`outliers` has a byte for each patch, 1 for an outlier, and `stamp` is a hash of what an image was given as.
Parts that were written before these two columns existed can be read too.

A part is written under another name and then renamed, so a half-written part never exists. All parts contain
the store's head, which distinguishes them from the parts of other stores.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from ..errors import FileError, ParameterError, named_type
from ..results.factors import Factors
from ..results.origin import Origin, View, references_of
from ..results.rows import Grid, Tokens
from ..results.tables import require_library
from ..whole_file import named
from .head import NAME, Head, head_of

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

HEAD = b"exclip_widget.store"
"""Key of the store's head in a part's metadata."""

SUFFIX = ".parquet"

IMAGES_A_GROUP, CAPTIONS_A_GROUP = 64, 256
"""Rows that are read together: for images of a ViT-B-16 in float16, about 13 MB."""

OPTIONAL = frozenset({"outliers", "stamp"})
"""Columns that parts may lack, because earlier versions did not write them."""

DAMAGE = (KeyError, IndexError, TypeError, ValueError, AttributeError, OSError, NotImplementedError)
"""Exceptions that reading unexpected data may raise; errors of pyarrow are among them."""


def require_pyarrow() -> Any:
    """Return pyarrow and its module for Parquet.

    Raises
    ------
    MissingLibraryError
        If it is not installed.
    """
    require_library("pyarrow.parquet", "store")
    return require_library("pyarrow", "store")


def schema_of(kind: str, head: Head) -> pyarrow.Schema:
    """Return the columns of the parts of one kind, `"captions"` or `"images"`."""
    pa = require_pyarrow()
    text, number, bytes_, real = pa.string(), pa.int32(), pa.binary(), pa.float64()
    common = [
        pa.field("id", text, nullable=False),
        pa.field("steps", number, nullable=False),
        pa.field("values", bytes_, nullable=False),
        pa.field("embedding", bytes_, nullable=False),
        pa.field("change", bytes_),
        pa.field("reference", bytes_),
        pa.field("along", bytes_),
        pa.field("start", bytes_),
        pa.field("rule", text),
    ]
    span = pa.struct([("start", number), ("end", number)])
    phrase = pa.struct([("start", number), ("end", number), ("boxes", pa.list_(real))])
    own = {
        "captions": [
            pa.field("caption", text, nullable=False),
            pa.field("texts", pa.list_(text), nullable=False),
            pa.field("spans", pa.list_(span), nullable=False),
            pa.field("words", pa.list_(number), nullable=False),
            pa.field("image_id", text),
            pa.field("foil_of", text),
            pa.field("phrases", pa.list_(phrase), nullable=False),
            pa.field("source", text, nullable=False),
        ],
        "images": [
            pa.field("rows", number, nullable=False),
            pa.field("columns", number, nullable=False),
            pa.field("first", number, nullable=False),
            pa.field("size", pa.list_(number)),
            pa.field("crop", pa.list_(real)),
            pa.field("digest", text),
            pa.field("outliers", bytes_),
            pa.field("stamp", text),
        ],
    }
    return pa.schema(common + own[kind], metadata={HEAD: head.text().encode()})


def require_text(name: str, text: object) -> None:
    """Refuse what a part cannot store as text.

    Raises
    ------
    ParameterError
        If it is not a string, or is not Unicode, as names of files in another encoding are not.
    """
    if not isinstance(text, str):
        raise ParameterError(f"{name} {text!r:.80} is {named_type(text)}; expected a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ParameterError(
            f"{name} {text!r:.80} cannot be stored, because UTF-8 cannot encode its character "
            f"{text[error.start]!r}; replace such characters, as text.encode(errors='replace').decode() does"
        ) from None


def row_of(key: str, factors: Factors, head: Head, more: Mapping[str, object]) -> dict[str, object]:
    """Return the row of a caption's or an image's factors.

    Raises
    ------
    ParameterError
        If a number is not finite, or too large for the dtype, or a text is not Unicode.
    """
    values = factors.values.astype(f"<{_CODES[head.dtype]}")
    if not np.isfinite(values).all():
        raise ParameterError(f"factors of {key!r:.80} are not finite in {head.dtype}; they cannot be stored")
    follows = factors.change is not None and factors.around is None  # from the embedding and its change
    row: dict[str, object] = {
        "id": key,
        "steps": factors.steps,
        "values": values.tobytes(),
        "embedding": factors.embedding.astype("<f4").tobytes(),
        "change": _bytes(factors.change),
        "reference": _bytes(None if follows else factors.reference),
        "along": _bytes(factors.along),
        "start": _bytes(factors.start),
        "rule": factors.rule,
    }
    if isinstance(factors.rows, Tokens):
        tokens = factors.rows
        row |= {
            "caption": tokens.caption,
            "texts": list(tokens.texts),
            "spans": [None if one is None else {"start": one[0], "end": one[1]} for one in tokens.spans],
            "words": list(tokens.words),
        }
    else:
        grid, view = factors.rows, factors.view
        row |= {
            "rows": grid.rows,
            "columns": grid.columns,
            "first": grid.first,
            "size": None if view is None else list(view.size),
            "crop": None if view is None else list(view.crop),
            "digest": None if view is None else view.digest,
            "outliers": None if factors.outliers is None else factors.outliers.tobytes(),
        }
    row |= more
    for name in ("id", "caption", "image_id", "foil_of"):
        if row.get(name) is not None:
            require_text(name, row[name])
    return row


def view_of(size: Sequence[int] | None, crop: Sequence[float] | None, digest: str | None) -> View | None:
    """Return the stored view of an image; None if it was given as preprocessed pixels."""
    if size is None or crop is None:
        return None
    width, height = size
    left, top, across, down = crop
    return View((width, height), (left, top, across, down), digest)


def _bytes(vector: Float[np.ndarray, " _"] | None) -> bytes | None:
    return None if vector is None else vector.astype("<f4").tobytes()


def _vector(data: bytes | None) -> Float[np.ndarray, " _"] | None:
    return None if data is None else np.frombuffer(data, "<f4").astype(np.float32)


_CODES = {"float16": "f2", "float32": "f4"}


def numbers_of(data: bytes | memoryview, head: Head, width: int) -> Float[np.ndarray, "rows embed"]:
    """Return stored factors, in their own dtype."""
    return np.frombuffer(data, f"<{_CODES[head.dtype]}").reshape(-1, width)


def factors_of(row: Mapping[str, Any], head: Head) -> Factors:
    """Return the factors in a row, in float32.

    Raises
    ------
    ValueError, KeyError, TypeError
        If they are damaged.
    """
    embedding = np.frombuffer(row["embedding"], "<f4").astype(np.float32)
    values = numbers_of(row["values"], head, len(embedding)).astype(np.float32)
    rows: Tokens | Grid
    outliers = None
    if "caption" in row:
        spans = tuple(None if one is None else (one["start"], one["end"]) for one in row["spans"])
        rows = Tokens(row["caption"], tuple(row["texts"]), spans, tuple(row["words"]))
        if not len(rows.texts) == len(rows.spans) == len(rows.words) == len(values):
            raise ValueError(f"row {row['id']!r:.80} has {len(values)} factors for {len(rows.texts)} tokens")
        view = None
    else:
        rows = Grid(row["rows"], row["columns"], row["first"])
        if not 0 <= rows.first <= rows.first + len(rows) <= len(values):
            raise ValueError(f"row {row['id']!r:.80} has {len(values)} factors for {len(rows)} patches")
        view = view_of(row["size"], row["crop"], row["digest"])
        outliers = outliers_of(row.get("outliers"), rows)
    recipe = head.recipe
    return Factors(
        values=values,
        embedding=embedding,
        change=_vector(row["change"]),
        samples=None,
        rows=rows,
        method=str(recipe["method"]),
        layer=str(recipe["text_layer" if isinstance(rows, Tokens) else "image_layer"]),
        steps=row["steps"],
        rule=row["rule"],
        view=view,
        origin=Origin(
            str(recipe["model"]),
            head.options,
            str(recipe["package"]),
            str(recipe["weights"]),
            references_of("text" if isinstance(rows, Tokens) else "image", recipe),
        ),
        reference=_vector(row["reference"]),
        along=_vector(row["along"]),
        start=_vector(row["start"]),
        outliers=outliers,
    )


def outliers_of(data: bytes | None, grid: Grid) -> Bool[np.ndarray, "rows columns"] | None:
    """Return the stored outlier patches; None if they are unknown."""
    return None if data is None else np.frombuffer(data, bool).reshape(grid.rows, grid.columns)


def write_part(folder: Path, kind: str, head: Head, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a part so that a half-written one never exists.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    pa = require_pyarrow()
    table = pa.Table.from_pylist(list(rows), schema_of(kind, head))
    bytes_ = ["values", "embedding", "change"]
    target = folder / kind / f"part-{_next_number(folder / kind):06d}-{secrets.token_hex(4)}{SUFFIX}"
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with partial.open("xb") as file:
            pa.parquet.write_table(
                table,
                file,
                row_group_size=IMAGES_A_GROUP if kind == "images" else CAPTIONS_A_GROUP,
                compression={name: "none" if name in bytes_ else "zstd" for name in table.schema.names},
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
                store_schema=True,
            )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except (OSError, pa.ArrowException) as error:
        partial.unlink(missing_ok=True)
        raise FileError(f"{named(target)} cannot be written: {error!s:.200}") from None


def _next_number(folder: Path) -> int:
    return len([*folder.glob(f"part-*{SUFFIX}")])


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a store that can be read.

    Attributes
    ----------
    path : Path
        The file.
    kind : {"captions", "images"}
        What its rows are.
    head : Head
        The store's head.
    """

    path: Path
    kind: str
    head: Head
    _checked: set[frozenset[str]] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        pa = require_pyarrow()
        with self.errors():
            schema = pa.parquet.read_schema(self.path)
            theirs = (schema.metadata or {}).get(HEAD)
            if theirs is None:
                raise ValueError("it has no head of a store")
            _require_of_store(self.path, self.head, head_of(json.loads(theirs)))
            wanted = schema_of(self.kind, self.head)
            for name in OPTIONAL.difference(schema.names).intersection(wanted.names):
                wanted = wanted.remove(wanted.get_field_index(name))
            if not schema.remove_metadata().equals(wanted.remove_metadata()):
                raise ValueError("it has unexpected columns")

    def errors(self) -> _Errors:
        """Return a context manager that makes errors name this part."""
        return _Errors(self.path)

    def columns(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return some columns of all rows; None in every row of one that the part lacks."""
        pa = require_pyarrow()
        with self.errors():
            there = self._present(names, pa.parquet.read_schema(self.path).names)
            table = pa.parquet.read_table(self.path, columns=there, page_checksum_verification=True)
            found: dict[str, list[Any]] = table.to_pydict()
        return {name: found.get(name, [None] * table.num_rows) for name in names}

    @staticmethod
    def _present(names: Sequence[str], there: Sequence[str]) -> list[str]:
        """Return the given columns without those that an earlier version did not write."""
        return [name for name in names if name not in OPTIONAL or name in there]

    def groups(self, names: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
        """Yield groups of rows that are read together, in order, with the given columns that exist."""
        pa, asked = require_pyarrow(), frozenset(names)
        # Checksums take longer than reading, so a whole part is checked only the first time.
        is_new = asked not in self._checked
        with self.errors(), pa.parquet.ParquetFile(self.path, page_checksum_verification=is_new) as file:
            there = self._present(names, file.schema_arrow.names)
            for group in range(file.num_row_groups):
                (batch,) = file.read_row_group(group, there).combine_chunks().to_batches()
                yield batch
        self._checked.add(asked)

    def group(self, number: int) -> list[dict[str, Any]]:
        """Return one group of rows, with all columns."""
        with self.errors():
            rows: list[dict[str, Any]] = self._batch(number).to_pylist()
        return rows

    def _batch(self, number: int) -> pyarrow.RecordBatch:
        pa = require_pyarrow()
        with pa.parquet.ParquetFile(self.path, page_checksum_verification=True) as file:
            (batch,) = file.read_row_group(number).combine_chunks().to_batches()
        return batch

    @property
    def rows_a_group(self) -> int:
        """How many rows each group has, except for the last."""
        return IMAGES_A_GROUP if self.kind == "images" else CAPTIONS_A_GROUP

    def row(self, number: int) -> dict[str, Any]:
        """Return one row."""
        with self.errors():
            batch = self._batch(number // self.rows_a_group)
            (row,) = batch.slice(number % self.rows_a_group, 1).to_pylist()
        found: dict[str, Any] = row
        return found

    def factors(self, row: Mapping[str, Any]) -> Factors:
        """Return the factors in one of its rows."""
        with self.errors():
            return factors_of(row, self.head)

    def values(self, batch: pyarrow.RecordBatch) -> tuple[Float[np.ndarray, "all embed"], np.ndarray]:
        """Return the stacked factors of rows that were read together, and where those of each row begin.

        Nothing is copied.
        """
        with self.errors():
            column = batch.column("values")
            width = len(batch.column("embedding")[0].as_py()) // 4
            _, ends, data = column.buffers()
            offsets = np.frombuffer(ends, "<i4")[column.offset : column.offset + len(column) + 1]
            each = width * np.dtype(_CODES[self.head.dtype]).itemsize
            if (offsets % each).any() or column.null_count:
                raise ValueError(f"factors are not rows of {width} numbers")
            whole = numbers_of(memoryview(data)[offsets[0] : offsets[-1]], self.head, width)
        return whole, (offsets - offsets[0]) // each


def _require_of_store(path: Path, head: Head, theirs: Head) -> None:
    """Refuse a part that was written with another head than its store now has.

    Either may have been exchanged: a part copied here from another store, or the store's own head.

    Raises
    ------
    FileError
        If the two differ.
    """
    for name, ours, found in head.differences(theirs):
        raise FileError(
            f"part {str(path)!r:.200} is not of this store: it was made with {name}={found!r:.80}, and "
            f"{NAME} says {ours!r:.80}; if only this part differs, move it out of the store; if all of them "
            f"do, put back the {NAME} that they were written with"
        )


class _Errors:
    """Makes errors in a block name the part that they are from."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DAMAGE) and not isinstance(error, FileError):
            raise FileError(
                f"part {str(self._path)!r:.200} cannot be read: {error!s:.200}; delete it, and write the "
                "store again to compute what it had"
            ) from None


def parts_of(folder: Path, kind: str, head: Head) -> list[Part]:
    """Return the parts of one kind, in the order in which they were written.

    Raises
    ------
    FileError
        If one is damaged, or of another store.
    """
    return [Part(path, kind, head) for path in sorted((folder / kind).glob(f"part-*{SUFFIX}"))]
