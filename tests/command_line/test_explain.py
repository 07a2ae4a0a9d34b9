"""`exclip-widget explain`: each kind of file is read back, and each error is a single line."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from PIL import Image
from support.pages import states_of
from support.results import result_of

from exclip_widget import Explainer, demo
from exclip_widget.command_line import outputs
from exclip_widget.command_line.explain import explain as explain_command
from exclip_widget.explainer import MethodOptions
from exclip_widget.results import Interactions
from exclip_widget.results.figures import SIZES

CAPTION = "a red boat left of two yellow fish"

Run = Callable[..., Result]
Refusal = Callable[..., str]


@pytest.fixture(scope="module")
def expected(explainer: Explainer, book: demo.PictureBook) -> Interactions:
    return explainer.explain(book.pages[0].image, CAPTION)


def close(one: Interactions, other: Interactions) -> bool:
    """Return whether two results have the same words and patches, and equal numbers up to rounding."""
    same = (one.rows, one.grid, one.view, one.origin) == (other.rows, other.grid, other.view, other.origin)
    return same and np.allclose(one.values, other.values, atol=1e-6)


# ------------------------------------------------------------------------------------------------- files


def test_a_result_is_saved(folder: Path, run: Run, expected: Interactions) -> None:
    done = run("explain", "boat.png", CAPTION, "-o", "r.safetensors")
    assert done.stdout == "wrote r.safetensors\n"
    assert done.exit_code == 0
    assert close(Interactions.load(folder / "r.safetensors"), expected)
    assert sorted(one.name for one in folder.iterdir()) == ["boat.png", "house.png", "r.safetensors"]


@pytest.mark.parametrize("target", ["boat.png", "link.png", "../{}/boat.png"])
def test_the_image_is_never_replaced(target: str, folder: Path, refusal: Refusal) -> None:
    os.link("boat.png", "link.png")
    before = (folder / "boat.png").read_bytes()
    target = target.format(folder.name)
    message = refusal("explain", "boat.png", CAPTION, "-o", "r.csv", "-o", target, "--force")
    assert "boat.png' is a file that is read" in message or "link.png' is a file that is read" in message
    message = refusal(
        "explain", "house.png", CAPTION, "--image-reference", "boat.png", "-o", target, "--force"
    )
    assert "is a file that is read, so it is not replaced; give another name" in message
    assert (folder / "boat.png").read_bytes() == before
    assert not (folder / "r.csv").exists()


def test_several_files_of_one_explanation(folder: Path, run: Run, expected: Interactions) -> None:
    names = ["a.png", "a.svg", "a.pdf", "a.csv", "a.JSON", "a.tex"]
    options = [part for name in names for part in ("-o", name)]
    assert run("explain", "boat.png", CAPTION, *options).exit_code == 0
    with Image.open("a.png") as picture:
        # The square heat map, with the caption above it.
        assert 600 < picture.width < 800
        assert picture.height > picture.width
        # Blue-grey sky and a red boat: the picture is not blank.
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 100
    # Letters are shapes; only the image with the heat map over it consists of pixels.
    svg = (folder / "a.svg").read_text()
    assert svg.count("<image") == 1
    letters = re.findall(r'<use [^>]*xlink:href="#DejaVuSans-([0-9a-f]+)"', svg)
    written = "".join(CAPTION.replace("fi", "f").split())  # "fi" may be one glyph
    assert len(letters) >= len(written)
    assert len(set(letters)) >= len(set(written)) - 1
    pdf = (folder / "a.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Subtype /Image") == 1
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    table = pd.read_csv("a.csv")
    assert len(table) == expected.values.size
    assert table.value.sum() == pytest.approx(expected.values.sum(dtype=float), abs=1e-5)
    assert table.groupby("token").text.first().tolist() == list(expected.tokens)
    assert (folder / "a.tex").read_text().count("colorbox") == 8
    found = json.loads((folder / "a.JSON").read_text())
    np.testing.assert_allclose(found["values"], expected.values, atol=1e-6)
    np.testing.assert_allclose(found["sums"], expected.values.sum((1, 2)), atol=1e-5)
    assert found["tokens"] == list(expected.tokens)
    assert found["spans"][1] == [0, 1]
    assert found["similarity"] == pytest.approx(expected.similarity)
    assert found["residual"] == pytest.approx(expected.residual, abs=1e-4)
    assert (found["image_size"], found["crop"]) == ([480, 480], [0, 0, 1, 1])
    assert found["origin"]["options"] == {"rank": None, "tolerance": None, "length": False}
    assert (found["format"], found["version"], found["foil"]) == ("exclip_widget.explanation", 1, None)


def test_a_page(folder: Path, run: Run) -> None:
    options = ["--words", "red boat", "-o", "a.html"]
    assert run("explain", "boat.png", CAPTION, *options).exit_code == 0
    (state,) = states_of((folder / "a.html").read_text(encoding="utf-8"))
    assert (state["caption"], state["tokens"]) == (CAPTION, [2, 3])
    # With a foil, the page has both captions.
    assert run("explain", "boat.png", CAPTION, "--foil", "a blue boat", "-o", "b.html").exit_code == 0
    (state,) = states_of((folder / "b.html").read_text(encoding="utf-8"))
    assert (state["caption"], state["foil"]) == (CAPTION, "a blue boat")


def test_there_are_all_kinds_of_pictures() -> None:
    assert tuple(SIZES) == outputs.KINDS


def test_json_has_every_attribute_and_no_number_that_is_none() -> None:
    result = result_of(total=math.nan, similarity=math.inf)
    found = json.loads(json.dumps(outputs.as_json(result), allow_nan=False))
    assert found["total"] is None
    assert found["similarity"] is None
    assert found["residual"] is None
    absent = {"rows", "view"}  # split into their parts, under the parts' names
    assert {name for name in vars(result) if name not in absent} <= set(found)


def test_words_choose_the_heat_map_and_the_receipt(folder: Path, run: Run) -> None:
    heats = {}
    for name, options in {
        "one": ["--words", "boat"],
        "both": ["--words", "red", "--words", "BOAT"],
        "phrase": ["--words", "red boat"],
        "tokens": ["--token", 2, "--token", -7],
    }.items():
        assert run("explain", "boat.png", CAPTION, *options, "-o", f"{name}.png").exit_code == 0
        heats[name] = (folder / f"{name}.png").read_bytes()
        assert (
            f"{'boat' if name == 'one' else 'red boat'} × image"
            in run("explain", "boat.png", CAPTION, *options).stdout
        )
    assert heats["both"] == heats["phrase"] == heats["tokens"] != heats["one"]


@pytest.mark.parametrize("kind", outputs.KINDS)
def test_every_kind_of_picture(kind: str, folder: Path, run: Run) -> None:
    assert run("explain", "house.png", "a blue house", "--kind", kind, "-o", "a.png").exit_code == 0
    with Image.open(folder / "a.png") as picture:
        assert min(picture.size) > 50


def test_a_foil(run: Run, explainer: Explainer, book: demo.PictureBook) -> None:
    foil = "a blue boat left of two yellow fish"
    done = run("explain", "boat.png", CAPTION, "--foil", foil, "-o", "d.safetensors", "-o", "d.csv")
    assert done.exit_code == 0
    image = book.pages[0].image
    expected = explainer.explain(image, CAPTION) - explainer.explain(image, foil)
    found = Interactions.load("d.safetensors")
    assert close(found, expected)
    assert found.foil == foil
    assert pd.read_csv("d.csv").value.sum() == pytest.approx(expected.values.sum(dtype=float), abs=1e-5)
    printed = run("explain", "boat.png", CAPTION, "--foil", foil).stdout
    assert f"difference   {expected.similarity:+.4f}" in printed
    assert "red − blue" in printed


def test_a_picture_for_each_word(folder: Path, run: Run) -> None:
    done = run("explain", "boat.png", "a red boat / ../.. a boat", "--per-word", "words")
    assert done.exit_code == 0
    names = ["1-a.png", "2-red.png", "3-boat.png", "4.png", "5.png", "6-a.png", "7-boat.png"]
    assert sorted(one.name for one in (folder / "words").iterdir()) == names
    assert done.stdout.count("wrote") == 7
    for name in names:
        with Image.open(folder / "words" / name) as picture:
            assert 600 < picture.width < 800
    # Existing files are replaced only on request.
    assert run("explain", "boat.png", "a red boat", "--per-word", "words").exit_code == 2
    assert run("explain", "boat.png", "a red boat", "--per-word", "words", "--force").exit_code == 0


def test_one_scale_for_all_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    scales = []
    monkeypatch.setattr(
        "exclip_widget.command_line.explain.write", lambda found, *_, **__: scales.append(found.scale)
    )
    run("explain", "boat.png", CAPTION, "--per-word", "words")
    assert len(scales) == 8
    assert len(set(scales)) == 1
    assert scales[0] > 0


def test_every_option_of_a_method_is_one_of_the_command() -> None:
    offered = {option.name for option in explain_command.params}
    assert offered >= set(get_type_hints(MethodOptions))


def test_options_of_the_method_arrive(run: Run) -> None:
    options = ["--method", "banzhaf", "--samples", 64, "--seed", 3, "--text-layer", 0, "--image-layer", "0"]
    assert run("explain", "boat.png", "a red boat", *options, "-o", "r.safetensors").exit_code == 0
    found = Interactions.load("r.safetensors")
    assert found.method == "banzhaf"
    assert found.origin.options == {"samples": 64, "seed": 3, "p": 0.5, "masks": "replace"}
    assert found.error is not None
    options += ["--p", 0.75, "--masks", "hide"]
    assert run("explain", "boat.png", "a red boat", *options, "-o", "h.safetensors").exit_code == 0
    found = Interactions.load("h.safetensors")
    assert found.origin.options == {"samples": 64, "seed": 3, "p": 0.75, "masks": "hide"}
    assert run("explain", "boat.png", "a red boat", "--length", "-o", "l.safetensors").exit_code == 0
    assert Interactions.load("l.safetensors").origin.options["length"] is True
    options = [
        "--method",
        "exclip",
        "--rule",
        "right",
        "--steps",
        3,
        "--text-layer",
        "transformer.resblocks.1",
    ]
    options += ["--image-layer", "-2", "--image-reference", "house.png", "--text-reference", "a house"]
    assert run("explain", "boat.png", "a red boat", *options, "-o", "s.safetensors").exit_code == 0
    found = Interactions.load("s.safetensors")
    assert (found.rule, found.steps, found.text_layer) == ("right", 3, "transformer.resblocks.1")
    assert found.image_layer == "visual.transformer.resblocks.4"


@pytest.mark.parametrize(("options", "of_text", "of_image"), [([], 2, 2), (["--text-layer", 0], 0, 2)])
def test_a_layer_of_both_towers(options: list[Any], of_text: int, of_image: int, run: Run) -> None:
    command = ["explain", "boat.png", "a red boat", "--method", "gradient", "--layer", 2, *options]
    assert run(*command, "-o", "r.safetensors").exit_code == 0
    found = Interactions.load("r.safetensors")
    assert found.text_layer == f"transformer.resblocks.{of_text}"
    assert found.image_layer == f"visual.transformer.resblocks.{of_image}"


# ----------------------------------------------------------------------------------------------- summary


def test_the_summary(folder: Path, run: Run, expected: Interactions) -> None:
    done = run("explain", "boat.png", CAPTION, "--model", "picture-book")
    assert not done.stderr
    text = done.stdout
    assert text.startswith(
        f"{CAPTION} × boat.png\npicture-book, frozen at transformer.resblocks.0 and visual"
    )
    assert f"similarity   {expected.similarity:+.4f}" in text
    assert "residual     0." in text
    listed = text[text.index("words, each") : text.index("strongest")].splitlines()[1:-1]
    words = dict(line.split()[:2] for line in listed)
    assert list(words) == CAPTION.split()
    for word in words:
        assert float(words[word]) == pytest.approx(expected.between(word), abs=6e-5)
    pair = expected.strongest(1).positive[0]
    edges = expected.patch_boxes[pair.region].astype(int)
    left, top, right, bottom = *edges[:, :2].min(0), *edges[:, 2:].max(0)
    place = f"{int(pair.region.sum())} patches in x {left}–{right}, y {top}–{bottom}"
    strongest = next(line for line in text.splitlines() if line.endswith(place))
    assert strongest.split()[: len(pair.text.split()) + 1] == [*pair.text.split(), f"{pair.value:+.4f}"]
    receipt = text[text.index("receipt") :].splitlines()[1:]
    *parts, total = [float(line.split()[-1]) for line in receipt]
    assert sum(parts) == pytest.approx(total, abs=4e-4)
    assert not list(folder.glob("*.html"))


def test_the_default_model_is_named(run: Run) -> None:
    done = run("explain", "boat.png", "a red boat")
    assert done.stderr == "no --model was given: using picture-book, the small model that ships\n"


@pytest.mark.parametrize("method", ["exclip", "similarity", "gradient", "banzhaf"])
def test_the_summary_by_every_method(method: str, run: Run) -> None:
    few = ["--samples", 32] if method == "banzhaf" else []
    done = run("explain", "boat.png", "a red boat", "--method", method, *few)
    assert done.exit_code == 0
    assert ("residual   " in done.stdout) == (method == "exclip")


HOSTILE = [
    "a $x_1$ \\frac{red} boat",
    "<script>alert(1)</script> boat",
    "boat\x1b[31m\x07 red",
    "a \"red\" boat, 'yes'; =1+1",
    "boat\nred\r\nfish\tblue",
    "café 日本語 हिन्दी boat",
    "-rf /",
    "%s {0} {boat}",
]


@pytest.mark.parametrize("caption", HOSTILE)
@pytest.mark.filterwarnings("ignore:Glyph")  # the font of figures lacks these letters
def test_hostile_captions(caption: str, folder: Path, run: Run) -> None:
    options = [
        "-o",
        "a.html",
        "-o",
        "a.png",
        "-o",
        "a.csv",
        "-o",
        "a.json",
        "-o",
        "a.tex",
        "-o",
        "a.safetensors",
    ]
    done = run("explain", *options, "--per-word", "words", "--", "boat.png", caption)
    assert done.exit_code == 0, done.output
    found = Interactions.load("a.safetensors")
    assert found.caption == caption
    assert json.loads((folder / "a.json").read_text())["caption"] == caption
    (state,) = states_of((folder / "a.html").read_text(encoding="utf-8"))
    assert state["caption"] == caption
    assert pd.read_csv("a.csv", keep_default_na=False).value.sum() == pytest.approx(
        found.values.sum(dtype=float), abs=1e-5
    )
    for path in (folder / "words").iterdir():
        assert all(char.isalnum() or char in "-." or ord(char) > 127 for char in path.name)
    printed = run("explain", "--", "boat.png", caption)
    assert all(line.isprintable() for line in printed.stdout.split("\n"))


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["boat.png", "a red boat", "-o", "a.gif"], "'a.gif' ends in '.gif'; expected one of .html, .png"),
        (["boat.png", "a red boat", "-o", "a"], "ends in 'no suffix'; expected one of"),
        (["house.png", "a house", "-o", "boat.png"], "file 'boat.png' exists already; pass --force to"),
        (
            ["boat.png", "a red boat", "-o", "no/such/a.csv"],
            "there is no folder 'no/such' to write to",
        ),
        (["boat.png", "a red boat", "-o", "boat.png/a.csv"], "there is no folder 'boat.png'"),
        (["boat.png", "a red boat", "-o", "d.csv"], "file 'd.csv' is a folder"),
        (["boat.png", "a red boat", "-o", "a.csv", "-o", "a.csv"], "file 'a.csv' is given twice"),
        (["boat.png", "a red boat", "-o", f"{'x' * 300}.csv"], "cannot be written: file name too long"),
        (["boat.png", "a red boat", "--per-word", "no/such"], "there is no folder 'no'"),
        (["boat.png", "a red boat", "--per-word", "boat.png"], "folder 'boat.png' cannot be created"),
        (["none.png", "a red boat"], "there is no image 'none.png'"),
        (["d.csv", "a red boat"], "image 'd.csv' cannot be read"),
        (["https://host/a.png", "a red boat"], "is a URL, and URLs are not fetched"),
        (["boat.png", " "], "caption ' ' has no words"),
        (["boat.png", "boat " * 60], "context"),
        (["boat.png", "a \udcff boat"], "is not valid text; expected UTF-8"),
        (["boat.png", "a boat", "--foil", ""], "caption '' has no words"),
        (["boat.png", "a boat", "--foil", "a \udcff"], "foil 'a \\udcff' is not valid text"),
        (["boat.png", "a red boat", "--words", ""], "is an empty phrase"),
        (["boat.png", "a red boat", "--words", "fish"], "is not in the caption"),
        (["boat.png", "a boat a boat", "--words", "boat"], "choose one with a longer phrase or with its"),
        (["boat.png", "a red boat", "--token", 9], "is not a token"),
        (["boat.png", "a red boat", "--method", "magic"], "method='magic' is not one of 'frozen'"),
        (
            ["boat.png", "a red boat", "--method", "exclip", "--steps", 0],
            "steps=0 is not a whole number of at least 1",
        ),
        (["boat.png", "a red boat", "--steps", "many"], "'many' is not a valid integer. Try: "),
        (["boat.png", "a red boat", "--samples", 5], "samples=5 is an option of method 'banzhaf'"),
        (["boat.png", "a red boat", "--rule", "magic"], "magic"),
        (["boat.png", "a red boat", "--text-layer", 3], "text_layer=3 is not a layer"),
        (["boat.png", "a red boat", "--image-layer", "none"], "image_layer='none' is not a layer"),
        (["boat.png", "a red boat", "--image-reference", "none"], "image_reference='none' is not one of"),
        (["boat.png", "a red boat", "--seed", -1], "seed=-1 is not a whole number of at least 0"),
        (["boat.png", "a red boat", "--kind", "pie"], "'pie' is not one of 'heat', 'words'"),
        (["boat.png"], "Missing argument 'CAPTION'. Try: "),
        (["boat.png", "a", "b"], "unexpected extra argument"),
    ],
)
def test_what_cannot_be_done(arguments: list[Any], message: str, folder: Path, refusal: Refusal) -> None:
    (folder / "d.csv").mkdir()
    before = sorted(folder.rglob("*"))
    assert message in refusal("explain", *arguments)
    assert sorted(folder.rglob("*")) == before


def test_files_are_replaced_only_if_asked(folder: Path, run: Run, refusal: Refusal) -> None:
    (folder / "a.json").write_text("mine")
    assert "exists already" in refusal("explain", "boat.png", "a red boat", "-o", "b.csv", "-o", "a.json")
    assert (folder / "a.json").read_text() == "mine"
    assert not (folder / "b.csv").exists()
    assert run("explain", "boat.png", "a red boat", "-o", "a.json", "--force").exit_code == 0
    assert json.loads((folder / "a.json").read_text())["caption"] == "a red boat"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(folder: Path, refusal: Refusal) -> None:
    (folder / "locked").mkdir(mode=0o500)
    assert "permission denied" in refusal("explain", "boat.png", "a red boat", "-o", "locked/a.csv")


@pytest.mark.parametrize(
    ("suffix", "library", "extra"), [("png", "matplotlib", "plot"), ("csv", "pandas", "tables")]
)
def test_a_library_that_is_missing(
    suffix: str, library: str, extra: str, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("exclip_widget.results.tables.import_module", missing)
    message = refusal("explain", "boat.png", "a red boat", "-o", f"a.{suffix}")
    assert message == f"{library} is not installed; run: pip install 'exclip-widget[{extra}]'"
