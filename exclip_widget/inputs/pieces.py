"""Pieces: what each id of a caption stands for, with a reader for each kind of tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise, takewhile
from typing import Any, NamedTuple

import open_clip

from ..errors import ExclipError, ParameterError
from ..results.rows import Span
from .spans import align, hull, number_words, origins, with_marks
from .tokenizers import (
    TextInput,
    Tokenizer,
    clip_tokenizer,
    encoded,
    is_hugging_face,
    no_words,
    special_token,
    token_ids,
    too_long,
)

START, END = "<sot>", "<eot>"

SPELLINGS = {
    "<|startoftext|>": START,
    "<|endoftext|>": END,
    "<start_of_text>": START,
    "<end_of_text>": END,
}
"""From the libraries' names for CLIP's special tokens to ours."""

SPACE = " "
"""Text of a piece that stands for white space alone."""


class Piece(NamedTuple):
    """A token in readable form, its span in the caption, and the index of its word."""

    text: str
    span: Span | None = None
    word: int = -1


PADDING = Piece("<pad>")


@dataclass(frozen=True)
class Given:
    """The ids that a tokenizer gave for a caption."""

    text: str
    ids: list[int]
    tokenizer: Any
    tower: TextInput

    def ids_of(self, text: str) -> list[int]:
        """Return the ids of another text."""
        found: list[int] = token_ids(text, self.tokenizer, self.tower).tolist()
        return found

    def ids_if_taken(self, text: str) -> list[int] | None:
        """Return the ids of another text; None if the tokenizer refuses it, such as for its length."""
        try:
            return self.ids_of(text)
        except ExclipError:
            return None

    def range_of_caption(self) -> Span:
        """Return the range of ids that an empty caption does not have; all if the tokenizer refuses one."""
        try:
            return _inside(self.ids, self.ids_of(""))
        except ExclipError:
            return 0, len(self.ids)

    def is_full(self) -> bool:
        """Return whether a longer caption has no more ids, padding included."""
        try:
            return len(self.ids_of(f"{self.text} {self.text}")) <= len(self.ids)
        except ExclipError:
            return True

    def require_whole(self, missing: int, padding: int, least: int = 0) -> None:
        """Require that the tokenizer has not cut the caption.

        Parameters
        ----------
        missing, padding : int
            Number of the caption's pieces that are not among its ids, and of ids that are padding.
        least : int
            Number of tokens that the caption is known to take.
        """
        length = max(len(self.ids) - padding + missing, least)
        if missing and length > len(self.ids) and self.is_full():
            raise too_long(length, self.text, self.tower, len(self.ids))


def read_pieces(text: str, ids: list[int], tokenizer: Tokenizer, tower: TextInput) -> list[Piece]:
    """Return the piece that each of `ids`, those of `text`, stands for; `PADDING` for padding.

    Text that the tokenizer adds to the caption, such as a template, gives words without spans.

    Raises
    ------
    CaptionError, ParameterError
        As `read_caption` does.
    """
    given, inner = Given(text, ids, tokenizer, tower), getattr(tokenizer, "tokenizer", tokenizer)
    if is_hugging_face(inner):
        return _hugging_face(given, inner)
    # A bare function such as clip.tokenize reveals no vocabulary, but it may be CLIP's.
    for speller in (inner, clip_tokenizer()):
        if all(hasattr(speller, name) for name in BYTE_PAIRS):
            pieces = _byte_pairs(given, speller, guessed=speller is not inner)
            if pieces is not None:
                return pieces
    return _unknown(given)


# ----- CLIP's own byte pairs

BYTE_PAIRS = ("pat", "bpe", "encode", "decoder", "byte_encoder", "byte_decoder")
"""Attributes of every tokenizer that follows CLIP's rules."""

WORD_END = "</w>"
"""Mark of a byte pair that ends a word."""


