"""Towers of Hugging Face transformers: CLIPModel, SiglipModel and Siglip2Model. Needs no import of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..paths.cut import embedding_of
from ..paths.last_block import LastBlock
from .tower import (
    ImageTower,
    Shortcut,
    TextTower,
    blocks_of,
    call_of,
    exact,
    exactly,
    is_as_written,
    named_layers,
)

KINDS = ("CLIPModel", "SiglipModel", "Siglip2Model")


def knows(model: Any) -> bool:
    """Whether the model's class is one of these, or made from one."""
    return any(
        kind.__name__ in KINDS and kind.__module__.startswith("transformers.") for kind in type(model).__mro__
    )


def towers(model: Any) -> tuple[TextTower, ImageTower]:
    """Its text and image tower."""
    return _text_tower(model), _image_tower(model)


def _embedding(output: object) -> Tensor:
    # A model told not to return dicts gives the last hidden state first.
    return output[1] if isinstance(output, tuple) else embedding_of(output)


def _text_tower(model: Any) -> TextTower:
    config, text = model.config.text_config, model.text_model
    is_clip = hasattr(model, "text_projection")
    blocks = blocks_of(text)

    def encode(ids: Tensor) -> Tensor:
        return _embedding(model.get_text_features(input_ids=ids.to(model.device)))

    def end_of(ids: Tensor) -> int:
        # Checkpoints from before the library knew the right end pool at the highest id.
        old = config.eos_token_id in (None, 2)
        return int(ids.argmax() if old else (ids == config.eos_token_id).int().argmax())

    return TextTower(
        side="text",
        root=text,
        encode=encode,
        layers=named_layers(model, blocks),
        shortcut=_shortcut(model, "get_text_features", text, text.final_layer_norm, model.text_projection, -1)
        if is_clip
        else None,
        context_length=config.max_position_embeddings,
        vocabulary=config.vocab_size,
        padded=not is_clip,  # SigLIP pools its last position, whatever stands there
        end_of=end_of,
    )


def _image_tower(model: Any) -> ImageTower:
    config, vision = model.config.vision_config, model.vision_model
    is_clip, patch = hasattr(model, "visual_projection"), config.patch_size
    size = None if _takes_patches(model) else (config.image_size, config.image_size)

    def encode(pixels: Tensor) -> Tensor:
        pixels = pixels.to(model.device, model.dtype)
        inputs = _as_patches(pixels, patch) if size is None else {"pixel_values": pixels}
        return _embedding(model.get_image_features(**inputs))

    return ImageTower(
        side="image",
        root=vision,
        encode=encode,
        layers=named_layers(model, blocks_of(vision)),
        shortcut=_shortcut(
            model, "get_image_features", vision, vision.post_layernorm, model.visual_projection, 0
        )
        if is_clip
        else None,
        call=call_of(model, "get_image_features"),
        size=size,
        patch=(patch, patch),
    )


# ------------------------------------------------------------ pictures of any shape, as patches


def _takes_patches(model: Any) -> bool:
    return type(model.vision_model).__name__.startswith("Siglip2")


def _as_patches(pixels: Tensor, patch: int) -> dict[str, Tensor]:
    """The inputs of a model of variable resolution, without the padding that it would only mask."""
    batch, _, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    cells = pixels.reshape(batch, 3, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
    whole = torch.ones(batch, rows * columns, dtype=torch.long, device=pixels.device)
    shapes = whole.new_tensor([[rows, columns]]).expand(batch, 2)
    values = cells.reshape(batch, rows * columns, -1)
    return {"pixel_values": values, "pixel_attention_mask": whole, "spatial_shapes": shapes}


def pixels_of(inputs: Any) -> Tensor:
    """What an image processor made, as pixels (1, 3, height, width), patches put together again."""
    values: Tensor = inputs["pixel_values"]
    if "spatial_shapes" not in inputs:
        return values
    rows, columns = inputs["spatial_shapes"][0].tolist()
    patch = round((values.shape[-1] / 3) ** 0.5)
    cells = values[0, : rows * columns].reshape(rows, columns, patch, patch, 3)
    return cells.permute(4, 0, 2, 1, 3).reshape(1, 3, rows * patch, columns * patch)


# ---------------------------------------------------------------------------- the last block by hand


def _shortcut(
    model: Any, method: str, tower: Any, norm: nn.Module, projection: nn.Module, row: int
) -> Shortcut | None:
    """CLIP's last block; None where anything is not as the library wrote it."""
    block: Any = blocks_of(tower)[-1]
    attn = block.self_attn
    stood_in_for = [tower, tower.encoder, tower.encoder.layers, block, attn, block.layer_norm1]
    stood_in_for += [attn.q_proj, attn.k_proj, attn.v_proj, attn.out_proj]
    projections = (attn.q_proj, attn.k_proj, attn.v_proj, attn.out_proj)
    plain = (
        all(type(part) is nn.Linear for part in projections) and type(block).__name__ == "CLIPEncoderLayer"
    )
    if not plain or not is_as_written(model, method) or not all(map(is_as_written, stood_in_for)):
        return None
    return Shortcut(lambda dtype: _last_block(block, norm, projection, dtype), row)


def _last_block(block: Any, norm: nn.Module, projection: nn.Module, dtype: torch.dtype) -> LastBlock:
    attn = block.self_attn
    inner = (attn.q_proj, attn.k_proj, attn.v_proj)
    ln_2, mlp, norm, projection = (
        exactly(part, dtype) for part in (block.layer_norm2, block.mlp, norm, projection)
    )

    def weight(tensor: Tensor) -> Tensor:
        return exact(tensor, dtype)

    def tail(row: Tensor) -> Tensor:
        embedding: Tensor = projection(norm(row + mlp(ln_2(row))))
        return embedding

    return LastBlock(
        norm_weight=weight(block.layer_norm1.weight),
        norm_bias=weight(block.layer_norm1.bias),
        norm_eps=block.layer_norm1.eps,
        in_weight=torch.stack([weight(part.weight) for part in inner]),
        in_bias=torch.stack([weight(part.bias) for part in inner]),
        out_weight=weight(attn.out_proj.weight),
        out_bias=weight(attn.out_proj.bias),
        heads=attn.num_heads,
        tail=tail,
    )
