"""What the docs show is run."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from support.pages import states_of
from support.zoo.inputs import scene
from support.zoo.tokenizers import SmallTokenizer

DOCS = Path(__file__).parents[1] / "docs"


def snippets(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_a_model_of_ones_own() -> None:
    (code,) = snippets("models.md")
    picture = Image.fromarray(scene(3)).resize((48, 32))

    def preprocess(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.asarray(image) / 255.0).permute(2, 0, 1).float()

    names: dict[str, Any] = {"image": picture, "preprocess": preprocess, "tokenizer": SmallTokenizer()}
    exec(code, names)  # our own text, from this repository
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


def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every snippet, one after the other, on a model without its trained weights."""
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
        offline = snippet.replace("ViT-B-16", "ViT-B-32").replace(', pretrained="laion2b_s34b_b88k"', "")
        awaiting = compile(offline, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        pending = eval(awaiting, names)
        if pending is not None:
            asyncio.run(pending)
    assert names["result"].heat("two dogs").shape == (7, 7)
    assert names["table"][1][0].caption == "a red boat"
    assert (tmp_path / "dogs.safetensors").is_file()


def test_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = snippets("data-sets.md")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["result"].caption == "a red boat left of two yellow fish"
    assert len(names["matches"]) == len(names["shares"]) == 3
    assert names["matches"][0].box is not None
    assert len(names["store"].pairs) == len(names["book"].pages)


def test_what_a_result_can_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every snippet, one after the other."""
    code = snippets("results.md")
    assert len(code) == 3
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
    figures = {path.name: len(states_of(path.read_text("utf-8"))) for path in tmp_path.iterdir()}
    assert figures == {"boat.html": 1, "red-or-blue.html": 1, "gallery.html": 2}
    assert names["widget"].foil_interactions is names["foil"]
