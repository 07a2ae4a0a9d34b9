"""`exclip-widget batch`: the files it writes, its messages about bad rows, and how a run resumes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from exclip_widget import Explainer, demo
from exclip_widget.command_line import batch as module
from exclip_widget.command_line import ledger
from exclip_widget.command_line.program import program
from exclip_widget.results import Interactions

Run = Callable[..., Result]
Refusal = Callable[..., str]

BOAT = "a red boat left of two yellow fish"
FOIL = "a blue boat left of two yellow fish"
HOUSE = "a big blue house"


def table(*rows: Iterable[str], name: str = "pairs.csv", header: str = "image,caption,foil,id") -> str:
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return name


def written(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if not one.name.startswith(".batch."))


def lines(done: Result) -> list[str]:
    """Return the messages about rows on stderr."""
    return [line for line in done.stderr.splitlines() if "picture-book" not in line]


def test_pairs_of_a_table(folder: Path, run: Run, explainer: Explainer, book: demo.PictureBook) -> None:
    (folder / "lists").mkdir()
    name = table(
        ("../boat.png", BOAT, "", "first"),
        ("../boat.png", BOAT, FOIL, "second"),
        (str(folder / "house.png"), HOUSE, "", ""),
        name="lists/pairs.csv",
    )
    done = run("batch", name, "-o", "out")
    assert done.exit_code == 0
    assert done.stdout == "3 pairs: 3 written\n"
    assert not lines(done)
    first, second, third = written(folder / "out")
    assert (second, third) == ("first.safetensors", "second.safetensors")
    assert first.startswith("00003-a-big-blue-house-")
    boat = book.pages[0].image
    expected = explainer.explain(boat, BOAT)
    foil = expected - explainer.explain(boat, FOIL)
    for file, result in (("first", expected), ("second", foil)):
        found = Interactions.load(folder / "out" / f"{file}.safetensors")
        assert (found.caption, found.foil) == (result.caption, result.foil)
        np.testing.assert_allclose(found.values, result.values, atol=1e-6)
    assert Interactions.load(folder / "out" / first).image_size == (480, 340)


def test_pairs_of_json_lines(folder: Path, run: Run) -> None:
    rows: list[Any] = [
        {"image": "boat.png", "caption": "a red\nboat", "id": 7, "more": [1]},
        {"image": "boat.png", "caption": "a boat", "name": "Zwei Wörter", "foil": None},
    ]
    text = "\ufeff" + "\n\n".join(map(json.dumps, rows)) + "\r\n"
    (folder / "pairs.jsonl").write_text(text, encoding="utf-8")
    assert run("batch", "pairs.jsonl", "-o", "out", "--suffix", "json", "--suffix", ".csv").exit_code == 0
    assert written(folder / "out") == ["7.csv", "7.json", "Zwei-Wörter.csv", "Zwei-Wörter.json"]
    assert json.loads((folder / "out" / "7.json").read_text())["caption"] == "a red\nboat"


def test_names_of_any_length(folder: Path, run: Run) -> None:
    rows = [("boat.png", "漢字 " * 3, "", ""), ("boat.png", "a boat", "", "漢" * 200)]
    assert run("batch", table(*rows), "-o", "out", "--suffix", "tex").exit_code == 0
    assert len(written(folder / "out")) == 2


def refused_row(run: Run, name: str, folder: Path) -> str:
    """Return what is said of the only row that is refused, in a file whose other row is written as `good`."""
    done = run("batch", name, "-o", "out")
    assert done.exit_code == 1
    (line,) = lines(done)
    assert written(folder / "out") == ["good.safetensors"]
    return line


def test_bad_rows_are_told_by_their_line_and_skipped(folder: Path, run: Run) -> None:
    (folder / "text.png").write_text("no image")
    name = table(
        ("boat.png", "a red\nboat", "", "good"),  # spans two lines
        ("none.png", "a boat", "", ""),
        ("", "a boat", "", ""),
        ("boat.png", " ", "", ""),
        ("boat.png", "a boat", "", "GOOD"),
        ("boat.png", "a boat", "", "../"),
        ("text.png", "a boat", "", ""),
        ("https://host/a.png", "a boat", "", ""),
        ("boat.png", "boat " * 60, "", ""),
        ("boat.png", "a boat", "fish " * 60, ""),
        ("boat.png", "a", "b", "c", "d"),
        ("boat.png", "a"),
    )
    done = run("batch", name, "-o", "out")
    assert done.exit_code == 1
    assert done.stdout == "12 pairs: 1 written, 11 failed\n"
    told = dict(line.removeprefix("pairs.csv:").split(": ", 1) for line in lines(done))
    expected = {
        "4": "there is no image 'none.png'",
        "5": "it has no image",
        "6": "it has no caption",
        "7": "its files would be named 'GOOD', like those of line 2",
        "8": "its id '../' has no letter or digit",
        "9": "is not of a format that Pillow can read",
        "10": "is a URL, and URLs are not fetched",
        "11": "context",
        "12": "context",
        "13": "it has 5 fields; expected 4, with quotes around a caption that contains a comma",
        "14": "it has 2 fields; expected 4",
    }
    assert told.keys() == expected.keys()
    for line, message in expected.items():
        assert message in told[line], line
    assert written(folder / "out") == ["good.safetensors"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('boat.png,"a red boat\nboat.png,a blue boat\n', "unexpected end of data"),
        ('boat.png,"a "red" boat"\n', "',' expected after"),
    ],
    ids=["not closed", "not doubled"],
)
def test_a_wrong_quote_is_told_by_its_line(rows: str, message: str, folder: Path, run: Run) -> None:
    """Each row before it is used, and no caption contains the rows after it."""
    (folder / "pairs.csv").write_text(f"image,caption,id\nboat.png,a boat,good\n{rows}")
    line = refused_row(run, "pairs.csv", folder)
    assert line.startswith("pairs.csv:3: it is not valid CSV")
    assert message in line


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("[1]", "it is a list; expected an object with image and caption"),
        ("{", "it is not valid JSON"),
        ("[" * 100_000, "it is not valid JSON"),
        ('{"image": "boat.png"}', "it has no caption"),
        ('{"image": 3, "caption": "a"}', "its image is an int; expected a string"),
        ('{"image": "boat.png", "caption": ["a"]}', "its caption is a list"),
        ('{"image": "boat.png", "caption": "\\ud800"}', "is not valid text"),
        ('{"image": "boat.png", "caption": "a", "id": true}', "its id is a bool"),
        ('{"image": "a\\u0000b", "caption": "a"}', "a\\x00b"),
    ],
)
def test_bad_rows_of_json(row: str, message: str, folder: Path, run: Run) -> None:
    good = json.dumps({"image": "boat.png", "caption": "a boat", "id": "good"})
    (folder / "pairs.jsonl").write_text(f"\n{row}\n{good}\n")
    line = refused_row(run, "pairs.jsonl", folder)
    assert line.startswith("pairs.jsonl:2: ")
    assert message in line


def test_a_terminal_shows_how_far_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If stderr is redirected to a file, there is no progress bar."""
    name = table(*(("boat.png", caption, "", "") for caption in ("a red boat", "a blue boat", "")))

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", shown)
        assert program.main(["batch", name, "-o", "out"], standalone_mode=False) == 1
    # Each state of the bar overwrites the previous one.
    bars = re.findall(r"(\d+)%\|[^|]*\| (\d)/2 ", shown.getvalue())
    assert [bars[0], bars[-1]] == [("0", "0"), ("100", "2")]
    assert f"{name}:4: " in shown.getvalue()  # the bad row, on a line of its own
    assert "%|" not in run("batch", name, "-o", "elsewhere").stderr


