"""The two towers of any model that can be explained."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from types import FunctionType, MethodType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import ModelError, named_type
from ..inputs.preprocessing import Preprocess
from ..inputs.tokenizers import Tokenizer
from ..paths.cut import FAULTS, Layer, says_enough
from ..results.classification import Logits
from .as_written import is_quantised
from .clip_family import ClipFamily
from .dual_encoder import DualEncoder, DualEncoderFamily
from .family import Family
from .fingerprint import Fingerprint, outline
from .tower import ImageTower, TextTower, computes_in
from .transformers_family import TransformersFamily

AnyTower = TypeVar("AnyTower", TextTower, ImageTower)

FAMILIES: list[Family] = [DualEncoderFamily(), ClipFamily(), TransformersFamily()]
"""Every family of models; a model belongs to the first that recognises it."""

ENCODERS = ("encode_text", "encode_image", "get_text_features", "get_image_features")
"""Names that the families use for a model's encoders."""


@dataclass(frozen=True, eq=False)
class Towers:
    """The text and the image tower of a model.

    Attributes
    ----------
    source : object
        The model as given, without wrappers.
    model : nn.Module
        The model itself.
    family : Family
        Its family.
    text, image : TextTower and ImageTower
        Its towers.
    state : tuple or None
        Outline of the model when the towers were found; None if none was taken, or it would miss changes.
    """

    source: Any
    model: nn.Module
    family: Family
    text: TextTower
    image: ImageTower
    state: Fingerprint | None = None

    def found_again(self) -> Towers:
        """Return the towers of the model in its current state: these, if nothing about it has changed.

        Raises
        ------
        ModelError
            As `find_towers` does.
        """
        _require_no_transform()
        state = outline(self.model.modules())
        if state is not None and state == self.state:
            return self
        return replace(find_towers(self.source), state=state)

    def settled(self) -> Towers:
        """Return these towers with the text tower settled; see `TextTower.settled`."""
        return replace(self, text=self.text.settled())

    def preprocess(self) -> Preprocess:
        """Return the model's own preprocessing; see `Family.preprocess`."""
        return self.family.preprocess(self.source)

    def tokenizer(self) -> Tokenizer:
        """Return the model's own tokenizer; see `Family.tokenizer`."""
        return self.family.tokenizer(self.text)

    def logits(self) -> Logits | None:
        """Return how the model turns similarities into logits; see `Family.logits`."""
        return self.family.logits(self.source)

    def require_gradients(self) -> None:
        """Refuse a model that cannot be differentiated.

        Raises
        ------
        ModelError
            If a module is quantised: its output would seem to depend on nothing.
        """
        for name, module in self.model.named_modules():
            if is_quantised(type(module)):
                raise ModelError(
                    f"module {name!r} is quantised ({type(module).__qualname__}), and no gradient goes "
                    "through it; method 'similarity' does without, and so does 'banzhaf' unless the inputs "
                    "of a batch affect one another"
                )

    def in_dtype(self, dtype: torch.dtype) -> Towers:
        """Return these towers, or those of a copy of the model, so that autograd works in `dtype`.

        Raises
        ------
        ModelError
            If the model is user-defined, as it cannot be copied together with its callables.
        """
        if computes_in(self.model, dtype):
            return self
        if self.source is not self.model:
            raise ModelError(
                f"a model in DualEncoder must compute in {dtype} to be differentiated; see model.to({dtype})"
            )
        if patch := _patched_by_a_closure(self.model):
            raise ModelError(
                f"{patch} was replaced by a closure, which a copy in {dtype} would still run on the model "
                f"itself; pass model.to({dtype})"
            )
        try:
            found = find_towers(copy.deepcopy(self.model).to(dtype))
        except FAULTS as error:
            if says_enough(error):
                raise
            raise ModelError(
                f"model does not compute in {dtype} throughout, and cannot be copied to be differentiated "
                f"({type(error).__name__}: {error!s:.100}); pass model.to({dtype})"
            ) from error
        return replace(found, text=_in_copy(found.text, dtype), image=_in_copy(found.image, dtype))


def _in_copy(tower: AnyTower, dtype: torch.dtype) -> AnyTower:
    """Return a tower of a copy in `dtype`, with errors that name the parts which are not in the copy.

    A hook, for one, may run weights that belong to no module. They are not converted with the others.
    """

    def encode(inputs: Tensor) -> object:
        try:
            return tower.encode(inputs)
        except FAULTS as error:
            if says_enough(error):
                raise
            raise ModelError(
                f"a copy of the model in {dtype}, to be differentiated, does not run "
                f"({type(error).__name__}: {error!s:.100}): a hook or a function of yours may hold weights "
                f"that model.to does not reach; pass a model that is all in {dtype}, or use method "
                "'similarity' or 'banzhaf'"
            ) from error

    changes: dict[str, Any] = {"encode": encode}
    settle = getattr(tower, "settle", None)
    if settle is not None:
        changes["settle"] = lambda: _in_copy(settle(), dtype)
    return replace(tower, **changes)


