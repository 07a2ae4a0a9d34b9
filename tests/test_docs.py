"""What the docs show is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
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
