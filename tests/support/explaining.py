"""Explanations of one small model, and refusals of what it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from exclip_widget import (
    ExclipError,
    explain,
)
from support.zoo.inputs import CAPTIONS, scene
from support.zoo.models import build, inputs_of

IMAGE = Image.fromarray(scene(3))
CAPTION = CAPTIONS[1]


def found(name: str = "plain", image: Any = IMAGE, caption: str = CAPTION, **options: Any) -> Any:
    model = build(name)
    return explain(model, image, caption, **inputs_of(model), **({"method": "exclip"} | options))


MODEL = build("plain")


def values_of(image: Any, caption: Any = "a red boat", **options: Any) -> np.ndarray:
    options = {"method": "exclip", "steps": 2} | inputs_of(MODEL) | options
    return explain(options.pop("model", MODEL), image, caption, **options).values


def refusal_of(kind: type[Exception], *arguments: Any, **options: Any) -> str:
    """Return the message of the refusal. Its class is the documented one, not a subclass of chance."""
    with pytest.raises(ExclipError) as refusal:
        values_of(*arguments, **options)
    assert type(refusal.value) is kind, f"{type(refusal.value)}: {refusal.value}"
    message = str(refusal.value)
    assert message.strip()
    assert "\n" not in message.strip(), "one clear error, not a page"
    return message


def values_or_refusal(kind: type[Exception], *arguments: Any, **options: Any) -> np.ndarray | str:
    """Return the message if the input may be refused and is, or the values."""
    try:
        return values_of(*arguments, **options)
    except kind as refusal:
        return str(refusal)
