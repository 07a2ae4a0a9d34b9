"""WebDataset: tar archives in which the files of a sample are consecutive and share a name.

The format is described at https://github.com/webdataset/webdataset. Shards are streamed; nothing is unpacked
to disk.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import FileError, named_type
from ..whole_file import named
from .pairs import Pair, as_caption, as_id
from .reading import PathLike, file_of, path_of, refuse
from .reports import Fault, MalformedError, OnError, warn

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm")
"""Suffixes of image files."""

MOST_IMAGE = 2**26
"""Largest number of bytes in an image file."""

MOST_TEXT = 2**20
"""Largest number of bytes in a caption file."""


def read_webdataset(shards: PathLike | Iterable[PathLike], *, on_error: OnError = warn) -> Iterator[Pair]:
    """Yield the pairs of samples that have an image and a caption.

    The caption is read from a ``.txt`` file, or from ``caption`` or ``text`` in a ``.json`` file, where it
    may be a list of several captions. A foil may be given as ``foil`` in the ``.json`` file.

    Parameters
    ----------
    shards : path, or iterable of paths
        Uncompressed tar archives. ``{000..012}`` in a path stands for all shards in that range of numbers.
    on_error : callable, optional
        Called with each `Fault`; by default, issues a warning.

    Raises
    ------
    FileError
        If a shard is missing, damaged, or not a tar archive.
    """
    given = [shards] if not isinstance(shards, Iterable) or isinstance(shards, (str, bytes)) else shards
    return _pairs([file_of(one) for shard in given for one in _expanded(shard)], on_error)


def _expanded(shard: PathLike) -> list[str]:
    path = str(path_of(shard))
    found = re.search(r"\{(\d+)\.\.(\d+)\}", path)
    if found is None:
        return [path]
    first, last = int(found[1]), int(found[2])
    if not first <= last < first + 1_000_000:
        raise FileError(f"{path!r:.200} is not a range of shards; expected {{first..last}}")
    return [
        f"{path[: found.start()]}{number:0{len(found[1])}}{path[found.end() :]}"
        for number in range(first, last + 1)
    ]


class _File(NamedTuple):
    """A file of a sample, with the key that all of the sample's files share."""

    key: str
    suffix: str
    data: bytes


def _pairs(shards: list[Path], on_error: OnError) -> Iterator[Pair]:
    for shard in shards:
        sample: dict[str, bytes] = {}
        key = ""
        for file in _files(shard, on_error):
            if file.key != key:
                yield from _of_sample(shard, key, sample, on_error)
                sample, key = {}, file.key
            sample.setdefault(file.suffix, file.data)
        yield from _of_sample(shard, key, sample, on_error)


def _files(shard: Path, on_error: OnError) -> Iterator[_File]:
    """Yield the relevant files of a shard, one at a time."""
    try:
        with tarfile.open(shard, "r|") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else it keeps every member
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                suffix = suffix.lower()
                if not member.isfile() or suffix not in (*IMAGES, "txt", "json"):
                    continue
                key = f"{folder}/{stem}".lstrip("/")
                most = MOST_IMAGE if suffix in IMAGES else MOST_TEXT
                if member.size > most:
                    on_error(Fault(f"{shard}:{member.name}", f"the file has more than {most} bytes"))
                    yield _File(key, "", b"")
                    continue
                content = archive.extractfile(member)
                assert content is not None
                data = content.read(most)
                if len(data) < member.size:
                    raise FileError(f"{named(shard)} ends in the middle of {member.name!r:.80}")
                yield _File(key, suffix, data)
        _require_end(shard, archive.offset, on_error)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        if shard.is_file() and _is_compressed(shard):
            raise FileError(f"{named(shard)} is compressed; expected an uncompressed tar archive") from None
        refuse(shard, error)


def _is_compressed(shard: Path) -> bool:
    """Return whether a file begins as those of gzip, bzip2, xz and zstandard do."""
    with shard.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))


def _require_end(shard: Path, offset: int, on_error: OnError) -> None:
    """Require that an archive ends where `tarfile` stopped reading: it takes a damaged header for the end.

    An archive that just stops may be complete, as not every program marks the end, so that is only a fault.

    Raises
    ------
    FileError
        If there is anything but the end mark, a block of zeros.
    """
    if not shard.is_file():  # such as a pipe, which cannot be read again
        return
    with shard.open("rb") as file:
        file.seek(offset)
        block = file.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0"):
        raise FileError(
            f"{named(shard)} is damaged at byte {offset}, and the samples after it cannot be read; download "
            "it again"
        )
    if len(block) < tarfile.BLOCKSIZE:
        on_error(Fault(str(shard), "the archive has no end mark, so samples may be missing"))


def _of_sample(shard: Path, key: str, sample: dict[str, bytes], on_error: OnError) -> list[Pair]:
    if not key or "" in sample:
        return []
    source = f"{shard}:{key}"
    try:
        as_id(key, "the name of the sample")
        data = next((sample[suffix] for suffix in IMAGES if suffix in sample), None)
        if data is None:
            raise MalformedError("the sample has no image")
        captions, foil = _captions(sample)
        return [
            Pair(
                id=f"{shard.stem}/{key}#{place}" if len(captions) > 1 else f"{shard.stem}/{key}",
                image_id=f"{shard.stem}/{key}",
                image=io.BytesIO(data),
                caption=as_caption(caption),
                foil=foil,
                source=source,
            )
            for place, caption in enumerate(captions)
        ]
    except MalformedError as error:
        on_error(Fault(source, str(error)))
        return []


def _captions(sample: dict[str, bytes]) -> tuple[list[object], str | None]:
    """Return the captions of a sample, and its foil if there is one."""
    try:
        record = json.loads(sample["json"]) if "json" in sample else {}
        if "txt" in sample:
            text: object = sample["txt"].decode("utf-8-sig").strip()
        elif isinstance(record, dict):
            text = record.get("caption", record.get("text"))
        else:
            raise MalformedError(f"the JSON is {named_type(record)}; expected an object")
    except (ValueError, RecursionError) as error:
        if isinstance(error, MalformedError):
            raise
        raise MalformedError(f"the caption cannot be read: {error!s:.120}") from None
    foil = record.get("foil") if isinstance(record, dict) else None
    if text is None or text == []:
        raise MalformedError("the sample has no caption")
    return text if isinstance(text, list) else [text], None if foil is None else as_caption(foil, "foil")
