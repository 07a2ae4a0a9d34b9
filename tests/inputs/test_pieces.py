"""Pieces: each token shows what its id stands for, whatever the tokenizer does to the caption."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
from support.captions import Tower, places, refusal, tokenizer, wrapped

from exclip_widget.demo.picture_book import PictureBookTokenizer
from exclip_widget.errors import CaptionError, ParameterError
from exclip_widget.inputs.caption import Caption, read_caption

CAPTION = "a red boat and two dogs"
CLIP = Tower(77)


def changed(change: Callable[[str], str], kind: type = open_clip.SimpleTokenizer) -> Any:
    """Make a tokenizer that changes captions before it reads them."""

    class Changed(kind):  # type: ignore[misc]
        def __call__(self, text: str, context_length: int | None = None) -> torch.Tensor:
            ids: torch.Tensor = super().__call__(change(text), context_length)
            return ids

    return Changed()


class Encoder(open_clip.SimpleTokenizer):  # type: ignore[misc]
    def encode(self, text: str) -> list[int]:
        ids: list[int] = super().encode("a photo of " + text)
        return ids


class Wrapper:
    """A wrapper of one of Hugging Face's tokenizers, or of open_clip's, that adds a template."""

    def __init__(self, inner: Any, template: str = "{}", context_length: int = 77) -> None:
        self.tokenizer, self.template, self.context_length = inner, template, context_length

    def __call__(self, text: str) -> torch.Tensor:
        text = self.template.format(text)
        if isinstance(self.tokenizer, open_clip.SimpleTokenizer):
            return self.tokenizer(text)
        options = {"padding": "max_length", "truncation": True, "max_length": self.context_length}
        return torch.tensor([self.tokenizer(text, **options)["input_ids"]])


def without(words: str) -> Callable[[str], str]:
    return lambda text: " ".join(word for word in text.split() if word not in words.split())


def without_start(text: str) -> torch.Tensor:
    return torch.nn.functional.pad(open_clip.tokenize(text)[:, 1:], (0, 1))


def padded_on_the_left(text: str) -> torch.Tensor:
    ids = open_clip.tokenize(text)
    return ids.roll(76 - int(ids.argmax()), 1)


CHANGES: dict[str, Callable[[], Any]] = {
    "prefix": lambda: changed("a photo of {}".format),
    "suffix": lambda: changed("{} in the sky".format),
    "placeholders": lambda: changed("X X X X {}".format),
    "twice": lambda: changed(lambda text: f"{text}, {text}"),
    "stop words": lambda: changed(without("a and two")),
    "other words": lambda: changed(lambda text: "ein rotes boot" if text else text),
    "encoder": Encoder,
    "wrapper": lambda: Wrapper(open_clip.SimpleTokenizer(), "a photo of {}"),
    "function": lambda: lambda text: open_clip.tokenize(f"a photo of a {text}, a type of pet."),
    "no start": lambda: without_start,
    "padded on the left": lambda: padded_on_the_left,
    "wrapped": lambda: Wrapper(tokenizer("clip of transformers"), "a counterclockwise photo of {}"),
}
"""Tokenizers of CLIP's vocabulary that add, drop or change text."""


def labels(ids: torch.Tensor) -> list[str]:
    """Return what each of CLIP's ids stands for, in its own vocabulary, with one label for all padding."""
    decoder = open_clip.SimpleTokenizer().decoder
    spelled = [decoder[number].removesuffix("</w>") for number in ids.tolist() if number]
    names = {"<start_of_text>": "<sot>", "<end_of_text>": "<eot>"}
    return [names.get(text, text) for text in spelled]


def own_words(caption: Caption) -> list[str]:
    """Return the tokens that have a span, after checking that it has their letters."""
    found = [
        (token, place) for token, place in zip(caption.rows.texts, places(caption), strict=True) if place
    ]
    assert all(token == place for token, place in found)
    return [token for token, _ in found]


