"""What can be told from a model itself: its preprocessing and its tokenizer."""

from __future__ import annotations

from typing import Any

from open_clip.transform import PreprocessCfg, image_transform_v2

from ..errors import ModelError, ParameterError
from ..inputs.preprocessing import Preprocess
from ..inputs.tokenizers import Tokenizer, clip_tokenizer
from .tower import ImageTower, TextTower
from .transformers_family import pixels_of

CLIP_VOCABULARY = 49408
"""Rows of the token embedding of every model that reads CLIP's own byte-pair tokens."""


def find_preprocess(tower: ImageTower) -> Preprocess:
    """The preprocessing for evaluation that belongs to an image tower.

    open_clip's factory notes it on the tower; OpenAI's models all have the same but for the size.

    Raises
    ------
    ModelError
        Where the model does not tell, as when it was built straight from its class.
    """
    config: Any = getattr(tower.root, "preprocess_cfg", None)
    if config is None and hasattr(tower.root, "input_resolution"):
        config = {"size": tower.size}
    if not config:
        raise ModelError(
            "the model does not say how its pictures are preprocessed; pass preprocess=, the last "
            "value that open_clip.create_model_and_transforms returns, or a transformers model's processor="
        )
    transform: Preprocess = image_transform_v2(PreprocessCfg(**config), is_train=False)
    return transform


def find_tokenizer(tower: TextTower) -> Tokenizer:
    """CLIP's tokenizer, where the vocabulary is CLIP's.

    Raises
    ------
    ModelError
        Where the vocabulary is another one.
    """
    rows = tower.vocabulary
    if rows != CLIP_VOCABULARY:
        raise ModelError(
            f"the model's vocabulary has {rows} rows, not CLIP's {CLIP_VOCABULARY}; pass tokenizer=, "
            "such as open_clip.get_tokenizer(name), or a transformers model's processor="
        )
    tokenizer: Tokenizer = clip_tokenizer(tower.context_length)
    return tokenizer


def from_processor(processor: Any) -> tuple[Preprocess, Tokenizer]:
    """Preprocessing and tokenizer of a Hugging Face processor.

    Raises
    ------
    ParameterError
        Where it is something else.
    """
    tokenizer: Tokenizer | None = getattr(processor, "tokenizer", None)
    if tokenizer is None or not callable(processor):
        raise ParameterError(
            f"processor is a {type(processor).__name__}; expected one of transformers, such as CLIPProcessor"
        )
    return lambda image: pixels_of(processor(images=image, return_tensors="pt")), tokenizer
