"""What the files of a `batch` were made from, so that a run keeps only those that it would make again.

Hidden files contain it, because no pair's name can begin with a dot. ``.batch.json`` is a JSON object of
`format`, `version`, the `options` as given, and the `recipe` that `Explainer.recipe` returned for them,
without the version of the package, because later versions compute the same.
Each run that writes files has its own ``.batch.ID.jsonl``, because appends of several programs to one file
may overwrite each other on network drives and Windows. It has a JSON object for each file that was written:

- `file`, its name, and `content`, a hash of its bytes;
- `recipe`, a hash of the options and the recipe;
- `pair`, a hash of the image file's bytes, the caption and the foil;
- `pairs`, the path of the file of pairs, relative to the folder.

A file is recognised by its content, and its line is written just before it gets its name. So a run may be
killed at any time, and several may write to one folder: a line of a file that never got its name, or of one
that was replaced, matches nothing. A line that was cut short is of a file that never got its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import xxhash

from ..errors import FileError
from ..whole_file import named, reason, write_whole
from .outputs import FORMATS, Explanation, format_of, write
from .pairs import Entry

if TYPE_CHECKING:
    from ..results.origin import Option

SETTINGS = ".batch.json"
LINES = re.compile(r"\.batch\.[0-9a-f]+\.jsonl")
"""Names of the files with a line for each file that was written."""

FORMAT = "exclip_widget.batch"
VERSION = 1

AGAIN = "give another folder, or --force to make the files of this table again"
"""What to do about a folder with files that were made in another way."""


@dataclass(frozen=True)
class Made:
    """What a file was made from, and for which file of pairs."""

    recipe: str
    pair: str
    pairs: str

    def is_like(self, other: Made) -> bool:
        """Return whether another file was made from the same, for whichever file of pairs."""
        return (self.recipe, self.pair) == (other.recipe, other.pair)


class Ledger:
    """What the files in a folder were made from.

    Parameters
    ----------
    folder : Path
        The folder; it need not exist.
    pairs : Path
        The file of pairs.
    options : mapping
        The options as given, without those that do not affect results.
    force : bool
        Whether files that were made in another way are replaced.

    Raises
    ------
    FileError
        If the folder was made with other options, or its record cannot be read.
    """

    def __init__(self, folder: Path, pairs: Path, options: Mapping[str, Any], *, force: bool) -> None:
        self.folder = folder
        self._pairs = _relative(pairs, folder)
        self._options = dict(options)
        self._force = force
        self._settings, self._has_unknown = None, False
        try:
            self._settings = _settings_of(folder)
        except FileError:  # another version may have recorded its files in another way
            if not force:
                raise
            self._has_unknown = True
        if force:
            self._settings = None
        if self._settings is not None:
            self._require_options(self._settings["options"])
        self._recipe: dict[str, Option] = {}
        self._recipe_digest = ""
        # By the case-folded name, because some file systems ignore case, and the content.
        self._made: dict[tuple[str, str], Made] = {}
        self._files: dict[str, set[str]] = {}
        self._lines = folder / f".batch.{token_hex(8)}.jsonl"
        self._read_to: dict[str, int] = {}
        self._read_lines()

    # ------------------------------------------------------------------------------------- the whole folder

    def require_same(
        self, recipe: Mapping[str, Option], names: Iterable[str], endings: Collection[str]
    ) -> None:
        """Refuse a recipe if files that were made with another one would remain.

        Parameters
        ----------
        recipe : mapping
            What `Explainer.recipe` returns.
        names : iterable of str
            Names of the pairs to explain.
        endings : collection of str
            Endings of the files to write.

        Raises
        ------
        FileError
            If the folder was made with another recipe, or files that this run would not replace were.
        """
        from ..store.head import FREE

        self._recipe = {name: value for name, value in recipe.items() if name not in FREE}
        self._recipe_digest = _digest([self._options, self._recipe])
        if self._settings is not None:
            self._require_recipe(self._settings["recipe"])
        by_folded = {name.casefold(): name for name in names}
        self._require_none_left(by_folded)
        if self._has_unknown:
            self._require_none_unknown(by_folded, endings)

    def _require_options(self, then: Mapping[str, Any]) -> None:
        if then != self._options:
            raise FileError(
                f"folder {str(self.folder)!r:.200} has files that were made with other options, "
                f"{_spelled(then)}; {AGAIN}"
            )

    def _require_recipe(self, then: Mapping[str, Option]) -> None:
        for name in dict.fromkeys((*self._recipe, *then)):
            if then.get(name) != self._recipe.get(name):
                raise FileError(
                    f"folder {str(self.folder)!r:.200} has files that were made with "
                    f"{name}={then.get(name)!r:.80}, and the same options now give "
                    f"{self._recipe.get(name)!r:.80}; {AGAIN}"
                )

    def _require_none_left(self, names: Mapping[str, str]) -> None:
        """Refuse a folder with files of other pairs that were made with another recipe.

        `names` are those of the pairs to explain, by their case-folded spelling.
        """
        # Only these are read: files of other tables may be many.
        outdated = {file for (file, _), made in self._made.items() if made.recipe != self._recipe_digest}
        left = []
        for path in (self.folder / file for key in sorted(outdated) for file in sorted(self._files[key])):
            if not _belongs(path, names):
                made = self._made.get((path.name.casefold(), _content(path) or ""))
                if made is not None and made.recipe != self._recipe_digest:
                    left.append(path)
        if len(left) == 1:
            raise FileError(
                f"{named(left[0])} belongs to no pair in this table, and was made with other options or "
                "weights; remove it, or give another folder"
            )
        if left:
            others = "another" if len(left) == 2 else f"{len(left) - 1} others"
            raise FileError(
                f"{named(left[0])} and {others} belong to no pair in this table, and were made with other "
                "options or weights; remove them, or give another folder"
            )

    def _require_none_unknown(self, names: Mapping[str, str], endings: Collection[str]) -> None:
        """Refuse a folder with files that another version may have made, unless they are to be replaced."""
        for path in sorted(self.folder.iterdir()):
            ending = path.suffix.lower()
            if path.name.startswith(".") or ending not in FORMATS or not path.is_file():
                continue
            if path.name == self._pairs:
                continue
            is_replaced = ending in endings and _belongs(path, names)
            if not is_replaced and self._of(path, _content(path) or "") is None:
                raise FileError(
                    f"{named(path)} would not be replaced, and may have been made with other options or "
                    "weights; move it away, or give another folder"
                )

    def prepare(self) -> None:
        """Create the folder, and record the options and the recipe with which its files are made."""
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise FileError(f"folder {str(self.folder)!r:.200} cannot be created: {reason(error)}") from None
        if self._settings is not None:
            return
        settings = {"format": FORMAT, "version": VERSION, "options": self._options, "recipe": self._recipe}
        text = json.dumps(settings, indent=1)
        try:
            write_whole(
                self.folder / SETTINGS,
                lambda partial: partial.write_text(text, encoding="utf-8"),
                overwrite=self._force,
            )
        except FileError:
            there = _settings_of(self.folder)  # another run may have begun meanwhile
            if there is None or self._force:
                raise
            self._require_options(there["options"])
            self._require_recipe(there["recipe"])

    # ----------------------------------------------------------------------------------------------- files

    def made(self, entry: Entry, image: str) -> Made:
        """Return what the files of a pair are to be made from; `image` is the digest of its file."""
        return Made(self._recipe_digest, _digest([image, entry.caption, entry.foil]), self._pairs)

    def due(self, entry: Entry, endings: Collection[str], made: Made) -> dict[Path, bool]:
        """Return the files of a pair that are to be written, and whether each replaces another.

        These are files that do not exist, and those that were made from something else. The latter include
        files of other endings, so that all files of a pair always belong together.

        Raises
        ------
        FileError
            If a file would be replaced that was made for another file of pairs, or by something else.
        MissingLibraryError
            If the library of another ending is not installed.
        """
        due = {}
        others = [
            one for one in FORMATS if one not in endings and f"{entry.name}{one}".casefold() in self._files
        ]
        for ending in (*endings, *others):
            path, is_asked = self.folder / f"{entry.name}{ending}", ending in endings
            content = _content(path)
            if content is None:
                if is_asked:
                    due[path] = False
                continue
            known = self._of(path, content)
            if self._force and is_asked:
                due[path] = True
            elif known is None:
                if is_asked:
                    raise FileError(
                        f"{named(path)} exists already and is not what batch wrote there; move it away, or "
                        "pass --force to replace it"
                    )
            elif not known.is_like(made):
                if known.pairs != made.pairs and not self._force:
                    raise FileError(
                        f"{named(path)} belongs to {_from_here(self.folder / known.pairs)!r:.200}, "
                        "whose pair of this name differs; give another folder or id, or --force to replace it"
                    )
                format_of(ending, path.name)
                due[path] = True
        return due

    def remove_outdated(self, entry: Entry, endings: Collection[str]) -> list[str]:
        """Remove the files of a pair that failed, if they were made with another recipe.

        Otherwise they would remain among those of this recipe.

        Returns
        -------
        list of str
            Their names.

        Raises
        ------
        FileError
            If one cannot be removed.
        """
        removed = []
        for ending in FORMATS:
            path = self.folder / f"{entry.name}{ending}"
            if (content := _content(path)) is None:
                continue
            known = self._of(path, content)
            if known is None:
                is_outdated = self._has_unknown and ending in endings
            else:
                is_ours = self._force or known.pairs == self._pairs
                is_outdated = is_ours and known.recipe != self._recipe_digest
            if is_outdated:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise FileError(f"{named(path)} cannot be removed: {reason(error)}") from None
                removed.append(path.name)
        return removed

    def write(self, explanation: Explanation, path: Path, made: Made, *, replace: bool) -> None:
        """Write a file, and record what it was made from.

        Raises
        ------
        FileError
            If it or the record cannot be written, or the file exists and is not to be replaced.
        """
        try:
            write(explanation, path, force=replace, finish=lambda partial: self._add(path, partial, made))
        except FileError:
            # Another run may just have written the same.
            known = None if replace else self._of(path, _content(path) or "")
            if known is None or not known.is_like(made):
                raise

    def _of(self, path: Path, content: str) -> Made | None:
        """Return what a file was made from; None if it is not recorded with this content."""
        key = path.name.casefold(), content
        if key not in self._made:
            self._read_lines()  # another run may have written it
        return self._made.get(key)

    def _add(self, path: Path, partial: Path, made: Made) -> None:
        line = json.dumps({"file": path.name, "content": _content(partial), **asdict(made)})
        # The first line break ends a line that was cut short because no space was left.
        data = f"\n{line}\n".encode()
        try:
            with self._lines.open("ab", buffering=0) as file:
                if file.write(data) != len(data):
                    raise FileError(f"{named(self._lines)} cannot be written: no space left")
        except OSError as error:
            raise FileError(f"{named(self._lines)} cannot be written: {reason(error)}") from None

    def _read_lines(self) -> None:
        """Read the lines that all runs added since the last time."""
        try:
            names = sorted(path.name for path in self.folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise FileError(f"folder {str(self.folder)!r:.200} cannot be read: {reason(error)}") from None
        for name in filter(LINES.fullmatch, names):
            self._read_new(name)

    def _read_new(self, name: str) -> None:
        """Read the lines that were added to one file since the last time."""
        lines = self.folder / name
        try:
            with lines.open("rb") as file:
                file.seek(self._read_to.get(name, 0))
                data = file.read()
        except OSError as error:
            raise FileError(f"{named(lines)} cannot be read: {reason(error)}") from None
        whole = data[: data.rfind(b"\n") + 1]
        self._read_to[name] = self._read_to.get(name, 0) + len(whole)
        for line in whole.split(b"\n"):
            found = _line_of(line)
            if found is not None:
                self._files.setdefault(found["file"].casefold(), set()).add(found["file"])
                made = Made(**{one.name: found[one.name] for one in fields(Made)})
                self._made[found["file"].casefold(), found["content"]] = made


def _belongs(path: Path, names: Mapping[str, str]) -> bool:
    """Return whether a file is of a pair with one of these names, which have their case-folded spelling."""
    name = names.get(path.stem.casefold())
    if name is None or name == path.stem:
        return name is not None
    try:  # only if the file system ignores case
        return path.samefile(path.with_name(f"{name}{path.suffix}"))
    except OSError:
        return False


def _line_of(line: bytes) -> dict[str, str] | None:
    """Return a line as a dictionary; None if it is blank or was cut short."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    names = ("file", "content", *(one.name for one in fields(Made)))
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in names):
        return None
    return found


