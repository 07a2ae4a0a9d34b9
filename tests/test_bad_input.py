"""Bad and odd input: each either works, with the right numbers, or gives one clear error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from models import (
    CAPTIONS,
    CONTEXT,
    SMALL_CONTEXT,
    build,
    clip,
    clip_tokenizer,
    inputs_of,
    open_clip_model,
    openai_model,
    preprocess_for,
    residual_networks,
    saved,
    scene,
    sharpen,
)
from oracle import assert_close
from PIL import Image
from torch import nn

import exclip_widget
from exclip_widget import CaptionError, ExclipError, ModelError, ParameterError, PictureError, explain

CAPTION = "a red boat"
MODEL = build("plain")


def values_of(image: Any, caption: Any = CAPTION, **options: Any) -> np.ndarray:
    options = {"steps": 2} | inputs_of(MODEL) | options
    return explain(options.pop("model", MODEL), image, caption, **options).values


def refusal_of(kind: type[Exception], *arguments: Any, **options: Any) -> str:
    """The message of the refusal. Its class is the documented one, not a subclass of chance."""
    with pytest.raises(ExclipError) as refusal:
        values_of(*arguments, **options)
    assert type(refusal.value) is kind, f"{type(refusal.value)}: {refusal.value}"
    message = str(refusal.value)
    assert message.strip()
    assert "\n" not in message.strip(), "one clear error, not a page"
    return message


def values_or_refusal(kind: type[Exception], *arguments: Any, **options: Any) -> np.ndarray | str:
    """The message where the input may be refused and is, the values where it works."""
    try:
        return values_of(*arguments, **options)
    except kind as refusal:
        return str(refusal)


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(scene(seed))


def test_errors_are_also_pythons_own() -> None:
    """Code that expects ValueError and TypeError need not know this package."""
    assert issubclass(exclip_widget.errors.ExclipError, Exception)
    for name, base in [
        ("CaptionError", ValueError),
        ("PictureError", ValueError),
        ("ModelError", TypeError),
        ("ParameterError", ValueError),
    ]:
        kind = getattr(exclip_widget.errors, name)
        assert getattr(exclip_widget, name) is kind
        assert issubclass(kind, ExclipError)
        assert issubclass(kind, base)


# --------------------------------------------------------------------------------------- captions


@pytest.mark.parametrize("caption", ["", " ", " \t\n ", "\u00a0", "\u3000"])
def test_empty_caption(caption: str) -> None:
    assert "caption" in refusal_of(CaptionError, picture(), caption).lower()


@pytest.mark.parametrize(
    "caption", [None, 3, 2.5, ["a boat"], ("a boat",), b"a boat", Path("boat"), {"a": 1}]
)
def test_caption_that_is_not_a_string(caption: object) -> None:
    message = refusal_of(CaptionError, picture(), caption)
    assert "caption" in message.lower()
    assert type(caption).__name__ in message


def test_caption_as_ids_is_refused() -> None:
    assert "Tensor" in refusal_of(CaptionError, picture(), clip_tokenizer()(CAPTION))


@pytest.mark.parametrize("tokenizer", [None, clip_tokenizer(), open_clip.tokenize])
@pytest.mark.parametrize("pieces", [CONTEXT - 1, 400])
def test_caption_too_long(pieces: int, tokenizer: Any) -> None:
    """open_clip's tokenizer cuts long captions in silence; an explanation of less is refused."""
    message = refusal_of(CaptionError, picture(), "boat " * pieces, tokenizer=tokenizer)
    assert str(CONTEXT) in message
    assert len(message) < 400


def test_caption_too_long_for_a_short_context() -> None:
    model = open_clip_model(custom_text=True, text={"context_length": SMALL_CONTEXT})
    image, inputs = picture(), {"preprocess": preprocess_for(model)}
    longest = explain(model, image, "boat " * (SMALL_CONTEXT - 2), steps=1, **inputs)
    assert len(longest.tokens) == SMALL_CONTEXT
    with pytest.raises(CaptionError, match=str(SMALL_CONTEXT)):
        explain(model, image, "boat " * (SMALL_CONTEXT - 1), steps=1, **inputs)


