"""A file is whole or not there, whatever happens while it is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from exclip_widget.errors import FileError
from exclip_widget.whole_file import named, write_whole


def found_in(folder: Path) -> dict[str, str]:
    """Return the texts of the files in a folder, by name."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.tex"

    def fill(partial: Path) -> None:
        partial.write_text("ours")
        path.write_text("theirs")

    with pytest.raises(FileError, match=r"a\.tex' exists already; pass --force"):
        write_whole(path, fill, overwrite=False, advice="pass --force")
    assert found_in(tmp_path) == {"a.tex": "theirs"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("no")]
)
def test_there_is_never_a_part_of_a_file(error: BaseException, overwrite: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.tex"
    before = {"a.tex": "before"} if overwrite else {}
    if overwrite:
        path.write_text("before")

    def fill(partial: Path) -> None:
        partial.write_text("half")
        raise error

    with pytest.raises(FileError if isinstance(error, OSError) else type(error)) as refusal:
        write_whole(path, fill, overwrite=overwrite)
    if isinstance(error, OSError):
        assert str(refusal.value) == f"file '{path}' cannot be written: no space left on device"
    assert found_in(tmp_path) == before


def test_an_error_about_the_file_names_its_final_path(tmp_path: Path) -> None:
    def fill(partial: Path) -> None:
        raise FileError(f"file '{partial}' is too large")

    with pytest.raises(FileError) as refusal:
        write_whole(tmp_path / "a.tex", fill, overwrite=False)
    assert str(refusal.value) == f"file '{tmp_path / 'a.tex'}' is too large"


def test_processes_with_the_same_id_may_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)

    def fill(partial: Path) -> None:
        write_whole(tmp_path / "b.tex", lambda other: other.write_text("theirs"), overwrite=True)
        partial.write_text("ours")
        write_whole(tmp_path / "c.tex", lambda other: other.write_text("theirs"), overwrite=True)

    write_whole(tmp_path / "a.tex", fill, overwrite=True)
    assert found_in(tmp_path) == {"a.tex": "ours", "b.tex": "theirs", "c.tex": "theirs"}


def test_a_file_may_be_filled_by_what_writes_whole_files_itself(tmp_path: Path) -> None:
    def fill(partial: Path) -> None:
        write_whole(partial, lambda inner: inner.write_text("whole"), overwrite=False)

    write_whole(tmp_path / "a.tex", fill, overwrite=False)
    assert found_in(tmp_path) == {"a.tex": "whole"}


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    path = tmp_path / "a.tex"
    write_whole(path, lambda partial: partial.write_text("whole"), overwrite=False)
    with pytest.raises(FileError, match="exists already; pass overwrite=True"):
        write_whole(path, lambda partial: partial.write_text("another"), overwrite=False)
    assert found_in(tmp_path) == {"a.tex": "whole"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such/folder/a.tex", "cannot be written: no such file or directory"),
        ("nul\0l.tex", "cannot be written: .*null"),
        ("sur\udc80r\ud800ogate.tex", "cannot be written: "),
        ("x" * 300, "cannot be written: file name too long"),
    ],
)
def test_a_path_that_cannot_be_written(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=message):
        write_whole(tmp_path / name, lambda partial: partial.write_text("whole"), overwrite=True)
    assert found_in(tmp_path) == {}


def test_an_error_of_fill_never_shows_the_temporary_name(tmp_path: Path) -> None:
    r"""Even if it shows the path with escapes, as for each ``\`` of a path on Windows."""
    folder = tmp_path / "a\\b"
    folder.mkdir()

    def fill(partial: Path) -> None:
        raise FileError(f"{named(partial)} cannot be written: no space left")

    with pytest.raises(FileError) as caught:
        write_whole(folder / "a.tex", fill, overwrite=False)
    assert str(caught.value) == f"{named(folder / 'a.tex')} cannot be written: no space left"
