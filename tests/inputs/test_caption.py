"""Captions: any text gives parts that fit together, or a clear error."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from support.captions import HUGGING_FACE, KINDS, MANY, TEXTS, Tower, read, refusal, tokenizer, tower_of
from support.explaining import MODEL, refusal_of
from support.zoo.inputs import picture
from support.zoo.models import inputs_of, open_clip_model, preprocess_for
from support.zoo.tokenizers import CONTEXT, SMALL_CONTEXT, clip_tokenizer

from exclip_widget import CaptionError, explain

CAPTION = "a red boat"


@pytest.mark.parametrize("caption", ["", " ", " \t\n ", "\u00a0", "\u3000"])
def test_empty_caption(caption: str) -> None:
    assert "caption" in refusal_of(CaptionError, picture(), caption).lower()


@pytest.mark.parametrize(
    "caption", [None, 3, 2.5, ["a boat"], ("a boat",), b"a boat", Path("boat"), {"a": 1}]
)
def test_caption_that_is_not_a_string(caption: object) -> None:
    message = refusal_of(CaptionError, picture(), caption)
    assert "caption" in message.lower()
    assert type(caption).__name__ in message


def test_caption_as_ids_is_refused() -> None:
    assert "Tensor" in refusal_of(CaptionError, picture(), clip_tokenizer()(CAPTION))


@pytest.mark.parametrize("tokenizer", [None, clip_tokenizer(), open_clip.tokenize])
@pytest.mark.parametrize("pieces", [CONTEXT - 1, 400])
def test_caption_too_long(pieces: int, tokenizer: Any) -> None:
    """open_clip's tokenizer silently truncates long captions; here they are refused."""
    message = refusal_of(CaptionError, picture(), "boat " * pieces, tokenizer=tokenizer)
    assert str(CONTEXT) in message
    assert len(message) < 400


def test_caption_too_long_for_a_short_context() -> None:
    model = open_clip_model(custom_text=True, text={"context_length": SMALL_CONTEXT})
    image, inputs = picture(), {"preprocess": preprocess_for(model)}
    longest = explain(model, image, "boat " * (SMALL_CONTEXT - 2), steps=1, **inputs, method="exclip")
    assert len(longest.tokens) == SMALL_CONTEXT
    with pytest.raises(CaptionError, match=str(SMALL_CONTEXT)):
        explain(model, image, "boat " * (SMALL_CONTEXT - 1), steps=1, **inputs, method="exclip")


@pytest.mark.parametrize("caption", ["\u200b", "&nbsp;", "🦊", "\x00", "ﬁsh", "a <end_of_text> b"])
def test_odd_caption(caption: str) -> None:
    """Captions that cleaning empties, that are split into bytes, or that look like a special token."""
    try:
        found = explain(MODEL, picture(), caption, steps=2, **inputs_of(MODEL), method="exclip")
    except CaptionError:
        return
    assert found.caption == caption
    assert np.isfinite(found.values).all()
    with torch.no_grad():
        text = MODEL.encode_text(clip_tokenizer()(caption))
        image = MODEL.encode_image(preprocess_for(MODEL)(picture())[None])
    cosine = torch.nn.functional.cosine_similarity(text, image)
    assert found.similarity == pytest.approx(float(cosine), abs=1e-5)


def own_ids(text: str, name: str, padded: bool) -> list[int]:
    """Return the ids that the model's own library would pass to the tower."""
    given = tokenizer(name)
    if name not in HUGGING_FACE:
        (row,) = given(text).tolist()
        return row if padded else row[: Tower().end_of(torch.tensor(row)) + 1]
    padding = {"padding": "max_length", "max_length": tower_of(name).context_length} if padded else {}
    ids: list[int] = given(text, **padding)["input_ids"]
    return ids if padded else ids[: Tower().end_of(torch.tensor(ids)) + 1]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", KINDS)
@MANY
@given(text=TEXTS)
def test_any_text(name: str, padded: bool, text: str) -> None:
    """Any text gives parts that fit together and the tokenizer's own ids, or is refused."""
    try:
        caption = read(text, name, padded=padded)
    except CaptionError:
        return
    assert caption.ids.tolist() == own_ids(text, name, padded)
    count = len(caption.rows.texts)
    assert len(caption.rows.spans) == len(caption.rows.words) == count
    assert caption.row_index.dtype == caption.ids.dtype == torch.long
    assert caption.row_index.shape == caption.ids.shape
    assert sorted(set(caption.row_index.tolist())) == list(range(count))
    numbers = [word for word in caption.rows.words if word >= 0]
    assert numbers[0] == 0
    assert all(after - before in (0, 1) for before, after in pairwise(numbers))
    last = (0, 0)
    for token, span, word in zip(caption.rows.texts, caption.rows.spans, caption.rows.words, strict=True):
        assert token
        if span is not None:
            assert word >= 0
            assert 0 <= span[0] < span[1] <= len(text)
            assert last <= span
            assert text[slice(*span)].strip()
            last = span


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", [name for name in KINDS if name != "clip"])
def test_caption_of_ten_thousand_characters(name: str, padded: bool) -> None:
    """It is refused with its number of tokens, never silently truncated."""
    message = refusal(CaptionError, "a boat " * 1429, tokenizer(name), tower_of(name, padded=padded))
    context = tower_of(name).context_length
    assert f"the model's context is {context}" in message
    assert int(message.split()[2]) > 2000


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a </s> b", "unigram"),
        ("a </s> b", "slow siglip"),
        ("a [SEP] b", "word piece"),
        ("a [PAD]", "wrapped word piece"),
        ("a<|endoftext|>b", "clip of transformers"),
        ("!!!", "wrapped unigram"),
        ("?", "slow siglip"),
        ("&nbsp;", "wrapped unigram"),
        ("\x00", "word piece"),
    ],
)
def test_no_words_or_a_special_token(text: str, name: str) -> None:
    message = refusal(CaptionError, text, tokenizer(name), tower_of(name))
    assert re.search(r"has no words|contains '.*', (the tokenizer's padding|a special) token", message)


def test_padding_that_is_also_text_is_named() -> None:
    """Stable Diffusion's second tokenizer pads with an exclamation mark."""
    given = copy.deepcopy(tokenizer("clip of transformers"))
    given.add_special_tokens({"pad_token": "!"})
    message = refusal(CaptionError, "a red boat!", given, tower_of("clip of transformers"))
    assert "contains '!', the tokenizer's padding token; leave it out" in message


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_half_a_character(name: str) -> None:
    """These tokenizers refuse a lone surrogate, as left when text is split between UTF-16 units."""
    assert "surrogate" in refusal(CaptionError, "a \ud83e boat", tokenizer(name), tower_of(name))


def test_transformers_is_not_required() -> None:
    script = "import sys; sys.modules['transformers'] = None; import exclip_widget.inputs.caption"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
