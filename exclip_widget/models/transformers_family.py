"""Models of Hugging Face transformers (CLIPModel, SiglipModel, Siglip2Model), without importing it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from ..errors import ParameterError, named_type
from ..inputs.preprocessing import Preprocess
from ..inputs.tokenizers import Tokenizer
from ..paths.cut import embedding_of
from ..paths.last_block import LastBlock
from .as_written import are_as_written, is_as_written
from .blocks import find_blocks
from .caption_end import confirmed_end
from .family import Family
from .fingerprint import outline
from .stems import grid_after, patch_size_of
from .tail import tail_of
from .tower import (
    ImageTower,
    LastBlockSpec,
    TextTower,
    is_pointwise,
    layers_at,
    weight_in,
)

KINDS = ("CLIPModel", "SiglipModel", "Siglip2Model")

_BLOCKS = ("encoder.layers",)
"""Where a tower keeps its blocks."""


class TransformersFamily(Family):
    """Models of Hugging Face transformers."""

    models = "a CLIPModel, SiglipModel or Siglip2Model of transformers"

    def recognises(self, model: Any) -> bool:
        """Return whether the model's class is one of `KINDS`, or derived from one."""
        return any(
            kind.__name__ in KINDS and kind.__module__.startswith("transformers.")
            for kind in type(model).__mro__
        )

    def towers(self, model: Any) -> tuple[TextTower, ImageTower]:
        """Return the model's text and image towers."""
        return _text_tower(model), _image_tower(model)


def from_processor(processor: Any) -> tuple[Preprocess, Tokenizer]:
    """Return the preprocessing and the tokenizer of a processor.

    Raises
    ------
    ParameterError
        If it is not a processor.
    """
    tokenizer: Tokenizer | None = getattr(processor, "tokenizer", None)
    if tokenizer is None or not callable(processor):
        raise ParameterError(
            f"processor is {named_type(processor)}; expected one of transformers, such as CLIPProcessor"
        )
    return partial(_preprocess_by, processor), tokenizer


def _preprocess_by(processor: Any, image: Image.Image) -> Float[Tensor, "1 3 height width"]:
    return pixels_of(processor(images=image, return_tensors="pt"))


def _embedding(output: object) -> Tensor:
    # If configured not to return dicts, a model returns the last hidden state first.
    return output[1] if isinstance(output, tuple) else embedding_of(output)


def _text_tower(model: Any) -> TextTower:
    config, text = model.config.text_config, model.text_model
    is_clip = hasattr(model, "text_projection")
    blocks = find_blocks("text", text, _BLOCKS)
    # The module's own copy is what it pools by, whatever the configuration says now.
    end = getattr(text, "eos_token_id", config.eos_token_id)
    beside = _beside(model, "text_projection")
    is_own_call = is_as_written(model, "get_text_features", installed=True)
    pools_as_written = is_own_call and are_as_written([text], installed=True)

    def encode(ids: Tensor) -> Tensor:
        return _embedding(model.get_text_features(input_ids=ids.to(model.device)))

    def end_of(ids: Tensor) -> int:
        # Older checkpoints store the wrong end-of-text id, and pool at the highest id.
        return int(ids.argmax() if end in (None, 2) else (ids == end).int().argmax())

    last_block = (
        _last_block_spec(
            model, "get_text_features", text, blocks[-1], text.final_layer_norm, model.text_projection, -1
        )
        if is_clip
        else None
    )
    return TextTower(
        side="text",
        root=text if is_own_call else model,
        beside=beside,
        encode=encode,
        layers=layers_at(model, blocks),
        last_block=last_block,
        state=outline([*text.modules(), *beside]) if last_block else None,
        context_length=config.max_position_embeddings,
        vocabulary=config.vocab_size,
        padded=not is_clip,  # SigLIP pools its last position, whatever token is there
        is_own=is_own_call and are_as_written([*text.modules(), *beside], installed=True),
        is_chain=True,
        end_of=end_of if pools_as_written else confirmed_end(model, encode, end_of, trimmed=False),
    )


def _beside(model: Any, projection: str) -> tuple[nn.Module, ...]:
    """Return the modules that an encoder runs outside its tower: the model itself, and CLIP's projection."""
    return (model, *(getattr(model, projection).modules() if hasattr(model, projection) else ()))


