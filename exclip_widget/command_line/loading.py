"""Loading of models by their names on the command line."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from ..errors import ModelError, ParameterError
from .refusals import is_out_of_memory, one_line

PICTURE_BOOK = "picture-book"

WITH_WEIGHTS = ("hf-hub:", "local-dir:")
"""Prefixes of names with which open_clip finds a model together with its weights."""


def load(
    model: str | None, pretrained: str | None, processor: str | None, device: str | None
) -> tuple[Any, dict[str, Any]]:
    """Return a model, and the other inputs that `Explainer` needs for it.

    Raises
    ------
    ModelError
        If it cannot be loaded.
    ParameterError
        If the options contradict each other, or there is no such device.
    MissingLibraryError
        If its library is not installed.
    """
    if processor is not None:
        if pretrained is not None:
            raise ParameterError("--pretrained is for open_clip, --processor for transformers; give only one")
        found, inputs = _of_transformers(model or processor, processor)
    elif model is None or model == PICTURE_BOOK:
        if pretrained is not None:
            raise ParameterError(
                f"--pretrained {pretrained!r:.80} does not apply to the model that ships; give --model too"
            )
        found, inputs = _picture_book()
    else:
        found, inputs = _of_open_clip(model, pretrained)
    return _on(found, device or "cpu"), inputs


def _picture_book() -> tuple[Any, dict[str, Any]]:
    from ..demo.picture_book import load_model

    model, tokenizer, _ = load_model()
    return model, {"tokenizer": tokenizer}


def _of_open_clip(name: str, pretrained: str | None) -> tuple[Any, dict[str, Any]]:
    import open_clip

    if not name.startswith(WITH_WEIGHTS):
        name = name.replace("/", "-")
        known = open_clip.list_models()
        if name not in known:
            near = get_close_matches(name, known, 3)
            listed = f"did you mean {' or '.join(map(repr, near))}?" if near else "see: exclip-widget models"
            raise ModelError(f"--model {name!r:.80} is not a model of open_clip; {listed}")
        if pretrained is None:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "a file with its weights"
            raise ModelError(f"--model {name!r} needs its weights; give --pretrained, one of: {tags}")
    elif pretrained is not None:
        raise ParameterError(f"--model {name!r:.80} has its own weights; leave --pretrained out")
    try:
        # Unlike open_clip's other functions, this one never leaves weights randomly initialised.
        model, preprocess = open_clip.create_model_from_pretrained(name, pretrained=pretrained)
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # its loaders, and those of its hub, may raise anything
        raise _not_loaded("open_clip", name, error) from error
    return model, {"preprocess": preprocess, "tokenizer": tokenizer}


def _of_transformers(name: str, processor: str) -> tuple[Any, dict[str, Any]]:
    from ..results.tables import require_library

    transformers = require_library("transformers", "hf")
    try:
        # Never run code that comes with a model.
        model = transformers.AutoModel.from_pretrained(name, trust_remote_code=False)
        both = transformers.AutoProcessor.from_pretrained(processor, trust_remote_code=False)
    except Exception as error:  # as above
        raise _not_loaded("transformers", name, error) from error
    return model, {"processor": both}


def _not_loaded(library: str, name: str, error: Exception) -> Exception:
    if is_out_of_memory(error):
        return error
    told = one_line(error) or type(error).__name__
    return ModelError(f"{library} cannot load {name!r:.80}: {told:.300}")


def _on(model: Any, device: str) -> Any:
    try:
        return model.eval().to(device)
    except Exception as error:  # a missing device or driver; each raises its own error
        if is_out_of_memory(error):
            raise
        raise ParameterError(f"--device {device!r:.40} cannot be used: {one_line(error):.200}") from None
