"""Whether a library's file is as its distribution installed it.

Research code often comes with a copy of a library that it has changed, and people edit the installed one. In
both cases, the code is that of its file, but not the library's.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

UNCHECKED = ("torch", "torchvision")
"""Libraries that are trusted wherever they are, because many people build them from source."""


@cache
def is_as_installed(file: str, package: str) -> bool:
    """Return whether a file of a package has the hash that the package's distribution recorded for it.

    Parameters
    ----------
    file : str
        Path of the file, inside the package's folder.
    package : str
        Name of the package's folder.
    """
    if package in UNCHECKED:
        return True
    path = Path(file)
    folder = next((parent for parent in path.parents if parent.name == package), None)
    if folder is None:
        return False
    expected = _hashes_of(folder).get(path.relative_to(folder.parent).as_posix())
    try:
        digest = hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return False
    return expected == "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


@cache
def _hashes_of(folder: Path) -> dict[str, str]:
    """Return the recorded hashes of the files in a package's folder; none if no wheel installed it."""
    records = sorted(
        folder.parent.glob("*.dist-info/RECORD"), key=lambda record: folder.name not in record.parent.name
    )
    for record in records:
        try:
            lines = record.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        # Path, hash and size; none of these libraries has a comma in a file name.
        own = [line.split(",") for line in lines if line.startswith(f"{folder.name}/")]
        if own:
            return {name: hashed for name, hashed, *_ in own}
    return {}
