"""CLIP's own architecture: tiny random models of open_clip and of OpenAI's ``clip``, by name."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import open_clip
import torch
from torch import nn

from support.zoo.inputs import Preprocess, preprocess_to
from support.zoo.openai import clip
from support.zoo.tokenizers import (
    CLIP_VOCABULARY,
    CONTEXT,
    SMALL_CONTEXT,
    SMALL_VOCABULARY,
    SmallTokenizer,
    Tokenize,
    clip_tokenizer,
)
from support.zoo.weights import sharpen


def open_clip_model(
    *,
    custom_text: bool = False,
    embed_dim: int = 12,
    quick_gelu: bool = False,
    vision: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Make a random open_clip model; ``vision`` and ``text`` override its small configuration."""
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
    """Make a random OpenAI ``clip`` ViT. Each vision head takes a width of 64, so it cannot be smaller."""
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
"""Towers that differ from CLIP's in one part. An engine may refuse them, but it must not be wrong."""


def _with_checkpoints(model: Any) -> nn.Module:
    model.set_grad_checkpointing(True)
    return model


def _with_mask(model: nn.Module) -> nn.Module:
    """Mask the second token from all tokens except itself."""
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
    """Make models of both packages whose image tower is a ResNet."""
    layers = (1, 1, 1, 1)
    return (
        open_clip_model(embed_dim=12, vision={"layers": layers, "width": 8}),
        openai_model(vision_layers=layers, vision_width=16, vision_patch_size=None),
    )


def small_model(
    seed: int = 0, text: dict[str, Any] | None = None, vision: dict[str, Any] | None = None
) -> nn.Module:
    """Make an open_clip model with few vocabulary rows and a short context, like the demo model."""
    small = {"vocab_size": SMALL_VOCABULARY, "context_length": SMALL_CONTEXT}
    return open_clip_model(custom_text=True, text=small | (text or {}), vision=vision, seed=seed)


@functools.cache
def _built(name: str) -> nn.Module:
    return MODELS[name]()


def build(name: str) -> nn.Module:
    """Return a fresh copy of a named model, which a test is free to change."""
    return copy.deepcopy(_built(name))


def tokenizer_for(model: nn.Module) -> Tokenize:
    """Return the tokenizer that suits a model of this module."""
    table = next(module for module in model.modules() if isinstance(module, nn.Embedding))
    return clip_tokenizer() if table.num_embeddings == CLIP_VOCABULARY else SmallTokenizer()


def picture_size(model: nn.Module) -> tuple[int, int]:
    """Return the height and width of the images that a model takes."""
    visual: Any = model.visual
    size = visual.image_size if hasattr(visual, "image_size") else visual.input_resolution
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def preprocess_for(model: nn.Module) -> Preprocess:
    """Return preprocessing like that of the real models, for the size that the model takes."""
    return preprocess_to(*picture_size(model))


def inputs_of(model: nn.Module) -> dict[str, Any]:
    """Return the ``preprocess`` and ``tokenizer`` arguments that suit a model of this module."""
    return {"preprocess": preprocess_for(model), "tokenizer": tokenizer_for(model)}
