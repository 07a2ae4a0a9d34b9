"""What a folder of `batch` records, and which of its files a later run keeps, makes again or refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from click.testing import Result
from safetensors.torch import save_file

from exclip_widget import Explainer, demo
from exclip_widget.command_line import ledger
from exclip_widget.command_line.ledger import Ledger, Made
from exclip_widget.errors import FileError
from exclip_widget.results import Interactions

Run = Callable[..., Result]
Refusal = Callable[..., str]

BOAT = ("boat.png", "a red boat", "", "1")
HOUSE = ("house.png", "a big house", "", "2")


def table(*rows: tuple[str, str, str, str], name: str = "pairs.csv") -> str:
    Path(name).write_text("image,caption,foil,id\n" + "".join(f"{','.join(row)}\n" for row in rows))
    return name


def contents() -> dict[str, bytes]:
    """Return the bytes of all files in the folder `out` but the record."""
    return {one.name: one.read_bytes() for one in Path("out").iterdir() if not one.name.startswith(".batch")}


def records() -> list[Path]:
    """Return the files with a line for each file that was written."""
    return sorted(Path("out").glob(".batch.*.jsonl"))


def captions() -> list[str]:
    """Return the captions of the results in the folder `out`, by name."""
    return [Interactions.load(one).caption for one in sorted(Path("out").glob("*.safetensors"))]


# ---------------------------------------------------------------------------------------------- made again


@pytest.mark.parametrize(
    ("row", "caption", "foil", "page"),
    [
        (("boat.png", "a blue boat", "", "1"), "a blue boat", None, 0),
        (("boat.png", "a red boat", "a blue boat", "1"), "a red boat", "a blue boat", 0),
        (BOAT, "a red boat", None, 2),  # another image under the same name
    ],
    ids=["caption", "foil", "image"],
)
def test_a_changed_pair_is_made_again(
    row: tuple[str, str, str, str],
    caption: str,
    foil: str | None,
    page: int,
    run: Run,
    explainer: Explainer,
    book: demo.PictureBook,
) -> None:
    name = table(BOAT, HOUSE)
    assert run("batch", name, "-o", "out").exit_code == 0
    before = contents()
    table(row, HOUSE)
    book.pages[page].image.save("boat.png")
    done = run("batch", name, "-o", "out")
    assert (done.exit_code, done.stdout) == (
        0,
        "2 pairs: 0 written, 1 changed and made again, 1 already there\n",
    )
    expected = explainer.explain(book.pages[page].image, caption)
    if foil is not None:
        expected -= explainer.explain(book.pages[page].image, foil)
    found = Interactions.load("out/1.safetensors")
    assert (found.caption, found.foil) == (expected.caption, expected.foil)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
    assert contents()["2.safetensors"] == before["2.safetensors"]
    assert run("batch", name, "-o", "out").stdout == "2 pairs: 0 written, 2 already there\n"


def test_all_files_of_a_changed_pair_are_made_again(run: Run) -> None:
    """Also those of endings that this run does not ask for, so that the files of a pair never differ."""
    name = table(BOAT)
    run("batch", name, "-o", "out", "--suffix", "json", "--suffix", "tex")
    table(("boat.png", "a blue boat", "", "1"))
    done = run("batch", name, "-o", "out", "--suffix", "json", "--suffix", "safetensors")
    assert done.stdout == "1 pair: 0 written, 1 changed and made again\n"
    files = contents()
    assert files.keys() == {"1.json", "1.safetensors", "1.tex"}
    assert json.loads(files["1.json"])["caption"] == "a blue boat"
    assert b"blue" in files["1.tex"]


def test_a_folder_and_its_pairs_can_be_moved_together(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "project").mkdir()
    for image in ("boat.png", "house.png"):
        shutil.move(image, "project")
    monkeypatch.chdir(folder / "project")
    run("batch", table(BOAT, HOUSE), "-o", "out")
    monkeypatch.chdir(folder)
    (folder / "project").rename("moved")
    monkeypatch.chdir(folder / "moved")
    done = run("batch", table(BOAT, ("house.png", "a house", "", "2")), "-o", "out")
    assert done.stdout == "2 pairs: 0 written, 1 changed and made again, 1 already there\n"


def test_a_pair_whose_image_has_gone_fails_and_keeps_its_files(run: Run) -> None:
    name = table(BOAT, HOUSE)
    run("batch", name, "-o", "out")
    before = contents()
    Path("boat.png").unlink()
    done = run("batch", name, "-o", "out")
    assert done.exit_code == 1
    assert "pairs.csv:2: there is no image 'boat.png'" in done.stderr
    assert contents() == before


# ------------------------------------------------------------------------------------------------- refused


def test_other_weights_under_the_same_name_are_refused(
    folder: Path, run: Run, refusal: Refusal, open_clip_folder: open_clip.CLIP
) -> None:
    name, model = table(BOAT), ["--model", "local-dir:small"]
    run("batch", name, "-o", "out", *model)
    before = contents()
    with torch.no_grad():
        open_clip_folder.text_projection.mul_(-1)
    save_file(open_clip_folder.state_dict(), folder / "small" / "open_clip_model.safetensors")
    # Whether or not there is anything else to do.
    for rows in ([BOAT], [BOAT, HOUSE]):
        message = refusal("batch", table(*rows), "-o", "out", *model)
        assert "folder 'out' has files that were made with weights='" in message
        assert message.endswith("give another folder, or --force to make the files of this table again")
    assert contents() == before
    similarity = Interactions.load("out/1.safetensors").similarity
    assert run("batch", name, "-o", "out", *model, "--force").exit_code == 0
    assert Interactions.load("out/1.safetensors").similarity == pytest.approx(-similarity, abs=1e-5)


def test_another_table_with_the_same_ids_replaces_nothing(run: Run) -> None:
    run("batch", table(BOAT, HOUSE), "-o", "out")
    before = contents()
    # The first pair is the same, and only the second is another.
    second = table(BOAT, ("house.png", "a house", "", "2"), ("house.png", "a house", "", "3"), name="b.csv")
    done = run("batch", second, "-o", "out")
    assert (done.exit_code, done.stdout) == (1, "3 pairs: 1 written, 1 already there, 1 failed\n")
    assert (
        "b.csv:3: file 'out/2.safetensors' belongs to 'pairs.csv', whose pair of this name differs; give "
        "another folder or id, or --force to replace it" in done.stderr
    )
    assert {name: contents()[name] for name in before} == before
    # Files of other endings also share the name.
    assert run("batch", second, "-o", "out", "--suffix", "tex").stdout.endswith("2 written, 1 failed\n")
    assert "2.tex" not in contents()
    assert run("batch", second, "-o", "out", "--force").stdout == "3 pairs: 3 written\n"
    assert captions() == ["a red boat", "a house", "a house"]


def test_a_file_that_batch_did_not_write_is_not_replaced(run: Run) -> None:
    """An image in the same folder, for example."""
    name = table(("boat.png", "a red boat", "", "boat"))
    image = Path("boat.png").read_bytes()
    done = run("batch", name, "-o", ".", "--suffix", "png")
    assert done.exit_code == 2
    assert "pairs.csv:2: file 'boat.png' is a file that is read, so it is not replaced" in done.stderr
    assert Path("boat.png").read_bytes() == image
    done = run("batch", table(("house.png", "a house", "", "boat")), "-o", ".", "--suffix", "png")
    assert "pairs.csv:2: file 'boat.png' exists already and is not what batch wrote there" in done.stderr
    assert Path("boat.png").read_bytes() == image
    # A result that was edited since is not replaced either.
    run("batch", name, "-o", "out", "--suffix", "tex")
    Path("out/boat.tex").write_text("my own")
    assert run("batch", name, "-o", "out", "--suffix", "tex").exit_code == 2
    assert contents() == {"boat.tex": b"my own"}
    assert run("batch", name, "-o", "out", "--suffix", "tex", "--force").exit_code == 0


def test_force_leaves_no_file_of_other_options(run: Run, refusal: Refusal) -> None:
    run("batch", table(BOAT, HOUSE), "-o", "out")
    before = contents()
    options = ["-o", "out", "--method", "similarity"]
    message = refusal("batch", table(BOAT), *options, "--force")
    assert message == (
        "file 'out/2.safetensors' belongs to no pair in this table, and was made with other options or "
        "weights; remove it, or give another folder"
    )
    assert contents() == before
    message = refusal("batch", table(("house.png", "a house", "", "3")), *options, "--force")
    assert message.startswith("file 'out/1.safetensors' and another belong to no pair in this table, and")
    Path("out/2.safetensors").unlink()
    assert run("batch", table(BOAT), *options, "--force").stdout == "1 pair: 1 written\n"
    assert run("batch", table(BOAT, HOUSE), *options).stdout == "2 pairs: 1 written, 1 already there\n"


def test_a_row_that_fails_leaves_no_file_of_other_options(run: Run) -> None:
    """Files of the same options stay."""
    name = table(BOAT, HOUSE)
    run("batch", name, "-o", "out", "--suffix", "json", "--suffix", "tex")
    Path("house.png").unlink()
    options = ["-o", "out", "--suffix", "json", "--force"]
    assert run("batch", name, *options).stdout == "2 pairs: 1 written, 1 failed\n"
    assert contents().keys() == {"1.json", "1.tex", "2.json", "2.tex"}
    done = run("batch", name, *options, "--method", "similarity")
    assert (done.exit_code, done.stdout) == (1, "2 pairs: 1 written, 1 failed\n")
    assert "pairs.csv:3: there is no image 'house.png'; removed 2.json, 2.tex, made with" in done.stderr
    assert contents().keys() == {"1.json", "1.tex"}
    assert json.loads(contents()["1.json"])["method"] == "similarity"


def test_force_leaves_no_file_of_another_version(run: Run, refusal: Refusal) -> None:
    """Such files are not recorded, so all that would not be replaced are refused."""
    run("batch", table(BOAT, HOUSE), "-o", "out", "--suffix", "json", "--suffix", "tex")
    for one in records():
        one.unlink()
    Path("out", ledger.SETTINGS).write_text("{}")
    before = contents()
    name, options = table(BOAT), ["-o", "out", "--suffix", "json", "--force"]
    for left in ("1.tex", "2.json", "2.tex"):
        message = refusal("batch", name, *options)
        assert message.startswith(f"file 'out/{left}' would not be replaced, and may have been made with")
        assert contents() == before
        Path("out", left).unlink()
        del before[left]
    Path("boat.png").rename("away.png")
    assert run("batch", name, *options).exit_code == 2
    assert contents() == {}
    Path("away.png").rename("boat.png")
    assert run("batch", name, *options).stdout == "1 pair: 1 written\n"


def test_names_that_differ_in_case(run: Run, refusal: Refusal) -> None:
    upper = table(("boat.png", "a red boat", "", "Boat"), name="a.csv")
    lower = table(("boat.png", "a red boat", "", "boat"), name="b.csv")
    options = ["-o", "out", "--suffix", "tex"]
    run("batch", upper, *options)
    if not Path("out/boat.tex").exists():
        # Two files, so the one that is not of the table would remain.
        message = refusal("batch", lower, *options, "--method", "similarity", "--force")
        assert message.startswith("file 'out/Boat.tex'")
        assert contents().keys() == {"Boat.tex"}
        # One file with two names, as on a file system that ignores case.
        Path("out/boat.tex").hardlink_to("out/Boat.tex")
    assert run("batch", lower, *options).stdout == "1 pair: 0 written, 1 already there\n"
    done = run("batch", lower, "-o", "out", "--suffix", "json", "--method", "similarity", "--force")
    assert done.stdout == "1 pair: 1 written\n"
    assert "boat.json" in contents()


def test_an_other_ending_is_found_in_another_case(run: Run) -> None:
    run("batch", table(("boat.png", "a red boat", "", "Boat")), "-o", "out", "--suffix", "tex")
    if not Path("out/boat.tex").exists():
        Path("out/boat.tex").hardlink_to("out/Boat.tex")
    name = table(("boat.png", "a blue boat", "", "boat"))
    done = run("batch", name, "-o", "out", "--suffix", "json")
    assert done.stdout == "1 pair: 0 written, 1 changed and made again\n"
    assert b"blue" in Path("out/boat.tex").read_bytes()


def test_files_of_other_tables_are_read_only_if_they_may_differ(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["-o", "out", "--suffix", "json", "--method", "similarity"]
    name = table(BOAT)
    run("batch", name, "-o", "out", "--suffix", "json")
    run("batch", name, *options, "--force")
    run("batch", table(HOUSE, name="b.csv"), *options)
    real, read = ledger._content, []

    def content(path: Path) -> str | None:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(ledger, "_content", content)
    assert run("batch", name, *options).stdout == "1 pair: 0 written, 1 already there\n"
    assert set(read) & {"1.json", "2.json"} == {"1.json"}


def test_a_forced_run_that_was_stopped_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    name = table(BOAT, HOUSE)
    run("batch", name, "-o", "out")
    options = ["-o", "out", "--method", "similarity"]
    real = Ledger.write

    def write(self: Ledger, explanation: Any, path: Path, *more: Any, **options: Any) -> None:
        if path.stem == "2":
            raise KeyboardInterrupt
        real(self, explanation, path, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write", write)
        assert run("batch", name, *options, "--force").exit_code == 130
    done = run("batch", name, *options)
    assert done.stdout == "2 pairs: 0 written, 1 changed and made again, 1 already there\n"
    assert {Interactions.load(f"out/{one}.safetensors").method for one in "12"} == {"similarity"}


def test_a_folder_of_an_earlier_version_is_refused(run: Run, refusal: Refusal) -> None:
    name = table(BOAT)
    run("batch", name, "-o", "out")
    for one in records():
        one.unlink()
    options = {"method": "frozen", "seed": 0, "image_reference": "zeros"}
    Path("out", ledger.SETTINGS).write_text(json.dumps(options, indent=1))
    message = refusal("batch", name, "-o", "out")
    assert "folder 'out' was made by an earlier version of exclip-widget, which did not record" in message
    assert run("batch", name, "-o", "out", "--force").stdout == "1 pair: 1 written\n"
    assert run("batch", name, "-o", "out").stdout == "1 pair: 0 written, 1 already there\n"


def test_a_folder_of_a_later_version_is_refused(run: Run, refusal: Refusal) -> None:
    name = table(BOAT)
    run("batch", name, "-o", "out")
    path = Path("out", ledger.SETTINGS)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    message = refusal("batch", name, "-o", "out")
    assert "folder 'out' has a record of version 2, and this version of exclip-widget reads 1" in message


def test_the_other_table_is_named_if_the_folder_is_a_link(folder: Path, run: Run) -> None:
    (folder / "disk" / "deep").mkdir(parents=True)
    (folder / "out").symlink_to(folder / "disk" / "deep", target_is_directory=True)
    run("batch", table(BOAT), "-o", "out", "--suffix", "tex")
    other = table(("boat.png", "a boat", "", "1"), name="b.csv")
    done = run("batch", other, "-o", "out", "--suffix", "tex")
    assert "file 'out/1.tex' belongs to 'pairs.csv', whose pair of this name differs" in done.stderr


def test_a_folder_is_continued_with_a_later_version(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    name = table(BOAT)
    run("batch", name, "-o", "out")
    monkeypatch.setattr("exclip_widget.explainer.__version__", "99.0")
    assert run("batch", name, "-o", "out").stdout == "1 pair: 0 written, 1 already there\n"


# ------------------------------------------------------------------------------------ stopped, and together


def test_a_run_killed_before_a_file_gets_its_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record then has a line more than the folder has files, and the file is still the former one."""
    name = table(BOAT)
    run("batch", name, "-o", "out")
    before = contents()
    real = Ledger._add

    def add(self: Ledger, *given: Any) -> None:
        real(self, *given)
        raise KeyboardInterrupt

    table(("boat.png", "a blue boat", "", "1"))
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_add", add)
        assert run("batch", name, "-o", "out").exit_code == 130
    assert contents() == before
    table(BOAT)
    assert run("batch", name, "-o", "out").stdout == "1 pair: 0 written, 1 already there\n"
    table(("boat.png", "a blue boat", "", "1"))
    assert run("batch", name, "-o", "out").stdout == "1 pair: 0 written, 1 changed and made again\n"
    assert captions() == ["a blue boat"]


