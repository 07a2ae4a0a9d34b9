"""Models of open_clip and of OpenAI's clip, which give their parts the same names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from inspect import signature
from typing import Any

import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn

from ..inputs.preprocessing import Preprocess
from ..paths.cut import FAULTS, Layer, Order, embedding_of, is_out_of_memory, read_activations
from ..paths.evaluation_mode import evaluation_mode
from ..paths.last_block import LastBlock
from .as_written import are_as_written, is_as_written, is_of_library
from .blocks import find_blocks, no_layers
from .caption_end import confirmed_end
from .family import Family
from .fingerprint import Fingerprint, outline
from .shortcuts import agrees
from .stems import GridOf, grid_after, patch_size_of
from .tail import tail_of
from .tower import (
    ANY_VOCABULARY,
    ImageTower,
    LastBlockSpec,
    TextTower,
    is_pointwise,
    is_pointwise_itself,
    layers_at,
    rows_of,
    weight_in,
)


class ClipFamily(Family):
    """Models of open_clip and of OpenAI's clip."""

    models = "a model of open_clip, of OpenAI's clip"

    def recognises(self, model: Any) -> bool:
        """Return whether the model is built like open_clip's."""
        parts = ("visual", "encode_image", "encode_text")
        return isinstance(model, nn.Module) and all(hasattr(model, part) for part in parts)

    def towers(self, model: Any) -> tuple[TextTower, ImageTower]:
        """Return the model's text and image towers."""
        return _text_tower(model), _image_tower(model)

    def preprocess(self, model: Any) -> Preprocess:
        """Return the preprocessing that open_clip notes on the tower, or that of OpenAI's models."""
        config: Any = getattr(model.visual, "preprocess_cfg", None)
        if config is None and hasattr(model.visual, "input_resolution"):
            config = {"size": _image_size(model.visual)[0]}
        if not config:
            return super().preprocess(model)
        transform: Preprocess = image_transform_v2(PreprocessCfg(**config), is_train=False)
        return transform


# ------------------------------------------------------------------------------------------- image


def _image_tower(model: Any) -> ImageTower:
    visual = model.visual
    # CoCa normalises by default. The path follows the raw embedding, as in any other model.
    options = {"normalize": False} if "normalize" in signature(model.encode_image).parameters else {}
    blocks = _image_layers(visual)
    # timm declares it for some towers. For others, the blocks may take either layout.
    channels_last = getattr(getattr(visual, "trunk", visual), "output_fmt", "") == "NHWC" or None
    first = next((part for part in visual.modules() if isinstance(part, nn.Conv2d)), None)
    dtype = next(visual.parameters()).dtype if first is None else first.weight.dtype
    orders = _orders(visual, len(blocks))

    def encode(pixels: Tensor) -> object:
        return model.encode_image(pixels.to(_device(visual), dtype), **options)

    size, size_from = _image_size(visual)
    grid_of, extra_tokens = _patches(model, visual, first, encode)
    is_own_call = is_as_written(model, "encode_image", installed=True)
    return ImageTower(
        side="image",
        root=visual if is_own_call else model,
        encode=encode,
        layers=layers_at(model, blocks, channels_last=channels_last, orders=orders[:-1]),
        output_order=orders[-1],
        last_block=_image_last_block(model, visual),
        encoder_code=type(model).encode_image if is_own_call else None,
        is_own=is_own_call and are_as_written(visual.modules(), installed=True),
        is_chain=_is_chain(visual),
        size=size,
        size_from=size_from,
        grid_of=grid_of,
        extra_tokens=extra_tokens,
        patch=_patch_size(visual),
    )