@pytest.mark.parametrize("caption", ["\u200b", "&nbsp;", "🦊", "\x00", "ﬁsh", "a <end_of_text> b"])
def test_odd_caption(caption: str) -> None:
    """What cleaning empties, what is cut into bytes, what looks like a special token."""
    try:
        found = explain(MODEL, picture(), caption, steps=2, **inputs_of(MODEL))
    except CaptionError:
        return
    assert found.caption == caption
    assert np.isfinite(found.values).all()
    with torch.no_grad():
        text = MODEL.encode_text(clip_tokenizer()(caption))
        image = MODEL.encode_image(preprocess_for(MODEL)(picture())[None])
    cosine = torch.nn.functional.cosine_similarity(text, image)
    assert found.similarity == pytest.approx(float(cosine), abs=1e-5)


def _ids(*values: int, length: int = CONTEXT) -> torch.Tensor:
    row = torch.zeros(1, length, dtype=torch.long)
    row[0, : len(values)] = torch.tensor(values)
    return row


@pytest.mark.parametrize(
    "tokenizer",
    [
        lambda _: "ids",
        lambda _: None,
        lambda _: [[49406, 320, 49407]],
        lambda _: _ids(49406, 320, 49407)[0, :0],
        lambda _: _ids(49406, 320, 49407, length=CONTEXT + 1),
        lambda _: _ids(49406, 320, 49407).repeat(2, 1),
        lambda _: _ids(49406, 320, 49408),
        lambda _: _ids(-1, 320, 49407),
        lambda _: _ids(49406, 320, 49407) + 0.5,
        lambda _: _ids(0),
    ],
    ids=["str", "None", "list", "empty", "long", "two", "beyond", "negative", "float", "no eot"],
)
def test_tokenizer_that_gives_nonsense(tokenizer: Callable[[str], Any]) -> None:
    """A clear error, or, where the ids can be made out, an explanation."""
    outcome = values_or_refusal(ExclipError, picture(), tokenizer=tokenizer)
    if isinstance(outcome, str):
        assert "token" in outcome.lower()
    else:
        assert np.isfinite(outcome).all()


# --------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "PA"])
def test_picture_of_any_mode(mode: str) -> None:
    """Grey, palette, opaque alpha, print and video colours: as if made RGB beforehand."""
    source = picture(1)
    if mode in ("LAB", "PA"):
        source = Image.new(mode, (20, 20), (40, 255) if mode == "PA" else (40, 140, 120))
    else:
        source = source.convert(mode)
    before = source.tobytes()
    np.testing.assert_array_equal(values_of(source), values_of(source.convert("RGB")))
    assert source.mode == mode
    assert source.tobytes() == before


def test_transparent_picture() -> None:
    """However transparency is filled, a file, a picture and an array of it give the same."""
    rgba = np.dstack([scene(1), np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)])
    assert np.isfinite(values_of(rgba)).all()
    np.testing.assert_array_equal(values_of(rgba), values_of(Image.fromarray(rgba)))


