"""Tokenizers: the ids that they give for a caption, checked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeAlias

import open_clip
import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import CaptionError, ExclipError, ParameterError, named_type

Tokenizer: TypeAlias = Callable[..., Any]

CLIP_VOCABULARY = 49408
"""Vocabulary size of every model that uses CLIP's own byte pairs."""


class TextInput(Protocol):
    """The kind of token ids that a text tower takes."""

    @property
    def context_length(self) -> int:
        """Largest number of tokens in a caption."""

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""

    @property
    def padded(self) -> bool:
        """Whether the tower reads the padding, and so takes captions padded to its context."""

    @property
    def appended(self) -> int:
        """Number of tokens that the tower itself appends to a caption, such as a class token."""

    @property
    def end_of(self) -> Callable[[Tensor], int]:
        """From ids, (ids,), to the index of the last one that counts; only for towers that are not padded."""


def token_ids(text: str, tokenizer: Tokenizer, tower: TextInput) -> Int[Tensor, " ids"]:
    """Return the token ids of `text` for `tower`.

    Returns
    -------
    Tensor
        Long, (ids,). Padded to the context if the tower reads the padding. If it does not, Hugging Face's
        tokenizers leave the padding out, and others may.

    Raises
    ------
    CaptionError
        If `text` does not fit the context, unless the tokenizer truncates it silently.
    ParameterError
        If `tokenizer` returns anything other than ids that the tower takes.
    """
    if is_hugging_face(tokenizer):
        found = encoded(tokenizer, text, tower.context_length if tower.padded else None)["input_ids"]
        _require_fit(len(found), text, tower)
        if tower.padded and not found:  # a tokenizer without special tokens, not even padding
            raise no_words(text)
        return _checked(torch.tensor([found], dtype=torch.long, device="cpu"), tower)
    return _checked(_called(tokenizer, text), tower)


def encoded(tokenizer: Any, text: str, padded_to: int | None = None, **options: Any) -> Any:
    """Return the encoding of all of `text` by a Hugging Face tokenizer, without truncation."""
    _require_whole_characters(text)
    if padded_to is not None:
        if not tokenizer.special_tokens_map.get("pad_token"):
            raise ParameterError("tokenizer has no padding token; the model needs captions padded")
        options |= {"padding": "max_length", "max_length": padded_to}
    options |= {"truncation": False, "verbose": False, "return_attention_mask": True}
    return _called(tokenizer, text, **options)


def _require_whole_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CaptionError(f"caption {text!r:.80} has half a character, a surrogate on its own") from None


def _called(tokenizer: Tokenizer, text: str, **options: Any) -> Any:
    """Return what `tokenizer` gives for `text`, or raise an error that names it."""
    try:
        return tokenizer(text, **options)
    except ExclipError:
        raise
    except Exception as error:
        _require_whole_characters(text)
        # Some messages repeat the caption, whatever its length.
        reason = " ".join(str(error).replace(text, "...").split()) or "no message"
        message = f"tokenizer raised {type(error).__name__} for caption {text!r:.80}: {reason:.100}"
        # OpenAI's clip.tokenize raises a RuntimeError if a caption is too long. A processor may raise one as
        # well, as it takes the caption for the path of an image.
        if isinstance(error, RuntimeError) and not _is_processor(tokenizer):
            raise CaptionError(message) from error
        raise ParameterError(f"{message}; {_advice(tokenizer)}") from error


def _is_processor(tokenizer: object) -> bool:
    return hasattr(tokenizer, "image_processor")


def _advice(tokenizer: object) -> str:
    """Return what to pass instead of a tokenizer that failed."""
    if _is_processor(tokenizer):
        return "it is a processor; pass it as processor=, or its .tokenizer as tokenizer="
    return "expected a callable that returns the ids of a caption, such as open_clip.get_tokenizer(name)"


def _checked(ids: object, tower: TextInput) -> Int[Tensor, " ids"]:
    """Return the ids that a tokenizer gave for one caption, as long, if the tower can take them."""
    length = tower.context_length
    expected = f"expected whole numbers below {tower.vocabulary}, shape (1, {length})"
    if not isinstance(ids, Tensor):
        raise ParameterError(f"tokenizer gave {named_type(ids)} for one caption; {expected}")
    if ids.is_meta:
        raise ParameterError(
            "tokenizer gave ids on the meta device, which have no values; "
            'explain outside torch.device("meta"), or set another default device'
        )
    if ids.is_nested or ids.layout is not torch.strided:
        layout = "a nested tensor" if ids.is_nested else f"a tensor with layout {ids.layout}"
        raise ParameterError(f"tokenizer gave {layout}; {expected}, as a dense tensor")
    kind = ids.dtype
    whole = not (kind.is_floating_point or kind.is_complex or kind is torch.bool or ids.is_quantized)
    # Only a tower that reads the padding needs it in full.
    least = length if tower.padded else 0
    if not whole or ids.ndim != 2 or len(ids) != 1 or not least <= ids.shape[1] <= length:
        raise ParameterError(f"tokenizer gave {kind} of shape {tuple(ids.shape)}; {expected}")
    # A copy, because the tokenizer may fill the same tensor on its next call. Long, because torch compares
    # few of the unsigned types.
    ids = ids[0].to("cpu", torch.long, copy=True)
    if ids.numel() and (ids.min() < 0 or ids.max() >= tower.vocabulary):
        raise ParameterError(f"tokenizer gave ids from {ids.min()} to {ids.max()}; {expected}")
    return ids


def is_hugging_face(tokenizer: object) -> bool:
    """Return whether `tokenizer` is one of Hugging Face's, without importing their library."""
    return hasattr(tokenizer, "convert_ids_to_tokens")


@cache
def clip_tokenizer(context_length: int = 77) -> open_clip.SimpleTokenizer:
    """Return the byte-pair tokenizer that OpenAI's models and most of open_clip's share."""
    return open_clip.SimpleTokenizer(context_length=context_length)


def _require_fit(length: int, text: str, tower: TextInput) -> None:
    if length > tower.context_length:
        raise too_long(length, text, tower, tower.context_length)


def too_long(length: object, text: str, tower: TextInput, limit: int) -> CaptionError:
    """Return the error for a caption of `length` tokens, of which only `limit` fit."""
    context = tower.context_length
    reason = f"the model's context is {context}"
    if limit < context:
        reason = (
            f"the tokenizer cuts it at {limit}; shorten the caption, or give the tokenizer the model's "
            f"context_length={context}"
        )
    return CaptionError(f"caption takes {length} tokens, start and end included; {reason}: {text!r:.80}")


def no_words(text: str) -> CaptionError:
    """Return the error for a caption with no pieces left."""
    return CaptionError(f"caption {text!r:.80} has no words, or contains a special token")


def special_token(text: str, name: str, *, is_padding: bool) -> CaptionError:
    """Return the error for a caption that contains the special token `name`."""
    kind = "the tokenizer's padding token" if is_padding else "a special token of the tokenizer"
    return CaptionError(f"caption {text!r:.80} contains {name!r:.40}, {kind}; leave it out of the caption")
