"""Models named on the command line: models of open_clip and transformers, loaded from folders."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
import transformers
from click.testing import Result
from PIL import Image
from support.zoo.tokenizers import SMALL_CONTEXT, hugging_face_clip_tokenizer

from exclip_widget import explain
from exclip_widget.command_line import loading, models
from exclip_widget.models.towers import FAMILIES
from exclip_widget.results import Interactions

Run = Callable[..., Result]
Refusal = Callable[..., str]


def test_a_model_of_open_clip(run: Run, open_clip_folder: open_clip.CLIP) -> None:
    options = ["--model", "local-dir:small", "-o", "a.safetensors"]
    done = run("explain", "boat.png", "a boat", *options)
    assert (done.exit_code, done.stderr) == (0, "")
    found = Interactions.load("a.safetensors")
    # With the model's own preprocessing, which differs from CLIP's.
    preprocess = open_clip.image_transform(32, is_train=False, mean=(0.5,) * 3, std=(0.25,) * 3)
    with Image.open("boat.png") as image:
        expected = explain(open_clip_folder, image, "a boat", preprocess=preprocess)
    assert found.similarity == pytest.approx(expected.similarity, abs=1e-5)


def test_a_model_without_its_weights(
    folder: Path, refusal: Refusal, open_clip_folder: open_clip.CLIP
) -> None:
    del open_clip_folder
    (folder / "small" / "open_clip_model.safetensors").unlink()
    message = refusal("explain", "boat.png", "a boat", "--model", "local-dir:small")
    assert message.startswith("open_clip cannot load 'local-dir:small': ")


def test_a_model_of_transformers(folder: Path, run: Run) -> None:
    tokenizer = hugging_face_clip_tokenizer()
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = tower | {"vocab_size": len(tokenizer), "max_position_embeddings": SMALL_CONTEXT}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = transformers.CLIPConfig(
        text_config=text, vision_config=tower | {"image_size": 24, "patch_size": 8}, projection_dim=12
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    size = {"height": 24, "width": 24}
    images = transformers.CLIPImageProcessor(size=size, crop_size=size)
    processor = transformers.CLIPProcessor(image_processor=images, tokenizer=tokenizer)
    model.save_pretrained(folder / "hf")
    processor.save_pretrained(folder / "hf")
    done = run("explain", "boat.png", "a red boat", "--processor", "hf", "-o", "a.safetensors")
    assert done.exit_code == 0
    found = Interactions.load("a.safetensors")
    with Image.open("boat.png") as image:
        expected = explain(model, image, "a red boat", processor=processor)
    assert found.similarity == pytest.approx(expected.similarity, abs=1e-5)
    assert found.origin.model == "CLIPModel hf"
    # The model may come from another folder than the processor.
    model.save_pretrained(folder / "tuned")
    options = ["--model", str(folder / "tuned"), "--processor", "hf", "-o", "b.safetensors"]
    assert run("explain", "boat.png", "a red boat", *options).exit_code == 0
    # The result records the model's name, but not the path of its folder.
    assert Interactions.load("b.safetensors").origin.model == "CLIPModel tuned"
    assert str(folder).encode() not in Path("b.safetensors").read_bytes()
    # A different kind of model.
    transformers.CLIPTextModel(config.text_config).save_pretrained(folder / "text")
    done = run("explain", "boat.png", "a boat", "--model", "text", "--processor", "hf")
    assert done.exit_code == 2
    assert "error: model is of kind transformers.models.clip" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "ViT-B-33"], "is not a model of open_clip; did you mean 'ViT-B-32'"),
        (["--model", "?"], "is not a model of open_clip; see: exclip-widget models"),
        (["--model", "ViT-B/32"], "needs its weights; give --pretrained, one of: openai, laion"),
        (["--model", "ViT-B-32", "--pretrained", "none"], "open_clip cannot load 'ViT-B-32': "),
        (["--model", "local-dir:none"], "open_clip cannot load 'local-dir:none': "),
        (["--model", "local-dir:none", "--pretrained", "x"], "has its own weights; leave --pretrained out"),
        (["--pretrained", "openai"], "does not apply to the model that ships; give --model too"),
        (["--model", "picture-book", "--pretrained", "openai"], "does not apply to the model that ships"),
        (["--processor", "none"], "transformers cannot load 'none': "),
        (["--processor", "none", "--pretrained", "x"], "give only one"),
        (["--device", "abacus"], "--device 'abacus' cannot be used: "),
    ],
)
def test_what_cannot_be_loaded(options: list[str], message: str, refusal: Refusal) -> None:
    assert message in refusal("explain", "boat.png", "a boat", *options)


def test_running_out_of_memory_is_told(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("tried to allocate 9 TiB")

    monkeypatch.setattr(loading, "_picture_book", full)
    assert refusal("explain", "boat.png", "a boat") == "out of memory: tried to allocate 9 TiB"


def test_the_table_of_models(run: Run) -> None:
    done = run("models")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + len(models.KNOWN)
    assert len({line[: line.index("  ")] for line in lines}) == len(lines)
    assert f"transformers {transformers.__version__}" in done.stdout
    # The table includes every family that the package supports.
    names = [name for family in FAMILIES for name in re.findall(r"\w{9,}", family.models)]
    assert len(names) >= 4
    assert all(name in done.stdout for name in names)


def test_a_library_that_is_missing_is_told_in_the_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "transformers":
            raise models.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(models.metadata, "version", version)
    assert "missing: pip install 'exclip-widget[hf]'" in run("models").stdout
