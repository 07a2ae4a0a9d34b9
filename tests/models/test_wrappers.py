"""Wrapped models are unwrapped, or give one error that says what to pass."""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.definitions import assert_agree, definition
from support.zoo.families import family, pooled
from support.zoo.inputs import scene
from support.zoo.models import build, inputs_of, residual_networks
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from exclip_widget import Explainer, ModelError, explain
from exclip_widget.models.towers import unwrap

IMAGE = Image.fromarray(scene(0))


class PassesOn(nn.Module):
    """A wrapper with the attributes of its model, like those of PEFT."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.other = inner, nn.Linear(2, 2)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)


class Training(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.nets = nn.ModuleDict({"clip": inner})
        self.head = nn.Linear(2, 2)


class _Pipeline(nn.Sequential):
    __module__ = "sentence_transformers.SentenceTransformer"


class _Step(nn.Module):
    __module__ = "sentence_transformers.models.CLIPModel"

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.model = inner


@pytest.mark.parametrize(
    "wrap",
    [
        PassesOn,
        AveragedModel,
        nn.DataParallel,
        lambda model: nn.DataParallel(PassesOn(model)),
        lambda model: _Pipeline(_Step(model)),
    ],
    ids=["passes on", "averaged", "data parallel", "twice", "sentence-transformers"],
)
def test_unwrapped(wrap: Any) -> None:
    model = build("plain")
    wrapped = wrap(model).eval()
    inputs = inputs_of(model) | {"steps": 2}
    expected = explain(model, IMAGE, "a red boat", **inputs, method="exclip").values
    np.testing.assert_allclose(
        explain(wrapped, IMAGE, "a red boat", **inputs, method="exclip").values, expected, atol=1e-6
    )


class OwnText(PassesOn):
    """A wrapper that passes on all attributes but the text encoder."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.head = nn.Linear(12, 12)

    def encode_text(self, ids: Tensor, normalize: bool = False) -> Tensor:
        found: Tensor = self.head(self.inner.encode_text(ids))
        return F.normalize(found, dim=-1) if normalize else found


class Unit(PassesOn):
    def encode_image(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.inner.encode_image(pixels), dim=-1)

    def encode_text(self, ids: Tensor) -> Tensor:
        return F.normalize(self.inner.encode_text(ids), dim=-1)


class OwnScale(PassesOn):
    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._parameters["logit_scale"] = nn.Parameter(torch.tensor(2.0))


