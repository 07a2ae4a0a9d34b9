"""Families of models: each provides its models' towers, preprocessing and tokenizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ..errors import ModelError
from ..inputs.preprocessing import Preprocess
from ..inputs.tokenizers import CLIP_VOCABULARY, Tokenizer, clip_tokenizer
from ..results.classification import Logits
from .tower import ANY_VOCABULARY, ImageTower, TextTower


class Family(ABC):
    """A family of models, such as those of one library. To add one, subclass this and list it in `FAMILIES`.

    Attributes
    ----------
    models : str
        Description of its models in error messages.
    """

    models: ClassVar[str]

    @abstractmethod
    def recognises(self, model: Any) -> bool:
        """Return whether a model belongs to this family."""

    @abstractmethod
    def towers(self, model: Any) -> tuple[TextTower, ImageTower]:
        """Return the model's text and image towers.

        Raises
        ------
        ModelError
            If they have no layers to cut at.
        """

    def logits(self, model: Any) -> Logits | None:
        """Return how the model's parameters turn similarities into logits; None if it has no scale.

        Raises
        ------
        ModelError
            If they are not finite.
        """
        scale, bias = _number(model, "logit_scale"), _number(model, "logit_bias")
        return None if scale is None else Logits(float(np.exp(scale)), bias)

    def preprocess(self, model: Any) -> Preprocess:
        """Return the model's own preprocessing for evaluation.

        Raises
        ------
        ModelError
            If it cannot be inferred from the model.
        """
        del model
        raise ModelError(
            "the model does not say how its images are preprocessed; pass preprocess=, the last "
            "value that open_clip.create_model_and_transforms returns, or a transformers model's processor="
        )

    def tokenizer(self, text: TextTower) -> Tokenizer:
        """Return the tokenizer of a model with this text tower: CLIP's own, if its vocabulary is CLIP's.

        Raises
        ------
        ModelError
            If it cannot be inferred from the model.
        """
        if text.vocabulary != CLIP_VOCABULARY:
            size = "an unknown number of" if text.vocabulary == ANY_VOCABULARY else text.vocabulary
            raise ModelError(
                f"the model's vocabulary has {size} rows, not CLIP's {CLIP_VOCABULARY}; pass "
                "tokenizer=, such as open_clip.get_tokenizer(name), or a transformers model's processor="
            )
        tokenizer: Tokenizer = clip_tokenizer(text.context_length)
        return tokenizer


def _number(model: Any, name: str) -> float | None:
    """Return a parameter that is one number, of shape () or (1,); None if there is none."""
    given = getattr(model, name, None)
    return given.item() if isinstance(given, Tensor) and given.numel() == 1 else None
