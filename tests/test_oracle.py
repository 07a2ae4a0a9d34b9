"""The engine against the definition, computed naively in float64, on the full context."""

from __future__ import annotations

import dataclasses
import functools
import gc
import types
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import (
    CAPTIONS,
    MODELS,
    OPEN_CLIP_NAMES,
    SMALL_CAPTIONS,
    SMALL_CONTEXT,
    UNUSUAL,
    SmallTokenizer,
    build,
    clip,
    clip_tokenizer,
    inputs_of,
    open_clip_model,
    preprocess_for,
    scene,
    small_model,
    tokenizer_for,
)
from open_clip.transform import PreprocessCfg, image_transform_v2
from oracle import Truth, assert_close, explain_slowly, relative_error
from PIL import Image
from torch import nn

from exclip_widget import ExclipError, Explainer, Interactions, ModelError, explain, interactions_of
from exclip_widget.methods import METHODS
from exclip_widget.paths.quadrature import RULES

CASES = ((1, 0, "arc-length", 5), (2, 1, "gauss-legendre", 3), (1, 2, "midpoint", 3), (0, 2, "right", 4))
"""Caption, picture, rule, steps."""


def captions_of(name: str) -> tuple[str, ...]:
    return SMALL_CAPTIONS if name == "small vocabulary" else CAPTIONS


def definition(
    model: nn.Module, image: Image.Image, caption: str, *, rule: str, steps: int, **options: Any
) -> Truth:
    picture, ids = preprocess_for(model)(image), tokenizer_for(model)(caption)
    return explain_slowly(model, picture, ids, rule=rule, steps=steps, **options)


def assert_agree(found: Interactions, truth: Truth, tolerance: float) -> None:
    """Every number an explanation carries, patches and class token alike."""
    assert found.values.dtype == np.float32
    assert found.cls.dtype == np.float32
    # The truth ends with the caption; a tower that reads on has more rows: see tests/test_families.py.
    rows = len(truth.values)
    assert set(found.tokens[rows:]) <= {"<cls>", "<pad>"}
    assert_close(found.values[:rows], truth.values, tolerance)
    scale = np.abs(truth.values).max()
    assert found.cls.shape == found.values.shape[:1]
    assert np.abs(found.cls[:rows] - truth.cls).max() <= tolerance * max(np.abs(truth.cls).max(), scale)
    assert found.total == pytest.approx(truth.total, rel=tolerance, abs=tolerance * scale)
    assert found.similarity == pytest.approx(truth.similarity, abs=tolerance)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("caption", "seed", "rule", "steps"), CASES)
def test_float32(name: str, caption: int, seed: int, rule: str, steps: int) -> None:
    model, image = build(name), Image.fromarray(scene(seed))
    text = captions_of(name)[caption]
    found = explain(model, image, text, rule=rule, steps=steps, **inputs_of(model))
    assert_agree(found, definition(model, image, text, rule=rule, steps=steps), 1e-4)


@pytest.mark.parametrize("name", OPEN_CLIP_NAMES)
@pytest.mark.parametrize(("caption", "seed", "rule", "steps"), CASES[:2])
def test_float64(name: str, caption: int, seed: int, rule: str, steps: int) -> None:
    """In float64 only the cast of the result to float32 is left: the formula itself is exact."""
    model, image = build(name).double(), Image.fromarray(scene(seed))
    text = captions_of(name)[caption]
    found = explain(model, image, text, rule=rule, steps=steps, **inputs_of(model))
    assert_agree(found, definition(model, image, text, rule=rule, steps=steps), 1e-6)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["plain", "openai"])
def test_one_step(name: str, rule: str) -> None:
    model, image = build(name), Image.fromarray(scene(1))
    found = explain(model, image, CAPTIONS[1], rule=rule, steps=1, **inputs_of(model))
    assert_agree(found, definition(model, image, CAPTIONS[1], rule=rule, steps=1), 1e-4)