def test_a_run_goes_on_where_it_was_stopped(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    name = table(*(("boat.png", f"{word} boat", "", word) for word in ("red", "blue", "green")))
    real, stop_at = ledger.write, ["blue.csv"]

    def write(found: Any, path: Path, **options: Any) -> None:
        if path.name in stop_at:
            raise KeyboardInterrupt
        real(found, path, **options)

    monkeypatch.setattr(ledger, "write", write)
    options = ["--suffix", "safetensors", "--suffix", "csv"]
    stopped = run("batch", name, "-o", "out", *options)
    assert stopped.exit_code == 130
    assert stopped.stderr.endswith("stopped\n")
    there = ["blue.safetensors", "red.csv", "red.safetensors"]
    assert written(folder / "out") == there
    stop_at.clear()
    # A partly written file has another name, and does not count.
    (folder / "out" / ".green.4711.csv").write_text("token,te")
    times = {one: (folder / "out" / one).stat().st_mtime_ns for one in there}
    done = run("batch", name, "-o", "out", *options)
    assert done.stdout == "3 pairs: 2 written, 1 already there\n"
    assert done.exit_code == 0
    assert len(written(folder / "out")) == 7
    assert {one: (folder / "out" / one).stat().st_mtime_ns for one in there} == times
    assert run("batch", name, "-o", "out", *options).stdout == "3 pairs: 0 written, 3 already there\n"


def test_files_of_another_pair_are_not_taken_for_ones_own(folder: Path, run: Run) -> None:
    name = table(("boat.png", "a boat", "", ""), ("house.png", "a house", "", ""))
    run("batch", name, "-o", "out")
    table(("boat.png", "a boat", "", ""), ("boat.png", "a house", "", ""))
    assert run("batch", name, "-o", "out").stdout == "2 pairs: 1 written, 1 already there\n"
    assert len(written(folder / "out")) == 3


def test_an_image_of_the_table_is_never_replaced(folder: Path, run: Run) -> None:
    name = table(("boat.png", BOAT, "", "boat"), ("house.png", HOUSE, "", "other"))
    before = (folder / "boat.png").read_bytes()
    done = run("batch", name, "-o", ".", "--suffix", "png", "--force")
    assert done.stdout == "2 pairs: 1 written, 1 failed\n"
    assert "boat.png' is a file that is read, so it is not replaced; give another name" in done.stderr
    assert (folder / "boat.png").read_bytes() == before


def test_a_folder_has_files_of_one_set_of_options(folder: Path, run: Run, refusal: Refusal) -> None:
    name = table(("boat.png", "a boat", "", "a"))
    run("batch", name, "-o", "out")
    before = (folder / "out" / "a.safetensors").read_bytes()
    message = refusal("batch", name, "-o", "out", "--method", "exclip")
    assert "has files that were made with other options, --method frozen" in message
    assert (folder / "out" / "a.safetensors").read_bytes() == before
    assert run("batch", name, "-o", "out", "--method", "exclip", "--force").stdout == "1 pair: 1 written\n"
    assert Interactions.load(folder / "out" / "a.safetensors").method == "exclip"
    # Invalid options leave no trace.
    assert "steps=0" in refusal("batch", name, "-o", "other", "--method", "exclip", "--steps", 0)
    assert run("batch", name, "-o", "other", "--method", "exclip", "--steps", 3).exit_code == 0
    (folder / "out" / ledger.SETTINGS).write_text("{")
    assert "is damaged" in refusal("batch", name, "-o", "out")


def test_images_and_captions_are_read_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Any] = []
    for name in ("text_factors", "image_factors", "refine"):
        real = getattr(Explainer, name)

        def counted(self: Explainer, given: Any, *more: Any, real: Any = real, **options: Any) -> Any:
            reads.append(real.__name__)
            return real(self, given, *more, **options)

        monkeypatch.setattr(Explainer, name, counted)
    name = table(
        *(
            (image, caption, "", f"{image}{number}")
            for number, caption in enumerate(["a boat", "a red boat", "a house"])
            for image in ("boat.png", "house.png")
        )
    )
    assert run("batch", name, "-o", "out").exit_code == 0
    assert [reads.count(one) for one in ("text_factors", "image_factors", "refine")] == [3, 0, 2]