class BytePair(NamedTuple):
    """A piece of a caption under CLIP's rules: its symbol in the vocabulary, its span, its word."""

    symbol: str
    span: Span | None
    word: int


def _byte_pairs(given: Given, speller: Any, *, guessed: bool) -> list[Piece] | None:
    """Read pieces using the rules and the vocabulary of `speller`; None if the ids are not of that kind.

    A `guessed` vocabulary is trusted if it spells at least half of the caption, or of what fits.
    """
    own = _split(given.text, speller)
    symbols = _symbols(given, speller, own)
    if symbols is None:
        return None
    found = align(symbols, [piece.symbol for piece in own], given.range_of_caption)
    padded = _padding_around(given.ids, symbols)
    if guessed and 2 * _matched(found) < min(len(own), len(given.ids) - sum(padded) - 2):
        return None
    if not own:
        raise no_words(given.text)
    given.require_whole(len(own) - _matched(found), sum(padded))
    rows: list[tuple[Piece, Hashable]] = []
    added = 0
    for symbol, number, at, pads in zip(symbols, given.ids, found, padded, strict=True):
        if at is not None:
            rows.append((Piece(_spelled(own[at].symbol, speller), own[at].span), own[at].word))
        elif pads:
            rows.append((PADDING, None))
        elif symbol in SPELLINGS:
            rows.append((Piece(SPELLINGS[symbol]), None))
        else:
            rows.append((Piece(_spelled(symbol, speller) if symbol else f"[{number}]"), ("added", added)))
        added += at is not None or symbol is None or symbol in SPELLINGS or symbol.endswith(WORD_END)
    return _numbered(rows)


def _split(text: str, speller: Any) -> list[BytePair]:
    """Return the byte pairs of a caption, without special tokens around it."""
    clean = getattr(speller, "clean_fn", clip_tokenizer().clean_fn)
    found: list[BytePair] = []
    for number, match in enumerate(speller.pat.finditer(clean(text))):
        symbols = "".join(speller.byte_encoder[byte] for byte in match.group().encode())
        # Counted in bytes: a character split between two pieces is the origin of both.
        places = [at for at, char in enumerate(match.group(), match.start()) for _ in char.encode()]
        for symbol in speller.bpe(symbols).split(" "):
            size = len(symbol.removesuffix(WORD_END))
            found.append(BytePair(symbol, (places[0], places[size - 1] + 1), number))
            del places[:size]
    traced = origins(text, clean) if found else []
    return [piece._replace(span=hull(traced[slice(*piece.span)])) for piece in found if piece.span]


def _symbols(given: Given, speller: Any, own: Sequence[BytePair]) -> list[str | None] | None:
    """Return the symbol of each id in the vocabulary of `speller`; None if its numbers are others."""
    ids = given.ids
    symbols = [speller.decoder.get(number) for number in ids]
    if any(symbol in SPELLINGS for symbol in symbols):
        return symbols
    # A subclass may have numbers of its own. They are known if it frames one for each piece, as CLIP does.
    numbers = speller.encode(given.text)
    room = max(len(ids) - 2, 0)
    frame = [getattr(speller, name, None) for name in ("sot_token_id", "eot_token_id")]
    expected = [frame[0], *numbers[:room], frame[1]]
    if len(numbers) != len(own) or ids[: len(expected)] != expected:
        return None
    known = ["<start_of_text>", *(piece.symbol for piece in own[:room]), "<end_of_text>"]
    return [*known, *[None] * (len(ids) - len(known))]


def _padding_around(ids: list[int], symbols: Sequence[str | None]) -> list[bool]:
    """Return which ids are padding: one that is repeated before the start or after the end, or zeros."""
    marks = [SPELLINGS.get(symbol or "") for symbol in symbols]
    first, repeated = _repeated(ids), _repeated(ids[::-1])
    last = len(ids) - repeated
    if marks[-1] == END:
        last += 1  # the first of them is the end itself
    elif ids[-1] != 0 and (repeated == 1 or marks[last - 1] != END):
        last = len(ids)
    if first == len(ids) or marks[first] != START:
        first = 0
    return [not first <= at < last for at in range(len(ids))]