def _settings_of(folder: Path) -> dict[str, Any] | None:
    """Return the options and the recipe of a folder; None if it has none yet.

    Raises
    ------
    FileError
        If they cannot be read, or were not recorded by this version.
    """
    path = folder / SETTINGS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FileError(f"{named(path)} cannot be read: {reason(error)}") from None
    except (ValueError, RecursionError):
        raise FileError(f"{named(path)} is damaged; remove it, or give --force") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise FileError(
            f"folder {str(folder)!r:.200} was made by an earlier version of exclip-widget, which did not "
            f"record the weights, images and captions it used; {AGAIN}"
        )
    if found.get("version") != VERSION:
        raise FileError(
            f"folder {str(folder)!r:.200} has a record of version {found.get('version')!r:.40}, and this "
            f"version of exclip-widget reads {VERSION}; update it if the folder is from a later one, "
            f"or {AGAIN}"
        )
    if not all(isinstance(found.get(name), dict) for name in ("options", "recipe")):
        raise FileError(f"{named(path)} is damaged; remove it, or give --force")
    return found


def _spelled(options: Mapping[str, Any]) -> str:
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())


# --------------------------------------------------------------------------------------------------- hashes


def image_digest(image: str) -> str:
    """Return a hash of the bytes of an image's file; empty if it cannot be read (`open_image` says why)."""
    from ..image import expanded

    path = expanded(image)
    try:
        # Others may never end, such as /dev/zero.
        return (_content(path) or "") if path.is_file() else ""
    except (FileError, OSError):
        return ""


def _content(path: Path) -> str | None:
    """Return a hash of a file's bytes; None if there is no file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FileError(f"{named(path)} cannot be read: {reason(error)}") from None


def _digest(value: Any) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(value, sort_keys=True).encode())


def _relative(path: Path, folder: Path) -> str:
    """Return a path relative to a folder, so that both can be moved together."""
    # Unlike Path.resolve, realpath accepts a link to itself, and opening it gives an error of the system.
    real = os.path.realpath(path)
    try:
        return Path(os.path.relpath(real, os.path.realpath(folder))).as_posix()
    except ValueError:  # on another drive
        return Path(real).as_posix()


def _from_here(path: Path) -> str:
    """Return a path as seen from the current folder, without links."""
    real = os.path.realpath(path)
    try:
        return os.path.relpath(real)
    except ValueError:  # on another drive
        return real
