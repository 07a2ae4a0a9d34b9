"""Towers: the two encoders of a CLIP-like model, each of which can be cut at the input of a block.

The towers are run from their own modules, so that everything up to the cut happens once, a caption
costs its own length instead of the whole context, and nothing of the model is hooked or changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .errors import ModelError
from .trunk import Trunk


@dataclass(frozen=True)
class ImageTower:
    """A vision transformer that pools its CLS token.

    Attributes
    ----------
    visual : nn.Module
        The tower itself.
    trunk : Trunk
        Its blocks and what follows them.
    grid : (int, int)
        Rows and columns of patches.
    size : (int, int)
        Height and width of its input in pixels.
    """

    visual: Any
    trunk: Trunk
    grid: tuple[int, int]
    size: tuple[int, int]

    def tokens(self, pixels: Tensor, layer: int) -> Tensor:
        """CLS and patch tokens at the input of block `layer`, for (1, 3, height, width)."""
        visual = self.visual
        x = visual.conv1(pixels.to(visual.conv1.weight)).flatten(2)[0].T
        x = torch.cat([visual.class_embedding.to(x.dtype)[None], x])
        x = visual.ln_pre(x + visual.positional_embedding.to(x.dtype))
        return self.trunk.up_to(layer, x)


@dataclass(frozen=True)
class TextTower:
    """A causal text transformer that pools its end-of-text token.

    Attributes
    ----------
    text : nn.Module
        The module that holds the token embedding, the transformer and the final norm.
    trunk : Trunk
        Its blocks and what follows them.
    context_length : int
        Most tokens a caption can have.
    end_id : int or None
        Id of the end-of-text token; None where the model pools at the highest id of a caption.
    """

    text: Any
    trunk: Trunk
    context_length: int
    end_id: int | None

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return int(self.text.token_embedding.num_embeddings)

    def end_of(self, ids: Tensor) -> int:
        """Index of the token that the model pools."""
        return int((ids if self.end_id is None else (ids == self.end_id).int()).argmax())

    def tokens(self, ids: Tensor, layer: int) -> Tensor:
        """Tokens at the input of block `layer`, for ids (tokens,): causal, so any prefix will do."""
        text = self.text
        x = text.token_embedding(ids.to(text.token_embedding.weight.device))
        dtype = self.trunk.blocks[0].mlp.c_fc.weight.dtype
        x = x.to(dtype) + text.positional_embedding[: len(ids)].to(dtype)
        return self.trunk.up_to(layer, x)


def find_towers(model: Any) -> tuple[TextTower, ImageTower]:
    """Text and image tower of an open_clip or OpenAI `clip` model with a ViT.

    Raises
    ------
    ModelError
        Where the model is of another kind, saying what was expected.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"model is a {type(model).__name__}; {_EXPECTED}")
    visual: Any = getattr(model, "visual", None)
    text: Any = getattr(model, "text", model)
    if visual is None or not hasattr(model, "encode_image") or not hasattr(model, "encode_text"):
        raise ModelError(f"model is of kind {type(model).__module__}.{type(model).__qualname__}; {_EXPECTED}")
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError("model is a TorchScript archive; load it with clip.load(..., jit=False)")
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) > 1 or torch.device("meta") in devices:
        found = ", ".join(sorted(map(str, devices)))
        raise ModelError(f"model is on {found}; expected all of it on one device with real weights")
    _require_vit(visual)
    _require_causal(text)
    _require_untouched(model, visual, text)
    grid, size = _grid(visual)
    end_id = getattr(text, "eos_id", getattr(text, "text_eos_id", None)) if _pool_of(text) == "eos" else None
    return (
        TextTower(
            text=text,
            trunk=Trunk(text.transformer.resblocks, text.ln_final, text.text_projection, causal=True),
            context_length=text.context_length,
            end_id=end_id,
        ),
        ImageTower(
            visual=visual,
            trunk=Trunk(visual.transformer.resblocks, visual.ln_post, visual.proj, causal=False),
            grid=grid,
            size=size,
        ),
    )


_EXPECTED = "expected an open_clip model or an OpenAI clip model with a vision transformer (ViT)"


