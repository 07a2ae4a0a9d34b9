"""Reading of data set files: streamed, bounded, and tracking line numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn, TypeAlias

from ..errors import FileError, named_type
from .reports import Fault, MalformedError, OnError

PathLike: TypeAlias = str | os.PathLike[str]

MOST_LINE = 2**24
"""Largest number of bytes in a line."""

MOST_JSON = 2**31
"""Largest number of bytes in a JSON file: four times COCO's largest."""

MOST_XML = 2**22
"""Largest number of bytes in the XML file of one image."""

SPACE = " \t\n\r"
"""White space according to JSON."""


def path_of(path: PathLike) -> Path:
    """Return a path, with `~` expanded to the home directory.

    Raises
    ------
    FileError
        If it is not a path.
    """
    given: object = path
    if not isinstance(given, (str, os.PathLike)):
        raise FileError(f"path={given!r:.80} is {named_type(given)}; expected a path")
    try:
        return Path(os.fsdecode(given)).expanduser()
    except RuntimeError as error:  # no home directory
        raise FileError(f"{os.fsdecode(given)!r:.200} cannot be resolved: {error}") from None


def file_of(path: PathLike) -> Path:
    """Return the path of an existing file.

    Raises
    ------
    FileError
        If it does not exist.
    """
    return _there(path_of(path), "file", "folder")


def folder_of(path: PathLike) -> Path:
    """Return the path of an existing folder.

    Raises
    ------
    FileError
        If it does not exist.
    """
    return _there(path_of(path), "folder", "file")


def _there(path: Path, expected: str, other: str) -> Path:
    is_one = {"file": path.is_file, "folder": path.is_dir}
    if not _is(is_one[expected]):
        what = f"is a {other}; expected a {expected}" if _is(is_one[other]) else "does not exist"
        raise FileError(f"{expected} {os.fspath(path)!r:.200} {what}")
    return path


def _is(test: Callable[[], bool]) -> bool:
    try:
        return test()
    except (OSError, ValueError):  # not a valid file name
        return False


def image_in(folder: Path, name: object) -> Path:
    """Return the path of an image file in a folder.

    Raises
    ------
    MalformedError
        If it does not exist, or its name leads out of the folder.
    """
    if not isinstance(name, str) or not name:
        raise MalformedError(f"the image is {name!r:.80}; expected the name of a file")
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(Path(os.path.normpath(folder))):
        raise MalformedError(f"image {name!r:.200} lies outside {os.fspath(folder)!r:.200}")
    if not _is(path.is_file):
        raise MalformedError(f"there is no image {name!r:.200} in {os.fspath(folder)!r:.200}")
    return path


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading in binary mode.

    Raises
    ------
    FileError
        If it cannot be opened.
    """
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:
        refuse(path, error)


def refuse(path: Path, error: Exception) -> NoReturn:
    """Report that a file cannot be read.

    Raises
    ------
    FileError
        Always.
    """
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    raise FileError(f"file {os.fspath(path)!r:.200} cannot be read: {reason.lower():.200}") from None


def read_whole(path: Path, most: int) -> bytes:
    """Return the bytes of a file.

    Raises
    ------
    FileError
        If it cannot be read, or has more than `most` bytes.
    """
    try:
        with open_file(path) as file:
            data = file.read(most + 1)
    except OSError as error:
        refuse(path, error)
    if len(data) > most:
        raise FileError(f"file {os.fspath(path)!r:.200} has more than {most} bytes; expected fewer")
    return data


def lines_of(path: Path, on_error: OnError) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file with their numbers, from 1.

    Bytes that are not valid UTF-8 become lone surrogates, so that a damaged line costs only one record. A
    line that is too long is reported and skipped.

    Raises
    ------
    FileError
        If the file cannot be read.
    """
    with open_file(path) as file:
        number = 0
        while True:
            try:
                line = file.readline(MOST_LINE)
                number += 1
                if len(line) == MOST_LINE and not line.endswith(b"\n"):
                    while (rest := file.readline(MOST_LINE)) and not rest.endswith(b"\n"):
                        pass
                    on_error(Fault(f"{path}:{number}", f"the line has more than {MOST_LINE} bytes"))
                    continue
            except OSError as error:
                refuse(path, error)
            if not line:
                return
            yield (
                number,
                line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").decode("utf-8", "surrogateescape"),
            )


# ----------------------------------------------------------------------------------------------- JSON


class Entry(NamedTuple):
    """An entry of a JSON file: the value of a key of its object, or one item of the list under that key.

    Attributes
    ----------
    key : str
        The key.
    where : str
        A readable name for the entry, such as ``"annotations[3]"``.
    line : int
        The line where it begins.
    value : object
        The value.
    """

    key: str
    where: str
    line: int
    value: object


def json_entries(path: Path, lists: Collection[str] | None = None) -> Iterator[Entry]:
    """Yield the entries of the object in a JSON file, decoded one at a time.

    Parameters
    ----------
    path : Path
        The file.
    lists : collection of str, optional
        Keys of lists whose items are yielded one by one; other keys are skipped. By default, the value of
        each key is yielded.

    Raises
    ------
    FileError
        If the file cannot be read, or does not contain such an object.
    """
    try:
        text = read_whole(path, MOST_JSON).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"file {os.fspath(path)!r:.200} is not UTF-8: {error.reason}") from None
    walk = _Walk(path, text)
    walk.take("{")
    if walk.follows("}"):
        return
    while True:
        key = walk.value()
        if not isinstance(key, str):
            walk.fail("expected a name in double quotes")
        walk.take(":")
        if lists is None:
            walk.skip_space()
            line = walk.line()
            yield Entry(key, repr(key), line, walk.value())
        elif key in lists:
            yield from _members(walk, key)
        else:
            walk.value()
        if walk.follows("}"):
            return
        walk.take(",")


def _members(walk: _Walk, key: str) -> Iterator[Entry]:
    walk.take("[")
    if walk.follows("]"):
        return
    index = 0
    while True:
        walk.skip_space()
        line = walk.line()
        yield Entry(key, f"{key}[{index}]", line, walk.value())
        index += 1
        if walk.follows("]"):
            return
        walk.take(",")


class _Walk:
    """A position in the text of a JSON file."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._at = 0
        self._line, self._counted = 1, 0
        self._decode = json.JSONDecoder().raw_decode

    def line(self) -> int:
        """Return the line number of the position."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def skip_space(self) -> None:
        """Advance to the next character that is not white space."""
        while self._at < len(self._text) and self._text[self._at] in SPACE:
            self._at += 1

    def follows(self, character: str) -> bool:
        """Return whether a character comes next, and skip it if so."""
        self.skip_space()
        found = self._text.startswith(character, self._at)
        self._at += found
        return found

    def take(self, character: str) -> None:
        """Skip a character, which must come next."""
        if not self.follows(character):
            self.fail(f"expected {character!r}")

    def value(self) -> object:
        """Return the next value, and advance past it."""
        self.skip_space()
        try:
            value, self._at = self._decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._at = error.pos
            self.fail(error.msg.lower())
        except (RecursionError, ValueError) as error:  # nested too deeply, or a number that is too long
            self.fail(str(error))
        return value

    def fail(self, reason: str) -> NoReturn:
        """Raise a `FileError` that names the line of the position."""
        raise FileError(
            f"file {os.fspath(self._path)!r:.200} is not the expected JSON, in line {self.line()}: "
            f"{reason:.120}"
        )