def _patched_by_a_closure(model: nn.Module) -> str | None:
    """Return the path of a method that a closure replaces; in a copy, it would keep its bindings."""
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            is_replaced = hasattr(type(module), attribute) or attribute in ENCODERS
            if isinstance(value, FunctionType) and value.__closure__ and is_replaced:
                return f"{name}.{attribute}".lstrip(".")
    return None


def find_towers(model: Any) -> Towers:
    """Return the text tower and the image tower of a model of any known family.

    Wrappers that do not affect embeddings are removed first; see `unwrap`.

    Raises
    ------
    ModelError
        If the model belongs to no known family, or is in a state that cannot be explained.
    """
    _require_no_transform()
    _require_unsharded(model)
    model = unwrap(model)
    family = _family_of(model)
    if family is None:
        raise ModelError(_not_known(model))
    module = model.model if isinstance(model, DualEncoder) else model
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError("model is a TorchScript archive; load it with clip.load(..., jit=False)")
    _require_initialised(module)
    devices = {parameter.device for parameter in module.parameters()}
    if len(devices) > 1 or torch.device("meta") in devices:
        found = ", ".join(sorted(map(str, devices)))
        raise ModelError(f"model is on {found}; expected all of it on one device with real weights")
    try:
        text, image = family.towers(model)
    except FAULTS as error:
        if says_enough(error):
            raise
        _require_python(module, [])
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        told = next(iter(str(error).strip().splitlines()), "")
        raise ModelError(
            f"model is of kind {kind}, but not built like {family.models} ({type(error).__name__}: "
            f"{told:.200}); wrap it in DualEncoder"
        ) from error
    _require_python(module, [*text.layers, *image.layers])
    return Towers(model, module, family, text, image)


def _require_unsharded(model: Any) -> None:
    """Refuse a model if FSDP, of either version, has sharded it or a part of it.

    FSDP frees weights after each pass, though the graph of a second derivative still reads them, and torch
    then ends the process. A pass that ends at a layer also leaves them unsharded, which may spoil training.

    Raises
    ------
    ModelError
        If there is such a part.
    """
    module = model.model if isinstance(model, DualEncoder) else model
    for name, part in module.named_modules() if isinstance(module, nn.Module) else ():
        if any(
            kind.__name__ in _SHARDED and kind.__module__.startswith("torch.distributed.")
            for kind in type(part).__mro__
        ):
            where = f"module {name!r} of the model" if name else "model"
            raise ModelError(
                f"{where} is sharded by FSDP ({type(part).__name__}), which frees weights between passes; "
                "expected a model with all of its weights: pass it as it was before fully_shard or "
                "FullyShardedDataParallel, or another one that loads the full state dict"
            )