def test_defaults() -> None:
    """Ten steps along the curve of embeddings, at the last block."""
    model, image = build("plain"), Image.fromarray(scene(1))
    found = explain(model, image, CAPTIONS[1], **inputs_of(model))
    assert (found.rule, found.steps) == ("arc-length", 10)
    truth = definition(model, image, CAPTIONS[1], rule="arc-length", steps=10)
    assert_agree(found, truth, 1e-4)


@pytest.mark.parametrize(
    ("name", "caption", "tokens"),
    [
        ("plain", "red boat " * 37 + "house", 77),
        ("openai", "red boat " * 37 + "house", 77),
        ("small vocabulary", "boat " * (SMALL_CONTEXT - 2), SMALL_CONTEXT),
    ],
)
def test_caption_that_fills_the_context(name: str, caption: str, tokens: int) -> None:
    """The longest caption: nothing follows EOT, so nothing can be cut."""
    model, image = build(name), Image.fromarray(scene(2))
    found = explain(model, image, caption, rule="right", steps=2, **inputs_of(model))
    assert found.values.shape[0] == tokens
    assert_agree(found, definition(model, image, caption, rule="right", steps=2), 1e-4)


@pytest.mark.parametrize("layers", [(0, 0), (0, -1), (-1, 0), (1, 1), (-3, -2)])
@pytest.mark.parametrize("name", ["openai, deep", "three blocks", "three blocks, float64"])
def test_any_layer(name: str, layers: tuple[int, int]) -> None:
    """Wherever the towers are cut."""
    if name == "openai, deep":
        model = build(name)
    else:
        model = open_clip_model(vision={"layers": 3}, text={"layers": 3}, custom_text=True)
    tolerance = 1e-4
    if name.endswith("float64"):
        model, tolerance = model.double(), 1e-6
    image, (text_layer, image_layer) = Image.fromarray(scene(1)), layers
    options = {"text_layer": text_layer, "image_layer": image_layer, "steps": 2}
    found = explain(model, image, CAPTIONS[1], **options, **inputs_of(model))
    truth = definition(model, image, CAPTIONS[1], rule="arc-length", steps=2, layers=layers)
    assert_agree(found, truth, tolerance)


def _changed(output: Any) -> Any:
    """An output no normalisation can undo, of whatever a part gives or takes."""
    if isinstance(output, tuple):
        return (_changed(output[0]), *output[1:])
    return output.roll(1, -1) if output.is_floating_point() else output


