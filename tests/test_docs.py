"""The snippets and commands in the docs run."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import textwrap
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, set_model_preprocess_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from support.pages import states_of
from support.widgets import run_in_a_loop
from support.zoo.inputs import scene
from support.zoo.tokenizers import SmallTokenizer

from exclip_widget import ExplainWidget, demo
from exclip_widget.command_line.outputs import FORMATS, as_json
from exclip_widget.command_line.program import program

DOCS = Path(__file__).parents[1] / "docs"


def snippets(page: str) -> list[str]:
    return [code for code, _ in printing_snippets(page)]


def printing_snippets(page: str) -> list[tuple[str, str | None]]:
    """Return each snippet of a page with the output that the page shows for it, if any."""
    found = re.findall(
        r"^( *)```python\n(.*?)^ *```(?:\n\n *```text\n(.*?)^ *```)?",
        (DOCS / page).read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    return [(textwrap.dedent(code), printed or None) for _, code, printed in found]


NUMBER = re.compile(r"[+-]?\d+\.\d+")
GUIDES = sorted(str(page.relative_to(DOCS)) for page in (DOCS / "guides").glob("*.md"))
RUN_ELSEWHERE = {"models.md", "data-sets.md", "evaluation.md", "results.md", "from-exclip.md"}


def test_a_model_of_ones_own() -> None:
    (code,) = snippets("models.md")
    picture = Image.fromarray(scene(3)).resize((48, 32))

    def preprocess(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.asarray(image) / 255.0).permute(2, 0, 1).float()

    names: dict[str, Any] = {"image": picture, "preprocess": preprocess, "tokenizer": SmallTokenizer()}
    exec(code, names)  # trusted: text from this repository
    result = names["result"]
    assert result.values.shape == (len(result.tokens), 4, 6)
    assert result.residual < 0.05
    assert not result.cls.any()
    with pytest.raises(ValueError, match=r"text_layers has 'order.weight'.*'order' has no modules"):
        names["DualEncoder"](
            names["model"],
            encode_text=print,
            encode_image=print,
            text_layers=["order.weight"],
            image_layers=["mix"],
        )


def test_the_yardstick() -> None:
    (code,) = snippets("evaluation.md")
    names: dict[str, Any] = {}
    *statements, energy, faithful, gap = code.strip().splitlines()
    exec("\n".join(statements), names)
    assert eval(energy, names).mean > 0.4  # most of the boat's map is on the boat
    assert -1 <= eval(faithful, names) <= 1
    assert eval(gap, names).mean > 0


def offline(snippet: str) -> str:
    """Return the snippet with a faster model, without trained weights."""
    return snippet.replace("ViT-B-16", "ViT-B-32").replace(', pretrained="laion2b_s34b_b88k"', "")


def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every snippet in order, on a model without trained weights."""
    text = (DOCS.parent / "README.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code) >= 4
    monkeypatch.chdir(tmp_path)
    photo = Image.fromarray(scene(1)).resize((320, 240))
    photo.save("photo.jpg")
    names: dict[str, Any] = {
        "image": photo,
        "images": [photo],
        "captions": ["a boat", "a red boat"],
        "mask": np.arange(49).reshape(7, 7) < 7,
    }
    for snippet in code:
        awaiting = compile(offline(snippet), "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        pending = eval(awaiting, names)
        if pending is not None:
            run_in_a_loop(pending)
    assert names["result"].heat("two dogs").shape == (7, 7)
    assert names["table"][1][0].caption == "a red boat"
    assert (tmp_path / "dogs.safetensors").is_file()


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every command in order, except those that name a model to load."""
    text = (DOCS / "command-line.md").read_text()
    commands = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines()
    book = demo.load()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", lambda _: True)
    book.pages[0].image.save("boat.png")
    (tmp_path / "pairs.csv").write_text("image,caption,id\nboat.png,a red boat,boat\n")
    ran = [
        command
        for command in commands
        if not re.search("--pretrained|--processor|local-dir", command)
        and CliRunner().invoke(program, shlex.split(command)[1:], catch_exceptions=False).exit_code == 0
    ]
    assert len(ran) == len(commands) - 3
    listed = re.findall(r"^\| `(\.[`., a-z]+)` ", text, re.MULTILINE)
    assert re.findall(r"\.[a-z]+", "".join(listed)) == list(FORMATS)
    names = re.findall(
        r"`(\w+)`", "".join(re.findall(r"^\| (`.*?`) \|", text.split("## JSON")[1], re.MULTILINE))
    )
    assert set(names) == set(as_json(demo.example()))
    made = {"exclip-demo.html", "boat.html", "boat.pdf", "foil.html", "words", "explained", "pages"}
    assert made <= {path.name for path in tmp_path.iterdir()}


def test_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, gallery = snippets("data-sets.md")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(store, names)
    exec(gallery, names)
    assert names["widget"].caption == "a red boat"
    assert [one.image_id for one in names["ranked"]] == [
        match.image_id
        for match in names["store"].find(names["explainer"].text_factors("a red boat"), "boat", top=5)
    ]
    names["gallery"].close()
    assert names["result"].caption == "a red boat left of two yellow fish"
    assert len(names["matches"]) == len(names["shares"]) == 3
    assert names["matches"][0].box is not None
    assert len(names["store"].pairs) == len(names["book"].pages)


def test_what_a_result_can_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every snippet in order."""
    code = snippets("results.md")
    assert len(code) == 4
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    mpl.use("agg")
    for snippet in code:
        exec(snippet, names)
    plt.close("all")
    result = names["result"]
    assert names["heat"].shape == result.values.shape[1:]
    assert names["tint"][list(result["red boat"])].sum() == pytest.approx(names["value"])
    assert sum(names["receipt"].parts.values()) == pytest.approx(result.similarity)
    assert names["difference"].caption.startswith("a red − blue boat")
    assert names["boxes"].shape[1] == 4
    assert len(names["axes"].images) == 2
    assert len(names["grid"].child_axes) == 2
    figures = {path.name: len(states_of(path.read_text("utf-8"))) for path in tmp_path.iterdir()}
    assert figures == {"boat.html": 1, "red-or-blue.html": 1, "gallery.html": 2}
    assert names["widget"].foil_interactions is names["foil"]


def test_every_snippet_is_run() -> None:
    with_snippets = {
        str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if "```python" in page.read_text()
    }
    assert with_snippets == {"index.md", *GUIDES} | RUN_ELSEWHERE


@pytest.mark.parametrize("page", ["index.md", *GUIDES])
def test_guides(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run every snippet of a page in order, and compare its output with what the page shows."""
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    demo.load().pages[0].image.save("photo.jpg")
    names: dict[str, Any] = {}
    for code, printed in printing_snippets(page):
        capsys.readouterr()
        exec(offline(code), names)
        if printed is not None:
            shown = capsys.readouterr().out
            assert NUMBER.sub("", shown) == NUMBER.sub("", printed)
            numbers, expected = ([float(one) for one in NUMBER.findall(text)] for text in (shown, printed))
            assert numbers == pytest.approx(expected, abs=2e-3)
    plt.close("all")
    if isinstance(widget := names.get("widget"), ExplainWidget):
        widget.wait(120)
        widget.close()


def test_each_call_of_exclip_is_in_the_table() -> None:
    """The table lists every public method and parameter of exclip's classes, read from its code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explanation = pytest.importorskip("exclip.explanation")
        tokenization = importlib.import_module("exclip.tokenization")
    table = (DOCS / "from-exclip.md").read_text("utf-8").split("## Each call")[1].split("\n## ")[0]
    theirs = "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| "))
    names: set[str] = set()
    for module in (explanation, tokenization):
        for kind in (one for one in vars(module).values() if inspect.isclass(one)):
            if kind.__module__ != module.__name__:
                continue
            methods = {
                name: one
                for name, one in vars(kind).items()
                if inspect.isfunction(one) and (name == "__init__" or not name.startswith("_"))
            }
            names |= methods.keys() - {"__init__"} | {kind.__name__}
            for method in methods.values():
                names |= {
                    parameter.name
                    for parameter in list(inspect.signature(method).parameters.values())[1:]
                    if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
                }
    # A base class, the method that calling an object runs, and the model and inputs to explain.
    names -= {"Explainer", "forward", "model", "model_name", "text", "image"}
    assert {"explain", "compute_lhs_terms", "img_ref_type", "get_tokens"} <= names
    assert not {name for name in names if not re.search(rf"\b{name}\b", theirs)}


def test_exclips_numbers() -> None:
    """The page's two snippets give the same numbers on a small model of the real classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exclip imports OpenAI's package, which imports pkg_resources
        pytest.importorskip("exclip.tokenization", reason="pip install --no-deps exclip==1.1 clip-anytorch")
    image_config = CLIPVisionCfg(image_size=224, patch_size=56, width=64, layers=12, head_width=32)
    text_config = CLIPTextCfg(width=32, heads=2, layers=12)
    torch.manual_seed(0)
    model = CLIP(16, image_config, text_config).eval()
    set_model_preprocess_cfg(model, vars(PreprocessCfg(size=224)))
    names: dict[str, Any] = {
        "model": model,
        "image": demo.load().pages[0].image,
        "caption": "a red boat left of two yellow fish",
        "preprocess": image_transform_v2(PreprocessCfg(size=224), is_train=False),
    }
    for code in snippets("from-exclip.md"):
        exec(code, names)
    np.testing.assert_allclose(names["after"], names["before"].numpy(), rtol=1e-3, atol=1e-6)