def _require_no_transform() -> None:
    """Refuse to work inside a function that torch transforms, whose tensors have no memory of their own.

    Raises
    ------
    ModelError
        If this is called in one.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise ModelError(
            "the model cannot be explained inside a function that torch.func transforms, such as one "
            "given to grad, vmap or jvp; explain it outside of that function"
        )


def _require_initialised(model: nn.Module) -> None:
    """Refuse a model with lazy modules, which an explanation would initialise.

    Raises
    ------
    ModelError
        If a weight has no shape yet.
    """
    if any(map(is_lazy, chain(model.parameters(), model.buffers()))):
        held = chain(model.named_parameters(), model.named_buffers())
        name = next(name for name, tensor in held if is_lazy(tensor))
        raise ModelError(
            f"weight {name!r} has no shape yet, because its module is lazy; run the model once on any input "
            "before it is explained"
        )


_SHARDED = ("FSDPModule", "FullyShardedDataParallel")
"""Classes of sharded modules, by name: torch.distributed is slow to import, and their modules have moved."""


def _family_of(model: Any) -> Family | None:
    return next((family for family in FAMILIES if family.recognises(model)), None)


def _not_known(model: Any) -> str:
    """Describe what was expected of a model, and which of its modules would do, if any."""
    kind = f"{type(model).__module__}.{type(model).__qualname__}".removeprefix("builtins.")
    known = ", or ".join(other.models for other in FAMILIES if not isinstance(other, DualEncoderFamily))
    inside = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    holder = next((name for name, part in inside.items() if name and _family_of(unwrap(part))), None)
    if holder is not None:
        held = f"holds {named_type(inside[holder])}"
        if replaced := _replaced_by(model, inside[holder]):
            held += f" but has its own {' and '.join(replaced)}"
        return (
            f"model is of kind {kind}, which {held}; expected {known}; "
            f"pass model.get_submodule({holder!r}), or wrap the whole in DualEncoder"
        )
    return f"model is of kind {kind}; expected {known}; {_advice(model)}"


def _advice(model: Any) -> str:
    """Return what to do with a value that is not of a known family."""
    if isinstance(model, (tuple, list)):
        return (
            "unpack it and pass the model in it, such as the first value of "
            "open_clip.create_model_and_transforms(...)"
        )
    if isinstance(model, (str, os.PathLike)):
        return (
            "load the model first, such as by open_clip.create_model_and_transforms(...) or "
            "CLIPModel.from_pretrained(...)"
        )
    if isinstance(model, Mapping):
        return "if it is a state dict, load it into a model by load_state_dict(...) and pass the model"
    if isinstance(model, type):
        return "pass a model of this class rather than the class itself"
    return "wrap any other in DualEncoder"


def _require_python(model: nn.Module, layers: Sequence[Layer]) -> None:
    """Refuse a model if a layer, or a part that contains or may contain some, was compiled by TorchScript.

    Raises
    ------
    ModelError
        If there is such a part, because it runs without the hooks that cut it.
    """
    for name, part in model.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            continue
        # A traced module takes hooks itself; a scripted one, and all that either contains, takes none.
        is_scripted = isinstance(part, torch.jit._script.RecursiveScriptModule)
        if not layers or any(
            layer.name.startswith(f"{name}.") or (is_scripted and layer.module is part) for layer in layers
        ):
            raise ModelError(
                f"module {name!r} was scripted or traced, and cannot be cut into layers; pass the model "
                "as it was before torch.jit.script or torch.jit.trace"
            )


def unwrap(model: Any) -> Any:
    """Return a model without wrappers that pass on its own encoders.

    These are the wrappers of `torch.compile`, PEFT and sentence-transformers. They are also those that hold
    only the model, as a module named `module`, or pass on attributes that they lack themselves, as those for
    data parallelism and weight averaging do.

    A wrapper with an encoder or a logit scale of its own is kept. Its own `forward` does not matter, because
    no explanation runs it.
    """
    while isinstance(model, nn.Module) and not isinstance(model, torch.jit.ScriptModule):
        inner = _held_by(model)
        if inner is None or inner is model or _replaced_by(model, inner):
            break
        model = inner
    return model


def _replaced_by(wrapper: nn.Module, inner: nn.Module) -> list[str]:
    """Return which encoders and logit scales of a model a wrapper replaces with its own."""
    replaced = []
    for name in (*ENCODERS, "logit_scale", "logit_bias"):
        found, passed_on = getattr(wrapper, name, None), getattr(inner, name, None)
        # Each access makes a new bound method, equal to the others; == of tensors is not one answer.
        is_same = found == passed_on if isinstance(found, MethodType) else found is passed_on
        if found is not None and not is_same:
            replaced.append(name)
    return replaced


def _held_by(wrapper: nn.Module) -> nn.Module | None:
    """Return the model inside a wrapper; None if it is not a wrapper."""
    modules = wrapper._modules
    if "_orig_mod" in modules:
        return modules["_orig_mod"]
    if type(wrapper).__module__.startswith("peft.") and hasattr(wrapper, "get_base_model"):
        base: nn.Module = cast(Any, wrapper).get_base_model()
        return base
    is_holder = set(modules) in ({"module"}, {"_checkpoint_wrapped_module"})
    if is_holder and not wrapper._parameters:  # with its own, such as prompts, it does more than hold a model
        return next(iter(modules.values()))
    if _is_sentence_transformer(wrapper):
        return _held_by_sentence_transformer(wrapper)
    # If the wrapper passes on a method that it lacks, that method is bound to the model inside.
    owners = (getattr(getattr(wrapper, name, None), "__self__", None) for name in ENCODERS)
    return next((owner for owner in owners if isinstance(owner, nn.Module) and owner is not wrapper), None)


def _is_sentence_transformer(wrapper: nn.Module) -> bool:
    return any(kind.__module__.startswith("sentence_transformers.") for kind in type(wrapper).__mro__)


def _held_by_sentence_transformer(wrapper: nn.Module) -> nn.Module | None:
    """Return the transformers model in a pipeline, if nothing else in it affects the embedding."""
    rest = [part for part in wrapper._modules.values() if part is not None]
    rest = [part for part in rest if type(part).__name__ != "Normalize"]  # it does not affect a cosine
    return rest[0] if len(rest) == 1 else None