class _Wrapper(nn.Module):
    """A part put in the place of another, as adapters and quantised layers are."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("part"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return _changed(self.part(*args, **kwargs))


def _hook(part: nn.Module) -> None:
    part.register_forward_hook(lambda _module, _args, output: _changed(output))


def _pre_hook(part: nn.Module) -> None:
    part.register_forward_pre_hook(lambda _, args: _changed(args))


def _forward_of_its_own(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return _changed(type(self).forward(self, *args, **kwargs))


def _patch(part: nn.Module) -> None:
    # Bound to the part, so that the oracle's copy runs the copy's weights.
    part.forward = types.MethodType(_forward_of_its_own, part)


def _subclass(part: nn.Module) -> None:
    # Both packages' normalisations are torch's, in float32.
    base = nn.LayerNorm if isinstance(part, nn.LayerNorm) else type(part)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return _changed(base.forward(self, *args, **kwargs))

    part.__class__ = type(f"Changed{base.__name__}", (base,), {"forward": forward})


PARTS = (
    "visual.conv1",
    "visual.ln_pre",
    "visual.transformer",
    "visual.transformer.resblocks.0",
    "visual.transformer.resblocks.0.mlp.c_fc",
    "visual.transformer.resblocks.1",
    "visual.transformer.resblocks.1.ln_1",
    "visual.transformer.resblocks.1.attn",
    "visual.transformer.resblocks.1.mlp",
    "visual.transformer.resblocks.1.mlp.gelu",
    "visual.ln_post",
    "visual",
    "token_embedding",
    "transformer",
    "transformer.resblocks.0.ln_2",
    "transformer.resblocks.1",
    "transformer.resblocks.1.attn",
    "transformer.resblocks.1.mlp.c_proj",
    "ln_final",
)


@pytest.mark.parametrize("change", [_hook, _pre_hook, _Wrapper, _patch, _subclass])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ["plain", "openai"])
def test_a_changed_part_is_explained_rightly_or_refused(
    name: str, part: str, change: Callable[[nn.Module], nn.Module | None]
) -> None:
    """Hooks, adapters, patched methods: the model that is explained is the model that runs."""
    model, image = build(name), Image.fromarray(scene(3))
    changed = change(model.get_submodule(part))
    if changed is not None:
        model.set_submodule(part, changed)
    inputs = {"preprocess": preprocess_for(build(name)), "tokenizer": clip_tokenizer()}
    try:
        found = explain(model, image, "a red boat", steps=2, **inputs)
    except ModelError:
        return
    picture, ids = inputs["preprocess"](image), clip_tokenizer()("a red boat")
    truth = explain_slowly(model, picture, ids, rule="arc-length", steps=2)
    assert_agree(found, truth, 1e-4)


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_tower_is_explained_rightly_or_refused(name: str) -> None:
    """Silent wrong numbers are the one outcome that is not allowed."""
    model, image = UNUSUAL[name](), Image.fromarray(scene(3))
    try:
        found = explain(model, image, CAPTIONS[1], steps=3, **inputs_of(model))
    except ModelError:
        return
    truth = definition(model, image, CAPTIONS[1], rule="arc-length", steps=3)
    assert_agree(found, truth, 1e-4)


@settings(max_examples=20, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**16),
    words=st.lists(st.sampled_from("a red boat left of two yellow fish".split()), min_size=1),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    layers=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    cuts=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    heads=st.sampled_from([1, 2, 4]),
    scale=st.sampled_from([None, 0.1]),
    rule=st.sampled_from(RULES),
    steps=st.integers(1, 6),
)
def test_any_configuration(
    seed: int,
    words: list[str],
    grid: tuple[int, int],
    layers: tuple[int, int],
    cuts: tuple[int, int],
    heads: int,
    scale: float | None,
    rule: str,
    steps: int,
) -> None:
    """Depth, layer, heads, grid, caption, rule and steps, in whatever combination."""
    caption = " ".join(words[: SMALL_CONTEXT - 2])
    size = (8 * grid[0], 8 * grid[1])
    vision = {
        "image_size": size,
        "layers": layers[0],
        "head_width": 32 // heads,
        "ls_init_value": scale,
    }
    model = small_model(seed, vision=vision, text={"layers": layers[1]}).double()
    image = Image.fromarray(scene(seed))
    image_layer, text_layer = (-min(cut, depth) for cut, depth in zip(cuts, layers, strict=True))
    options = {"rule": rule, "steps": steps}
    found = explain(
        model,
        image,
        caption,
        text_layer=text_layer,
        image_layer=image_layer,
        **options,
        **inputs_of(model),
    )
    assert found.values.shape[1:] == grid
    truth = definition(model, image, caption, layers=(text_layer, image_layer), **options)
    assert_agree(found, truth, 1e-6)


# --------------------------------------------------------------------------- refined in steps


@functools.cache
def _openai_boat(layers: tuple[int, int]) -> Truth:
    image, rule = Image.fromarray(scene(1)), "arc-length"
    return definition(build("openai"), image, "a boat", rule=rule, steps=10, layers=layers)


@pytest.mark.parametrize("layers", [(-1, -1), (0, 0)])
@pytest.mark.parametrize("frames", [1, 4, 10, 40])
@pytest.mark.parametrize("memory", [None, 1])
def test_refined_in_steps(frames: int, layers: tuple[int, int], memory: int | None) -> None:
    """However many estimates are shown and however little memory there is, the end is the same."""
    model, image = build("openai"), Image.fromarray(scene(1))
    options = {"text_layer": layers[0], "image_layer": layers[1], "steps": 10}
    options |= {"memory": memory} if memory else {}
    explanation = Explainer(model, **options, **inputs_of(model)).prepare(image, "a boat")
    *early, last = explanation.refine(frames)
    assert len(early) < 10
    assert len(early) + 1 == 10 or memory is None
    assert_agree(last, _openai_boat(layers), 1e-4)
    for estimate in early:
        assert estimate.values.shape == last.values.shape
        assert np.isfinite(estimate.values).all()
        assert (estimate.total, estimate.similarity) == (last.total, last.similarity)
    if early:
        assert relative_error(early[-1].values, last.values) < 1


# --------------------------------------------------------------------- what an explanation says


def test_fields() -> None:
    model, image = build("plain"), Image.fromarray(scene(1))
    found = explain(model, image, CAPTIONS[1], steps=3, rule="midpoint", **inputs_of(model))
    words = CAPTIONS[1].split()
    assert found.caption == CAPTIONS[1]
    assert (found.steps, found.rule) == (3, "midpoint")
    assert found.tokens == ("<sot>", *words, "<eot>")
    assert found.values.shape == (len(found.tokens), 4, 4)
    assert found.cls.shape == (len(found.tokens),)
    assert (found.spans[0], found.spans[-1]) == (None, None)
    assert [found.caption[start:end] for start, end in found.spans[1:-1]] == words
    assert found.words == (-1, *range(len(words)), -1)
    assert all(type(getattr(found, name)) is float for name in ("similarity", "total", "residual"))


def test_spans_point_into_the_caption_as_written() -> None:
    """Tokens are lower case and cut into pieces; the caption is neither."""
    caption = "  The Counterclockwise   DOG's nap!"
    model, image = build("plain"), Image.fromarray(scene(1))
    found = explain(model, image, caption, steps=1, **inputs_of(model))
    assert found.caption == caption
    for token, span in zip(found.tokens[1:-1], found.spans[1:-1], strict=True):
        assert span is not None
        assert caption[span[0] : span[1]].lower() == token


@settings(max_examples=40, deadline=None, database=None)
@given(st.text(min_size=1, max_size=12))
def test_spans_of_any_text(caption: str) -> None:
    """Whatever is typed: an explanation whose parts fit together, or a refusal of the caption."""
    try:
        found = explain(ANY_TEXT_MODEL, ANY_TEXT_IMAGE, caption, steps=1, **inputs_of(ANY_TEXT_MODEL))
    except ExclipError:
        return
    assert found.caption == caption
    assert len(found.tokens) == len(found.spans) == found.values.shape[0] == found.cls.shape[0]
    assert np.isfinite(found.values).all()
    last = 0
    for span in found.spans:
        if span is not None:
            start, end = span
            assert last <= start < end <= len(caption)
            last = start


ANY_TEXT_MODEL = build("one block")
ANY_TEXT_IMAGE = Image.fromarray(scene(0))


def test_row_zero_is_the_top() -> None:
    """A picture turned upside down, explained where position does not matter, is turned values."""
    model: nn.Module = build("plain")
    with torch.no_grad():
        model.visual.positional_embedding[1:] = model.visual.positional_embedding[1]
        model.visual.conv1.weight.copy_(model.visual.conv1.weight.mean(dim=2, keepdim=True))
    image = Image.fromarray(scene(1, size=(32, 32)))
    turned = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    upright = explain(model, image, "a boat", **inputs_of(model)).values
    below = explain(model, turned, "a boat", **inputs_of(model)).values
    assert_close(below[:, ::-1], upright, 1e-4)
    assert relative_error(below, upright) > 0.1


def test_same_input_same_numbers() -> None:
    model, image = build("plain"), Image.fromarray(scene(1))
    first, second = (explain(model, image, CAPTIONS[1], **inputs_of(model)) for _ in range(2))
    np.testing.assert_array_equal(first.values, second.values)


# ------------------------------------------------------ what is found from the model if not given


@pytest.mark.parametrize("size", [(48, 64), (33, 47), (71, 40), (32, 32), (9, 200)])
def test_preprocessing_of_openai_models_is_known(size: tuple[int, int]) -> None:
    model, image = build("openai"), Image.fromarray(scene(4, size))
    found = explain(model, image, "a boat", steps=2)
    given_ = explain(model, image, "a boat", steps=2, preprocess=clip.clip._transform(32))
    assert_close(found.values, given_.values, 1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.4, 0.3)},
        {"interpolation": "bilinear"},
        {"resize_mode": "squash"},
        {"resize_mode": "longest", "fill_color": 90},
    ],
)
def test_preprocessing_of_open_clip_models_is_read_from_them(change: dict[str, object]) -> None:
    """The factory leaves its preprocessing on the model; every field of it counts."""
    model, image = build("plain"), Image.fromarray(scene(4, (50, 71)))
    config = PreprocessCfg(size=(32, 32), **change)
    open_clip.set_model_preprocess_cfg(model, dataclasses.asdict(config))
    preprocess = image_transform_v2(config, is_train=False)
    found = explain(model, image, "a boat", steps=2)
    given_ = explain(model, image, "a boat", steps=2, preprocess=preprocess)
    assert_close(found.values, given_.values, 1e-5)


def test_preprocessing_that_cannot_be_known_is_asked_for() -> None:
    model = build("plain")
    with pytest.raises(ExclipError, match="preprocess="):
        explain(model, Image.fromarray(scene(0)), "a boat", tokenizer=clip_tokenizer())


@pytest.mark.parametrize("name", ["plain", "openai"])
def test_tokenizer_of_the_clip_vocabulary_is_known(name: str) -> None:
    model, image = build(name), Image.fromarray(scene(0))
    preprocess = preprocess_for(model)
    found = explain(model, image, CAPTIONS[3], steps=2, preprocess=preprocess)
    given_ = explain(model, image, CAPTIONS[3], steps=2, **inputs_of(model))
    assert found.tokens == given_.tokens
    np.testing.assert_array_equal(found.values, given_.values)


def test_tokenizer_that_cannot_be_known_is_asked_for() -> None:
    model = build("small vocabulary")
    with pytest.raises(ExclipError, match="tokenizer="):
        explain(model, Image.fromarray(scene(0)), "a boat", preprocess=preprocess_for(model))


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [
        ("plain", open_clip.tokenize),
        ("openai", clip.tokenize),
        ("small vocabulary", lambda text: SmallTokenizer()(f"{text}")),
    ],
)
def test_a_tokenizer_may_be_a_plain_function(name: str, tokenizer: object) -> None:
    """The ids that open and close the caption then come from the caption's own ids."""
    model, image = build(name), Image.fromarray(scene(0))
    inputs = {"preprocess": preprocess_for(model), "tokenizer": tokenizer}
    found = explain(model, image, "a red boat", steps=3, rule="right", **inputs)
    assert (found.tokens[0], found.tokens[-1], len(found.tokens)) == ("<sot>", "<eot>", 5)
    assert_agree(found, definition(model, image, "a red boat", rule="right", steps=3), 1e-4)


