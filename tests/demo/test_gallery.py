"""The command that makes a store of scenes and queries it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from exclip_widget import Store
from exclip_widget.demo import gallery


def test_a_store_of_scenes_and_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["gallery", str(tmp_path / "scenes"), "--scenes", "6", "--phrase", "a green key"]
    monkeypatch.setattr(sys, "argv", command)
    gallery.main()
    first = capsys.readouterr().out.splitlines()
    store = Store(tmp_path / "scenes" / gallery.STORE)
    assert first[0].startswith("Store(12 captions and 6 images by 'exclip', float16) in ")
    (found,) = store.find(gallery.make_explainer().text_factors("a green key"), top=1)
    assert first[2].split()[:2] == [f"{found.value:+.3f}", found.image_id]
    heads = [line for line in first[1:] if not line.startswith(" ")]
    assert heads[0].startswith("Images that match 'a green key' best")
    wins = sum(one.value > 0 for one in store.foil_margins())
    assert heads[1].endswith(f": {wins} of 6 win; the worst")
    (worst,) = store.off_boxes(top=1)
    assert any(
        line.startswith(f"  {worst.value:+.3f}  {worst.image_id}") and line.endswith(f": {worst.words}")
        for line in first
    )
    # A second run explains nothing, and prints the same except for the times.
    parts = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*.parquet")}
    gallery.main()
    second = capsys.readouterr().out.splitlines()
    assert [line for line in second if line.startswith(" ")] == [
        line for line in first if line.startswith(" ")
    ]
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*.parquet")} == parts
