"""Cutting a tower at a layer: errors name what cannot be read or differentiated there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.explaining import CAPTION, IMAGE
from support.zoo.inputs import preprocess_to
from support.zoo.models import build, inputs_of
from support.zoo.tokenizers import SmallTokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from exclip_widget import DualEncoder, Explainer, Interactions, ModelError, demo, explain
from exclip_widget.paths.cut import Cut, _laid_out_like, embed_each, embedding_of

OWN_INPUTS = {"preprocess": preprocess_to(32, 32), "tokenizer": SmallTokenizer()}
"""What the custom models here take: images of 4 x 4 patches, and short captions."""


def test_a_model_that_detaches_is_refused() -> None:
    model = build("plain")
    encode = model.encode_image
    model.encode_image = lambda pixels, **options: encode(pixels, **options).detach()
    with pytest.raises(TypeError, match="no gradient reaches the layer"):
        explain(model, IMAGE, CAPTION, **inputs_of(build("plain")), image_layer=0, method="exclip")


@pytest.mark.parametrize("where", ["visual.transformer.resblocks.1", "transformer.resblocks.1"])
def test_infinite_activations_are_named(where: str) -> None:
    model = build("plain")
    with torch.no_grad():
        side = model.get_submodule(where.replace("resblocks.1", "resblocks.0"))
        side.mlp.c_proj.bias[0] = float("nan")
    with pytest.raises(TypeError, match=f"NaN or infinite at layer '{where}'"):
        explain(model, IMAGE, CAPTION, **inputs_of(model), text_layer=1, image_layer=1, method="exclip")


class Own(nn.Module):
    """A model of the user's own, whose only layers are `words` and `patches`."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.convolution = nn.Embedding(64, 16), nn.Conv2d(3, 16, 8, 8)
        self.words, self.patches, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 12)

    def text(self, ids: Tensor) -> Tensor:
        return self.last(F.gelu(self.words(self.table(ids))).mean(1))

    def image(self, pixels: Tensor) -> Tensor:
        tokens = self.convolution(pixels).flatten(2).transpose(1, 2)
        return self.last(F.gelu(self.patches(tokens)).mean(1))

    def similarity(self) -> float:
        """Return the cosine of the caption and the image from plain calls of the model."""
        with torch.no_grad():
            sides = self.text(SmallTokenizer()(CAPTION)), self.image(OWN_INPUTS["preprocess"](IMAGE)[None])
        return float(F.cosine_similarity(*sides))

    def described(self) -> DualEncoder:
        return DualEncoder(
            self,
            encode_text=self.text,
            encode_image=self.image,
            text_layers=["words"],
            image_layers=["patches"],
        )

    def explained(self, **options: Any) -> Interactions:
        return explain(self.described(), IMAGE, CAPTION, **OWN_INPUTS, **options)


