"""Training of the picture book's model: its data, and resuming."""

from __future__ import annotations

import random
import runpy
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exclip_widget.demo import train

SEEDS = st.integers(0, 2**31)


@given(SEEDS)
def test_twins_differ_in_their_captions(seed: int) -> None:
    scene, twin, caption, other = train.twins(random.Random(seed))
    assert scene != twin
    assert caption != other


def test_training_resumes_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is cut off after its first checkpoint ends with the same weights as an uninterrupted one."""
    monkeypatch.setattr(train, "RECIPE", train.Recipe(batch=2, warmup=1))
    monkeypatch.setattr(train, "colour_binding", lambda *_: (0.0, 0.0))
    monkeypatch.setattr(train, "DataLoader", lambda data, **_: map(data.__getitem__, range(len(data))))

    def run(name: str, seed: int = 1, checkpoints: int = 2) -> bytes:
        evaluations = iter([(0.0, 0.0)] * checkpoints)
        monkeypatch.setattr(train, "recall_at_1", lambda *_: next(evaluations))
        train.train(tmp_path / name, seed=seed, steps=2, every=1)
        return (tmp_path / name / "picture_book.safetensors").read_bytes()

    whole = run("whole")
    with pytest.raises(StopIteration):
        run("parts", checkpoints=1)
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == 1
    assert run("parts") == whole
    with pytest.raises(SystemExit, match="seed 1"):
        run("parts", seed=2)


def test_command_line_tells_its_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run it as `python -m` would, but in this process, which has already loaded torch."""
    monkeypatch.setattr(sys, "argv", ["train", "--help"])
    monkeypatch.delitem(sys.modules, "exclip_widget.demo.train")
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_module("exclip_widget.demo.train", run_name="__main__", alter_sys=True)
    assert "--seed" in capsys.readouterr().out
