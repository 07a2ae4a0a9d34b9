"""Pieces: what a tokenizer makes of a caption, as people read it. One reader for each kind of tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol, TypeAlias

import open_clip
import torch

from ..errors import CaptionError, ParameterError
from ..results.rows import Span
from .spans import hull, number_words, origins, with_marks

Tokenizer: TypeAlias = Callable[..., Any]

START, END = "<sot>", "<eot>"

SPELLINGS = {"<|startoftext|>": START, "<|endoftext|>": END}
"""Hugging Face's names of CLIP's special tokens, and ours."""

SPACE = " "
"""How a piece is shown that stands for white space alone."""


class Intake(Protocol):
    """What a text tower says of the ids that it takes."""

    @property
    def context_length(self) -> int:
        """Most tokens that a caption can have."""

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""

    @property
    def padded(self) -> bool:
        """Whether the tower reads the padding, and so takes captions padded to its context."""

    @property
    def end_of(self) -> Callable[[torch.Tensor], int]:
        """From ids, (ids,), to the index of the last one that counts, where the tower is not padded."""


class Piece(NamedTuple):
    """A token: as people read it, where it stands in the caption and the number of its word."""

    text: str
    span: Span | None = None
    word: int = -1


PADDING = Piece("<pad>")


def token_ids(text: str, tokenizer: Tokenizer, tower: Intake) -> torch.Tensor:
    """Ids of `text`, as `tokenizer` gives them and `tower` takes them.

    Returns
    -------
    torch.Tensor
        Long, (ids,): padded to the context where the tower reads the padding. Where it does not, Hugging
        Face's tokenizers leave it out, and any other may.

    Raises
    ------
    CaptionError
        Where `text` does not fit the context, as far as the tokenizer tells.
    ParameterError
        Where `tokenizer` gives something else than ids that the tower takes.
    """
    if is_hugging_face(tokenizer):
        found = _encoded(tokenizer, text, tower.context_length if tower.padded else None)["input_ids"]
        _require_fit(len(found), text, tower)
        if tower.padded and not found:  # Not even padding, from those that end no text.
            raise no_words(text)
        ids: object = torch.tensor([found], dtype=torch.long)
    else:
        try:
            ids = tokenizer(text)
        except RuntimeError as error:  # OpenAI's clip.tokenize says so when a caption is too long.
            raise CaptionError(str(error)) from None
    length = tower.context_length
    expected = f"expected whole numbers below {tower.vocabulary}, shape (1, {length})"
    if not isinstance(ids, torch.Tensor):
        raise ParameterError(f"tokenizer gave a {type(ids).__name__} for one caption; {expected}")
    # Only a tower that reads the padding needs all of it.
    least = length if tower.padded else 0
    if ids.ndim != 2 or len(ids) != 1 or not least <= ids.shape[1] <= length or ids.is_floating_point():
        raise ParameterError(f"tokenizer gave {ids.dtype} of shape {tuple(ids.shape)}; {expected}")
    if ids.numel() and (ids.min() < 0 or ids.max() >= tower.vocabulary):
        raise ParameterError(f"tokenizer gave ids from {ids.min()} to {ids.max()}; {expected}")
    return ids[0].long().cpu()


def read_pieces(text: str, ids: list[int], tokenizer: Tokenizer, tower: Intake) -> list[Piece]:
    """What each of `ids` stands for, which `tokenizer` made of `text`; `PADDING` where for nothing.

    Raises
    ------
    CaptionError, ParameterError
        As `read_caption` says.
    """
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    if is_hugging_face(inner):
        return _hugging_face(text, ids, tokenizer, inner, tower)
    if hasattr(tokenizer, "bpe"):
        return _byte_pairs(text, ids, tokenizer, tower)
    # A bare function such as clip.tokenize: the same ids, as far as they go, mean the same rules.
    clip = clip_tokenizer()
    expected = [clip.sot_token_id, *clip.encode(text)[: len(ids) - 2], clip.eot_token_id]
    if ids[: len(expected)] == expected:
        return _byte_pairs(text, ids, clip, tower)
    return _unknown(text, ids, tokenizer, tower)


def is_hugging_face(tokenizer: object) -> bool:
    """Whether `tokenizer` is one of Hugging Face's; told without their library, which is not required."""
    return hasattr(tokenizer, "convert_ids_to_tokens")


