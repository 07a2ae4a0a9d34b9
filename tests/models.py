"""Tiny random models of the real classes, pictures and captions: what the engine's tests run on.

No weights are downloaded. The constructors of open_clip and of OpenAI's ``clip`` give weights so
small that attention is uniform and every block is nearly the identity; a wrong formula would pass
on such a model. So every parameter is drawn again, large enough for attention to be peaked and for
normalisation, biases and layer scales to matter.
"""

from __future__ import annotations

import copy
import functools
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor, nn

with warnings.catch_warnings():
    # The PyPI stand-in of OpenAI's package imports the deprecated pkg_resources.
    warnings.simplefilter("ignore")
    import clip
    import clip.model

CLIP_VOCABULARY = 49408
CONTEXT = 77
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

Tokenizer = Callable[[str], Tensor]
Preprocess = Callable[[Image.Image], Tensor]


# --------------------------------------------------------------------------------------- weights


def sharpen(model: nn.Module, seed: int = 0, gain: float = 1.4) -> nn.Module:
    """Draw every parameter again so that attention is peaked and no term is negligible."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("logit_scale") or not parameter.requires_grad:
                continue
            noise = torch.randn(parameter.shape, generator=random)
            if parameter.ndim < 2:
                # Normalisation weights and layer scales stay positive; biases are centred.
                scale = name.endswith(("weight", "gamma"))
                value = 1.0 + 0.4 * noise.tanh() if scale else 0.3 * noise
                if name.endswith(("class_embedding", "cls_emb")):
                    value = noise
            elif "embedding" in name:
                value = noise
            elif name.endswith(("text_projection", "proj")):
                value = noise * parameter.shape[0] ** -0.5
            else:
                value = noise * gain * parameter[0].numel() ** -0.5
            parameter.copy_(value)
    return model.eval()


# ---------------------------------------------------------------------------------------- models


def open_clip_model(
    *,
    custom_text: bool = False,
    embed_dim: int = 12,
    quick_gelu: bool = False,
    vision: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
    seed: int = 0,
) -> nn.Module:
    """A random open_clip model; ``vision`` and ``text`` override its small configuration."""
    vision_cfg = {"layers": 2, "width": 32, "head_width": 8, "patch_size": 8, "image_size": 32}
    text_cfg = {"layers": 2, "width": 24, "heads": 3, "vocab_size": CLIP_VOCABULARY}
    make = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    model = make(
        embed_dim,
        vision_cfg=vision_cfg | (vision or {}),
        text_cfg=text_cfg | (text or {}),
        quick_gelu=quick_gelu,
    )
    return sharpen(model, seed)


def openai_model(*, seed: int = 0, **override: Any) -> nn.Module:
    """A random OpenAI ``clip`` ViT. Its vision width is 64 a head, which bounds it from below."""
    config = {
        "embed_dim": 12,
        "image_resolution": 32,
        "vision_layers": 2,
        "vision_width": 128,
        "vision_patch_size": 8,
        "context_length": CONTEXT,
        "vocab_size": CLIP_VOCABULARY,
        "transformer_width": 24,
        "transformer_heads": 3,
        "transformer_layers": 2,
    }
    return sharpen(clip.model.CLIP(**(config | override)), seed)


SMALL_VOCABULARY = 64
SMALL_CONTEXT = 12

MODELS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: open_clip_model(seed=1),
    "one block": lambda: open_clip_model(vision={"layers": 1}, text={"layers": 1}, seed=2),
    "wide picture": lambda: open_clip_model(
        vision={"image_size": (24, 40), "layers": 3}, text={"layers": 1}, seed=3
    ),
    "tall picture, quick gelu": lambda: open_clip_model(
        vision={"image_size": (40, 16)}, text={"layers": 3}, quick_gelu=True, seed=4
    ),
    "layer scale": lambda: open_clip_model(
        embed_dim=20, vision={"ls_init_value": 0.1}, text={"ls_init_value": 0.1}, seed=5
    ),
    "custom text": lambda: open_clip_model(custom_text=True, embed_dim=9, seed=6),
    "biased projection": lambda: open_clip_model(
        custom_text=True, vision={"mlp_ratio": 2.0}, text={"proj_bias": True}, seed=7
    ),
    "small vocabulary": lambda: small_model(seed=8),
    "openai": lambda: openai_model(seed=9),
    "openai, deep": lambda: openai_model(vision_layers=3, transformer_layers=3, vision_width=64, seed=10),
}
OPEN_CLIP_NAMES = tuple(name for name in MODELS if not name.startswith("openai"))

UNUSUAL: dict[str, Callable[[], nn.Module]] = {
    "mean of patches pooled": lambda: open_clip_model(vision={"pool_type": "avg"}),
    "normalised after pooling": lambda: open_clip_model(vision={"final_ln_after_pool": True}),
    "no first normalisation": lambda: open_clip_model(vision={"no_ln_pre": True}),
    "another epsilon": lambda: open_clip_model(vision={"norm_kwargs": {"eps": 0.1}}),
    "sine positions": lambda: open_clip_model(vision={"pos_embed_type": "sin_cos_2d"}),
    "attention pooled": lambda: open_clip_model(
        vision={"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2}
    ),
    "tokens returned": lambda: open_clip_model(vision={"output_tokens": True}),
    "queries and keys normalised": lambda: open_clip_model(vision={"qk_norm": True}),
    "heads scaled": lambda: open_clip_model(text={"scale_heads": True}),
    "attention normalised": lambda: open_clip_model(
        vision={"scale_attn": True, "scale_attn_inner": True, "scale_fc": True}
    ),
    "no causal mask": lambda: open_clip_model(custom_text=True, text={"no_causal_mask": True}),
    "last position pooled": lambda: open_clip_model(custom_text=True, text={"pool_type": "last"}),
    "first position pooled": lambda: open_clip_model(
        custom_text=True, text={"pool_type": "first", "no_causal_mask": True}
    ),
    "eos pooled": lambda: open_clip_model(
        custom_text=True, text={"pool_type": "eos", "eos_id": CLIP_VOCABULARY - 1}
    ),
    "no projection": lambda: open_clip_model(custom_text=True, embed_dim=24, text={"proj_type": "none"}),
    "caption class token": lambda: open_clip_model(
        custom_text=True, text={"embed_cls": True, "context_length": CONTEXT}
    ),
    "gradient checkpoints": lambda: _with_checkpoints(open_clip_model()),
    "another mask": lambda: _with_mask(open_clip_model()),
    "another mask, openai": lambda: _with_mask(openai_model()),
    "another epsilon, openai": lambda: _with_epsilon(openai_model(), 0.1),
}
"""Towers that differ from CLIP's in one part. An engine may refuse them; it may not be wrong."""