# ------------------------------------------------------------------------ nothing stale is reused


def _through_copy(parameter: nn.Parameter) -> None:
    with torch.no_grad():
        parameter.mul_(-0.7)


def _through_data(parameter: nn.Parameter) -> None:
    parameter.data.mul_(-0.7)


def _by_assignment(parameter: nn.Parameter) -> None:
    parameter.data = parameter.data * -0.7


def _one_element(parameter: nn.Parameter) -> None:
    parameter.data.view(-1)[-2] += 3


@pytest.mark.parametrize("change", [_through_copy, _through_data, _by_assignment, _one_element])
def test_changed_weights_are_seen(change: Callable[[nn.Parameter], None]) -> None:
    """What is kept of a model from one explanation to the next must not outlive its weights."""
    model, image = build("plain"), Image.fromarray(scene(0))
    arguments = {"steps": 3, "rule": "right"}
    for path in (None, "positional_embedding", "visual.transformer.resblocks.0.mlp.c_fc.weight"):
        if path is not None:
            change(model.get_parameter(path))
        found = explain(model, image, "a red boat", **arguments, **inputs_of(model))
        assert_agree(found, definition(model, image, "a red boat", **arguments), 1e-4)


def _hooked_below(model: nn.Module) -> None:
    _hook(model.visual.conv1)