def _spelled(symbol: str, speller: Any) -> str:
    """Return the text of a symbol, whose characters stand for bytes; special tokens may have others."""
    letters = symbol.removesuffix(WORD_END)
    known = speller.byte_decoder
    if not all(letter in known for letter in letters):
        return letters
    return bytes(known[letter] for letter in letters).decode(errors="replace")


# ----- Hugging Face's tokenizers


def _hugging_face(given: Given, inner: Any) -> list[Piece]:
    """Read pieces with Hugging Face's `inner`: the tokenizer itself, or the one that open_clip wraps."""
    ids, clean, wrapped = given.ids, _clean_up(given.tokenizer, inner), given.tokenizer is not inner
    inside, own = _content(given.text, inner, clean)
    roles = inner.special_tokens_map
    special = {str(token) for role, token in roles.items() if role != "unk_token"}
    for name in inner.convert_ids_to_tokens(inside):
        if name in special:
            raise special_token(given.text, name, is_padding=name == str(roles.get("pad_token")))
    special |= set(inner.all_special_tokens) - {str(roles.get("unk_token"))}
    names: list[str] = inner.convert_ids_to_tokens(ids)
    shown = {number: _shown(inner, number) for number in set(ids)}
    found = align(ids, inside, given.range_of_caption)
    if _matched(found) < len(own):
        # Within other text, the same piece may have another id, such as one that begins a word.
        texts = [None if name in special else shown[number] for name, number in zip(names, ids, strict=True)]
        found = align(texts, [piece.text for piece in own], given.range_of_caption)
    added = [at is None and name not in special for at, name in zip(found, names, strict=True)]
    if 2 * _matched(found) < min(len(own), _matched(found) + sum(added)):
        raise ParameterError("tokenizer gave ids for the caption that differ from those of the one it wraps")
    tower = given.tower
    whole = encoded(inner, clean(given.text), tower.context_length if wrapped or tower.padded else None)
    padded = _padding_among(names, found, inner, whole)
    if wrapped:
        # A wrapper truncates silently. In its mode "clips" a class token follows the padding.
        least = sum(whole["attention_mask"]) + (getattr(given.tokenizer, "tokenizer_mode", "") == "clips")
        given.require_whole(len(own) - _matched(found), sum(padded), least)
    words = _added_words(inner, ids, shown, added)

    def row(at: int) -> tuple[Piece, Hashable]:
        if (number := found[at]) is not None:
            return own[number], own[number].word
        if padded[at]:
            return PADDING, None
        if added[at]:
            return Piece(shown[ids[at]]), words[at]
        return Piece(SPELLINGS.get(names[at], names[at])), None

    return _numbered(map(row, range(len(ids))))


def _padding_among(names: Sequence[str], found: Sequence[int | None], inner: Any, whole: Any) -> list[bool]:
    """Return which of the tokens `names` are padding.

    Texts may begin or end with the token that also pads: as many of them count as the tokenizer attends to.
    """
    pad = str(inner.special_tokens_map.get("pad_token"))
    numbers = [
        number for number, read in zip(whole["input_ids"], whole["attention_mask"], strict=True) if read
    ]
    attended: list[str] = inner.convert_ids_to_tokens(numbers)
    begin, end = (len(list(takewhile(pad.__eq__, side))) for side in (attended, reversed(attended)))
    pads = [at for at, name in enumerate(names) if name == pad and found[at] is None]
    first = next((at for at, number in enumerate(found) if number is not None), 0)
    before, after = [at for at in pads if at < first], [at for at in pads if at > first]
    padding = {*before[: len(before) - begin], *after[end:]}
    return [at in padding for at in range(len(names))]


