"""The two towers of any model that can be explained."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..inputs.preprocessing import Preprocess
from ..inputs.tokenizers import Tokenizer
from .clip_family import ClipFamily
from .dual_encoder import DualEncoder, DualEncoderFamily
from .family import Family
from .tower import ImageTower, TextTower, computes_in
from .transformers_family import TransformersFamily

FAMILIES: list[Family] = [DualEncoderFamily(), ClipFamily(), TransformersFamily()]
"""Every family of models; the first that recognises a model is its own."""


@dataclass(frozen=True, eq=False)
class Towers:
    """The text and the image tower of a model.

    Attributes
    ----------
    source : object
        What was given as the model, without wrappers.
    model : nn.Module
        The model itself.
    family : Family
        Its family.
    text, image : TextTower and ImageTower
        Its towers.
    """

    source: Any
    model: nn.Module
    family: Family
    text: TextTower
    image: ImageTower

    def preprocess(self) -> Preprocess:
        """Return the model's own preprocessing; see `Family.preprocess`."""
        return self.family.preprocess(self.source)

    def tokenizer(self) -> Tokenizer:
        """Return the model's own tokenizer; see `Family.tokenizer`."""
        return self.family.tokenizer(self.text)

    def require_gradients(self) -> None:
        """Refuse a model that cannot be differentiated.

        Raises
        ------
        ModelError
            If a module is quantised: its output would seem to depend on nothing.
        """
        for name, module in self.model.named_modules():
            if "quantized" in type(module).__module__:
                raise ModelError(
                    f"module {name!r} is quantised ({type(module).__qualname__}), and no gradient goes "
                    "through it; methods 'similarity' and 'banzhaf' do without"
                )

    def in_dtype(self, dtype: torch.dtype) -> Towers:
        """Return these towers, or those of a copy of the model, such that autograd works in `dtype`.

        Raises
        ------
        ModelError
            If the model is a user's own, which cannot be copied together with its callables.
        """
        if computes_in(self.model, dtype):
            return self
        if self.source is not self.model:
            raise ModelError(
                f"an own model must compute in {dtype} to be differentiated; see model.to({dtype})"
            )
        return find_towers(copy.deepcopy(self.model).to(dtype))


def find_towers(model: Any) -> Towers:
    """Return the text and the image tower of a model of any known family.

    A model wrapped by `torch.compile` or `DataParallel` is unwrapped.

    Raises
    ------
    ModelError
        If the model is of no known family, or in a state that cannot be explained.
    """
    model = _unwrapped(model)
    family = next((family for family in FAMILIES if family.recognises(model)), None)
    if family is None:
        kind = f"{type(model).__module__}.{type(model).__qualname__}".removeprefix("builtins.")
        known = ", or ".join(other.models for other in FAMILIES if not isinstance(other, DualEncoderFamily))
        raise ModelError(f"model is of kind {kind}; expected {known}; wrap any other in DualEncoder")
    module = model.model if isinstance(model, DualEncoder) else model
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError("model is a TorchScript archive; load it with clip.load(..., jit=False)")
    devices = {parameter.device for parameter in module.parameters()}
    if len(devices) > 1 or torch.device("meta") in devices:
        found = ", ".join(sorted(map(str, devices)))
        raise ModelError(f"model is on {found}; expected all of it on one device with real weights")
    return Towers(model, module, family, *family.towers(model))


def _unwrapped(model: Any) -> Any:
    while True:
        if isinstance(model, nn.Module) and hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            return model