def _with_checkpoints(model: Any) -> nn.Module:
    model.set_grad_checkpointing(True)
    return model


def _with_mask(model: nn.Module) -> nn.Module:
    """Nothing may look at the second token, but that token itself."""
    for module in model.modules():
        mask = getattr(module, "attn_mask", None)
        if mask is not None:
            mask[2:, 1] = -torch.inf
    return model


def _with_epsilon(model: nn.Module, eps: float) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps
    return model


def residual_networks() -> tuple[nn.Module, nn.Module]:
    """Models of both packages whose picture tower is a ResNet."""
    layers = (1, 1, 1, 1)
    return (
        open_clip_model(embed_dim=12, vision={"layers": layers, "width": 8}),
        openai_model(vision_layers=layers, vision_width=16, vision_patch_size=None),
    )


def small_model(
    seed: int = 0, text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None
) -> nn.Module:
    """An open_clip model with few vocabulary rows and a short context, as a shipped one may be."""
    small = {"vocab_size": SMALL_VOCABULARY, "context_length": SMALL_CONTEXT}
    return open_clip_model(custom_text=True, text=small | (text or {}), vision=vision, seed=seed)


@functools.cache
def _built(name: str) -> nn.Module:
    return MODELS[name]()


def build(name: str) -> nn.Module:
    """A fresh copy of a named model: a test may do to it what it likes."""
    return copy.deepcopy(_built(name))


