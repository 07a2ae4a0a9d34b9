"""References: where the paths to inputs start, and what a masked token is replaced by.

exclip's choice is the default: a picture that is all zeros after normalisation, and a caption of a single
padding token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from ..errors import CaptionError, ParameterError, PictureError
from ..models.tower import ImageTower, TextTower
from .image import open_picture
from .preprocessing import Preprocess, preprocessed
from .tokenizers import Tokenizer, token_ids

PICTURES = ("zeros", "mean", "blur", "noise")


def reference_pixels(
    kind: Any, pixels: Tensor, preprocess: Preprocess, tower: ImageTower, seed: int
) -> Tensor:
    """The reference picture for `pixels`, of their shape, (1, 3, height, width).

    `"zeros"` is zero after normalisation, the mean colour of the training set; `"mean"` the picture's
    own mean colour; `"blur"` the picture blurred until only its large shapes are left (a Gaussian as wide
    as a sixteenth of it); `"noise"` normal noise, seeded. Anything else is a picture of the user's own.

    Raises
    ------
    ParameterError
        Where `kind` is a string that is none of these and names no picture.
    PictureError
        Where the user's own picture does not come out in the same shape.
    """
    if not isinstance(kind, str) or kind not in PICTURES:
        try:
            picture = open_picture(kind)
        except PictureError as error:
            names = ", ".join(map(repr, PICTURES))
            raise ParameterError(
                f"image_reference={kind!r:.80} is not one of {names} nor a picture: {error}"
            ) from None
        own = preprocessed(picture, preprocess, tower.size)
        if own.shape != pixels.shape:
            raise PictureError(
                f"the reference picture is preprocessed to {tuple(own.shape[2:])}, the picture to "
                f"{tuple(pixels.shape[2:])}; expected the same height and width"
            )
        return own.to(pixels)
    if kind == "zeros":
        return torch.zeros_like(pixels)
    if kind == "mean":
        return pixels.mean((2, 3), keepdim=True).expand_as(pixels).contiguous()
    if kind == "blur":
        height, width = pixels.shape[2:]
        sigma = min(height, width) / 16
        reach = min(int(3 * sigma), (min(height, width) - 1) // 2)
        blurred: Tensor = gaussian_blur(pixels, 2 * reach + 1, sigma)
        return blurred
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(pixels.shape, generator=generator).to(pixels)


def reference_ids(text: str | None, tokenizer: Tokenizer, tower: TextTower, length: int) -> Tensor:
    """Ids of the reference caption `text`, filled up to `length` or cut there, long, (length,).

    None is exclip's for CLIP's tokenizers, `<sot> <pad> <eot>`, and the empty caption for any other. The path
    is followed at the caption's own end-of-text position, so the reference has its length.

    Raises
    ------
    CaptionError, ParameterError
        Where `text` cannot be read.
    """
    if text is not None and not isinstance(text, str):
        raise CaptionError(
            f"text_reference is a {type(text).__name__} ({text!r:.80}); expected a string or None"
        )
    ids = token_ids(text or "", tokenizer, tower)
    if text is None and len(ids) > 1 and ids[1] == tower.vocabulary - 1:
        # CLIP's end-of-text has the highest id of all; one padding token goes before it.
        ids = torch.cat([ids[:1], ids.new_zeros(1), ids[1:]])
    filled = torch.full((max(length, len(ids)),), int(ids[-1]) if tower.padded and len(ids) else 0)
    filled[: len(ids)] = ids
    return filled[:length]
