"""Tokenizers: the ids of a caption, and the piece that each id stands for, with a reader for each kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol, TypeAlias

import open_clip
import torch
from jaxtyping import Int
from torch import Tensor

from ..errors import CaptionError, ExclipError, ParameterError
from ..results.rows import Span
from .spans import hull, number_words, origins, with_marks

Tokenizer: TypeAlias = Callable[..., Any]

CLIP_VOCABULARY = 49408
"""Vocabulary size of every model that uses CLIP's own byte pairs."""

START, END = "<sot>", "<eot>"

SPELLINGS = {"<|startoftext|>": START, "<|endoftext|>": END}
"""From Hugging Face's names for CLIP's special tokens to ours."""

SPACE = " "
"""Text of a piece that stands for white space alone."""


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


class Piece(NamedTuple):
    """A token in readable form, its span in the caption, and the index of its word."""

    text: str
    span: Span | None = None
    word: int = -1


PADDING = Piece("<pad>")


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
        found = _encoded(tokenizer, text, tower.context_length if tower.padded else None)["input_ids"]
        _require_fit(len(found), text, tower)
        if tower.padded and not found:  # a tokenizer without special tokens, not even padding
            raise no_words(text)
        return _checked(torch.tensor([found], dtype=torch.long, device="cpu"), tower)
    return _checked(_called(tokenizer, text), tower)


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
        if isinstance(error, RuntimeError):  # OpenAI's clip.tokenize raises it if a caption is too long
            raise CaptionError(message) from error
        raise ParameterError(f"{message}; {_advice(tokenizer)}") from error


def _advice(tokenizer: object) -> str:
    """Return what to pass instead of a tokenizer that failed."""
    if hasattr(tokenizer, "image_processor"):
        return "it is a processor; pass it as processor=, or its .tokenizer as tokenizer="
    return "expected a callable that returns the ids of a caption, such as open_clip.get_tokenizer(name)"


def _checked(ids: object, tower: TextInput) -> Int[Tensor, " ids"]:
    """Return the ids that a tokenizer gave for one caption, as long, if the tower can take them."""
    length = tower.context_length
    expected = f"expected whole numbers below {tower.vocabulary}, shape (1, {length})"
    if not isinstance(ids, Tensor):
        raise ParameterError(f"tokenizer gave a {type(ids).__name__} for one caption; {expected}")
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
    ids = ids[0].long().cpu()  # torch compares few of the unsigned types
    if ids.numel() and (ids.min() < 0 or ids.max() >= tower.vocabulary):
        raise ParameterError(f"tokenizer gave ids from {ids.min()} to {ids.max()}; {expected}")
    return ids


def read_pieces(text: str, ids: list[int], tokenizer: Tokenizer, tower: TextInput) -> list[Piece]:
    """Return the piece of `text` that each of its `ids` stands for; `PADDING` for padding.

    Raises
    ------
    CaptionError, ParameterError
        As `read_caption` does.
    """
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    if is_hugging_face(inner):
        return _hugging_face(text, ids, tokenizer, inner, tower)
    if hasattr(tokenizer, "bpe"):
        return _byte_pairs(text, ids, tokenizer, tower)
    # A bare function such as clip.tokenize: if its ids follow CLIP's rules, so do its pieces.
    clip = clip_tokenizer()
    expected = [clip.sot_token_id, *clip.encode(text)[: len(ids) - 2], clip.eot_token_id]
    if ids[: len(expected)] == expected:
        return _byte_pairs(text, ids, clip, tower)
    return _unknown(text, ids, tokenizer, tower)


def is_hugging_face(tokenizer: object) -> bool:
    """Return whether `tokenizer` is one of Hugging Face's, without importing their library."""
    return hasattr(tokenizer, "convert_ids_to_tokens")


@cache
def clip_tokenizer(context_length: int = 77) -> open_clip.SimpleTokenizer:
    """Return the byte-pair tokenizer that OpenAI's models and most of open_clip's share."""
    return open_clip.SimpleTokenizer(context_length=context_length)


# ----- CLIP's own byte pairs