def _hooked_in_text(model: nn.Module) -> None:
    _hook(model.transformer.resblocks[0].mlp.c_fc)


def _other_activation(model: nn.Module) -> None:
    model.visual.transformer.resblocks[0].mlp.gelu = nn.Tanh()


def _other_epsilon(model: nn.Module) -> None:
    model.transformer.resblocks[0].ln_2.eps = 0.5


def _other_mask(model: nn.Module) -> None:
    model.attn_mask[3, 1] = -torch.inf


@pytest.mark.parametrize(
    "change", [_hooked_below, _hooked_in_text, _other_activation, _other_epsilon, _other_mask]
)
def test_a_model_changed_otherwise_is_seen(change: Callable[[nn.Module], None]) -> None:
    """A model is more than its weights."""
    model, image = build("plain"), Image.fromarray(scene(0))
    options = {"steps": 3, "rule": "right"}
    explain(model, image, "a red boat", **options, **inputs_of(model))
    change(model)
    try:
        found = explain(model, image, "a red boat", **options, **inputs_of(model))
    except ModelError:
        return
    assert_agree(found, definition(model, image, "a red boat", **options), 1e-4)


@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize(
    "context",
    [
        torch.inference_mode,
        torch.no_grad,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    ],
    ids=["inference mode", "no grad", "autocast"],
)
def test_where_it_was_first_used_leaves_no_trace(
    context: Callable[[], AbstractContextManager[None]], layer: int
) -> None:
    """What is kept of a model was not computed in another precision, nor is it unfit for autograd."""
    model, image = build("plain"), Image.fromarray(scene(0))
    options = {"text_layer": layer, "image_layer": layer, "steps": 2} | inputs_of(model)
    with context():
        explain(model, image, "a red boat", **options)
    found = explain(model, image, "a red boat", **options)
    truth = definition(model, image, "a red boat", rule="arc-length", steps=2, layers=(layer, layer))
    assert_agree(found, truth, 1e-4)