@cache
def clip_tokenizer(context_length: int = 77) -> open_clip.SimpleTokenizer:
    """The byte-pair tokenizer that OpenAI's models and most of open_clip's share."""
    return open_clip.SimpleTokenizer(context_length=context_length)


# ----- CLIP's own byte pairs


def _byte_pairs(text: str, ids: list[int], tokenizer: Any, tower: Intake) -> list[Piece]:
    """Pieces by CLIP's rules, which say of each piece its word and its bytes."""
    clean = getattr(tokenizer, "clean_fn", clip_tokenizer().clean_fn)
    found: list[tuple[str, Span, int]] = []
    for number, match in enumerate(tokenizer.pat.finditer(clean(text))):
        symbols = "".join(tokenizer.byte_encoder[byte] for byte in match.group().encode())
        # By bytes, because a piece may end within a character: both its pieces then came from it.
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


def _hugging_face(text: str, ids: list[int], tokenizer: Tokenizer, inner: Any, tower: Intake) -> list[Piece]:
    """Pieces by `inner`, one of Hugging Face's tokenizers: `tokenizer` itself, or what open_clip wraps."""
    clean, wrapped = _clean_up(tokenizer, inner), tokenizer is not inner
    whole = _encoded(inner, clean(text), tower.context_length if wrapped or tower.padded else None)
    # A wrapper cuts in silence. In its mode "clips" a class token follows the padding.
    clips = getattr(tokenizer, "tokenizer_mode", "") == "clips"
    _require_fit(sum(whole["attention_mask"]) + clips, text, tower)

    inside, pieces = _content(text, inner, clean)
    roles = inner.special_tokens_map
    special = {str(token) for role, token in roles.items() if role != "unk_token"}
    if special & set(inner.convert_ids_to_tokens(inside)):
        raise no_words(text)
    start = next((at for at in range(len(ids)) if ids[at : at + len(inside)] == inside), None)
    if start is None:
        raise ParameterError("tokenizer gave other ids for the caption than the tokenizer that it wraps")

    def around(at: int) -> Piece:
        token: str = inner.convert_ids_to_tokens(ids[at])
        # Where a text ends with the token that also pads, only the tokenizer can tell which it is.
        read = ids[at] == whole["input_ids"][at] and whole["attention_mask"][at]
        return PADDING if token == roles.get("pad_token") and not read else Piece(SPELLINGS.get(token, token))

    stop = start + len(inside)
    return [*map(around, range(start)), *pieces, *map(around, range(stop, len(ids)))]


def _clean_up(tokenizer: Any, inner: Any) -> Callable[[str], str]:
    """What `tokenizer` does to a text before `inner` reads it."""
    if tokenizer is inner:
        return str
    # Of open_clip's two wrappers, SigLIP's does not say what it does.
    canonical = open_clip.tokenizer.get_clean_fn("canonicalize")
    clean: Callable[[str], str] = getattr(tokenizer, "clean_fn", canonical)
    return clean


def _content(text: str, inner: Any, clean: Callable[[str], str]) -> tuple[list[int], list[Piece]]:
    """Ids and pieces of a caption without the special tokens around it."""
    fast = getattr(inner, "is_fast", False)

    def encoded(part: str) -> Any:
        return _encoded(inner, clean(part), add_special_tokens=False, return_offsets_mapping=fast)

    def shown(numbers: Sequence[int]) -> list[str]:
        return [_shown(inner, number) for number in numbers]

    found, cleaned = encoded(text), clean(text)
    ids: list[int] = found["input_ids"]
    pieces = shown(ids)
    if not fast:
        # It tells no places, but it can be asked what it makes of each part of the caption.
        return ids, _placed(text, pieces, lambda part: "".join(shown(encoded(part)["input_ids"])))
    offsets = found["offset_mapping"]
    # The bytes of an unusual space are no text on their own.
    spaces = [cleaned[slice(*at)].isspace() for at in offsets]
    pieces = [SPACE if space else piece for piece, space in zip(pieces, spaces, strict=True)]
    return ids, _placed(text, pieces, clean, offsets)