def test_a_line_that_was_cut_short_is_ignored(run: Run) -> None:
    name = table(BOAT)
    run("batch", name, "-o", "out")
    with records()[0].open("ab") as file:
        file.write(b'{"file": "2.safetensors", "cont')
    table(BOAT, HOUSE)
    assert run("batch", name, "-o", "out").stdout == "2 pairs: 1 written, 1 already there\n"
    assert run("batch", name, "-o", "out").stdout == "2 pairs: 0 written, 2 already there\n"


@pytest.mark.parametrize("caption", ["a red boat", "a blue boat"])
def test_two_runs_at_once(caption: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is overtaken by another keeps its file if it is the same, and refuses it if it is not."""
    first, second = table(BOAT), table(("boat.png", caption, "", "1"), name="b.csv")
    real = ledger.write
    others = []

    def write(*given: Any, **options: Any) -> None:
        if not others:
            others.append(None)
            others.append(run("batch", second, "-o", "out").stdout)
        real(*given, **options)

    monkeypatch.setattr(ledger, "write", write)
    done = run("batch", first, "-o", "out")
    assert others[1] == "1 pair: 1 written\n"
    assert captions() == [caption]
    if caption == "a red boat":
        assert done.exit_code == 0
    else:
        assert done.stdout == "1 pair: 0 written, 1 failed\n"
        assert "file 'out/1.safetensors' exists already" in done.stderr


def test_two_runs_that_begin_at_once(folder: Path) -> None:
    """Neither finds a record when it begins, and the second to write one has to agree with the first."""
    first, second, other = (
        Ledger(folder / "out", folder / "pairs.csv", {"seed": 0}, force=False) for _ in range(3)
    )
    for one, weights in ((first, "a"), (second, "a"), (other, "b")):
        one.require_same({"weights": weights}, [], [])
    first.prepare()
    second.prepare()
    with pytest.raises(FileError, match="made with weights='a', and the same options now give 'b'"):
        other.prepare()


def test_each_run_has_its_own_lines(run: Run) -> None:
    """Appends of several programs to one file may be lost, so no two write to the same."""
    run("batch", table(BOAT), "-o", "out")
    first = {one: one.read_bytes() for one in records()}
    run("batch", table(BOAT, HOUSE), "-o", "out")
    assert (len(first), len(records())) == (1, 2)
    assert {one: one.read_bytes() for one in first} == first
    # A run that writes nothing adds no file, and the next reads those of all.
    assert run("batch", table(BOAT, HOUSE), "-o", "out").stdout == "2 pairs: 0 written, 2 already there\n"
    assert len(records()) == 2


def test_a_line_follows_one_that_was_cut_short(folder: Path) -> None:
    """A run goes on after a file for which no space was left."""
    one = Ledger(folder, folder / "pairs.csv", {}, force=True)
    one._lines.write_bytes(b'{"file": "1.tex", "cont')
    (folder / "2.tex").write_text("two")
    one._add(folder / "2.tex", folder / "2.tex", Made("recipe", "pair", "pairs.csv"))
    assert Ledger(folder, folder / "pairs.csv", {}, force=True)._files.keys() == {"2.tex"}