def _patches(
    model: Any, visual: Any, first: nn.Conv2d | None, encode: Callable[[Tensor], object]
) -> tuple[GridOf | None, int | None]:
    """Return a transformer's map from image size to grid of patches, and its number of tokens before."""
    stem = getattr(visual, "conv1", first)
    if hasattr(visual, "class_embedding") and isinstance(stem, nn.Module):
        return grid_after(model, visual, stem, encode), 1
    trunk = getattr(visual, "trunk", visual)
    embedding: Any = getattr(trunk, "patch_embed", None)
    grid, before = getattr(embedding, "grid_size", None), getattr(trunk, "num_prefix_tokens", None)
    if grid is None or before is None:
        return None, None
    is_dynamic = getattr(trunk, "dynamic_img_size", False)

    def grid_of(height: int, width: int) -> tuple[int, int]:
        rows, columns = embedding.dynamic_feat_size((height, width)) if is_dynamic else grid
        return rows, columns

    return grid_of, int(before)


def _patch_size(visual: nn.Module) -> tuple[int, int] | None:
    """Return the height and width in pixels of the first layer's patches; see `ImageTower.patch`.

    The stem of a ResNet of CLIP's halves the image twice, by convolutions that overlap.
    """
    return (4, 4) if hasattr(visual, "layer1") else patch_size_of(visual.modules())


def _orders(visual: Any, count: int) -> list[Order | None]:
    """Return the order of tokens at the input of each block, and at the output of the last.

    Hiera stores the tokens of a masking unit next to each other; timm's `reroll` puts them back into rows.
    """
    reroll = getattr(getattr(visual, "trunk", visual), "reroll", None)
    if reroll is None:
        return [None] * (count + 1)
    orders: list[Order | None] = []
    for block in (0, *range(count)):
        _, size = reroll.schedule[block]
        places = reroll(torch.arange(math.prod(size), device="cpu").reshape(1, -1, 1), block)
        orders.append(tuple(tuple(row) for row in places[0, ..., 0].tolist()))
    return orders


def _image_size(visual: Any) -> tuple[tuple[int, int] | None, str]:
    """Return the height and width in pixels that the tower takes, and which attribute of the model says so.

    The size is None if the tower takes any, or does not say.
    """
    inside = "visual.trunk" if hasattr(visual, "trunk") else "visual"
    embedding = getattr(getattr(visual, "trunk", visual), "patch_embed", None)
    # timm notes in the patch embedding which sizes it takes, even if open_clip has noted one on the tower.
    if getattr(embedding, "dynamic_img_pad", False) or not getattr(embedding, "strict_img_size", True):
        return None, ""
    for holder, path, name in (
        (visual, "visual", "image_size"),
        (visual, "visual", "input_resolution"),
        (embedding, f"{inside}.patch_embed", "img_size"),
    ):
        size: Any = getattr(holder, name, None)
        if size is not None:
            return (size, size) if isinstance(size, int) else tuple(size), f"{path}.{name}"
    return None, ""


def _image_layers(visual: Any) -> list[nn.Module]:
    """Return a transformer's blocks or a convolutional network's stages."""
    if hasattr(visual, "layer1"):
        return [visual.layer1, visual.layer2, visual.layer3, visual.layer4]
    if hasattr(visual, "transformer"):
        return list(visual.transformer.resblocks)
    trunk = getattr(visual, "trunk", visual)
    for name in ("blocks", "stages", "layers"):
        if isinstance(found := getattr(trunk, name, None), (nn.ModuleList, nn.Sequential)) and len(found):
            return _without_lists(found)
    raise no_layers("image", visual)


_CHAINS_OF_TIMM = (
    *("VisionTransformer", "VisionTransformerDistilled", "VisionTransformerRelPos", "Beit", "Eva", "Hiera"),
    *("ConvNeXt", "SwinTransformer", "SwinTransformerV2", "FastVit", "PyramidVisionTransformerV2"),
)
"""Classes of timm whose layers run one after another. Others may have several streams, such as CrossViT."""


def _is_chain(visual: Any) -> bool:
    """Return whether the layers of an image tower, as its library wrote it, run one after another."""
    trunk = getattr(visual, "trunk", None)
    if trunk is None:  # CLIP's own transformer or residual network
        return hasattr(visual, "layer1") or hasattr(visual, "transformer")
    return type(trunk).__name__ in _CHAINS_OF_TIMM


