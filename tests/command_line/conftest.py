"""What the tests of the command line share: a folder with pictures, and a way to run commands in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exclip_widget import Explainer, demo
from exclip_widget.command_line.program import program

BOOK = demo.load()


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
def run() -> Callable[..., Result]:
    """Run a command in this process; whatever is not told in words is raised."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(program, list(map(str, arguments)), catch_exceptions=False)

    return run


@pytest.fixture
def refusal(run: Callable[..., Result]) -> Callable[..., str]:
    """Run a command that is refused, and return why: one line on stderr, and exit code 2."""

    def refusal(*arguments: object) -> str:
        done = run(*arguments)
        assert done.exit_code == 2, done.output
        assert not done.stdout
        # The first line may say which model it was that refused.
        *before, line = done.stderr.strip().splitlines()
        assert all("picture-book" in one for one in before)
        assert line.startswith("error: ")
        return line.removeprefix("error: ")

    return refusal