def _added_words(
    inner: Any, ids: Sequence[int], shown: Mapping[int, str], added: Sequence[bool]
) -> dict[int, Hashable]:
    """Return the word of each row that is `added` to a caption; white space separates them."""
    words: dict[int, Hashable] = {}
    for is_added, run in groupby(range(len(ids)), added.__getitem__):
        if not is_added:
            continue
        rows = list(run)
        read = [_decoded(inner, [ids[at] for at in rows[:count]]) for count in range(len(rows) + 1)]
        text = read[-1]
        spans: list[Span | None] = []
        for start, end in pairwise(map(len, read)):
            letters = text[start:end].strip()
            first = text.find(letters, start)
            spans.append((first, first + len(letters)) if letters else None)
        numbers = _words_of(text, [shown[ids[at]] for at in rows], spans)
        words |= {at: (rows[0], number) for at, number in zip(rows, numbers, strict=True)}
    return words


def _clean_up(tokenizer: Any, inner: Any) -> Callable[[str], str]:
    """Return the clean-up that `tokenizer` applies to a text before `inner` reads it."""
    if isinstance(tokenizer, open_clip.tokenizer.SigLipTokenizer):  # it does not expose its clean-up
        default = open_clip.tokenizer.get_clean_fn("canonicalize")
    else:
        default = str
    clean: Callable[[str], str] = default if tokenizer is inner else getattr(tokenizer, "clean_fn", default)
    return clean


def _content(text: str, inner: Any, clean: Callable[[str], str]) -> tuple[list[int], list[Piece]]:
    """Return ids and pieces of a caption, without the special tokens around it."""
    fast = getattr(inner, "is_fast", False)

    def read(part: str) -> Any:
        return encoded(inner, clean(part), add_special_tokens=False, return_offsets_mapping=fast)

    def shown(numbers: Sequence[int]) -> list[str]:
        return [_shown(inner, number) for number in numbers]

    found, cleaned = read(text), clean(text)
    ids = list(found["input_ids"])
    pieces = shown(ids)
    if not fast:
        # A slow tokenizer gives no offsets, but it can tokenise each part of the caption by itself.
        return ids, _placed(text, pieces, lambda part: "".join(shown(read(part)["input_ids"])))
    offsets = found["offset_mapping"]
    # Single bytes of an unusual space decode to no text.
    spaces = [cleaned[slice(*at)].isspace() for at in offsets]
    pieces = [SPACE if space else piece for piece, space in zip(pieces, spaces, strict=True)]
    return ids, _placed(text, pieces, clean, offsets)


def _decoded(tokenizer: Any, numbers: Sequence[int]) -> str:
    text: str = tokenizer.decode(numbers, clean_up_tokenization_spaces=False)
    return text


def _shown(tokenizer: Any, number: int) -> str:
    """Return the piece of id `number`, without the marks that show how it joins its neighbours."""
    text = _decoded(tokenizer, [number])
    # Decoded alone, a continuation keeps WordPiece's mark; other tokenizers may mean it literally.
    if text.startswith("##") and tokenizer.convert_tokens_to_string(["a", "##a"]) == "aa":
        return text.removeprefix("##")
    if not text and tokenizer.convert_ids_to_tokens(number).strip("▁"):
        return "\ufffd"  # part of a character, which some tokenizers leave out
    return text.strip() or SPACE


# ----- any other callable


def _unknown(given: Given) -> list[Piece]:
    """Read pieces with a tokenizer that gives only ids: those that an empty caption does not have."""
    ids, empty = given.ids, given.ids_of("")

    def shown(numbers: Sequence[int]) -> list[str]:
        return [_named(given.tokenizer, number) for number in numbers]

    def inside(numbers: list[int]) -> list[str]:
        return shown(numbers[slice(*_inside(numbers, empty))])

    start, stop = _inside(ids, empty)
    ending = empty[start:]
    repeated = _repeated(ending[::-1])
    # Padding is one id repeated, after at least the end-of-text token.
    padding = min(repeated, len(ending) - 1) if repeated > 1 else 0
    filled = min(stop + len(ending) - padding, len(ids))
    if filled == len(ids):
        _require_end(given)
    # A single id at either end marks it. Several may be text that the tokenizer adds.
    before = [START] if start == 1 else shown(ids[:start])
    after = [END] if filled - stop == 1 else shown(ids[stop:filled])
    pieces = _placed(given.text, inside(ids), lambda part: "".join(inside(given.ids_of(part))))
    return [*map(Piece, before), *pieces, *map(Piece, after), *[PADDING] * (len(ids) - filled)]


