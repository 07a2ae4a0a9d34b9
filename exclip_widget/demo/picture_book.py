"""The picture-book model: a small CLIP in open_clip's own classes, with a tokenizer reduced to its words."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import open_clip
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, set_model_preprocess_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file

from .captions import vocabulary

CONTEXT_LENGTH = 32
PADDING, UNKNOWN = 0, 1

PREPROCESS = PreprocessCfg(size=96, mean=(0.72, 0.70, 0.66), std=(0.25, 0.24, 0.25))

WEIGHTS = resources.files(__package__) / "picture_book.safetensors"


class PictureBookTokenizer(open_clip.SimpleTokenizer):  # type: ignore[misc]
    """open_clip's CLIP tokenizer, renumbered so that only words of the picture book take up rows.

    Captions are split into tokens exactly as in CLIP. Row 0 is padding, row 1 stands for every token that the
    book never uses, and the last two rows start and end a caption, as CLIP requires.
    """

    def __init__(self) -> None:
        super().__init__(context_length=CONTEXT_LENGTH)
        encode = super().encode
        pieces = sorted({piece for word in vocabulary() for piece in encode(word)})
        self._rows = {piece: row for row, piece in enumerate(pieces, start=UNKNOWN + 1)}
        self.vocab_size = UNKNOWN + 1 + len(pieces) + 2
        self.sot_token_id, self.eot_token_id = self.vocab_size - 2, self.vocab_size - 1
        self.all_special_ids = [self.sot_token_id, self.eot_token_id]

    def encode(self, text: str) -> list[int]:
        """Return the rows of the tokens of `text`."""
        return [self._rows.get(piece, UNKNOWN) for piece in super().encode(text)]


def build_model(tokenizer: PictureBookTokenizer, *, patch_dropout: float = 0.0) -> CLIP:
    """Return the picture-book architecture with random weights."""
    model = CLIP(
        embed_dim=128,
        vision_cfg=CLIPVisionCfg(
            image_size=96,
            patch_size=8,
            width=192,
            layers=6,
            head_width=32,
            patch_dropout=patch_dropout,
        ),
        text_cfg=CLIPTextCfg(
            context_length=CONTEXT_LENGTH,
            vocab_size=tokenizer.vocab_size,
            width=128,
            heads=4,
            layers=3,
        ),
    )
    set_model_preprocess_cfg(model, vars(PREPROCESS))
    return model


def load_model() -> tuple[CLIP, PictureBookTokenizer, Callable[[Image.Image], torch.Tensor]]:
    """Return the trained model in evaluation mode, its tokenizer and its preprocessing."""
    tokenizer = PictureBookTokenizer()
    model = build_model(tokenizer)
    with resources.as_file(WEIGHTS) as path:
        weights = load_file(path)
    model.load_state_dict({name: weight.float() for name, weight in weights.items()})
    return model.eval(), tokenizer, image_transform_v2(PREPROCESS, is_train=False)
