"""Files that are written under another name first, so that a half-written one never has the final name."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from .errors import FileError


def write_whole(
    path: Path,
    fill: Callable[[Path], object],
    *,
    overwrite: bool,
    advice: str = "pass overwrite=True to replace it",
) -> None:
    """Write a file atomically: `fill` writes to a temporary path, which is then renamed to `path`.

    Parameters
    ----------
    path : Path
        The final path.
    fill : callable
        Writes the file to the path that it is given, which has the same suffix.
    overwrite : bool
        Whether a file that exists already may be replaced.
    advice : str
        What the error tells the user to do if it exists.

    Raises
    ------
    FileError
        If the file exists already and may not be replaced, or cannot be written.
    """
    # A random name, because processes of two containers may have the same id.
    partial = path.with_name(f".exclip-widget.{token_hex(8)}{path.suffix}")
    try:
        _require_name(path)
        try:
            fill(partial)
            if overwrite:
                partial.replace(path)
            else:
                _rename_to_free(partial, path)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    except FileError as error:  # one that `fill` raised has the temporary path
        # Only the name, because `named` doubles the backslashes of a path on Windows.
        raise FileError(str(error).replace(partial.name, path.name)) from None
    except FileExistsError:
        raise FileError(f"{named(path)} exists already; {advice}") from None
    except OSError as error:
        raise FileError(f"{named(path)} cannot be written: {reason(error)}") from None


def named(path: str | os.PathLike[str]) -> str:
    """Return what an error calls a file."""
    return f"file {os.fsdecode(path)!r:.200}"


def reason(error: Exception) -> str:
    """Return why the system refused, such as ``"no such file or directory"``."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def _require_name(path: Path) -> None:
    """Raise an error for a path that no file can have, such as one with a null character."""
    try:
        path.lstat()
    except ValueError as error:
        raise FileError(f"{named(path)} cannot be written: {reason(error)}") from None
    except OSError:
        pass  # it may still be created


def _rename_to_free(partial: Path, path: Path) -> None:
    """Give a file its name, unless another file has it."""
    try:
        path.hardlink_to(partial)  # atomic: no other process can come in between
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError from None
        partial.replace(path)