def test_an_image_with_many_captions(
    folder: Path, run: Run, explainer: Explainer, book: demo.PictureBook
) -> None:
    captions = [f"{number} red boats and a fish" for number in range(module.MANY + 4)]
    captions[7] = "boat " * 60
    name = table(*(("boat.png", caption, "", str(number)) for number, caption in enumerate(captions)))
    done = run("batch", name, "-o", "out")
    assert done.exit_code == 1
    assert done.stdout == "20 pairs: 19 written, 1 failed\n"
    for number in (0, 6, 8, 18):
        found = Interactions.load(folder / "out" / f"{number}.safetensors")
        expected = explainer.explain(book.pages[0].image, captions[number])
        assert found.caption == captions[number]
        np.testing.assert_allclose(found.values, expected.values, atol=1e-5)


def test_a_page_and_a_picture_for_each_pair(folder: Path, run: Run) -> None:
    name = table(("boat.png", BOAT, FOIL, "a"))
    assert run("batch", name, "-o", "out", "--suffix", "html", "--suffix", "PNG").exit_code == 0
    assert written(folder / "out") == ["a.html", "a.png"]
    assert "yellow fish" in (folder / "out" / "a.html").read_text(encoding="utf-8")


def test_nothing_that_works_is_no_success(run: Run) -> None:
    done = run("batch", table(("none.png", "a boat", "", "")), "-o", "out")
    assert (done.exit_code, done.stdout) == (2, "1 pair: 0 written, 1 failed\n")


