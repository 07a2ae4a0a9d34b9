"""One tiny random model of every supported family, each an instance of its library's own class.

A large named architecture (from timm) is made small by passing smaller numbers to its own constructor, so
that each family runs exactly the code that runs with its pretrained weights.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import open_clip
import timm
import torch
import transformers
from PIL import Image
from torch import Tensor, nn

from support.zoo.inputs import preprocess_to
from support.zoo.openai import clip
from support.zoo.tokenizers import (
    CLIP_VOCABULARY,
    SMALL_CONTEXT,
    OwnTokenizer,
    bert_tokenizer,
    clip_tokenizer,
    hugging_face_clip_tokenizer,
    saved_tokenizer,
    siglip2_tokenizer,
    siglip_tokenizer,
)
from support.zoo.weights import draw, normalise_batches

Inputs = Tensor | dict[str, Tensor]
EMBEDDING = 12


@dataclass(frozen=True)
class Family:
    """A model, how its library calls it, and where it may be cut."""

    model: nn.Module
    options: dict[str, Any]
    """What ``explain`` needs besides the model: ``preprocess`` and ``tokenizer``, or ``processor``."""
    pixels: Callable[[Image.Image], Inputs]
    """Maps an image to the image encoder's input."""
    ids: Callable[[str], Inputs]
    """Maps a caption to the text encoder's input."""
    encode_image: Callable[[nn.Module, Any], Tensor]
    encode_text: Callable[[nn.Module, Any], Tensor]
    """Embeddings, (1, embedding), computed with the library's own public call."""
    text_layers: tuple[str, ...]
    image_layers: tuple[str, ...]
    """Paths of the modules at whose inputs a tower is cut, in the order in which they run."""
    grids: tuple[tuple[int, int], ...]
    """Rows and columns of the sites at each image layer."""
    text_pads: bool
    """Whether the embedding of a caption depends on what follows its last token."""
    reference: Callable[[Any], Inputs]
    """Maps the text encoder's input for a caption to its input for the reference."""
    length: Callable[[Any], int]
    """Number of positions a caption takes, including special tokens but not padding."""
    extra_before: int = 0
    """Number of image sites before the patches that are not patches (class tokens)."""
    extra_after: int = 0
    """Number of image sites after the patches that are not patches (padding)."""
    text_extra_after: int = 0
    """Number of text sites after the padding that are not positions of the caption (CoCa's class token)."""
    explained: Callable[[nn.Module], Any] = field(default=lambda model: model)
    """Maps the model to what ``explain`` takes: the model itself, or its ``DualEncoder``."""


def clip_reference(ids: Tensor) -> Tensor:
    """Return ``<sot> <pad> <eot>``, then padding, if padding is 0 and end-of-text the largest id."""
    reference = torch.zeros_like(ids)
    reference[0, 0], reference[0, 2] = ids[0, 0], ids.max()
    return reference


def clip_length(ids: Tensor) -> int:
    return int(ids.argmax()) + 1


def first_end(end: int) -> Callable[[Any], int]:
    """Return a function that measures a caption up to and including its first `end` token."""

    def length(ids: Any) -> int:
        ids = ids if isinstance(ids, Tensor) else ids["input_ids"]
        return int((ids == end).int().argmax()) + 1

    return length


def openai(*, size: int, seed: int, image_layers: tuple[str, ...], grids: Any, **vision: Any) -> Family:
    config = {
        "embed_dim": EMBEDDING,
        "image_resolution": size,
        "context_length": 77,
        "vocab_size": CLIP_VOCABULARY,
        "transformer_width": 24,
        "transformer_heads": 3,
        "transformer_layers": 3,
    }
    model = draw(clip.model.CLIP(**(config | vision)), seed)
    normalise_batches(model, seed, (size, size))
    preprocess = preprocess_to(size, size)
    return Family(
        model=model,
        options={"preprocess": preprocess, "tokenizer": clip.tokenize},
        pixels=lambda image: preprocess(image)[None],
        ids=lambda caption: clip.tokenize(caption).long(),
        encode_image=lambda model, pixels: model.encode_image(pixels),
        encode_text=lambda model, ids: model.encode_text(ids),
        text_layers=tuple(f"transformer.resblocks.{n}" for n in range(3)),
        image_layers=image_layers,
        grids=grids,
        text_pads=False,
        reference=clip_reference,
        length=clip_length,
        extra_before=int(isinstance(vision["vision_layers"], int)),
    )


