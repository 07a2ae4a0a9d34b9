"""References: the inputs at which paths start, and which replace what is masked.

exclip's choice is the default: an image that is all zeros after normalisation, and a caption of a single
padding token.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from ..errors import CaptionError, ImageError, ParameterError, named_type
from ..image import open_image
from .preprocessing import Preprocess, preprocess_image
from .tokenizers import CLIP_VOCABULARY, TextInput, Tokenizer, token_ids

KINDS = ("zeros", "mean", "blur", "noise")
"""Names of the reference images."""


def reference_pixels(
    kind: Any, pixels: Float[Tensor, "1 3 height width"], preprocess: Preprocess, seed: int
) -> Float[Tensor, "1 3 height width"]:
    """Return the reference image for `pixels`.

    Parameters
    ----------
    kind : {"zeros", "mean", "blur", "noise"} or image
        `"zeros"` is zero after normalisation, the mean colour of the training set. `"mean"` is the
        image's own mean colour. `"blur"` is the image blurred until only its large shapes are left, with a
        Gaussian a sixteenth of its size wide. `"noise"` is Gaussian noise. Anything else is read as an image.
    pixels : Tensor
        The image, preprocessed.
    preprocess : callable
        Preprocessing for a user's own reference image.
    seed : int
        Seed of `"noise"`.

    Raises
    ------
    ParameterError
        If `kind` is neither one of the names nor an image.
    ImageError
        If the user's own image is preprocessed to another size.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        try:
            image = open_image(kind)
        except ImageError as error:
            names = ", ".join(map(repr, KINDS))
            raise ParameterError(
                f"image_reference={kind!r:.80} is not one of {names}, nor an image: {error}"
            ) from None
        own = preprocess_image(image, preprocess)
        if own.shape != pixels.shape:
            raise ImageError(
                f"the reference image is preprocessed to {tuple(own.shape[2:])}, the image to "
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
    return torch.randn(pixels.shape, generator=generator, dtype=torch.float32, device="cpu").to(pixels)


def reference_ids(text: str | None, tokenizer: Tokenizer, tower: TextInput) -> Int[Tensor, " ids"]:
    """Return the token ids of the reference caption `text`.

    None stands for exclip's own reference, `<sot> <pad> <eot>`, if the tokenizer is CLIP's, and otherwise
    for the empty caption.

    Raises
    ------
    CaptionError, ParameterError
        If `text` cannot be read.
    """
    if text is not None and not isinstance(text, str):
        raise CaptionError(f"text_reference is {named_type(text)} ({text!r:.80}); expected a string or None")
    ids = token_ids(text or "", tokenizer, tower)
    if text is None and len(ids) > 1 and ids[1] in (tower.vocabulary - 1, CLIP_VOCABULARY - 1):
        # CLIP's end-of-text has the highest id of all; one padding token goes before it. A model to which
        # ids were added may still be used with CLIP's own tokenizer.
        ids = torch.cat([ids[:1], ids.new_zeros(1), ids[1:]])
    return ids


def fit_reference(ids: Int[Tensor, " ids"], tower: TextInput, length: int) -> Int[Tensor, " length"]:
    """Return the ids of a reference caption, padded or cut to the length of a caption.

    The tower pools at the caption's own end-of-text position all along the path.
    """
    filled = torch.full(
        (max(length, len(ids)),), int(ids[-1]) if tower.padded and len(ids) else 0, device="cpu"
    )
    filled[: len(ids)] = ids
    return filled[:length]