class Viewing(nn.Linear):
    """A layer that needs its tokens in memory as (tokens, batch, width)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens.view(-1, tokens.shape[-1])).view(tokens.shape)


class OfViews(Own):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.patches = Viewing(16, 16), Viewing(16, 16)

    def text(self, ids: Tensor) -> Tensor:
        return self.last(F.gelu(self.words(self.table(ids.T))).mean(0))

    def image(self, pixels: Tensor) -> Tensor:
        tokens = self.convolution(pixels).flatten(2).permute(2, 0, 1).contiguous()
        return self.last(F.gelu(self.patches(tokens)).mean(0))


@pytest.mark.parametrize("method", ["frozen", "exclip", "banzhaf", "gradient"])
def test_layers_that_view_their_tokens(method: str) -> None:
    model = OfViews()
    assert model.explained(method=method).similarity == pytest.approx(model.similarity(), abs=1e-6)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1)])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_replaced_tensor_is_laid_out_in_memory_as_the_models_own(axes: tuple[int, ...], batch: int) -> None:
    native = torch.zeros(batch, 3, 4).permute(axes)
    given = torch.arange(24.0).reshape(2, 3, 4)
    found = _laid_out_like(native, given.permute(axes))
    torch.testing.assert_close(found, given.permute(axes))
    assert found.data_ptr() != given.data_ptr()
    if batch == 2:
        assert found.stride() == native.stride()


def centred(batch: Tensor) -> Tensor:
    """Mix the inputs of a batch."""
    return batch - 0.5 * batch.mean(0, keepdim=True)


class OfBatches(Own):
    def image(self, pixels: Tensor) -> Tensor:
        return centred(super().image(pixels))


class OfCaptions(Own):
    def text(self, ids: Tensor) -> Tensor:
        return centred(super().text(ids))


class OfWords(Own):
    """Mixes captions before they reach the layer."""

    def text(self, ids: Tensor) -> Tensor:
        return self.last(F.gelu(self.words(centred(self.table(ids)))).mean(1))


class MergesAlike(Own):
    """Drops the words least like the others in the first caption of a batch, of any length."""

    def text(self, ids: Tensor) -> Tensor:
        words = F.gelu(self.words(self.table(ids)))
        unit = F.normalize(words[0], dim=-1)
        kept = (unit @ unit.mT).sum(1).argsort()[2:]
        return self.last(words[:, kept].mean(1))


@pytest.mark.parametrize("kind", [OfBatches, OfCaptions, MergesAlike])
@pytest.mark.parametrize("method", ["exclip", "gradient", "banzhaf", "similarity"])
def test_a_model_that_mixes_the_inputs_of_a_batch(kind: type[Own], method: str) -> None:
    model = kind()
    if method != "gradient" and (kind, method) != (MergesAlike, "similarity"):  # these run no batches
        with pytest.raises(ModelError, match="if there is another one in the batch"):
            model.explained(method=method)
    else:
        assert model.explained(method=method).similarity == pytest.approx(model.similarity(), abs=1e-6)
    assert model.explained(method="frozen").similarity == pytest.approx(model.similarity(), abs=1e-6)


class Halved(Own):
    """What `OfWords` computes of a caption alone."""

    def text(self, ids: Tensor) -> Tensor:
        return self.last(F.gelu(self.words(0.5 * self.table(ids))).mean(1))


@pytest.mark.parametrize("kind", [OfCaptions, OfWords])
def test_captions_that_are_mixed_in_a_batch_go_one_by_one(kind: type[Own]) -> None:
    model = kind()
    result = model.explained(method="frozen")
    assert result.similarity == pytest.approx(model.similarity(), abs=1e-6)
    if kind is OfWords:
        expected = Halved().explained(method="frozen")
        np.testing.assert_allclose(result.values, expected.values, atol=1e-6)
    captions = [CAPTION, "a blue boat", "a red fish", "a small house"]
    explainer = Explainer(model.described(), **OWN_INPUTS)
    alone = [explainer.text_embeddings([caption])[0] for caption in captions]
    np.testing.assert_allclose(explainer.text_embeddings(captions), alone, atol=1e-6)


def only_one(batch: Tensor) -> Tensor:
    (one,) = batch
    return one[None]


@pytest.mark.parametrize("encode", [centred, only_one, torch.exp, lambda batch: (batch[:1],)])
@pytest.mark.parametrize("count", [1, 4])
def test_inputs_are_embedded_as_if_each_were_the_only_one(
    encode: Callable[[Tensor], Tensor], count: int
) -> None:
    batch = torch.randn(count, 3)
    expected = torch.cat([embedding_of(encode(one[None])) for one in batch])
    torch.testing.assert_close(embed_each(encode, batch, is_own=False), expected)


def test_inputs_are_embedded_together_if_that_gives_the_same() -> None:
    sizes = []

    def encode(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return batch.exp()

    embed_each(encode, torch.randn(4, 3), is_own=False)
    embed_each(encode, torch.randn(4, 3), is_own=True)
    assert sizes == [1, 4, 4]


class Noisy(Own):
    def image(self, pixels: Tensor) -> Tensor:
        embedding = super().image(pixels)
        return embedding + 0.1 * torch.randn_like(embedding)


@pytest.mark.parametrize("method", ["frozen", "exclip"])
def test_a_random_model(method: str) -> None:
    with pytest.raises(ModelError, match="the model is random"):
        Noisy().explained(method=method)


def test_a_custom_model_is_compared_with_a_batch_once_for_each_side(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []
    monkeypatch.setattr(Cut, "_require_apart", lambda _, tokens: sides.append(tokens))
    Own().explained(method="exclip", steps=30, memory=1)
    assert len(sides) == 2
    sides.clear()
    model = build("plain")
    explain(model, IMAGE, CAPTION, **inputs_of(model), image_layer=0, method="exclip")
    assert not sides


class Backwards(torch.autograd.Function):
    """The identity, with a derivative of one's choice."""

    @staticmethod
    def forward(context: Any, x: Tensor, slope: float) -> Tensor:
        context.slope = slope
        return x.clone()

    @staticmethod
    def backward(context: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return context.slope * grad, None


def _scale_gradient(_: nn.Module, __: object, out: Tensor) -> None:
    if out.requires_grad:
        out.register_hook(lambda grad: 0.1 * grad)


def _scale_in_node(_: nn.Module, __: object, out: Tensor) -> None:
    if out.grad_fn is not None:
        out.grad_fn.register_prehook(lambda grads: tuple(0.1 * grad for grad in grads))


def _clip_gradient(_: nn.Module, __: object, out: Tensor) -> None:
    if out.requires_grad:
        out.register_hook(lambda grad: grad.clamp(-1e-3, 1e-3))


@pytest.mark.parametrize("method", ["frozen", "gradient"])
@pytest.mark.parametrize("where", ["visual.transformer.resblocks.1", "transformer.resblocks.1.mlp"])
@pytest.mark.parametrize("hook", [_scale_gradient, _scale_in_node, _clip_gradient])
def test_hooks_that_change_gradients_are_refused(hook: Callable[..., None], where: str, method: str) -> None:
    """Neither method has a residual that would show them."""
    model = build("plain")
    model.get_submodule(where).register_forward_hook(hook)
    with pytest.raises(ModelError, match=r"autograd's derivative from layer .* differs by .*register_hook"):
        explain(model, IMAGE, CAPTION, **inputs_of(model), method=method, text_layer=0, image_layer=0)


@pytest.mark.parametrize("slope", [0.1, 1])
def test_a_function_with_derivatives_of_its_own(slope: float) -> None:
    model: Any = build("plain")
    options = inputs_of(model) | {"method": "gradient", "text_layer": 0, "image_layer": 0}
    expected = explain(model, IMAGE, CAPTION, **options).values
    block = model.visual.transformer.resblocks[1]
    block.mlp.register_forward_hook(lambda _, __, out: Backwards.apply(out, slope))
    if slope == 1:
        found = explain(model, IMAGE, CAPTION, **options).values
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
        return
    with pytest.raises(ModelError, match="autograd's derivative from layer"):
        explain(model, IMAGE, CAPTION, **options)


@pytest.mark.parametrize("method", ["frozen", "gradient"])
def test_hooks_that_leave_gradients_alone_are_run(method: str) -> None:
    model: Any = build("plain")
    options = inputs_of(model) | {"method": method, "text_layer": 0, "image_layer": 0}
    expected = explain(model, IMAGE, CAPTION, **options).values
    seen: list[Tensor] = []
    for tower in (model, model.visual):
        block = tower.transformer.resblocks[1]
        block.register_forward_hook(
            lambda _, __, out: out.register_hook(seen.append) and None if out.requires_grad else None
        )
        block.mlp.register_forward_hook(lambda _, __, out: torch.relu(out) - torch.relu(-out))
    found = explain(model, IMAGE, CAPTION, **options).values
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert seen


def test_a_straight_through_estimator_is_refused() -> None:
    """Its residual shows it to whoever integrates gradients; a gradient alone has none."""
    model: Any = build("plain")
    options = inputs_of(model) | {"text_layer": 0, "image_layer": 0}
    block = model.visual.transformer.resblocks[1]

    def quantised(_: nn.Module, __: object, out: Tensor) -> Tensor:
        return out + (out.sign() - out).detach()

    block.mlp.register_forward_hook(quantised)
    with pytest.raises(ModelError, match="autograd's derivative from layer"):
        explain(model, IMAGE, CAPTION, method="gradient", **options)
    assert explain(model, IMAGE, CAPTION, method="exclip", **options).residual > 0.1


def _rounded(out: Tensor) -> Tensor:
    """Return activations rounded to 8 bits for each token, as dynamic quantisation does."""
    scale = out.abs().amax(-1, keepdim=True) / 127
    return (out / scale).round() * scale


def _rounded_coarsely(out: Tensor) -> Tensor:
    return out + ((2 * out).round() / 2 - out).detach()


def _from_codebook(out: Tensor) -> Tensor:
    codes = torch.randn(8, out.shape[-1], generator=torch.Generator().manual_seed(0)).to(out)
    nearest = codes[torch.cdist(out.detach(), codes.expand(len(out), -1, -1)).argmin(-1)]
    return out + (nearest - out).detach()


@pytest.mark.parametrize("jumps", [_rounded, _rounded_coarsely, _from_codebook])
@pytest.mark.parametrize("where", ["mlp", ""])
def test_derivatives_of_what_jumps_are_refused(jumps: Callable[[Tensor], Tensor], where: str) -> None:
    model: Any = build("plain")
    options = inputs_of(model) | {"text_layer": 0, "image_layer": 0}
    for block in model.visual.transformer.resblocks:
        block.get_submodule(where).register_forward_hook(lambda _, __, out: jumps(out))
    with pytest.raises(ModelError, match=r"the embedding jumps|autograd's derivative from layer"):
        explain(model, IMAGE, CAPTION, method="gradient", **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_in_half_precision_is_no_jump(dtype: torch.dtype) -> None:
    model: Any = build("plain")
    options = inputs_of(model) | {"method": "gradient", "text_layer": 0, "image_layer": 0}
    expected = explain(model, IMAGE, CAPTION, **options).values
    for block in (*model.transformer.resblocks, *model.visual.transformer.resblocks):
        rounded = torch.autocast("cpu", dtype)(block.forward)
        block.forward = lambda *args, rounded=rounded, **kwargs: rounded(*args, **kwargs).float()
    found = explain(model, IMAGE, CAPTION, **options).values
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


def test_rounding_in_a_trained_model_is_no_jump() -> None:
    book = demo.load()
    page, options = book.pages[0], {"tokenizer": book.tokenizer, "text_layer": 0, "image_layer": 0}
    expected = explain(book.model, page.image, page.caption, method="gradient", **options).values
    model: Any = copy.deepcopy(book.model)
    rounded = torch.autocast("cpu", torch.bfloat16)(model.encode_image)
    model.encode_image = lambda *args, **kwargs: rounded(*args, **kwargs).float()
    found = explain(model, page.image, page.caption, method="gradient", **options).values
    assert np.linalg.norm(found - expected) < 0.2 * np.linalg.norm(expected)
