"""Fixtures of the command line's tests: a folder with images, and a way to run commands in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from exclip_widget import Explainer, demo
from exclip_widget.command_line.program import program

BOOK = demo.load()

CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {"layers": 2, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32},
    "text_cfg": {"layers": 2, "width": 24, "heads": 3, "vocab_size": 49408},
}


@pytest.fixture(scope="session")
def book() -> demo.PictureBook:
    return BOOK


@pytest.fixture(scope="session")
def explainer() -> Explainer:
    return Explainer(BOOK.model, tokenizer=BOOK.tokenizer)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder with two images, one of which is not square."""
    BOOK.pages[0].image.save(tmp_path / "boat.png")
    BOOK.pages[1].image.crop((0, 60, 480, 400)).save(tmp_path / "house.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def open_clip_folder(folder: Path) -> open_clip.CLIP:
    """Write a model to the folder `small` in open_clip's format, and return it."""
    torch.manual_seed(3)
    model = open_clip.CLIP(**CONFIG).eval()
    (folder / "small").mkdir()
    config = {"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "small" / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "small" / "open_clip_model.safetensors")
    return model


@pytest.fixture
def run() -> Callable[..., Result]:
    """Return a function that runs a command in this process; unexpected exceptions are raised."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(program, list(map(str, arguments)), catch_exceptions=False)

    return run


@pytest.fixture
def refusal(run: Callable[..., Result]) -> Callable[..., str]:
    """Return a function that runs a command, checks for exit code 2, and returns its one line of error."""

    def refusal(*arguments: object) -> str:
        done = run(*arguments)
        assert done.exit_code == 2, done.output
        assert not done.stdout
        # Earlier lines may name the default model.
        *before, line = done.stderr.strip().splitlines()
        assert all("picture-book" in one for one in before)
        assert line.startswith("error: ")
        return line.removeprefix("error: ")

    return refusal