@pytest.mark.parametrize("name", CHANGES)
def test_tokens_are_what_their_ids_stand_for(name: str) -> None:
    given = CHANGES[name]()
    caption = read_caption(CAPTION, given, Tower(77, padded=True))
    assert caption.ids.tolist() == given(CAPTION)[0].tolist()
    # Hugging Face pads with the token that ends texts.
    count = int(caption.ids.argmax()) + 1 if name == "wrapped" else len(caption.ids)
    assert [token for token in caption.rows.texts if token != "<pad>"] == labels(caption.ids[:count])
    words = {"stop words": ["red", "boat", "dogs"], "other words": []}.get(name, CAPTION.split())
    assert own_words(caption) == words
    special = {"<sot>", "<eot>", "<pad>"}
    assert [word < 0 for word in caption.rows.words] == [token in special for token in caption.rows.texts]
    # Every word of the text is one word, also if the tokenizer has added it.
    read = caption.ids[:count]
    text = open_clip.SimpleTokenizer().decode(read[read > 0].tolist())
    assert max(caption.rows.words) + 1 == len(re.findall(r"\w+|[^\w\s]+", re.sub(r"<\w+>", " ", text)))


def test_template_with_a_word_of_the_caption() -> None:
    """The empty caption shows which "a" is the template's."""
    for given in (changed("a photo of a {}".format), Wrapper(tokenizer("word piece"), "a red a {}")):
        caption = read_caption("a", given, CLIP)
        assert places(caption)[-3:] == [None, "a", None]


def test_piece_that_begins_a_word_within_a_template_only() -> None:
    given = Wrapper(tokenizer("byte level"), "the tone of {}", context_length=64)
    assert tokenizer("byte level")("boat").input_ids[1] not in given("boat")
    caption = read_caption("boat", given, Tower(padded=True))
    assert caption.rows.texts == ("<s>", "the", "tone", " ", "o", "f", "boat", "</s>", "<pad>")
    assert places(caption)[1:7] == [None] * 5 + ["boat"]
    assert caption.rows.words == (-1, 0, 1, 2, 2, 2, 3, -1, -1)


def test_end_that_also_pads_within_a_template() -> None:
    given = Wrapper(tokenizer("padded by its end"), "{} a cat", context_length=64)
    caption = read_caption("red boat", given, Tower(padded=True))
    assert caption.rows.texts == ("red", "boat", "a", "cat", "</s>", "<pad>")


def test_ids_of_another_vocabulary() -> None:
    """Renumbered ids don't stand for what the vocabulary says, so they are shown as numbers, or refused."""
    book = PictureBookTokenizer()
    assert read_caption("a red boat", book, CLIP).rows.texts == ("<sot>", "a", "red", "boat", "<eot>")
    caption = read_caption("a red boat", changed("two fish {}".format, PictureBookTokenizer), CLIP)
    assert places(caption)[-4:-1] == ["a", "red", "boat"]
    assert all(re.fullmatch(r"\[\d+\]", token) for token in caption.rows.texts[:-1])

    class Renumbered(Wrapper):
        def __call__(self, text: str) -> torch.Tensor:
            return (super().__call__(text) + 7) % 60

    given = Renumbered(tokenizer("word piece"), context_length=64)
    assert "differ from those" in refusal(ParameterError, "a boat", given, Tower())


def test_template_in_a_function() -> None:
    """Its ids are unknown: each is shown as a number, and none as a special token."""

    def tokenize(text: str) -> torch.Tensor:
        numbers = [7 + sum(map(ord, word)) % 50 for word in f"photo of {text} in snow".split()]
        return torch.tensor([[*numbers, 3, 0, 0]])

    caption = read_caption("a red boat", tokenize, Tower())
    assert [token for token in caption.rows.texts if not token.startswith("[")] == []
    assert places(caption) == [None, None, "a", "red", "boat", None, None, None]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("name", "given", "count"),
    [
        ("open_clip", lambda: open_clip.SimpleTokenizer(context_length=16), 22),
        ("function", lambda: lambda text: open_clip.tokenize(text, 16), 22),
        ("prefix", lambda: changed(lambda text: f"the photo of {text}"), 22),
        ("reduction", lambda: open_clip.SimpleTokenizer(context_length=16, reduction_mask="simple"), 22),
        ("wrapped", lambda: wrapped("word piece"), 22),
        ("template", lambda: Wrapper(tokenizer("word piece"), "the cat {}", 16), 24),
        ("unknown", lambda: lambda text: wrapped("word piece")(text, 16), None),
    ],
)
def test_tokenizer_that_cuts_the_caption(
    name: str, given: Callable[[], Any], count: int | None, padded: bool
) -> None:
    """It is refused with its number of tokens and the place of the cut."""
    tokenize = given()
    if name in ("prefix", "wrapped"):
        tokenize.context_length = 16
    count = 25 if name == "prefix" else count
    long = " ".join(["red boat"] * 10)
    context = 16 if padded else 40
    message = refusal(CaptionError, long, tokenize, Tower(context, padded=padded))
    assert f"takes {count or 'more than 16'} tokens" in message
    expected = "the model's context is 16" if padded else "cuts it at 16; shorten the caption, or give the"
    assert expected in message
    assert read_caption("red boat", tokenize, Tower(context, padded=padded)).rows.caption == "red boat"