def _byte_pairs(text: str, ids: list[int], tokenizer: Any, tower: TextInput) -> list[Piece]:
    """Read pieces using CLIP's rules, which give each piece's word and bytes."""
    clean = getattr(tokenizer, "clean_fn", clip_tokenizer().clean_fn)
    found: list[tuple[str, Span, int]] = []
    for number, match in enumerate(tokenizer.pat.finditer(clean(text))):
        symbols = "".join(tokenizer.byte_encoder[byte] for byte in match.group().encode())
        # Counted in bytes: a character split between two pieces is the origin of both.
        places = [at for at, char in enumerate(match.group(), match.start()) for _ in char.encode()]
        for piece in tokenizer.bpe(symbols).removesuffix("</w>").split(" "):
            spelled = bytes(tokenizer.byte_decoder[symbol] for symbol in piece)
            span = places[0], places[len(spelled) - 1] + 1
            found.append((spelled.decode(errors="replace"), span, number))
            del places[: len(spelled)]
    _require_fit(len(found) + 2, text, tower)
    traced = origins(text, clean)
    pieces = [Piece(piece, hull(traced[slice(*span)]), number) for piece, span, number in found]
    padding = [PADDING] * (len(ids) - len(pieces) - 2)
    return [Piece(START), *pieces, Piece(END), *padding]


# ----- Hugging Face's tokenizers


def _hugging_face(
    text: str, ids: list[int], tokenizer: Tokenizer, inner: Any, tower: TextInput
) -> list[Piece]:
    """Read pieces with Hugging Face's `inner`: `tokenizer` itself, or the one that open_clip wraps."""
    clean, wrapped = _clean_up(tokenizer, inner), tokenizer is not inner
    whole = _encoded(inner, clean(text), tower.context_length if wrapped or tower.padded else None)
    # A wrapper truncates silently. In its mode "clips" a class token follows the padding.
    clips = getattr(tokenizer, "tokenizer_mode", "") == "clips"
    _require_fit(sum(whole["attention_mask"]) + clips, text, tower)

    inside, pieces = _content(text, inner, clean)
    roles = inner.special_tokens_map
    special = {str(token) for role, token in roles.items() if role != "unk_token"}
    if special & set(inner.convert_ids_to_tokens(inside)):
        raise no_words(text)
    start = next((at for at in range(len(ids)) if ids[at : at + len(inside)] == inside), None)
    if start is None:
        raise ParameterError("tokenizer gave ids for the caption that differ from those of the one it wraps")

    def around(at: int) -> Piece:
        token: str = inner.convert_ids_to_tokens(ids[at])
        # If texts end with the token that also pads, only the attention mask tells the two apart.
        read = ids[at] == whole["input_ids"][at] and whole["attention_mask"][at]
        return PADDING if token == roles.get("pad_token") and not read else Piece(SPELLINGS.get(token, token))

    stop = start + len(inside)
    return [*map(around, range(start)), *pieces, *map(around, range(stop, len(ids)))]


def _clean_up(tokenizer: Any, inner: Any) -> Callable[[str], str]:
    """Return the clean-up that `tokenizer` applies to a text before `inner` reads it."""
    if tokenizer is inner:
        return str
    # Of open_clip's two wrappers, SigLIP's does not expose its clean-up.
    canonical = open_clip.tokenizer.get_clean_fn("canonicalize")
    clean: Callable[[str], str] = getattr(tokenizer, "clean_fn", canonical)
    return clean


def _content(text: str, inner: Any, clean: Callable[[str], str]) -> tuple[list[int], list[Piece]]:
    """Return ids and pieces of a caption, without the special tokens around it."""
    fast = getattr(inner, "is_fast", False)

    def encoded(part: str) -> Any:
        return _encoded(inner, clean(part), add_special_tokens=False, return_offsets_mapping=fast)

    def shown(numbers: Sequence[int]) -> list[str]:
        return [_shown(inner, number) for number in numbers]

    found, cleaned = encoded(text), clean(text)
    ids: list[int] = found["input_ids"]
    pieces = shown(ids)
    if not fast:
        # A slow tokenizer gives no offsets, but it can tokenise each part of the caption by itself.
        return ids, _placed(text, pieces, lambda part: "".join(shown(encoded(part)["input_ids"])))
    offsets = found["offset_mapping"]
    # Single bytes of an unusual space decode to no text.
    spaces = [cleaned[slice(*at)].isspace() for at in offsets]
    pieces = [SPACE if space else piece for piece, space in zip(pieces, spaces, strict=True)]
    return ids, _placed(text, pieces, clean, offsets)