def test_changed_precision_is_seen() -> None:
    model, image = build("plain"), Image.fromarray(scene(0))
    explain(model, image, "a red boat", steps=3, **inputs_of(model))
    model.double()
    found = explain(model, image, "a red boat", steps=3, **inputs_of(model))
    truth = definition(model, image, "a red boat", rule="arc-length", steps=3)
    assert_agree(found, truth, 1e-6)


def test_one_model_after_another() -> None:
    """Models that come and go may share an address; what is kept of one is not the other's."""
    image = Image.fromarray(scene(0))
    for seed in range(6):
        model = small_model(seed)
        found = explain(model, image, "a boat", steps=2, rule="right", **inputs_of(model))
        assert_agree(found, definition(model, image, "a boat", rule="right", steps=2), 1e-4)
        del model
        gc.collect()


def graphs() -> int:
    """How many results that autograd could go back from are still held by anything."""
    gc.collect()
    return sum(type(held) is torch.Tensor and held.grad_fn is not None for held in gc.get_objects())


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_stays_behind(method: str, layer: int) -> None:
    model, image = build("plain"), Image.fromarray(scene(3))
    options = {"method": method, "text_layer": layer, "image_layer": layer, **inputs_of(model)}
    before = graphs()
    explainer = Explainer(model, **options)
    for caption in CAPTIONS:
        explainer.explain(image, caption)
        interactions_of(explainer.text(caption), explainer.image(image))
    assert graphs() == before


def test_one_model_many_pictures_and_captions() -> None:
    """Changing one input at a time changes the result as if nothing had gone before."""
    model = open_clip_model(seed=3)
    for seed, caption in [(0, "a boat"), (1, "a boat"), (1, "a red house"), (0, "a boat")]:
        image = Image.fromarray(scene(seed))
        found = explain(model, image, caption, steps=2, rule="right", **inputs_of(model))
        assert_agree(found, definition(model, image, caption, rule="right", steps=2), 1e-4)