class Holder(nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.module = inner


class Mirrored(Holder):
    def encode_image(self, pixels: Tensor) -> Tensor:
        return self.module.encode_image(pixels) + self.module.encode_image(pixels.flip(-1))


class MirroredFeatures(Holder):
    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        return self.module.get_image_features(pixel_values.flip(-1))


class Prompted(Holder):
    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.prompt = nn.Parameter(torch.zeros(2))


class OwnFeatures(PassesOn):
    def get_text_features(self, input_ids: Tensor) -> Tensor:
        return -pooled(self.inner.get_text_features(input_ids))


def with_method(model: Any) -> nn.Module:
    """Return a wrapper whose text encoder was set on the instance."""

    def encode_text(self: Any, ids: Tensor) -> Tensor:
        return torch.linspace(-1, 1, 12).to(self.logit_scale) * self.inner.encode_text(ids)

    wrapper: Any = PassesOn(model)
    wrapper.encode_text = MethodType(encode_text, wrapper)
    return wrapper


@pytest.mark.parametrize("layers", [(0, 0), (-1, -1)])
@pytest.mark.parametrize(
    "wrap",
    [
        OwnText,
        lambda model: PassesOn(OwnText(model)),
        with_method,
        Unit,
        OwnScale,
    ],
    ids=["own text", "wrapped again", "on the instance", "of unit length", "own scale"],
)
def test_what_a_wrapper_replaces_is_explained(wrap: Any, layers: tuple[int, int]) -> None:
    torch.manual_seed(0)
    wrapped = wrap(build("plain")).eval()
    options = inputs_of(wrapped) | {"text_layer": layers[0], "image_layer": layers[1]}
    found = explain(wrapped, IMAGE, "a red boat", **options, method="exclip", rule="right", steps=2)
    expected = definition(wrapped, IMAGE, "a red boat", rule="right", steps=2, layers=layers)
    assert_agree(found, expected, 1e-4)


def test_an_encoder_on_the_instance_that_a_copy_would_run_on_the_model_itself() -> None:
    model: Any = build("plain").bfloat16()
    inputs, wrapper = inputs_of(model), PassesOn(model)
    wrapper.encode_text = lambda ids: -model.encode_text(ids)
    with pytest.raises(ModelError, match="encode_text was replaced by a closure"):
        explain(wrapper, IMAGE, "a red boat", **inputs, method="exclip")


@pytest.mark.parametrize("name", ["encode_text", "encode_image"])
def test_an_encoder_that_asks_whether_it_is_recorded(name: str) -> None:
    """The towers' own modules are as written, and only the code around them differs."""
    model: Any = build("custom text")
    encode, turn = getattr(model, name), torch.linspace(-1, 1, 9)
    setattr(model, name, lambda given: encode(given) * (turn if torch.is_grad_enabled() else 1))
    with pytest.raises(ModelError, match=r"differs by .* while autograd records it"):
        explain(model, IMAGE, "a red boat", **inputs_of(model), method="frozen")


def test_a_wrapper_has_a_logit_scale_of_its_own() -> None:
    wrapped = OwnScale(build("plain")).eval()
    logits = Explainer(wrapped, **inputs_of(wrapped)).logits()
    assert logits is not None
    assert logits.scale == pytest.approx(np.exp(2.0))


@pytest.mark.parametrize(
    ("wrap", "own"),
    [
        (Mirrored, "CLIP but has its own encode_image;"),
        (lambda model: nn.DataParallel(Mirrored(model)), "CLIP but has its own encode_image;"),
        (Prompted, "CLIP;"),
    ],
    ids=["encoder", "wrapped again", "parameter"],
)
def test_a_holder_with_something_of_its_own_is_not_unwrapped(wrap: Any, own: str) -> None:
    model = build("plain")
    with pytest.raises(ModelError, match=rf"holds a {own} .*get_submodule\('module'\), or .*DualEncoder"):
        explain(wrap(model).eval(), IMAGE, "a red boat", **inputs_of(model))


@pytest.mark.parametrize(
    ("wrap", "own"),
    [(OwnFeatures, "get_text_features"), (MirroredFeatures, "get_image_features")],
    ids=["passes on", "holder"],
)
def test_features_that_a_wrapper_replaces_are_named(wrap: Any, own: str) -> None:
    this = family("transformers CLIP")
    explain(PassesOn(this.model), IMAGE, "a red boat", **this.options)
    with pytest.raises(ModelError, match=rf"holds a CLIPModel but has its own {own};"):
        explain(wrap(this.model).eval(), IMAGE, "a red boat", **this.options)


def test_a_holder_with_more_in_it_names_the_model() -> None:
    model = build("plain")
    with pytest.raises(ModelError, match=r"Training.*get_submodule\('nets\.clip'\)"):
        explain(Training(model), IMAGE, "a red boat", **inputs_of(model), method="exclip")


def test_what_changes_embeddings_is_not_thrown_away() -> None:
    class Dense(nn.Module):
        __module__ = "sentence_transformers.models.Dense"

    model = build("plain")
    pipeline = _Pipeline(_Step(model), Dense())
    assert unwrap(pipeline) is pipeline
    with pytest.raises(ModelError, match="wrap the whole in DualEncoder"):
        explain(pipeline, IMAGE, "a red boat", **inputs_of(model), method="exclip")


@pytest.mark.filterwarnings("ignore")
def test_a_traced_tower_is_refused_and_a_scripted_part_is_run() -> None:
    model: Any = build("plain")
    inputs = inputs_of(model) | {"steps": 2}
    expected = explain(model, IMAGE, "a red boat", **inputs, method="exclip").values
    block = model.visual.transformer.resblocks[0]
    block.mlp = torch.jit.script(block.mlp)
    np.testing.assert_allclose(
        explain(model, IMAGE, "a red boat", **inputs, method="exclip").values, expected, atol=1e-5
    )
    pixels = inputs["preprocess"](IMAGE)[None]
    model.visual = torch.jit.trace(build("plain").visual, pixels, check_trace=False)
    with pytest.raises(ModelError, match="'visual' was scripted or traced"):
        explain(model, IMAGE, "a red boat", **inputs, method="exclip")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["frozen", "exclip", "similarity", "banzhaf"])