RESNET_LAYERS = tuple(f"visual.layer{n}" for n in (1, 2, 3, 4))
RESNET_GRIDS = ((16, 16), (16, 16), (8, 8), (4, 4))  # for an image of 64 pixels


def of_open_clip(
    seed: int,
    *,
    make: Any = open_clip.CLIP,
    size: tuple[int, int] = (24, 32),
    vision: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
    text_prefix: str | None = None,
    text_layers: int = 3,
    image_layers: tuple[str, ...] = tuple(f"visual.transformer.resblocks.{n}" for n in range(3)),
    grids: Any = ((3, 4),) * 3,
    tokenizer: Callable[[str], Tensor] | None = None,
    context: int = SMALL_CONTEXT,
    reference: Callable[[Tensor], Tensor] = clip_reference,
    length: Callable[[Tensor], int] = clip_length,
    embed_dim: int = EMBEDDING,
    named: dict[str, Any] | None = None,
    call: dict[str, Any] | None = None,
    text_pads: bool = False,
    extra_before: int = 1,
    text_extra_after: int = 0,
    **options: Any,
) -> Family:
    """Make a family of open_clip; ``named`` are the arguments that make timm's named architecture small."""
    vision_cfg: dict[str, Any] = {"image_size": size}
    if "timm_model_name" not in (vision or {}):
        vision_cfg |= {"layers": 3, "width": 32, "head_width": 8, "patch_size": 8}
    text_cfg = {"context_length": context, "vocab_size": CLIP_VOCABULARY} | {
        "layers": text_layers,
        "width": 24,
        "heads": 3,
    }
    with _smaller(**(named or {})):
        model = make(
            embed_dim, vision_cfg=vision_cfg | (vision or {}), text_cfg=text_cfg | (text or {}), **options
        )
    draw(model, seed)
    normalise_batches(model, seed, size)
    if tokenizer is None:
        tokenizer = functools.partial(clip_tokenizer(), context_length=context)
    if text_prefix is None:
        text_prefix = "transformer.resblocks" if make is open_clip.CLIP else "text.transformer.resblocks"
    preprocess = preprocess_to(*size)
    keywords = call or {}
    return Family(
        model=model,
        options={"preprocess": preprocess, "tokenizer": tokenizer},
        pixels=lambda image: preprocess(image)[None],
        ids=lambda caption: tokenizer(caption),
        encode_image=lambda model, pixels: model.encode_image(pixels, **keywords),
        encode_text=lambda model, ids: model.encode_text(ids, **keywords),
        text_layers=tuple(f"{text_prefix}.{n}" for n in range(text_layers)),
        image_layers=image_layers,
        grids=grids,
        text_pads=text_pads,
        reference=reference,
        length=length,
        extra_before=extra_before,
        text_extra_after=text_extra_after,
    )


@contextmanager
def _smaller(**smaller: Any) -> Iterator[None]:
    """Make timm build its named architectures with these arguments inside the context."""
    create = timm.create_model
    with mock.patch.object(timm, "create_model", lambda *args, **given: create(*args, **(given | smaller))):
        yield