def _encoded(tokenizer: Any, text: str, padded_to: int | None = None, **options: Any) -> Any:
    """Return the encoding of all of `text` by a Hugging Face tokenizer, without truncation."""
    _require_whole_characters(text)
    if padded_to is not None:
        if not tokenizer.special_tokens_map.get("pad_token"):
            raise ParameterError("tokenizer has no padding token; the model needs captions padded")
        options |= {"padding": "max_length", "max_length": padded_to}
    options |= {"truncation": False, "verbose": False, "return_attention_mask": True}
    return _called(tokenizer, text, **options)


def _shown(tokenizer: Any, number: int) -> str:
    """Return the piece of id `number`, without the marks that show how it joins its neighbours."""
    text: str = tokenizer.decode([number], clean_up_tokenization_spaces=False)
    # Decoded alone, a continuation keeps WordPiece's mark; other tokenizers may mean it literally.
    if text.startswith("##") and tokenizer.convert_tokens_to_string(["a", "##a"]) == "aa":
        return text.removeprefix("##")
    if not text and tokenizer.convert_ids_to_tokens(number).strip("▁"):
        return "\ufffd"  # part of a character, which some tokenizers leave out
    return text.strip() or SPACE


# ----- any other callable


def _unknown(text: str, ids: list[int], tokenizer: Any, tower: TextInput) -> list[Piece]:
    """Read pieces with a tokenizer that gives only ids: those that an empty caption does not have."""
    decode = getattr(tokenizer, "decode", lambda numbers: f"[{numbers[0]}]")
    empty = token_ids("", tokenizer, tower).tolist()

    def shown(numbers: list[int]) -> list[str]:
        return [decode([number]).strip() or SPACE for number in numbers[slice(*_inside(numbers, empty))]]

    def read(part: str) -> str:
        return "".join(shown(token_ids(part, tokenizer, tower).tolist()))

    start, stop = _inside(ids, empty)
    filled = len(ids)
    # Padding is one id repeated, after at least the end-of-text token.
    while filled > stop + 1 and ids[filled - 1] == ids[-1]:
        filled -= 1
    after = [Piece(END)] * (filled - stop) + [PADDING] * (len(ids) - filled)
    return [Piece(START)] * start + _placed(text, shown(ids), read) + after


def _inside(ids: list[int], empty: list[int]) -> Span:
    """Return the range of `ids` that is inserted into the ids of the empty caption."""
    shared = enumerate(zip(ids, empty, strict=False))
    start = next((at for at, (one, other) in shared if one != other), min(len(ids), len(empty)))
    rest = empty[start:]
    stop = next(at for at in range(start, len(ids) + 1) if ids[at:] == rest[: len(ids) - at])
    return start, stop


# ----- shared by the readers


def _placed(
    text: str, shown: Sequence[str], read: Callable[[str], str], offsets: Sequence[Span] | None = None
) -> list[Piece]:
    """Return pieces with texts `shown`, at `offsets` in `read(text)`; by default one after the other."""
    if not any(map(str.strip, shown)):
        raise no_words(text)
    traced = origins(text, read)
    offsets = offsets or list(pairwise(accumulate(map(len, shown), initial=0)))
    found = [hull(traced[slice(*at)]) for at in offsets]
    spans = with_marks(
        text, [span if piece != SPACE else None for piece, span in zip(shown, found, strict=True)]
    )
    words = number_words(text, [span for piece, span in zip(shown, spans, strict=True) if piece != SPACE])
    # White space alone belongs to the word that follows it, or else to the last one.
    before = accumulate((piece != SPACE for piece in shown), initial=0)
    number = (words[min(count, len(words) - 1)] for count in before)
    return [Piece(*piece) for piece in zip(shown, spans, number, strict=False)]


def _require_fit(length: int, text: str, tower: TextInput) -> None:
    if length > tower.context_length:
        raise CaptionError(
            f"caption takes {length} tokens, start and end included; the model's context is "
            f"{tower.context_length}: {text!r:.80}"
        )


def no_words(text: str) -> CaptionError:
    """Return the error for a caption with no pieces left."""
    return CaptionError(f"caption {text!r:.80} has no words, or contains a special token")