def test_running_out_of_memory_costs_one_image(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Explainer.refine

    def refine(self: Explainer, texts: Any, image: Any, *more: Any) -> Any:
        if image.height == 340:
            raise MemoryError("no 9 TiB")
        return real(self, texts, image, *more)

    monkeypatch.setattr(Explainer, "refine", refine)
    done = run(
        "batch", table(("house.png", "a house", "", "a"), ("boat.png", "a boat", "", "b")), "-o", "out"
    )
    assert done.exit_code == 1
    assert lines(done) == ["pairs.csv:2: no 9 TiB"]
    assert written(folder / "out") == ["b.safetensors"]


def test_a_file_that_a_library_cannot_write_costs_one_row(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ledger.write

    def write(explanation: Any, path: Path, **more: Any) -> None:
        if path.stem == "a":
            raise IndexError("list index out of range")
        real(explanation, path, **more)

    monkeypatch.setattr(ledger, "write", write)
    done = run("batch", table(("boat.png", "a house", "", "a"), ("boat.png", "a boat", "", "b")), "-o", "out")
    assert done.exit_code == 1
    path = str(Path("out", "a.safetensors"))
    message = f"file {path!r} cannot be written: IndexError: list index out of range"
    assert lines(done) == [f"pairs.csv:2: {message}"]
    assert written(folder / "out") == ["b.safetensors"]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (None, ["none.csv"], "file 'none.csv' cannot be read: no such file or directory"),
        (None, ["boat.png"], "file 'boat.png' ends in '.png'; expected .csv or .jsonl"),
        (b"", ["pairs.csv"], "has no column 'image'; expected a header such as image,caption"),
        (b"image;caption\na;b\n", ["pairs.csv"], "but the first line is 'image;caption'"),
        (
            b"Image,caption, Caption\na,b,c\n",
            ["pairs.csv"],
            "file 'pairs.csv' has 2 columns 'caption'; expected one of each",
        ),
        (b"image,caption\n\n,\n", ["pairs.csv"], "file 'pairs.csv' has no pairs"),
        (b"image,caption\na,\xff\n", ["pairs.csv"], "file 'pairs.csv' is not in UTF-8"),
        (b"image,caption\na,b\n", ["pairs.csv", "--suffix", "gif"], "'.gif' ends in '.gif'; expected one of"),
        (b"image,caption\na,b\n", ["pairs.csv", "-o", "boat.png"], "folder 'boat.png' cannot be created"),
        (b"image,caption\na,b\n", ["pairs.csv", "-o", "no/such"], "there is no folder 'no' to write to"),
        (
            b"image,caption\na,b\n",
            ["pairs.csv", "--method", "exclip", "--steps", "0"],
            "steps=0 is not a whole number",
        ),
        (
            b"image,caption\na,b\n",
            ["pairs.csv", "--model", "none"],
            "--model 'none' is not a model of open_clip",
        ),
        (b"image,caption\na,b\n", [], "Missing argument 'PAIRS'"),
    ],
)
def test_what_cannot_be_done(
    text: bytes | None, arguments: list[str], message: str, folder: Path, refusal: Refusal
) -> None:
    if text is not None:
        (folder / "pairs.csv").write_bytes(text)
    folders = [] if "-o" in arguments else ["-o", "out"]
    assert message in refusal("batch", *arguments, *folders)


def test_a_folder_in_one_that_cannot_be_written_to(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example one that is mounted into a container."""
    (folder / "out").mkdir()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, *how, **more: path != Path() and real(path, *how, **more))
    assert run("batch", table(("boat.png", BOAT, "", "")), "-o", "out").stdout == "1 pair: 1 written\n"


@pytest.mark.skipif(os.name != "posix", reason="links need a permission")
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_that_is_a_link_to_itself(force: list[str], folder: Path, refusal: Refusal) -> None:
    (folder / "loop").symlink_to("loop")
    message = refusal("batch", table(("boat.png", BOAT, "", "")), "-o", "loop", *force)
    assert message.endswith("cannot be read: too many levels of symbolic links")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs an endless file")
def test_an_image_that_never_ends(run: Run) -> None:
    done = run("batch", table(("/dev/zero", BOAT, "", "")), "-o", "out")
    assert done.exit_code == 2
    assert "image '/dev/zero' is not of a format that Pillow can read" in done.stderr


def test_where_files_go_has_to_be_said(refusal: Refusal) -> None:
    assert "Missing option '-o' / '--output'" in refusal("batch", table(("boat.png", "a boat", "", "")))
