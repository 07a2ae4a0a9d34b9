"""What goes around the layer: the residual shows it, and references are the model's own."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import open_clip
import pytest
import timm
import torch
from support.explaining import CAPTION, IMAGE
from support.zoo.families import family
from support.zoo.inputs import preprocess_to
from support.zoo.models import build, inputs_of
from support.zoo.tokenizers import SMALL_CONTEXT, SmallTokenizer
from support.zoo.weights import draw
from torch import Tensor, nn
from torch.nn import functional as F

from exclip_widget import DualEncoder, Explainer, explain, interactions_of
from exclip_widget.inputs.references import fit_reference
from exclip_widget.methods.around import with_other_words
from exclip_widget.models.tower import ANY_VOCABULARY
from exclip_widget.models.towers import find_towers
from exclip_widget.store import Head
from exclip_widget.store.parts import factors_of, row_of

INPUTS = {"preprocess": preprocess_to(32, 32), "tokenizer": SmallTokenizer(), "method": "exclip", "steps": 40}


class Own(nn.Module):
    """A model of the user's own, which may have connections around its layers `words` and `patches`."""

    def __init__(self, around: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.convolution = nn.Embedding(64, 12), nn.Conv2d(3, 12, 8, 8)
        self.words, self.patches, self.around = nn.Linear(12, 12), nn.Linear(12, 12), around

    def text(self, ids: Tensor) -> Tensor:
        tokens = self.table(ids)
        beside = tokens.mean(1) if "text" in self.around else 0
        return F.gelu(self.words(tokens)).mean(1) + beside

    def image(self, pixels: Tensor) -> Tensor:
        tokens = self.convolution(pixels).flatten(2).transpose(1, 2)
        beside = tokens.sin().mean(1) if "image" in self.around else 0
        return F.gelu(self.patches(tokens)).mean(1) + beside

    def described(self) -> DualEncoder:
        return DualEncoder(
            self,
            encode_text=self.text,
            encode_image=self.image,
            text_layers=["words"],
            image_layers=["patches"],
        )


@pytest.mark.parametrize("caption", ["a red boat and", "a red", "boat", "boat boat"])
@pytest.mark.parametrize("around", ["text", "image", "text and image", ""])
def test_what_goes_around_the_layer_is_left_as_residual(around: str, caption: str) -> None:
    model = Own(around)
    result = explain(model.described(), IMAGE, caption, **INPUTS)
    ids = SmallTokenizer()(caption)
    reference = fit_reference(SmallTokenizer()("")[0], model.described().towers()[0], ids.shape[1])
    pixels = preprocess_to(32, 32)(IMAGE)[None]
    with torch.no_grad():
        f, f_r = model.text(ids)[0].double(), model.text(reference[None])[0].double()
        g, g_r = model.image(pixels)[0].double(), model.image(0 * pixels)[0].double()
    norms = float(f.norm() * g.norm())
    assert result.similarity == pytest.approx(float(f @ g) / norms, abs=1e-5)
    assert result.reference_term == pytest.approx(float(f_r @ g_r) / norms, abs=1e-5)
    receipt = result.receipt(0)
    assert sum(receipt.parts.values()) == pytest.approx(result.similarity, abs=1e-5)
    assert receipt.parts["reference"] == pytest.approx(result.reference_term, abs=1e-3)
    assert (result.residual > 0.02) == bool(around)
    if not around:
        assert result.total == pytest.approx(float((f - f_r) @ (g - g_r)) / norms, abs=1e-5)


def test_factors_know_what_goes_around_the_layer() -> None:
    explainer = Explainer(Own("text and image").described(), **INPUTS)
    expected = explainer.explain(IMAGE, CAPTION)
    text, image = explainer.text_factors(CAPTION), explainer.image_factors(IMAGE)
    for found in (interactions_of(text, image), interactions_of([text], [image])[0][0]):
        assert found.total == pytest.approx(expected.total, abs=1e-5)
        assert found.residual == pytest.approx(expected.residual, rel=1e-3)
        assert found.receipt(0).parts == pytest.approx(expected.receipt(0).parts, abs=1e-4)
    assert text.around is not None
    np.testing.assert_allclose(text.change + text.reference + text.around, text.embedding, atol=1e-6)


@pytest.mark.parametrize("around", ["", "text and image"])
def test_a_store_keeps_what_goes_around_the_layer(around: str) -> None:
    explainer = Explainer(Own(around).described(), **INPUTS)
    text, head = explainer.text_factors(CAPTION), Head(explainer.recipe())
    kept = factors_of(row_of("a", text, head, {}), head)
    assert (kept.around is None) == (not around)
    np.testing.assert_allclose(kept.reference, text.reference, atol=1e-6)


def test_a_tower_with_a_hook_still_pools_where_the_caption_ends() -> None:
    """Where it pools goes around every layer, but it is the same all along the path."""
    model: Any = build("small vocabulary")
    options = inputs_of(model) | {"method": "exclip", "text_layer": 0, "image_layer": 0}
    expected = explain(model, IMAGE, CAPTION, **options)
    for tower in (model.text.transformer, model.visual.transformer):
        tower.register_forward_hook(lambda *_: None)
    found = explain(model, IMAGE, CAPTION, **options)
    assert found.total == pytest.approx(expected.total, abs=1e-5)
    assert found.reference_term == pytest.approx(expected.reference_term, abs=1e-5)


def test_a_library_model_takes_no_pass_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("exclip_widget.methods.side.change_around", fail)
    model = build("plain")
    assert explain(model, IMAGE, CAPTION, **inputs_of(model), method="exclip").residual < 0.1


@pytest.mark.parametrize("of", ["open_clip SigLIP", "open_clip, BERT", "transformers SigLIP", "OpenAI ViT"])
def test_known_towers_are_chains(of: str) -> None:
    towers = find_towers(family(of).model)
    assert not towers.text.may_go_around
    assert not towers.image.may_go_around


@pytest.fixture(scope="module")
def crossing() -> Any:
    """Return a model whose image tower has two streams: timm's own CrossViT, small."""
    create = timm.create_model
    small = {"embed_dim": (16, 24), "num_heads": (2, 2), "depth": ((1, 1, 0), (1, 1, 0)), "img_size": 120}
    with mock.patch.object(timm, "create_model", lambda *given, **named: create(*given, **named | small)):
        model = open_clip.CustomTextCLIP(
            12,
            vision_cfg={"timm_model_name": "crossvit_tiny_240", "timm_pool": "", "image_size": 120},
            text_cfg={
                "context_length": SMALL_CONTEXT,
                "vocab_size": 64,
                "layers": 2,
                "width": 24,
                "heads": 3,
            },
        )
    draw(model, 3)
    return model.eval()


@pytest.mark.parametrize("layer", [0, -1])
def test_a_second_stream_of_a_library_tower_is_left_as_residual(crossing: Any, layer: int) -> None:
    assert find_towers(crossing).image.is_own
    count = len(crossing.visual.trunk.blocks)
    described = DualEncoder(
        crossing,
        encode_text=crossing.encode_text,
        encode_image=crossing.encode_image,
        text_layers=["text.transformer.resblocks.0"],
        image_layers=[f"visual.trunk.blocks.{at}" for at in range(count)],
        context_length=SMALL_CONTEXT,
        padded=True,
    )
    options = INPUTS | {"preprocess": preprocess_to(120, 120), "text_layer": 0, "image_layer": layer}
    found, expected = (explain(model, IMAGE, CAPTION, **options) for model in (crossing, described))
    assert expected.residual > 0.02
    assert found.residual == pytest.approx(expected.residual, rel=1e-2)
    assert found.receipt(0).parts == pytest.approx(expected.receipt(0).parts, abs=1e-3)
    assert found.reference_term == pytest.approx(expected.reference_term, abs=1e-3)


def test_other_words_are_no_ids_of_special_tokens() -> None:
    sot, eot = 1, 2
    ids = torch.tensor([sot, 3, 3, eot, 0])
    other = with_other_words(ids, torch.tensor([3]), torch.tensor([sot, 0, eot]), 6)
    assert other.tolist() == [sot, 4, 4, eot, 0]
    several = with_other_words(torch.tensor([sot, 5, 4, eot]), torch.tensor([4, 5]), ids, 6)
    assert several.tolist() == [sot, 4, 4, eot]


def test_a_vocabulary_of_unknown_size_costs_no_memory() -> None:
    ids, word = torch.tensor([1, 3, 2]), torch.tensor([3])
    other = with_other_words(ids, word, torch.tensor([0, 1, 2]), ANY_VOCABULARY)
    assert other.tolist() == [1, 4, 2]