def of_siglip(version: int) -> Family:
    """Make small versions of the towers of ViT-B-16-SigLIP or ViT-B-16-SigLIP2."""
    spoken = siglip_tokenizer() if version == 1 else siglip2_tokenizer()
    tokenizer = saved_tokenizer(spoken, clean="canonicalize")
    name = "vit_base_patch16_siglip_224" if version == 1 else "vit_base_patch16_siglip_256"
    return of_open_clip(
        {1: 38, 2: 32}[version],
        make=open_clip.CustomTextCLIP,
        embed_dim=16,
        size=(24, 32) if version == 1 else (32, 16),
        vision={
            "timm_model_name": name,
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        named={
            "embed_dim": 16,
            "depth": 3,
            "num_heads": 2,
            "patch_size": 8,
            "img_size": (24, 32) if version == 1 else (32, 16),
        },
        text={
            "vocab_size": len(spoken),
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
        }
        | ({} if version == 1 else {"act_kwargs": {"approximate": "tanh"}}),
        init_logit_bias=-10,
        image_layers=tuple(f"visual.trunk.blocks.{n}" for n in range(3)),
        grids=((3, 4) if version == 1 else (4, 2),) * 3,
        tokenizer=tokenizer,
        reference=lambda _: tokenizer(""),
        length=first_end(spoken.eos_token_id),
        text_pads=True,
        extra_before=0,
    )


def of_convnext() -> Family:
    return of_open_clip(
        33,
        size=(48, 64),
        vision={
            "timm_model_name": "convnext_base",
            "timm_pool": "",
            "timm_proj": "linear",
            "timm_drop": 0.0,
            "timm_drop_path": 0.1,
        },
        named={"depths": (1, 1, 2, 1), "dims": (8, 12, 16, 24)},
        image_layers=tuple(f"visual.trunk.stages.{n}" for n in range(4)),
        grids=((12, 16), (12, 16), (6, 8), (3, 4)),
        extra_before=0,
    )


def of_eva02() -> Family:
    return of_open_clip(
        34,
        make=open_clip.CustomTextCLIP,
        size=(32, 24),
        vision={"timm_model_name": "eva02_base_patch16_clip_224", "timm_pool": "token", "timm_proj": None},
        named={"embed_dim": 32, "depth": 3, "num_heads": 4, "patch_size": 8, "img_size": (32, 24)},
        image_layers=tuple(f"visual.trunk.blocks.{n}" for n in range(3)),
        grids=((4, 3),) * 3,
    )


def of_mobileclip() -> Family:
    return of_open_clip(
        35,
        make=open_clip.CustomTextCLIP,
        size=(48, 64),
        vision={
            "timm_model_name": "fastvit_mci1",
            "timm_pool": "avg",
            "timm_proj": None,
            "timm_drop": 0.0,
            "timm_drop_path": 0.0,
        },
        named={"layers": (1, 1, 1, 1), "embed_dims": (8, 16, 32, 64)},
        text={"no_causal_mask": True},
        image_layers=tuple(f"visual.trunk.stages.{n}" for n in range(4)),
        grids=((12, 16), (12, 16), (6, 8), (3, 4)),
        text_pads=True,
        extra_before=0,
    )


def of_swin() -> Family:
    size = (32, 64)
    return of_open_clip(
        36,
        size=size,
        vision={"timm_model_name": "swin_base_patch4_window7_224", "timm_pool": "", "timm_proj": "linear"},
        named={
            "img_size": size,
            "embed_dim": 8,
            "depths": (1, 2, 1),
            "num_heads": (2, 2, 4),
            "window_size": 4,
        },
        image_layers=tuple(f"visual.trunk.layers.{n}" for n in range(3)),
        grids=((8, 16), (8, 16), (4, 8)),
        extra_before=0,
    )


def of_coca() -> Family:
    return of_open_clip(
        37,
        make=open_clip.CoCa,
        vision={
            "attentional_pool": True,
            "attn_pooler_heads": 2,
            "attn_pooler_queries": 4,
            "output_tokens": True,
        },
        text={"embed_cls": True, "output_tokens": True},
        multimodal_cfg={
            "context_length": SMALL_CONTEXT,
            "vocab_size": CLIP_VOCABULARY,
            "width": 24,
            "heads": 3,
            "layers": 1,
        },
        call={"normalize": False},
        text_pads=True,
        text_extra_after=1,
    )


def of_hugging_face_text(kind: str) -> Family:
    """Make an open_clip model whose text tower is BERT, RoBERTa or XLM-RoBERTa."""
    spoken = bert_tokenizer(kind)
    config_class = {
        "bert": transformers.BertConfig,
        "roberta": transformers.RobertaConfig,
        "xlm-roberta": transformers.XLMRobertaConfig,
    }[kind]
    config = config_class(
        vocab_size=len(spoken),
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=48,
        # RoBERTa counts positions from the one after its padding token's.
        max_position_embeddings=SMALL_CONTEXT + 2,
        pad_token_id=spoken.pad_token_id,
        type_vocab_size=2 if kind == "bert" else 1,
    )
    tokenizer = saved_tokenizer(spoken)
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        return of_open_clip(
            {"bert": 41, "roberta": 42, "xlm-roberta": 43}[kind],
            make=open_clip.CustomTextCLIP,
            size=(16, 40),
            grids=((2, 5),) * 3,
            text={
                "hf_model_name": folder,
                "hf_model_pretrained": False,
                "hf_proj_type": "mlp" if kind == "roberta" else "linear",
                "hf_pooler_type": "cls_pooler" if kind == "bert" else "mean_pooler",
            },
            text_prefix="text.transformer.encoder.layer",
            tokenizer=tokenizer,
            reference=lambda _: tokenizer(""),
            length=first_end(spoken.sep_token_id),
        )


def tower_config(**more: Any) -> dict[str, Any]:
    return {
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
    } | more


def pooled(output: Any) -> Tensor:
    """Return the embeddings in what a method of transformers gives; before version 5, it is just these."""
    embeddings: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return embeddings


def of_transformers(seed: int, model: Any, processor: Any, grid: tuple[int, int], **known: Any) -> Family:
    draw(model, seed)

    def ids(caption: str) -> dict[str, Tensor]:
        padded = {"padding": "max_length", "max_length": SMALL_CONTEXT}
        return dict(processor.tokenizer(caption, return_tensors="pt", **padded))

    defaults = {
        "reference": lambda _: ids(""),
        "length": first_end(processor.tokenizer.eos_token_id),
        "text_pads": True,
    }
    return Family(
        model=model,
        options={"processor": processor},
        pixels=lambda image: dict(processor.image_processor(image, return_tensors="pt")),
        ids=ids,
        encode_image=lambda model, pixels: pooled(model.get_image_features(**pixels)),
        encode_text=lambda model, ids: pooled(model.get_text_features(**ids)),
        text_layers=tuple(f"text_model.encoder.layers.{n}" for n in range(3)),
        image_layers=tuple(f"vision_model.encoder.layers.{n}" for n in range(3)),
        grids=(grid,) * 3,
        **(defaults | known),
    )


def of_transformers_clip() -> Family:
    tokenizer = hugging_face_clip_tokenizer()
    text = tower_config(vocab_size=len(tokenizer), max_position_embeddings=SMALL_CONTEXT)
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vision = tower_config(image_size=24, patch_size=8)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBEDDING)
    size = {"height": 24, "width": 24}
    images = transformers.CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False)

    def reference(ids: dict[str, Tensor]) -> dict[str, Tensor]:
        everything = torch.ones_like(ids["attention_mask"])
        return {"input_ids": clip_reference(ids["input_ids"]), "attention_mask": everything}

    return of_transformers(
        51,
        transformers.CLIPModel(config),
        transformers.CLIPProcessor(image_processor=images, tokenizer=tokenizer),
        (3, 3),
        reference=reference,
        text_pads=False,
        extra_before=1,
    )