def cut_at(context: int, ids_of: Callable[[str], list[int]]) -> Callable[[str], torch.Tensor]:
    """Make a bare function that frames the ids of a caption, and cuts those that do not fit."""

    def tokenize(text: str) -> torch.Tensor:
        framed = torch.tensor([1, *ids_of(text)[: context - 2], 2])
        return torch.nn.functional.pad(framed, (0, context - len(framed)))[None]

    return tokenize


def numbered(name: str) -> Callable[[str], list[int]]:
    """Return what gives a caption's ids without the vocabulary that they are from."""
    if name == "characters":
        return lambda text: [ord(char) % 50_000 + 3 for char in text]
    if name == "bytes":
        return lambda text: [byte + 3 for byte in text.encode()]
    inner = tokenizer(name)
    return lambda text: [number + 3 for number in inner(text, add_special_tokens=False)["input_ids"]]


@pytest.mark.parametrize("name", ["characters", "bytes", "word piece", "unigram", "byte level"])
@pytest.mark.parametrize(
    "text",
    ["two redboats", "a toneboatdog, !!", "a 漢猫漢猫漢猫漢猫", "漢猫漢猫漢", "dog 漢猫。", "two red 🦊"],
)
def test_a_cut_anywhere_in_the_last_word_is_found(name: str, text: str) -> None:
    """It is, whether or not the ids before it would do for a shorter word."""
    ids_of = numbered(name)
    count = len(ids_of(text))
    before = text.split()[-1 - text.endswith("!!")]
    for context in range(len(ids_of(text[: text.index(before)])) + 3, count + 4):
        tokenize, tower = cut_at(context, ids_of), Tower(context, padded=True)
        if context < count + 2:
            assert f"takes more than {context} tokens" in refusal(CaptionError, text, tokenize, tower)
        else:
            assert read_caption(text, tokenize, tower).rows.caption == text


@pytest.mark.parametrize(
    "text", ["a red boatyard", "a red boat xyzzy", "a red boat on", "a boatyard 🦊 on!?"]
)
def test_last_letters_that_are_never_read_are_not_cut(text: str) -> None:
    """They take no ids in a caption that just fits, and would take none in a shorter one."""

    def ids_of(text: str) -> list[int]:
        words = [word for word in re.findall(r"[a-z]+", text) if word != "on"]
        return [4 + ["red", "boat"].index(word[:4]) if word[:4] in ("red", "boat") else 3 for word in words]

    context = len(ids_of(text)) + 2
    caption = read_caption(text, cut_at(context, ids_of), Tower(context, padded=True))
    assert sum(word >= 0 for word in caption.rows.words) == context - 2


def test_dropped_words_are_not_cut() -> None:
    """A row that the tokenizer does not pad is full, but a longer caption has more ids."""

    def tokenize(text: str) -> torch.Tensor:
        ids = open_clip.tokenize(without("on a")(text))
        return ids[:, : int(ids.argmax()) + 1]

    assert own_words(read_caption("red boat on", tokenize, CLIP)) == ["red", "boat"]
    assert own_words(read_caption("on a red boat", tokenize, CLIP)) == ["red", "boat"]