def _without_lists(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Return layers with the entries of a list in its place, as a list of modules itself is never run."""
    found: list[nn.Module] = []
    for layer in layers:
        found += _without_lists(layer) if isinstance(layer, nn.ModuleList) else [layer]
    return found


def _image_last_block(model: Any, visual: Any) -> LastBlockSpec | None:
    """Return the last block, if only its class token is used and everything is as its library wrote it."""
    if getattr(visual, "attn_pool", None) is not None or getattr(visual, "pool_type", "tok") != "tok":
        return None
    if not _is_named(visual, "VisionTransformer") or not is_as_written(model, "encode_image"):
        return None
    return _last_block_spec([visual], visual.transformer, visual.ln_post, visual.proj, row=0)


# -------------------------------------------------------------------------------------------- text

_BLOCKS_OF_TRANSFORMERS = tuple(
    f"transformer.{path}" for path in ("encoder.layer", "encoder.block", "encoder.layers", "layers")
)
"""Where a text tower of transformers keeps its blocks, BERT's and T5's among them."""

_CHAINS_OF_TRANSFORMERS = ("bert", "roberta", "xlm-roberta", "t5", "mt5", "m2m_100")
"""Kinds of text towers, named as in transformers, whose layers run one after another."""


def _kind_of(text: Any) -> object:
    """Return the kind of a text tower of transformers, such as `"bert"`; None if it is no such tower."""
    return getattr(getattr(text, "config", None), "model_type", None)


def _text_tower(model: Any) -> TextTower:
    text = _text_of(model)
    modules = _text_modules(model, text)
    embedding = _token_embedding(text)
    rows = rows_of(modules if embedding is None else embedding.modules())
    if hasattr(text, "ln_final"):
        blocks = list(text.transformer.resblocks)
    else:
        blocks = find_blocks("text", text, _BLOCKS_OF_TRANSFORMERS, model.visual.modules())
    pad = getattr(getattr(text, "config", None), "pad_token_id", None)
    is_own_call = is_as_written(model, "encode_text", installed=True)
    options = {"normalize": False} if "normalize" in signature(model.encode_text).parameters else {}
    context = _context_length(text)

    def encode_whole(ids: Tensor) -> object:
        return model.encode_text(ids.to(_device(text)), **options)

    def encode_padded(ids: Tensor) -> object:
        return encode_whole(nn.functional.pad(ids, (0, context - ids.shape[1])))

    def encode_short(ids: Tensor) -> object:
        return _encode_short(model, text, ids.to(_device(text)))

    def end_of(ids: Tensor) -> int:
        if pad is not None:
            return int((ids != pad).nonzero().max())
        return int(_is_end(text, ids).argmax())

    pools_as_written = is_own_call and (text is model or are_as_written([text], installed=True))
    layers = layers_at(model, blocks)
    tower = TextTower(
        side="text",
        root=text if is_own_call else model,
        encode=encode_whole,
        layers=layers,
        context_length=context,
        vocabulary=_vocabulary(embedding, rows),
        padded=pad is None,
        appended=int(getattr(text, "cls_emb", None) is not None),
        is_own=is_own_call and are_as_written(modules, installed=True),
        is_chain=hasattr(text, "ln_final") or _kind_of(text) in _CHAINS_OF_TRANSFORMERS,
        end_of=end_of if pools_as_written else confirmed_end(model, encode_whole, end_of, trimmed=False),
    )

    def settle() -> TextTower:
        state = outline(modules)
        can_be_short = _can_be_short(model, modules)
        captions = _stand_ins(text, rows, context)
        if not captions:
            changes: dict[str, Any] = {}
        elif can_be_short and _agrees_on_captions(model, captions[0], state, encode_short, encode_padded):
            last_block = _last_block_spec(
                [text], text.transformer, text.ln_final, text.text_projection, row=-1
            )
            changes = {"encode": encode_short, "last_block": last_block}
        elif _ignores_padding(model, captions, context, state, layers[0], encode_padded):
            changes = {"encode": encode_padded, "trimmed": True}
            if not pools_as_written:
                changes["end_of"] = confirmed_end(model, encode_padded, end_of, trimmed=True)
        else:
            changes = {}
        if changes:
            changes |= {"own_encode": encode_padded, "padded": False}
        return replace(tower, settle=None, state=state, **changes)

    return replace(tower, settle=settle) if _is_causal(text) else tower


def _text_of(model: Any) -> Any:
    """Return the module that contains the text tower.

    A wrapper may expose only the image tower of the model that it holds, which then also has the text tower.
    """
    own = _text_in(model)
    if own is not None:
        return own
    inside: list[Any] = [part for part in model.modules() if hasattr(part, "visual")]
    inside.sort(key=lambda part: part.visual is not model.visual)  # there may be a second model, as a teacher
    return next((text for text in map(_text_in, inside) if text is not None), model)


def _text_in(model: Any) -> Any | None:
    """Return a model's `text`, or the model itself if it has a text tower's parts; None if it has neither."""
    text = getattr(model, "text", None)
    if isinstance(text, nn.Module):
        return text
    return model if hasattr(model, "ln_final") else None


def _token_embedding(text: Any) -> nn.Module | None:
    """Return the module that embeds ids, whoever wrote it; None if it cannot be found by name."""
    found = getattr(text, "token_embedding", None)
    if found is None:  # a text tower of transformers
        get = getattr(getattr(text, "transformer", None), "get_input_embeddings", None)
        with suppress(NotImplementedError):
            found = get() if callable(get) else None
    return found if isinstance(found, nn.Module) else None


def _vocabulary(embedding: nn.Module | None, rows: int | None) -> int:
    """Return the number of token ids. A user's own embedding may have ids beyond those that it holds."""
    is_known = embedding is None or isinstance(embedding, nn.Embedding) or is_of_library(embedding)
    return ANY_VOCABULARY if rows is None or not is_known else rows


def _context_length(text: Any) -> int:
    """Return the largest number of tokens in a caption."""
    # mT5 and its like have no position embeddings and report 0. They were trained on this many tokens.
    return int(getattr(text, "context_length", 77)) or 512


def _can_be_short(model: Any, modules: Iterable[nn.Module]) -> bool:
    """Return whether `_encode_short` does what the model's own call does, as far as inspection shows.

    That every module runs its library's own code was already checked when their outline was taken.
    """
    return is_as_written(model, "encode_text") and all(
        _is_of_blocks(module) or is_pointwise_itself(module)
        for module in modules
        if not _is_named(module, "CLIP", "TextTransformer", "CustomTextCLIP")
    )


def _text_modules(model: Any, text: Any) -> list[nn.Module]:
    """Return all modules that a caption runs through, and those that contain them."""
    others = {model, *model.visual.modules()}
    return [model, *(module for module in text.modules() if module not in others)]


_OF_BLOCKS = ("Transformer", "CustomTransformer", "ResidualAttentionBlock", "CustomResidualAttentionBlock")


def _is_of_blocks(module: nn.Module) -> bool:
    """Return whether a module is CLIP's transformer, contains it, or is part of its blocks."""
    torch_own = (nn.ModuleList, nn.Sequential, nn.MultiheadAttention, nn.Embedding)
    out_proj = nn.modules.linear.NonDynamicallyQuantizableLinear
    return type(module) in (*torch_own, out_proj) or _is_named(module, *_OF_BLOCKS, "Attention")


_MODULES = ("open_clip.transformer", "open_clip.model", "clip.model")


def _is_named(module: nn.Module, *names: str) -> bool:
    """Return whether a module's class is open_clip's or OpenAI's, with one of these names."""
    kind = type(module)
    return kind.__name__ in names and kind.__module__ in _MODULES


def _agrees_on_captions(
    model: Any,
    ids: Tensor,
    state: Fingerprint | None,
    short: Callable[[Tensor], object],
    padded: Callable[[Tensor], object],
) -> bool:
    """Return whether two ways to run captions give the same embedding of a made-up caption."""

    def embedding_by(encode: Callable[[Tensor], object]) -> Callable[[], Tensor]:
        return lambda: _embed(model, encode, ids[None])

    return agrees(model, "captions", state, embedding_by(short), embedding_by(padded))


def _ignores_padding(
    model: Any,
    captions: list[Tensor],
    context: int,
    state: Fingerprint | None,
    layer: Layer,
    encode: Callable[[Tensor], object],
) -> bool:
    """Return whether what follows made-up captions has no effect, whatever has been added to the tower.

    Words follow them, because a model of somebody's own may know several ids as padding, and pool before it.
    """
    words = captions[0][:-1].repeat(context)

    def embedding_with(following: Tensor) -> Callable[[], Tensor]:
        padded = [torch.cat([ids, following[: context - len(ids)]]) for ids in captions]
        return lambda: _embed(model, encode, torch.stack(padded))

    def count() -> int:
        with evaluation_mode(model):
            (at,) = read_activations([layer], encode, captions[0][None])
        return at.tokens.shape[1]

    try:
        fits = count() == context
    except FAULTS as error:
        if is_out_of_memory(error):
            raise
        return False
    padding = torch.zeros_like(words)
    return fits and agrees(model, "padding", state, embedding_with(padding), embedding_with(words), 1e-6)


def _embed(model: nn.Module, encode: Callable[[Tensor], object], ids: Tensor) -> Tensor:
    with evaluation_mode(model):
        return embedding_of(encode(ids))


def _stand_ins(text: Any, rows: int | None, context: int) -> list[Tensor]:
    """Return the ids of a short and of a long made-up caption, each ending with the token that is pooled.

    Return none if it is unknown which ids the tower takes: an id that is too high may ruin a GPU's session.
    """
    if rows is None or rows < 3:
        return []
    end = getattr(text, "eos_id", getattr(text, "text_eos_id", None)) if _pool_of(text) == "eos" else None
    end = rows - 1 if end is None else end

    def caption(length: int) -> Tensor:
        words = 1 + torch.arange(length - 1, device="cpu") * 7919 % (rows - 2)
        return torch.cat([torch.where(words == end, 0, words), torch.tensor([end], device="cpu")])

    return [caption(min(8, context)), caption(context // 2 + 1)]


def _pool_of(text: Any) -> str:
    """Return how a text tower pools, from either of open_clip's attributes; OpenAI's has only one way."""
    pool: str = getattr(text, "pool_type", getattr(text, "text_pool_type", "argmax"))
    return pool


def _is_end(text: Any, ids: Tensor) -> Tensor:
    """Return a value for each id that is highest at the token that the model pools."""
    end = getattr(text, "eos_id", getattr(text, "text_eos_id", None)) if _pool_of(text) == "eos" else None
    return ids if end is None else (ids == end).int()


def _is_causal(text: Any) -> bool:
    """Return whether the tower pools the end of the caption, and nothing after it can have an effect."""
    if _pool_of(text) not in ("argmax", "eos") or not hasattr(text, "ln_final"):
        return False
    if getattr(text, "cls_emb", None) is not None or getattr(text, "use_pad_mask", False):
        return False
    masks = [mask for _, _, mask in _masks(text)]
    return bool(masks) and all(map(_hides_what_follows, masks))


def _masks(text: Any) -> Iterator[tuple[Any, str, Tensor]]:
    # open_clip has one mask next to the blocks, OpenAI one in each of them.
    for holder in (text, *text.transformer.resblocks):
        if isinstance(getattr(holder, "attn_mask", None), Tensor):
            yield holder, "attn_mask", holder.attn_mask


def _hides_what_follows(mask: Tensor) -> bool:
    return torch.equal(mask.float(), torch.full_like(mask, -torch.inf, dtype=torch.float32).triu(1))


def _encode_short(model: Any, text: Any, ids: Tensor) -> Tensor:
    """Return embeddings of captions at their own length, without padding to the context."""
    transformer = text.transformer
    dtype = transformer.get_cast_dtype() if hasattr(transformer, "get_cast_dtype") else model.dtype
    x = text.token_embedding(ids).to(dtype) + text.positional_embedding[: ids.shape[1]].to(dtype)
    with _short_masks(text, ids.shape[1]) as mask:
        # open_clip passes its transformer a mask and swaps the axes inside; OpenAI does neither.
        x = transformer(x.transpose(0, 1)).transpose(0, 1) if mask is None else transformer(x, attn_mask=mask)
    x = text.ln_final(x).to(dtype)
    pooled: Tensor = x[torch.arange(len(x), device=x.device), _is_end(text, ids).argmax(-1)]
    projection = text.text_projection
    if isinstance(projection, nn.Module):
        pooled = projection(pooled)
    elif projection is not None:
        pooled = pooled @ projection
    return pooled


@contextmanager
def _short_masks(text: Any, length: int) -> Iterator[Tensor | None]:
    """Yield the mask of the first tokens if blocks are passed one; shorten it meanwhile if they store it."""
    masks = list(_masks(text))
    if masks[0][0] is text:
        yield masks[0][2][:length, :length]
        return
    try:
        for holder, name, mask in masks:
            setattr(holder, name, mask[:length, :length])
        yield None
    finally:
        for holder, name, mask in masks:
            setattr(holder, name, mask)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


# -------------------------------------------------------------------------------------- last block


def _last_block_spec(
    callers: list[Any], transformer: Any, norm: Any, projection: Any, row: int
) -> LastBlockSpec | None:
    """Return the last of CLIP's residual attention blocks; None if anything is not as written."""
    block = transformer.resblocks[-1]
    attn: Any = getattr(block, "attn", None)
    ln_1 = getattr(block, "ln_1", None)
    if type(attn) is not nn.MultiheadAttention or not isinstance(ln_1, nn.LayerNorm):
        return None
    tail = [block.ln_2, block.mlp, norm, *(getattr(block, name, nn.Identity()) for name in ("ls_1", "ls_2"))]
    tail += [projection] if isinstance(projection, nn.Module) else []
    if not all(isinstance(part, nn.Module) for part in tail):  # such as a function in place of an MLP
        return None
    replaced = [*callers, transformer, transformer.resblocks, *block.modules(), norm, *tail[3:]]
    if not are_as_written(replaced):
        return None
    if not all(map(is_pointwise, [ln_1, *tail])) or ln_1.weight is None:
        return None
    # torch's attention has separate projections if widths differ, and may append a key of its own.
    unusual = [attn.in_proj_weight is None, attn.bias_k is not None, attn.add_zero_attn]
    if not _is_named(block, "ResidualAttentionBlock") or hasattr(block, "ln_1_kv") or any(unusual):
        return None
    return LastBlockSpec(lambda dtype: _last_block(block, norm, projection, dtype), row)


def _last_block(block: Any, norm: nn.Module, projection: Any, dtype: torch.dtype) -> LastBlock:
    def weight(tensor: Tensor) -> Tensor:
        return weight_in(tensor, dtype)

    def bias(tensor: Tensor | None, width: int) -> Tensor:
        return weight(attn.in_proj_weight).new_zeros(width) if tensor is None else weight(tensor)

    attn = block.attn
    width = attn.embed_dim
    out_weight, out_bias = weight(attn.out_proj.weight), bias(attn.out_proj.bias, width)
    if isinstance(gamma := getattr(getattr(block, "ls_1", None), "gamma", None), Tensor):
        gamma = weight(gamma)
        out_weight, out_bias = gamma[:, None] * out_weight, gamma * out_bias
    mlp = block.mlp if isinstance(block.mlp, nn.Sequential) else [block.mlp]
    scale = getattr(getattr(block, "ls_2", None), "gamma", None)  # OpenAI's blocks have none
    return LastBlock(
        norm_weight=weight(block.ln_1.weight),
        norm_bias=bias(block.ln_1.bias, width),
        norm_eps=block.ln_1.eps,
        in_weight=weight(attn.in_proj_weight).reshape(3, width, width),
        in_bias=bias(attn.in_proj_bias, 3 * width).reshape(3, width),
        out_weight=out_weight,
        out_bias=out_bias,
        heads=attn.num_heads,
        tail=tail_of(block.ln_2, [*mlp], scale, norm, projection, dtype),
    )