def _named(tokenizer: Any, number: int) -> str:
    """Return the text of an id if the tokenizer can decode it, and otherwise the id itself."""
    text = None
    if not hasattr(tokenizer, "bpe"):  # if it has, its ids are not those of its vocabulary
        with suppress(Exception):
            text = tokenizer.decode([number])
    return (text.strip() or SPACE) if isinstance(text, str) else f"[{number}]"


def _require_end(given: Given) -> None:
    """Require that the end of a caption without padding has a part in its ids.

    If the caption was cut, it keeps its ids when its last letters are dropped. But it also keeps them if the
    tokenizer never reads those letters, such as the last ones of an unknown word. Then the last word by
    itself keeps its ids as well.
    """
    if not given.is_full():
        return
    text, empty = given.text.strip(), given.ids_if_taken("")
    while given.ids_if_taken(text.split()[-1]) == empty and len(text.split()) > 1:
        text = text.rsplit(maxsplit=1)[0]  # without words that the tokenizer never reads
    size = len(text.split()[-1])
    word = _with_room(given, text[-size:])
    # A shorter word may be split in another way, so more than one is tried. The first has another last letter
    # instead, which differs in its last byte only.
    changes = [(1, chr(ord(text[-1]) ^ 1)), *((2**power, "") for power in range((size - 1).bit_length()))]
    for dropped, added in [*changes, (size, "")]:
        other, other_word = (part[: max(len(part) - dropped, 0)] + added for part in (text, word))
        keeps_ids = given.ids in (given.ids_if_taken(other), given.ids_if_taken(other.rstrip()))
        if keeps_ids and given.ids_if_taken(other_word) != given.ids_if_taken(word):
            raise too_long(f"more than {len(given.ids)}", given.text, given.tower, len(given.ids))


def _with_room(given: Given, word: str) -> str:
    """Return the end of a word that is short enough to have more ids if it is repeated."""
    while len(word) > 1 and given.ids_if_taken(f"{word} {word}") == given.ids_if_taken(word):
        word = word[len(word) // 2 :]
    return word


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
    numbers = _words_of(text, shown, spans)
    return [Piece(*piece) for piece in zip(shown, spans, numbers, strict=True)]


def _words_of(text: str, shown: Sequence[str], spans: Sequence[Span | None]) -> list[int]:
    """Return the index of the word that each piece is part of, for pieces at `spans` in `text`."""
    words = number_words(text, [span for piece, span in zip(shown, spans, strict=True) if piece != SPACE])
    # White space alone belongs to the word that follows it, or else to the last one.
    before = accumulate((piece != SPACE for piece in shown[:-1]), initial=0)
    return [words[min(count, len(words) - 1)] if words else 0 for count in before]


def _repeated(values: Sequence[int]) -> int:
    """Return how many values at the beginning are equal."""
    return len(list(takewhile(values[:1].__contains__, values)))


def _matched(found: Sequence[int | None]) -> int:
    return sum(at is not None for at in found)


def _numbered(rows: Iterable[tuple[Piece, Hashable]]) -> list[Piece]:
    """Return pieces with their words numbered from 0: those of a word have equal keys, special ones None."""
    pieces: list[Piece] = []
    number, before = -1, None
    for piece, key in rows:
        if key is not None:
            number, before = number + (key != before), key
        pieces.append(piece if key is None else piece._replace(word=number))
    return pieces