def _encoded(tokenizer: Any, text: str, padded_to: int | None = None, **options: Any) -> Any:
    """What one of Hugging Face's tokenizers says of `text`, of all of it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CaptionError(f"caption {text!r:.80} has half a character, a surrogate on its own") from None
    if padded_to is not None:
        if not tokenizer.special_tokens_map.get("pad_token"):
            raise ParameterError("tokenizer has no padding token; the model needs captions padded")
        options |= {"padding": "max_length", "max_length": padded_to}
    return tokenizer(text, truncation=False, verbose=False, return_attention_mask=True, **options)


def _shown(tokenizer: Any, number: int) -> str:
    """The piece of id `number`, without the marks that say how it was joined to others."""
    text: str = tokenizer.decode([number], clean_up_tokenization_spaces=False)
    # Decoded on its own, a continuation keeps the mark of WordPiece, which means nothing to others.
    if text.startswith("##") and tokenizer.convert_tokens_to_string(["a", "##a"]) == "aa":
        return text.removeprefix("##")
    if not text and tokenizer.convert_ids_to_tokens(number).strip("▁"):
        return "\ufffd"  # Part of a character, which some leave out.
    return text.strip() or SPACE


# ----- any other callable


def _unknown(text: str, ids: list[int], tokenizer: Any, tower: Intake) -> list[Piece]:
    """Pieces by a tokenizer that tells nothing but ids: all that it does not give an empty caption too."""
    decode = getattr(tokenizer, "decode", lambda numbers: f"[{numbers[0]}]")
    empty = token_ids("", tokenizer, tower).tolist()

    def shown(numbers: list[int]) -> list[str]:
        return [decode([number]).strip() or SPACE for number in numbers[slice(*_inside(numbers, empty))]]

    def read(part: str) -> str:
        return "".join(shown(token_ids(part, tokenizer, tower).tolist()))

    start, stop = _inside(ids, empty)
    filled = len(ids)
    # Padding is one id, over and over. Before it stands at least the end.
    while filled > stop + 1 and ids[filled - 1] == ids[-1]:
        filled -= 1
    after = [Piece(END)] * (filled - stop) + [PADDING] * (len(ids) - filled)
    return [Piece(START)] * start + _placed(text, shown(ids), read) + after


def _inside(ids: list[int], empty: list[int]) -> Span:
    """From where to where `ids` are not those of the empty caption, pushed apart."""
    start = next(
        (at for at, pair in enumerate(zip(ids, empty, strict=False)) if pair[0] != pair[1]), len(ids)
    )
    rest = empty[start:]
    stop = next(at for at in range(start, len(ids) + 1) if ids[at:] == rest[: len(ids) - at])
    return start, stop


# ----- what readers share


def _placed(
    text: str, shown: Sequence[str], read: Callable[[str], str], offsets: Sequence[Span] | None = None
) -> list[Piece]:
    """Pieces as `shown`, at `offsets` in `read(text)` or, by default, one after the other."""
    if not any(map(str.strip, shown)):
        raise no_words(text)
    traced = origins(text, read)
    offsets = offsets or list(pairwise(accumulate(map(len, shown), initial=0)))
    found = [hull(traced[slice(*at)]) for at in offsets]
    spans = with_marks(
        text, [span if piece != SPACE else None for piece, span in zip(shown, found, strict=True)]
    )
    words = number_words(text, [span for piece, span in zip(shown, spans, strict=True) if piece != SPACE])
    # White space alone belongs to the word that it comes before, or else to the last one.
    before = accumulate((piece != SPACE for piece in shown), initial=0)
    number = (words[min(count, len(words) - 1)] for count in before)
    return [Piece(*piece) for piece in zip(shown, spans, number, strict=False)]


def _require_fit(length: int, text: str, tower: Intake) -> None:
    if length > tower.context_length:
        raise CaptionError(
            f"caption takes {length} tokens, start and end included; the model's context is "
            f"{tower.context_length}: {text!r:.80}"
        )


def no_words(text: str) -> CaptionError:
    """What to say of a caption of which no piece is left."""
    return CaptionError(f"caption {text!r:.80} has no words, or a special token among them")