def of_transformers_siglip() -> Family:
    """Make a family whose configuration has CLIP's ids for special tokens, not its own, as in checkpoints."""
    tokenizer = siglip_tokenizer()
    text = tower_config(vocab_size=len(tokenizer), max_position_embeddings=SMALL_CONTEXT, projection_size=24)
    vision = tower_config(image_size=24, patch_size=8)
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    images = transformers.SiglipImageProcessor(size={"height": 24, "width": 24})
    processor = transformers.SiglipProcessor(image_processor=images, tokenizer=tokenizer)
    return of_transformers(52, transformers.SiglipModel(config), processor, (3, 3))


def of_transformers_siglip2() -> Family:
    """Make a Naflex tower: patches of an image of any shape, padded to a fixed number of patches."""
    tokenizer = siglip2_tokenizer()
    text = tower_config(vocab_size=len(tokenizer), max_position_embeddings=SMALL_CONTEXT, projection_size=24)
    vision = tower_config(num_patches=16, patch_size=8)
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    patches = {"patch_size": 8, "max_num_patches": 14}
    images = transformers.Siglip2ImageProcessor(**patches)
    processor = transformers.Siglip2Processor(image_processor=images, tokenizer=tokenizer)
    # Its class has defaults for a call that override `images`: 256 patches of 16 pixels.
    processor.images_kwargs = patches
    processor.text_kwargs = processor.text_kwargs | {"max_length": SMALL_CONTEXT}
    # 48 x 64 pixels make 3 x 4 patches.
    return of_transformers(53, transformers.Siglip2Model(config), processor, (3, 4), extra_after=2)


