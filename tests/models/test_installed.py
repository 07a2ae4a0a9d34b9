"""A copy of a library that somebody has changed is explained as it runs, not as the library would."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import timm
from support.zoo.models import build
from support.zoo.openai import clip

from exclip_widget.models.as_written import are_as_written
from exclip_widget.models.installed import is_as_installed


@pytest.mark.parametrize("package", [clip, open_clip, timm])
def test_an_installed_library_is_as_installed(package: object) -> None:
    name = package.__name__  # type: ignore[attr-defined]
    assert is_as_installed(str(package.__file__), name)  # type: ignore[attr-defined]


def test_library_models_are_as_installed() -> None:
    for name in ("plain", "openai"):
        assert are_as_written(build(name).modules(), installed=True)


def installed(folder: Path) -> Path:
    """Install a copy of open_clip in a folder: its files, and its distribution's record of them."""
    source = Path(open_clip.__file__).parent
    shutil.copytree(source, folder / "open_clip", ignore=shutil.ignore_patterns("*.json", "__pycache__"))
    for info in source.parent.glob("open_clip_torch-*.dist-info"):
        shutil.copytree(info, folder / info.name)
    return folder / "open_clip" / "model.py"


def test_a_file_that_was_edited_is_not_as_installed(tmp_path: Path) -> None:
    file = installed(tmp_path / "before")
    assert is_as_installed(str(file), "open_clip")
    file = installed(tmp_path / "after")
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert not is_as_installed(str(file), "open_clip")
    assert is_as_installed(str(file.parent / "transformer.py"), "open_clip")


def test_a_file_of_no_distribution_is_not_as_installed(tmp_path: Path) -> None:
    file = installed(tmp_path)
    for info in tmp_path.glob("*.dist-info"):
        shutil.rmtree(info)
    assert not is_as_installed(str(file), "open_clip")
    assert not is_as_installed(str(tmp_path / "open_clip" / "absent.py"), "open_clip")
    assert not is_as_installed(str(tmp_path / "elsewhere.py"), "open_clip")


def test_torch_may_be_built_from_source(tmp_path: Path) -> None:
    assert is_as_installed(str(tmp_path / "torch" / "nn.py"), "torch")


CHANGED = """
import sys
sys.path.insert(0, {folder!r})
import clip, numpy as np, torch
from exclip_widget import Explainer
assert clip.__file__.startswith({folder!r})
torch.manual_seed(0)
model = clip.model.CLIP(12, 32, 2, 128, 8, 77, 49408, 24, 3, 2).float().eval()
explainer = Explainer(model, method="exclip", steps=2, text_layer=0, text_reference="a red car left")
pixels = torch.randn(1, 3, 32, 32)
found = explainer.explain(pixels, "a red boat left")
heat = np.abs(found.values).sum((1, 2))
print([token for token, value in zip(found.tokens, heat) if value > 0])
clip.model.SCALE[0] = 3.0
ids = clip.tokenize("a red boat left")
own = torch.cosine_similarity(model.encode_image(pixels), model.encode_text(ids)).item()
again = explainer.explain(pixels, "a red boat left")
print(abs(own - found.similarity) > 1e-3, abs(own - again.similarity) < 1e-5)
"""


def test_a_changed_copy_is_explained_as_it_runs(tmp_path: Path) -> None:
    """It inserts prompts after the start, and reads a setting of its module."""
    shutil.copytree(Path(clip.__file__).parent, tmp_path / "clip")
    file = tmp_path / "clip" / "model.py"
    code = file.read_text(encoding="utf-8")
    line = "        x = self.token_embedding(text).type(self.dtype)  # [batch_size, n_ctx, d_model]\n"
    assert line in code
    prompted = line + (
        "        prompts = torch.ones(len(x), 3, x.shape[2])\n"
        "        text = torch.cat([text[:, :1], text[:, :3] * 0, text[:, 1:-3]], 1)\n"
        "        x = SCALE[0] * torch.cat([x[:, :1], prompts, x[:, 1:-3]], 1)\n"
    )
    file.write_text(code.replace(line, prompted) + "\nSCALE = [1.0]\n", encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHANGED.format(folder=str(tmp_path))],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.stdout.splitlines() == ["['boat']", "True True"], run.stderr