# ------------------------------------------------------------------------- tokens and preprocessing


@functools.cache
def clip_tokenizer() -> Tokenizer:
    """The byte-pair tokenizer of CLIP."""
    return open_clip.SimpleTokenizer()


class SmallTokenizer:
    """Words hashed into a small vocabulary; its last two ids open and close a caption."""

    vocab_size = SMALL_VOCABULARY
    context_length = SMALL_CONTEXT
    sot_token_id = SMALL_VOCABULARY - 2
    eot_token_id = SMALL_VOCABULARY - 1

    def __call__(self, texts: str | list[str]) -> Tensor:
        """Return the ids of one caption, padded with zeros: (1, context)."""
        (text,) = [texts] if isinstance(texts, str) else texts
        words = re.findall(r"\w+|[^\w\s]", text.lower())
        pieces = [1 + sum(map(ord, word)) % (self.sot_token_id - 1) for word in words]
        ids = torch.zeros(1, self.context_length, dtype=torch.long)
        row = torch.tensor([self.sot_token_id, *pieces, self.eot_token_id])
        ids[0, : len(row)] = row
        return ids


def tokenizer_for(model: nn.Module) -> Tokenizer:
    """The tokenizer a model of this module was made for."""
    table = next(module for module in model.modules() if isinstance(module, nn.Embedding))
    return clip_tokenizer() if table.num_embeddings == CLIP_VOCABULARY else SmallTokenizer()


def picture_size(model: nn.Module) -> tuple[int, int]:
    """Height and width of the pictures a model takes."""
    visual: Any = model.visual
    size = visual.image_size if hasattr(visual, "image_size") else visual.input_resolution
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def preprocess_for(model: nn.Module) -> Preprocess:
    """Preprocessing like that of the real models, to whatever size the model takes."""
    height, width = picture_size(model)

    def preprocess(picture: Image.Image) -> Tensor:
        rgb = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        values = (np.asarray(rgb, dtype=np.float32) / 255.0 - MEAN) / STD
        return torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1).contiguous()

    return preprocess


def inputs_of(model: nn.Module) -> dict[str, Any]:
    """The ``preprocess`` and ``tokenizer`` arguments that suit a model of this module."""
    return {"preprocess": preprocess_for(model), "tokenizer": tokenizer_for(model)}


# ------------------------------------------------------------------------- pictures and captions


def scene(seed: int = 0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A gradient with coloured blocks and noise: (height, width, 3), uint8. No symmetry at all."""
    random = np.random.default_rng(seed)
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    slopes = random.uniform(-1, 1, (3, 2))
    base = slopes[:, 0, None, None] * y / height + slopes[:, 1, None, None] * x / width
    values = 127 + 90 * base.transpose(1, 2, 0)
    for _ in range(4):
        top, left = random.integers(0, height), random.integers(0, width)
        values[top : top + height // 3, left : left + width // 3] = random.integers(0, 256, 3)
    values += random.normal(0, 12, values.shape)
    return values.clip(0, 255).astype(np.uint8)


def saved(picture: Image.Image, folder: Path, name: str, **options: Any) -> Path:
    """Save a picture and return its path."""
    path = folder / name
    picture.save(path, **options)
    return path


CAPTIONS = (
    "boat",
    "a red boat left of two yellow fish",
    "Two Dogs, one café: the cat's nap!",
    "a a a house house under the counterclockwise antidisestablishmentarianism of 1984",
)
"""From one word to many pieces: repeats, capitals, an accent, punctuation, words of many pieces."""

SMALL_CAPTIONS = ("boat", "a red boat", "two yellow fish, a house")
