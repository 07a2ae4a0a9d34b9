"""Towers: the two encoders of a CLIP-like model.

A family of models is a module here, and a name in `FAMILIES`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from . import clip_family as open_clip
from . import dual_encoder as own
from . import transformers_family as hugging_face
from .dual_encoder import DualEncoder
from .tower import ImageTower, TextTower, Tower, computes_in

__all__ = ["DualEncoder", "ImageTower", "TextTower", "Tower", "Towers", "find_towers"]

FAMILIES = (own, open_clip, hugging_face)
"""Each says of a model whether it is of its kind, `knows`, and gives its `towers`."""


@dataclass(frozen=True)
class Towers:
    """The text and the image tower of a model, and what was given as the model."""

    source: Any
    model: nn.Module
    text: TextTower
    image: ImageTower

    def require_gradients(self) -> None:
        """Refuse a model that gradients cannot go through.

        Raises
        ------
        ModelError
            Where a module is quantised: its output would seem to depend on nothing.
        """
        for name, module in self.model.named_modules():
            if "quantized" in type(module).__module__:
                raise ModelError(
                    f"module {name!r} is quantised ({type(module).__qualname__}), and no gradient goes "
                    "through it; methods 'similarity' and 'banzhaf' do without"
                )

    def computing_in(self, dtype: torch.dtype) -> Towers:
        """These towers, or those of a copy of the model, such that autograd can go through in `dtype`."""
        if computes_in(self.model, dtype):
            return self
        if self.source is not self.model:
            # Its callables hold the model itself, whatever is copied.
            raise ModelError(
                f"an own model must compute in {dtype} to be differentiated; see model.to({dtype})"
            )
        return find_towers(copy.deepcopy(self.model).to(dtype))


def find_towers(model: Any) -> Towers:
    """Text and image tower of a model of any known family.

    A model wrapped by `torch.compile` or `DataParallel` is taken out of its wrapping.

    Raises
    ------
    ModelError
        Where the model is of another kind, or in a state that cannot be explained.
    """
    model = _unwrapped(model)
    family = next((family for family in FAMILIES if family.knows(model)), None)
    if family is None:
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise ModelError(
            f"model is of kind {kind.removeprefix('builtins.')}; expected a model of open_clip, of OpenAI's "
            "clip, or a CLIPModel, SiglipModel or Siglip2Model of transformers; wrap any other in DualEncoder"
        )
    module = model.model if isinstance(model, DualEncoder) else model
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError("model is a TorchScript archive; load it with clip.load(..., jit=False)")
    devices = {parameter.device for parameter in module.parameters()}
    if len(devices) > 1 or torch.device("meta") in devices:
        found = ", ".join(sorted(map(str, devices)))
        raise ModelError(f"model is on {found}; expected all of it on one device with real weights")
    return Towers(model, module, *family.towers(model))


def _unwrapped(model: Any) -> Any:
    while True:
        if isinstance(model, nn.Module) and hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            return model