def _require_vit(visual: Any) -> None:
    kind = f"{type(visual).__module__}.{type(visual).__qualname__}"
    parts = ("conv1", "class_embedding", "positional_embedding", "ln_pre", "ln_post", "proj")
    if not all(hasattr(visual, part) for part in parts):
        raise ModelError(f"the image tower is of kind {kind}; {_EXPECTED}")
    if not isinstance(visual.conv1, nn.Conv2d):
        raise ModelError(f"the image tower's conv1 is a {type(visual.conv1).__name__}; expected a Conv2d")
    if getattr(visual, "attn_pool", None) is not None or getattr(visual, "pool_type", "tok") != "tok":
        raise ModelError(f"the image tower ({kind}) does not pool its CLS token; only that is supported")
    _require_plain_blocks(visual.transformer, kind)


def _require_causal(text: Any) -> None:
    kind = f"{type(text).__module__}.{type(text).__qualname__}"
    if not isinstance(getattr(text, "token_embedding", None), nn.Embedding) or not hasattr(text, "ln_final"):
        raise ModelError(f"the text tower is of kind {kind}; {_EXPECTED}")
    if _pool_of(text) not in ("argmax", "eos"):
        raise ModelError(f"the text tower pools by {_pool_of(text)!r}; expected its end-of-text token")
    _require_plain_blocks(text.transformer, kind)
    # open_clip keeps one mask beside the blocks, OpenAI one in each of them.
    found = (getattr(holder, "attn_mask", None) for holder in (text, *text.transformer.resblocks))
    masks = [mask for mask in found if isinstance(mask, Tensor)]
    if not masks or not all(map(_is_causal, masks)) or getattr(text, "cls_emb", None) is not None:
        raise ModelError(f"the text tower ({kind}) is not causal; only causal ones are supported")


def _pool_of(text: Any) -> str:
    """How a text tower pools, under either name of open_clip's; OpenAI's has the one way and no name."""
    pool: str = getattr(text, "pool_type", getattr(text, "text_pool_type", "argmax"))
    return pool


def _is_causal(mask: Tensor) -> bool:
    return torch.equal(mask.float(), torch.full_like(mask, -torch.inf, dtype=torch.float32).triu(1))


def _require_plain_blocks(transformer: Any, kind: str) -> None:
    for block in getattr(transformer, "resblocks", [transformer]):
        for part, expected in (("attn", nn.MultiheadAttention), ("ln_1", nn.LayerNorm)):
            found = getattr(block, part, None)
            if not isinstance(found, expected):
                raise ModelError(
                    f"a {type(block).__name__} of {kind} has {type(found).__name__} as its {part!r}; "
                    f"expected a {expected.__name__}"
                )
        if block.attn.in_proj_weight is None:
            raise ModelError(f"a {type(block).__name__} of {kind} projects keys and values of other widths")


def _require_untouched(model: nn.Module, *towers: Any) -> None:
    """Refuse a model in which code has changed that the towers do not call but stand in for."""
    stood_in_for = [model, *towers]
    for tower in towers:
        blocks = tower.transformer.resblocks
        stood_in_for += [tower.transformer, blocks, *blocks, *(block.attn for block in blocks)]
        stood_in_for += [block.attn.out_proj for block in blocks] + [blocks[-1].ln_1]
    for module in stood_in_for:
        # The model itself encodes by methods of its own: its forward, hooks included, is never run.
        methods = ("encode_image", "encode_text") if module is model else ("forward",)
        hooks = module is not model and (module._forward_hooks or module._forward_pre_hooks)
        if hooks or not all(_is_library_code(module, method) for method in methods):
            name = next((name for name, found in model.named_modules() if found is module), "") or "model"
            what = "carries forward hooks" if hooks else f"({type(module).__qualname__}) runs code of its own"
            raise ModelError(
                f"module {name!r} {what}, which an explanation would not show; take it off first"
            )


def _is_library_code(module: nn.Module, method: str) -> bool:
    function = getattr(type(module), method, None)
    library = getattr(function, "__module__", "").partition(".")[0]
    return method not in vars(module) and library in ("torch", "open_clip", "clip")


def _grid(visual: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of patches, and height and width in pixels."""
    patch_height, patch_width = visual.conv1.kernel_size
    size: Any = visual.image_size if hasattr(visual, "image_size") else visual.input_resolution
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    return (height // patch_height, width // patch_width), (height, width)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module of `model` in evaluation mode, each back in its own mode afterwards."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