class OwnModel(nn.Module):
    """A small convolutional network next to a recurrent one, like one that a user might write."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, stride=4, padding=2)
        self.middle = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1, stride=2), nn.BatchNorm2d(12), nn.GELU())
        self.last = nn.Conv2d(12, EMBEDDING, 3, padding=1)
        self.words = nn.Embedding(OwnTokenizer.vocabulary, 10)
        self.mix = nn.Conv1d(10, 16, 3, padding=1)
        self.read = nn.GRU(16, EMBEDDING, batch_first=True)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return self.last(self.middle(self.stem(pixels).tanh())).logsumexp((2, 3))

    def embed_text(self, ids: Tensor) -> Tensor:
        states, _ = self.read(self.mix(self.words(ids).mT).mT.tanh())
        return states[:, -1]


def _own_explained(model: nn.Module) -> Any:
    from exclip_widget import DualEncoder

    return DualEncoder(
        model,
        encode_text=model.embed_text,
        encode_image=model.embed_image,
        text_layers=["read"],
        image_layers=["middle", "last"],
        context_length=8,
        padded=True,
    )


def own() -> Family:
    preprocess, tokenizer = preprocess_to(24, 32), OwnTokenizer()
    model = draw(OwnModel(), 61)
    normalise_batches(model, 61, (24, 32))
    return Family(
        model=model,
        options={"preprocess": preprocess, "tokenizer": tokenizer},
        pixels=lambda image: preprocess(image)[None],
        ids=tokenizer,
        encode_image=lambda model, pixels: model.embed_image(pixels),
        encode_text=lambda model, ids: model.embed_text(ids),
        text_layers=("read",),
        image_layers=("middle", "last"),
        grids=((6, 8), (3, 4)),
        text_pads=True,
        reference=lambda _: tokenizer(""),
        length=lambda ids: int((ids != 0).sum()),
        explained=_own_explained,
    )


PLAIN_BLOCKS = tuple(f"visual.transformer.resblocks.{n}" for n in range(3))

FAMILIES: dict[str, Callable[[], Family]] = {
    "OpenAI ViT": lambda: openai(
        seed=11,
        size=24,
        vision_layers=3,
        vision_width=128,
        vision_patch_size=8,
        image_layers=PLAIN_BLOCKS,
        grids=((3, 3),) * 3,
    ),
    "OpenAI ResNet": lambda: openai(
        seed=12,
        size=64,
        vision_layers=(1, 1, 1, 1),
        vision_width=16,
        vision_patch_size=None,
        image_layers=RESNET_LAYERS,
        grids=RESNET_GRIDS,
    ),
    "open_clip ViT": lambda: of_open_clip(13, context=77),
    "open_clip ViT, mean of patches pooled": lambda: of_open_clip(14, vision={"pool_type": "avg"}),
    "open_clip ViT, last position pooled": lambda: of_open_clip(
        15, make=open_clip.CustomTextCLIP, text={"pool_type": "last"}, text_pads=True
    ),
    "open_clip ViT, eos pooled": lambda: of_open_clip(
        16, make=open_clip.CustomTextCLIP, text={"pool_type": "eos", "eos_id": CLIP_VOCABULARY - 1}
    ),
    "open_clip ViT, layer scale": lambda: of_open_clip(
        17, vision={"ls_init_value": 0.1}, text={"ls_init_value": 0.1}
    ),
    "open_clip ViT, patch dropout": lambda: of_open_clip(18, vision={"patch_dropout": 0.5}),
    "open_clip ViT, QuickGELU": lambda: of_open_clip(19, quick_gelu=True),
    "open_clip ViT, custom text": lambda: of_open_clip(
        20, make=open_clip.CustomTextCLIP, text={"proj_bias": True}
    ),
    "open_clip ResNet": lambda: of_open_clip(
        21,
        size=(64, 64),
        vision={"layers": (1, 1, 1, 1), "width": 8, "image_size": 64},
        image_layers=RESNET_LAYERS,
        grids=RESNET_GRIDS,
        extra_before=0,
    ),
    "open_clip SigLIP": lambda: of_siglip(1),
    "open_clip SigLIP 2": lambda: of_siglip(2),
    "open_clip ConvNeXt": of_convnext,
    "open_clip EVA02": of_eva02,
    "open_clip MobileCLIP": of_mobileclip,
    "open_clip Swin": of_swin,
    "open_clip CoCa": of_coca,
    "open_clip, BERT": lambda: of_hugging_face_text("bert"),
    "open_clip, RoBERTa": lambda: of_hugging_face_text("roberta"),
    "open_clip, XLM-RoBERTa": lambda: of_hugging_face_text("xlm-roberta"),
    "transformers CLIP": of_transformers_clip,
    "transformers SigLIP": of_transformers_siglip,
    "transformers SigLIP 2": of_transformers_siglip2,
    "own": own,
}


@functools.cache
def family(name: str) -> Family:
    """Return a family, shared between tests: no test may change it."""
    return FAMILIES[name]()
