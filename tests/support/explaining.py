"""Explain one small model, or catch the error for inputs it refuses."""

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
    """Return the error's message, after checking that its class is exactly the documented one."""
    with pytest.raises(ExclipError) as refusal:
        values_of(*arguments, **options)
    assert type(refusal.value) is kind, f"{type(refusal.value)}: {refusal.value}"
    message = str(refusal.value)
    assert message.strip()
    assert "\n" not in message.strip(), "the message has more than one line"
    return message


def values_or_refusal(kind: type[Exception], *arguments: Any, **options: Any) -> np.ndarray | str:
    """Return the values, or the error's message if the input is refused with an error of this kind."""
    try:
        return values_of(*arguments, **options)
    except kind as refusal:
        return str(refusal)