@pytest.mark.parametrize("as_path", [True, False])
def test_picture_of_16_bits(as_path: bool, tmp_path: Path) -> None:
    """Pillow's own conversion clips 16-bit greys to white; neither white nor noise will do."""
    grey = np.asarray(picture(2).convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert deep.mode.startswith("I;16")
    source = saved(deep, tmp_path, "deep.png") if as_path else deep
    outcome = values_or_refusal(PictureError, source)
    if isinstance(outcome, str):
        assert "16" in outcome
        return
    expected = values_of(Image.fromarray(grey))
    assert_close(outcome, expected, 1e-2)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_picture_of_32_bits(mode: str) -> None:
    """What white is in such a picture is unknown, unless it keeps to 0 to 255."""
    grey = picture(2).convert("L")
    outcome = values_or_refusal(PictureError, grey.convert(mode))
    if isinstance(outcome, str):
        assert mode in outcome
        return
    assert_close(outcome, values_of(grey), 1e-2)


def test_animated_picture_is_its_first_frame(tmp_path: Path) -> None:
    frames = [picture(seed).convert("P", palette=Image.Palette.ADAPTIVE) for seed in range(3)]
    path = saved(frames[0], tmp_path, "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(path) as animation:
        assert animation.n_frames == 3
        first = animation.convert("RGB")
    np.testing.assert_array_equal(values_of(path), values_of(first))
    with Image.open(path) as animation:
        np.testing.assert_array_equal(values_of(animation), values_of(first))
        assert animation.tell() == 0
        animation.seek(2)
        values_of(animation)
        assert animation.tell() == 2, "the caller's picture stays at the frame it was at"


@pytest.mark.parametrize("name", ["boat.png", "boat.jpg", "boat.webp", "böat one.png"])
@pytest.mark.parametrize("kind", [str, Path])
def test_picture_by_path(name: str, kind: Callable[[Path], Any], tmp_path: Path) -> None:
    path = saved(picture(1), tmp_path, name)
    with Image.open(path) as image:
        expected = values_of(image.convert("RGB"))
    np.testing.assert_array_equal(values_of(kind(path)), expected)
    path.unlink()  # Not held open.


@pytest.mark.parametrize("kind", [str, Path])
def test_missing_picture(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    assert "absent.png" in refusal_of(PictureError, kind(tmp_path / "absent.png"))


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n", None])
def test_unreadable_picture(content: bytes | None, tmp_path: Path) -> None:
    """No picture, the beginning of one, a folder. The message says which file."""
    path = tmp_path / "bad.png"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert "bad.png" in refusal_of(PictureError, path)


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg"])
def test_truncated_picture(name: str, tmp_path: Path) -> None:
    """Pillow reads the header at once and the pixels later: the error comes late."""
    path = saved(picture(1), tmp_path, name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert name in refusal_of(PictureError, path)
    with Image.open(path) as image:
        refusal_of(PictureError, image)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_picture_without_pixels(size: tuple[int, int]) -> None:
    message = refusal_of(PictureError, Image.new("RGB", size))
    assert str(size[0]) in message
    assert str(size[1]) in message
    assert "0" in refusal_of(PictureError, np.zeros((*size, 3), np.uint8))


def test_smallest_picture() -> None:
    assert np.isfinite(values_of(Image.new("RGB", (1, 1), "red"))).all()


@pytest.mark.parametrize(
    "image", [None, 3, b"bytes", [[1, 2]], object(), {"image": 1}, ""], ids=lambda x: repr(x)[:10]
)
def test_picture_of_an_unknown_kind(image: object) -> None:
    message = refusal_of(PictureError, image)
    assert type(image).__name__ in message or repr(image) in message


def test_picture_as_tensor() -> None:
    """A tensor is what preprocessing gives; anything else is not taken for it."""
    pixels = preprocess_for(MODEL)(picture())
    for tensor in (pixels, pixels[None]):
        np.testing.assert_array_equal(values_of(tensor), values_of(picture()))
    assert "(48, 64, 3)" in refusal_of(PictureError, torch.from_numpy(scene(1)))
    assert "int64" in refusal_of(PictureError, pixels.long())
    assert "NaN" in refusal_of(PictureError, pixels / 0)
    assert "(3, 8, 8)" in refusal_of(PictureError, pixels[:, :8, :8])


# ------------------------------------------------------------------------------ pictures as arrays


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a,
        lambda a: np.dstack([a, np.full(a.shape[:2], 255, np.uint8)]),
        lambda a: np.asfortranarray(a),
        lambda a: np.concatenate([a, a], axis=1)[:, : a.shape[1]],
        lambda a: a[::-1, ::-1][::-1, ::-1],
        lambda a: a.astype(np.float32) / 255,
        lambda a: a / 255,
    ],
    ids=["rgb", "rgba", "fortran", "view", "strides", "float32", "float64"],
)
def test_picture_as_array(change: Callable[[np.ndarray], np.ndarray]) -> None:
    array = change(scene(1))
    before = array.copy()
    np.testing.assert_array_equal(values_of(array), values_of(picture(1)))
    np.testing.assert_array_equal(array, before)


def test_grey_arrays() -> None:
    grey = np.asarray(picture(1).convert("L"))
    expected = values_of(Image.fromarray(grey))
    np.testing.assert_array_equal(values_of(grey), expected)
    np.testing.assert_array_equal(values_of(grey.astype(np.float32) / 255), expected)


def test_one_channel_array() -> None:
    grey = np.asarray(picture(1).convert("L"))
    outcome = values_or_refusal(PictureError, grey[:, :, None])
    if isinstance(outcome, str):
        assert "(48, 64, 1)" in outcome
        return
    np.testing.assert_array_equal(outcome, values_of(grey))


@pytest.mark.parametrize(
    ("array", "like"),
    [
        (scene(1) > 127, (scene(1) > 127) * np.uint8(255)),
        (scene(1).astype(np.uint16) * 257, scene(1)),
        (scene(1).astype(np.int64), scene(1)),
        (scene(1).astype(np.int32), scene(1)),
        ((scene(1) // 2).astype(np.int8), scene(1) // 2),
        ((scene(1) / 255).astype(np.float16), scene(1)),
    ],
    ids=["bool", "uint16", "int64", "int32", "int8", "float16"],
)
def test_arrays_of_other_dtypes(array: np.ndarray, like: np.ndarray) -> None:
    """Refused by name, or read as what they can only mean."""
    outcome = values_or_refusal(PictureError, array)
    if isinstance(outcome, str):
        assert array.dtype.name in outcome
        return
    assert_close(outcome, values_of(like), 2e-2)


@pytest.mark.parametrize(
    "array",
    [
        np.full((8, 8, 3), 1.5),
        np.full((8, 8, 3), 200.0, np.float32),
        np.full((8, 8, 3), -0.5),
    ],
    ids=["above", "bytes", "below"],
)
def test_float_arrays_out_of_range(array: np.ndarray) -> None:
    message = refusal_of(PictureError, array)
    assert "0" in message
    assert "1" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_number_is_found(value: float) -> None:
    array = scene(1).astype(np.float32) / 255
    array[17, 5, 1] = value
    message = refusal_of(PictureError, array).lower()
    assert "nan" in message or "inf" in message


@pytest.mark.parametrize("shape", [(), (8,), (8, 8, 2), (8, 8, 5), (3, 8, 8), (1, 8, 8, 3), (8, 8, 0)])
def test_array_of_another_shape(shape: tuple[int, ...]) -> None:
    assert str(shape) in refusal_of(PictureError, np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [object, str, complex, "datetime64[s]"])
def test_array_of_no_numbers(dtype: Any) -> None:
    array = np.zeros((8, 8, 3), dtype)
    assert str(array.dtype) in refusal_of(PictureError, array)


# ---------------------------------------------------------------------------------- preprocessing


@pytest.mark.parametrize(
    "result",
    [
        None,
        "tensor",
        torch.zeros(3, 32),
        torch.zeros(3, 16, 16),
        torch.zeros(1, 32, 32),
        torch.zeros(2, 3, 32, 32),
        torch.full((3, 32, 32), float("nan")),
        torch.zeros(0),
    ],
    ids=["None", "str", "flat", "small", "grey", "two", "nan", "empty"],
)
def test_preprocessing_that_gives_nonsense(result: Any) -> None:
    with pytest.raises(ExclipError) as refusal:
        values_of(picture(), preprocess=lambda _: result)
    assert "preprocess" in str(refusal.value)


def test_preprocessing_that_gives_other_precision() -> None:
    preprocess = preprocess_for(MODEL)
    values = values_of(picture(), preprocess=lambda image: preprocess(image).double())
    assert_close(values, values_of(picture()), 1e-5)


def test_preprocessing_that_gives_a_batch_of_one() -> None:
    preprocess = preprocess_for(MODEL)
    outcome = values_or_refusal(ExclipError, picture(), preprocess=lambda image: preprocess(image)[None])
    if isinstance(outcome, str):
        assert "(1, 3, 32, 32)" in outcome.replace("[", "(").replace("]", ")")
        return
    np.testing.assert_array_equal(outcome, values_of(picture()))


@pytest.mark.parametrize("keyword", ["preprocess", "tokenizer"])
@pytest.mark.parametrize("value", [3, "ViT-B-32", object()])
def test_what_cannot_be_called_is_refused(keyword: str, value: object) -> None:
    with pytest.raises(ExclipError, match=keyword):
        values_of(picture(), **{keyword: value})


# ------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("steps", [0, -1, 1.5, 2.0, True, "10"])
def test_steps(steps: object) -> None:
    message = refusal_of(ParameterError, picture(), steps=steps)
    assert "steps" in message
    assert repr(steps) in message


def test_steps_may_be_numpys_integers() -> None:
    np.testing.assert_array_equal(values_of(picture(), steps=np.int64(3)), values_of(picture(), steps=3))


@pytest.mark.parametrize("rule", ["simpson", "", 1])
def test_rule(rule: object) -> None:
    message = refusal_of(ParameterError, picture(), rule=rule)
    assert repr(rule) in message
    assert "gauss-legendre" in message


@pytest.mark.parametrize("keyword", ["text_layer", "image_layer"])
@pytest.mark.parametrize("layer", [2, 11, -3, 1.0, 1.5, "last"])
def test_layers(keyword: str, layer: object) -> None:
    """The towers have two blocks."""
    message = refusal_of(ParameterError, picture(), **{keyword: layer})
    assert keyword in message
    assert repr(layer) in message


def test_the_last_layer_by_its_index() -> None:
    np.testing.assert_array_equal(values_of(picture(), text_layer=1, image_layer=1), values_of(picture()))


@pytest.mark.parametrize("keyword", ["step", "layer", "device"])
def test_a_keyword_that_is_not_there(keyword: str) -> None:
    """As Python itself refuses it, and by its name."""
    with pytest.raises(TypeError, match=keyword):
        values_of(picture(), **{keyword: 3})


def test_parameters_are_checked_before_anything_is_computed() -> None:
    """A wrong word costs no forward pass."""

    def preprocess(_: Image.Image) -> torch.Tensor:
        raise AssertionError("called")

    refusal_of(ParameterError, picture(), rule="simpson", preprocess=preprocess)
    refusal_of(CaptionError, picture(), None, preprocess=preprocess)


# ----------------------------------------------------------------------------------------- models


class _Lookalike(nn.Module):
    """Has the methods of a CLIP model and none of its parts."""

    def encode_text(self, text: torch.Tensor) -> torch.Tensor:
        return text.float()

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (nn.Linear(2, 2), "Linear"),
        (None, "None"),
        ("ViT-B-32", "str"),
        (open_clip.CLIP, "type"),
        (nn.Sequential(MODEL), "Sequential"),
        (MODEL.visual, "VisionTransformer"),
        (_Lookalike(), "_Lookalike"),
        ({}, "dict"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_model_of_an_unknown_kind(model: object, name: str) -> None:
    assert name in refusal_of(ModelError, picture(), model=model)


@pytest.mark.parametrize("which", [0, 1], ids=["open_clip", "openai"])
def test_a_layer_of_a_residual_network_that_is_not_there(which: int) -> None:
    """The error lists those that are."""
    model = residual_networks()[which]
    options = {"model": model, "preprocess": preprocess_for(model)}
    message = refusal_of(ParameterError, picture(), image_layer="visual.layer5", **options)
    assert all(f"'visual.layer{number}'" in message for number in (1, 2, 3, 4))


@pytest.mark.parametrize("layer", [-1, 0])
def test_model_in_training_mode(layer: int) -> None:
    """Patches are dropped in training; an explanation is of the model as it is used."""
    model = open_clip_model(vision={"patch_dropout": 0.5}, seed=1)
    options = {"model": model, "image_layer": layer, "text_layer": layer}
    expected = values_of(picture(), **options)
    model.train()
    model.visual.transformer.eval()
    np.testing.assert_array_equal(values_of(picture(), **options), expected)
    assert model.training
    assert model.visual.patch_dropout.training
    assert not model.visual.transformer.resblocks[0].training


def _mild(model: nn.Module) -> nn.Module:
    """Weights whose rounding to half precision the model does not blow up."""
    return sharpen(model, seed=3, gain=0.7)


def _mixed(dtype: torch.dtype) -> nn.Module:
    """As open_clip's factory makes a model of ``precision="fp16"`` or ``"bf16"``."""
    config = {"layers": 2, "width": 32}
    model = open_clip.CLIP(
        12,
        vision_cfg=config | {"head_width": 8, "patch_size": 8, "image_size": 32},
        text_cfg=config | {"heads": 4},
        cast_dtype=dtype,
    )
    model = _mild(model)
    open_clip.model.convert_weights_to_lp(model, dtype)
    return model


def _openai_half() -> nn.Module:
    """As ``clip.load`` makes a model on a GPU."""
    model = _mild(openai_model())
    clip.model.convert_weights(model)
    return model


HALF = {
    "float16": lambda: _mild(open_clip_model()).half(),
    "bfloat16": lambda: _mild(open_clip_model()).bfloat16(),
    "float16, mixed": lambda: _mixed(torch.float16),
    "bfloat16, mixed": lambda: _mixed(torch.bfloat16),
    "custom text, float16": lambda: _mild(open_clip_model(custom_text=True)).half(),
    "openai, float16": _openai_half,
}


@pytest.mark.parametrize("options", [{}, {"rule": "right"}, {"text_layer": 0, "image_layer": 0}])
@pytest.mark.parametrize("kind", HALF)
def test_half_precision(kind: str, options: dict[str, Any]) -> None:
    """As close to the same weights in float32 as half precision lets one hope."""
    model = HALF[kind]()
    found, expected = (
        explain(m, picture(1), CAPTIONS[1], **options, **inputs_of(MODEL))
        for m in (model, copy.deepcopy(model).float())
    )
    assert found.values.dtype == np.float32
    assert_close(found.values, expected.values, 2e-2)
    assert found.similarity == pytest.approx(expected.similarity, abs=1e-2)
    assert found.total == pytest.approx(expected.total, abs=2e-2 * abs(expected.total) + 1e-3)
    assert len({p.dtype for p in model.parameters()} - {torch.float32}) == 1, "still in half"


def test_model_without_data() -> None:
    """The meta device holds shapes only."""
    assert "meta" in refusal_of(ModelError, picture(), model=build("plain").to("meta"))


def test_model_on_two_devices() -> None:
    model = build("plain")
    model.visual.to("meta")
    assert "meta" in refusal_of(ModelError, picture(), model=model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["plain", "openai"])
def test_model_on_a_gpu(name: str) -> None:
    model = build(name)
    expected = values_of(picture(), model=model)
    on_gpu = values_of(picture(), model=model.to("cuda"))
    assert_close(on_gpu, expected, 1e-4)


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, torch.enable_grad, torch.set_grad_enabled]
)
@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize("name", ["plain", "openai"])
def test_gradient_modes(name: str, layer: int, context: Callable[..., Any]) -> None:
    options = {"model": build(name), "text_layer": layer, "image_layer": layer}
    expected = values_of(picture(), **options)
    with context(False) if context is torch.set_grad_enabled else context():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        np.testing.assert_array_equal(values_of(picture(), **options), expected)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before


def test_model_made_in_inference_mode() -> None:
    """Its parameters can never take part in autograd."""
    with torch.inference_mode():
        model = build("plain")
    assert all(parameter.is_inference() for parameter in model.parameters())
    outcome = values_or_refusal(ModelError, picture(), model=model)
    if isinstance(outcome, str):
        assert "inference" in outcome
        return
    np.testing.assert_allclose(outcome, values_of(picture()), rtol=1e-3, atol=1e-6)


def test_frozen_model() -> None:
    model = build("plain").requires_grad_(False)
    np.testing.assert_allclose(values_of(picture(), model=model), values_of(picture()), rtol=1e-3, atol=1e-6)


def test_another_default_dtype() -> None:
    expected = values_of(picture())
    torch.set_default_dtype(torch.float64)
    try:
        values = values_of(picture())
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert_close(values, expected, 1e-6)


def test_under_autocast() -> None:
    """Lower precision is allowed there; another result is not."""
    model = _mild(open_clip_model())
    expected = values_of(picture(), model=model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = values_of(picture(), model=model)
        assert torch.is_autocast_enabled("cpu")
    assert_close(values, expected, 5e-2)
