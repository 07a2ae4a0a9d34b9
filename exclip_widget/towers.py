"""Towers: the two encoders of a CLIP-like model, each cut at the input of its last block.

The towers are run from their own modules, so that everything up to the cut happens once, a caption
costs its own length instead of the whole context, and nothing of the model is hooked or changed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .errors import ModelError
from .last_block import LastBlock


@dataclass(frozen=True)
class ImageTower:
    """A vision transformer that pools its CLS token.

    Attributes
    ----------
    visual : nn.Module
        The tower itself.
    block : LastBlock
        Its last block, in the precision of the computation.
    grid : (int, int)
        Rows and columns of patches.
    size : (int, int)
        Height and width of its input in pixels.
    """

    visual: Any
    block: LastBlock
    grid: tuple[int, int]
    size: tuple[int, int]

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self.visual.transformer.resblocks)

    def tokens(self, pixels: Tensor) -> Tensor:
        """CLS and patch tokens at the input of the last block, for (1, 3, height, width)."""
        visual = self.visual
        x = visual.conv1(pixels.to(visual.conv1.weight)).flatten(2)[0].T
        x = torch.cat([visual.class_embedding.to(x.dtype)[None], x])
        x = visual.ln_pre(x + visual.positional_embedding.to(x.dtype))
        return _run(visual.transformer.resblocks[:-1], x, None)


@dataclass(frozen=True)
class TextTower:
    """A causal text transformer that pools its end-of-text token.

    Attributes
    ----------
    text : nn.Module
        The module that holds the token embedding, the transformer and the final norm.
    block : LastBlock
        Its last block, in the precision of the computation.
    context_length : int
        Most tokens a caption can have.
    end_id : int or None
        Id of the end-of-text token; None where the model pools at the highest id of a caption.
    """

    text: Any
    block: LastBlock
    context_length: int
    end_id: int | None

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self.text.transformer.resblocks)

    def end_of(self, ids: Tensor) -> int:
        """Index of the token that the model pools."""
        return int((ids if self.end_id is None else (ids == self.end_id).int()).argmax())

    def tokens(self, ids: Tensor) -> Tensor:
        """Tokens at the input of the last block, for ids (tokens,): causal, so any prefix will do."""
        text = self.text
        x = text.token_embedding(ids.to(text.token_embedding.weight.device))
        dtype = text.transformer.resblocks[0].mlp.c_fc.weight.dtype
        x = x.to(dtype) + text.positional_embedding[: len(ids)].to(dtype)
        mask = torch.full((len(ids), len(ids)), -torch.inf, dtype=dtype, device=x.device).triu(1)
        return _run(text.transformer.resblocks[:-1], x, mask)


def _run(blocks: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    # Two-dimensional input suits attention modules of either layout, batch first or not.
    for block in blocks:
        normed = block.ln_1(x)
        attended = block.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        x = x + _scale(block, 1)(attended)
        x = x + _scale(block, 2)(block.mlp(block.ln_2(x)))
    return x


def _scale(block: Any, number: int) -> Any:
    """LayerScale of open_clip's blocks; OpenAI's have none."""
    return getattr(block, f"ls_{number}", nn.Identity())


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
        raise ModelError(f"model is a {type(model).__module__}.{type(model).__qualname__}; {_EXPECTED}")
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError("model is a TorchScript archive; load it with clip.load(..., jit=False)")
    _require_vit(visual)
    _require_causal(text)
    for name, module in model.named_modules():
        if "resblocks" in name and (module._forward_hooks or module._forward_pre_hooks):
            raise ModelError(f"module {name!r} carries forward hooks; remove them before explaining")
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) > 1 or torch.device("meta") in devices:
        found = ", ".join(sorted(map(str, devices)))
        raise ModelError(f"model is on {found}; expected all of it on one device with real weights")
    grid, size = _grid(visual)
    pools_by_id = getattr(text, "pool_type", getattr(text, "text_pool_type", "argmax")) == "eos"
    end_id = getattr(text, "eos_id", getattr(text, "text_eos_id", None)) if pools_by_id else None
    return (
        TextTower(
            text=text,
            block=_last_block(text, text.ln_final, text.text_projection),
            context_length=text.context_length,
            end_id=end_id,
        ),
        ImageTower(
            visual=visual,
            block=_last_block(visual, visual.ln_post, visual.proj),
            grid=grid,
            size=size,
        ),
    )


_EXPECTED = "expected an open_clip model or an OpenAI clip model with a vision transformer (ViT)"


def _require_vit(visual: Any) -> None:
    kind = f"{type(visual).__module__}.{type(visual).__qualname__}"
    parts = ("conv1", "class_embedding", "positional_embedding", "ln_pre", "ln_post", "proj")
    if not all(hasattr(visual, part) for part in parts):
        raise ModelError(f"the image tower is a {kind}; {_EXPECTED}")
    if getattr(visual, "attn_pool", None) is not None or getattr(visual, "pool_type", "tok") != "tok":
        raise ModelError(f"the image tower ({kind}) does not pool its CLS token; only that is supported")
    _require_plain_blocks(visual.transformer, kind)


def _require_causal(text: Any) -> None:
    kind = f"{type(text).__module__}.{type(text).__qualname__}"
    if not hasattr(text, "token_embedding") or not hasattr(text, "ln_final"):
        raise ModelError(f"the text tower is a {kind}; {_EXPECTED}")
    pool = getattr(text, "pool_type", getattr(text, "text_pool_type", "argmax"))
    if pool not in ("argmax", "eos"):
        raise ModelError(f"the text tower pools by {pool!r}; expected its end-of-text token")
    _require_plain_blocks(text.transformer, kind)
    mask = getattr(text, "attn_mask", getattr(text.transformer.resblocks[0], "attn_mask", None))
    if mask is None or getattr(text, "cls_emb", None) is not None:
        raise ModelError(f"the text tower ({kind}) is not causal; only causal ones are supported")


def _require_plain_blocks(transformer: Any, kind: str) -> None:
    for block in transformer.resblocks:
        plain = isinstance(getattr(block, "attn", None), nn.MultiheadAttention)
        if not plain or not isinstance(block.ln_1, nn.LayerNorm) or block.attn.in_proj_weight is None:
            raise ModelError(f"{kind} has blocks of a kind that is not supported: {type(block).__name__}")


def _grid(visual: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of patches, and height and width in pixels."""
    patch_height, patch_width = visual.conv1.kernel_size
    size: Any = visual.image_size if hasattr(visual, "image_size") else visual.input_resolution
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    return (height // patch_height, width // patch_width), (height, width)


def _last_block(tower: Any, norm: nn.Module, projection: Any) -> LastBlock:
    """The tower's last block in at least single precision: half is too coarse to differentiate in."""
    block = tower.transformer.resblocks[-1]
    dtype = torch.promote_types(block.mlp.c_fc.weight.dtype, torch.float32)

    def exact(weight: Tensor | None, like: Tensor) -> Tensor:
        return (torch.zeros_like(like) if weight is None else weight.detach()).to(dtype)

    def exactly(module: nn.Module) -> nn.Module:
        if all(weight.dtype == dtype for weight in module.parameters()):
            return module
        return copy.deepcopy(module).to(dtype)

    attn = block.attn
    width = attn.embed_dim
    in_weight = exact(attn.in_proj_weight, attn.in_proj_weight).reshape(3, width, width)
    in_bias = exact(attn.in_proj_bias, attn.in_proj_weight[:, 0]).reshape(3, width)
    out_weight = exact(attn.out_proj.weight, attn.out_proj.weight)
    out_bias = exact(attn.out_proj.bias, attn.out_proj.weight[:, 0])
    if hasattr(_scale(block, 1), "gamma"):
        gamma = exact(block.ls_1.gamma, block.ls_1.gamma)
        out_weight, out_bias = gamma[:, None] * out_weight, gamma * out_bias

    ln_2, mlp, ls_2, ln_final = map(exactly, (block.ln_2, block.mlp, _scale(block, 2), norm))
    if isinstance(projection, nn.Module):
        project: Any = exactly(projection)
    else:
        matrix = None if projection is None else exact(projection, projection)
        project = (lambda x: x) if matrix is None else (lambda x: x @ matrix)

    def tail(row: Tensor) -> Tensor:
        embedded: Tensor = project(ln_final(row + ls_2(mlp(ln_2(row)))))
        return embedded

    norm_weight = block.ln_1.weight
    return LastBlock(
        norm_weight=exact(norm_weight, norm_weight),
        norm_bias=exact(block.ln_1.bias, norm_weight),
        norm_eps=block.ln_1.eps,
        in_weight=in_weight,
        in_bias=in_bias,
        out_weight=out_weight,
        out_bias=out_bias,
        heads=attn.num_heads,
        tail=tail,
    )


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