@pytest.mark.parametrize("tower", ["transformer", "visual.transformer"])
def test_a_scripted_layer_is_refused(tower: str, method: str) -> None:
    model = build("plain")
    blocks: Any = model.get_submodule(f"{tower}.resblocks")
    blocks[0] = torch.jit.script(blocks[0])
    with pytest.raises(ModelError, match=rf"'{tower}.resblocks.0' was scripted or traced"):
        explain(model, IMAGE, "a red boat", **inputs_of(model), method=method)


@pytest.mark.filterwarnings("ignore")
def test_a_traced_layer_is_explained() -> None:
    model: Any = residual_networks()[0]
    inputs = inputs_of(model)
    expected = explain(model, IMAGE, "a red boat", **inputs, image_layer=1).values
    model.visual.layer2 = torch.jit.trace(model.visual.layer2, torch.randn(1, 32, 8, 8), check_trace=False)
    found = explain(model, IMAGE, "a red boat", **inputs, image_layer=1).values
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture
def process_group() -> Iterator[None]:
    """Open a process group of this process alone."""
    distributed.init_process_group("gloo", rank=0, world_size=1, store=distributed.HashStore())
    yield
    distributed.destroy_process_group()


def _with_scale_of_one_entry() -> Any:
    """Return a model that FSDP accepts: it takes no scalars."""
    model: Any = build("plain")
    model.logit_scale = nn.Parameter(model.logit_scale.detach()[None])
    return model


def _shard(model: Any, *parts: nn.Module) -> Any:
    mesh = distributed.init_device_mesh("cpu", (1,))
    for part in parts:
        fully_shard(part, mesh=mesh)
    return model


def _shard_blocks_as_before(model: Any) -> Any:
    tower = model.transformer
    device = torch.device("cpu")
    tower.resblocks = nn.ModuleList(
        FullyShardedDataParallel(block, device_id=device, use_orig_params=True) for block in tower.resblocks
    )
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("method", ["frozen", "exclip", "similarity"])
@pytest.mark.parametrize(
    ("shard", "where"),
    [
        (lambda model: _shard(model, model), "^model is sharded by FSDP .FSDPCLIP."),
        (lambda model: _shard(model, *model.transformer.resblocks), r"^module 'transformer\.resblocks\.0'"),
        (lambda model: _shard(model, model.visual), "^module 'visual' of the model is sharded"),
        (
            lambda model: FullyShardedDataParallel(model, device_id=torch.device("cpu")),
            "^model is sharded by FSDP .FullyShardedDataParallel.",
        ),
        (_shard_blocks_as_before, r"^module 'transformer\.resblocks\.0'"),
    ],
    ids=["whole", "blocks", "image tower", "whole, FSDP1", "blocks, FSDP1"],
)
def test_a_sharded_model_is_refused_and_not_run(shard: Any, where: str, method: str) -> None:
    """Second derivatives of it end the process, and a pass that stops at a layer leaves it unsharded."""
    model = shard(_with_scale_of_one_entry())
    kinds = [type(weight) for weight in model.parameters()]
    with pytest.raises(ModelError, match=rf"{where}.*before fully_shard"):
        explain(model, IMAGE, "a red boat", **inputs_of(model), method=method)
    assert [type(weight) for weight in model.parameters()] == kinds


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("process_group")
def test_data_parallel_across_processes() -> None:
    model = build("plain")
    inputs = inputs_of(model)
    expected = explain(model, IMAGE, "a red boat", **inputs).values
    found = explain(DistributedDataParallel(model), IMAGE, "a red boat", **inputs).values
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_built_otherwise() -> None:
    class Otherwise(nn.Module):
        visual, transformer = nn.Linear(2, 2), 3
        encode_image = encode_text = None

    with pytest.raises(ModelError, match="DualEncoder"):
        explain(Otherwise(), IMAGE, "a red boat", method="exclip")