def _image_tower(model: Any) -> ImageTower:
    config, vision = model.config.vision_config, model.vision_model
    blocks = find_blocks("image", vision, _BLOCKS)
    is_clip, patch = hasattr(model, "visual_projection"), config.patch_size
    size = None if _takes_patches(model) else (config.image_size, config.image_size)

    def encode(pixels: Tensor) -> Tensor:
        pixels = pixels.to(model.device, model.dtype)
        inputs = _as_patches(pixels, patch) if size is None else {"pixel_values": pixels}
        return _embedding(model.get_image_features(**inputs))

    beside = _beside(model, "visual_projection")
    is_own_call = is_as_written(model, "get_image_features", installed=True)
    return ImageTower(
        side="image",
        root=vision if is_own_call else model,
        beside=beside,
        encode=encode,
        layers=layers_at(model, blocks),
        last_block=_last_block_spec(
            model, "get_image_features", vision, blocks[-1], vision.post_layernorm, model.visual_projection, 0
        )
        if is_clip
        else None,
        encoder_code=type(model).get_image_features if is_own_call else None,
        is_own=is_own_call and are_as_written([*vision.modules(), *beside], installed=True),
        is_chain=True,
        size=size,
        size_from="" if size is None else "config.vision_config.image_size",
        grid_of=(lambda height, width: (height // patch, width // patch))
        if size is None
        else grid_after(model, vision.embeddings, vision.embeddings.patch_embedding, encode),
        extra_tokens=int(hasattr(vision.embeddings, "class_embedding")),
        patch=(patch, patch) if size is None else patch_size_of(vision.modules()),
    )


# ------------------------------------------------------------------ images of any shape, as patches


def _takes_patches(model: Any) -> bool:
    return type(model.vision_model).__name__.startswith("Siglip2")


def _as_patches(pixels: Tensor, patch: int) -> dict[str, Tensor]:
    """Return the inputs of a variable-resolution model, without padding, which it would only mask."""
    batch, _, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    values = rearrange(
        pixels[..., : rows * patch, : columns * patch], "b c (h y) (w x) -> b (h w) (y x c)", y=patch, x=patch
    )
    whole = torch.ones(batch, rows * columns, dtype=torch.long, device=pixels.device)
    shapes = whole.new_tensor([[rows, columns]]).expand(batch, 2)
    return {"pixel_values": values, "pixel_attention_mask": whole, "spatial_shapes": shapes}


def pixels_of(inputs: Any) -> Float[Tensor, "1 3 height width"]:
    """Return an image processor's output as pixels, with patches reassembled."""
    values: Tensor = inputs["pixel_values"]
    if "spatial_shapes" not in inputs:
        return values
    rows, columns = inputs["spatial_shapes"][0].tolist()
    patch = round((values.shape[-1] / 3) ** 0.5)
    return rearrange(
        values[:1, : rows * columns], "b (h w) (y x c) -> b c (h y) (w x)", h=rows, y=patch, x=patch
    )


# -------------------------------------------------------------------------------------- last block


def _last_block_spec(
    model: Any, method: str, tower: Any, block: Any, norm: nn.Module, projection: nn.Module, row: int
) -> LastBlockSpec | None:
    """Return CLIP's last block; None if anything is not as the library wrote it."""
    if type(block).__name__ != "CLIPEncoderLayer" or type(tower.encoder).__name__ != "CLIPEncoder":
        return None
    attn, tail = block.self_attn, [block.layer_norm2, block.mlp, norm, projection]
    projections = (attn.q_proj, attn.k_proj, attn.v_proj, attn.out_proj)
    replaced = [tower, tower.encoder, tower.encoder.layers, *block.modules(), norm, projection]
    if not is_as_written(model, method) or not are_as_written(replaced):
        return None
    if not all(map(is_pointwise, [block.layer_norm1, *tail])):
        return None
    if any(type(part) is not nn.Linear for part in projections) or block.layer_norm1.weight is None:
        return None
    return LastBlockSpec(lambda dtype: _last_block(block, norm, projection, dtype), row)


def _last_block(block: Any, norm: nn.Module, projection: nn.Module, dtype: torch.dtype) -> LastBlock:
    attn = block.self_attn
    inner = (attn.q_proj, attn.k_proj, attn.v_proj)

    def weight(tensor: Tensor) -> Tensor:
        return weight_in(tensor, dtype)

    mlp = [block.mlp.fc1, block.mlp.activation_fn, block.mlp.fc2]
    return LastBlock(
        norm_weight=weight(block.layer_norm1.weight),
        norm_bias=weight(block.layer_norm1.bias),
        norm_eps=block.layer_norm1.eps,
        in_weight=torch.stack([weight(part.weight) for part in inner]),
        in_bias=torch.stack([weight(part.bias) for part in inner]),
        out_weight=weight(attn.out_proj.weight),
        out_bias=weight(attn.out_proj.bias),
        heads=attn.num_heads,
        tail=tail_of(block.layer_norm2, mlp, None, norm, projection, dtype),
    )
