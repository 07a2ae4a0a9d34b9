"""Pages: one self-contained file in which all given text stays text, or one clear error."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.pages import Document, states_of
from support.results import result_of, tokens_of

from exclip_widget import ExclipError, FileError, ImageError, Interactions, ParameterError, demo, write_page
from exclip_widget.results import Origin, View
from exclip_widget.results.page import document, figure_of
from exclip_widget.results.shown import encode_image, encode_interactions

IMAGE = Image.new("RGB", (80, 60), "teal")
RESULT = result_of()
FOIL = result_of("a blue boat on a red sea", seed=1)

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "<!-- <script> --!> ]]>",
    "<!--<script>alert(1)</script>-->",
    "</title></style></figcaption><script>alert(1)</script>",
    "\"'&lt;&amp;`${alert(1)}\\u003c\u2028\u2029\x00\ud800",
)


def written(path: Path, *shown: Any, **options: Any) -> Document:
    write_page(path, shown, **options)
    return Document(path.read_text("utf-8"))


def test_everything_is_in_the_file(tmp_path: Path) -> None:
    RESULT.to_html(tmp_path / "boat.html", IMAGE, foil=FOIL, title="Boats & seas")
    text = (tmp_path / "boat.html").read_text("utf-8")
    page = Document(text)
    assert page.all("h1") == page.all("title") == ["Boats & seas"]
    (state,) = states_of(text)
    assert (state["caption"], state["foil"]) == (RESULT.caption, FOIL.caption)
    assert [token["text"] for token in state["_tokens"]] == list(RESULT.tokens)
    assert (state["_result"], state["_foil_result"]) == tuple(map(encode_interactions, (RESULT, FOIL)))
    assert state["_summary"]["similarity"] == pytest.approx(RESULT.similarity)
    assert state["_grid"] == {"rows": 3, "columns": 4, "left": 0, "top": 0, "width": 1, "height": 1}
    assert len(state["_alignment"]) == len(RESULT.tokens)
    # Without choices, the front end offers nothing that would need a model.
    assert "_choices" not in state
    (what,), (caption,) = page.all("strong"), page.all("figcaption")
    assert what == "What each word and each patch adds to the similarity of caption and image in CLIP."
    assert (
        caption.split()
        == (
            "Method exclip (steps 10, rule arc-length), text layer transformer.resblocks.2, "
            "image layer visual.transformer.resblocks.5. Made with exclip-widget 0.1.0."
        ).split()
    )


def test_several_results_have_a_figure_each(tmp_path: Path) -> None:
    page = written(tmp_path / "p.html", (RESULT, IMAGE), (FOIL, np.asarray(IMAGE)), (RESULT, IMAGE, FOIL))
    assert len(page.all("figure")) == len(page.all("figcaption")) == 3
    states = states_of((tmp_path / "p.html").read_text("utf-8"))
    assert [state["foil"] for state in states] == [None, None, FOIL.caption]
    assert states[0]["_image"] == states[1]["_image"]
    assert page.all("h1") == ["Where do these similarities come from?"]


def test_an_image_of_several_results_is_in_the_page_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is encoded once, however it is given; the same bytes in another shape are a different image."""
    encoded: list[tuple[int, int]] = []

    def encode(image: Image.Image) -> tuple[bytes, str]:
        encoded.append(image.size)
        return encode_image(image)

    monkeypatch.setattr("exclip_widget.results.shown.encode_image", encode)
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    turned = result_of(view=View((60, 80))), noise.reshape(80, 60, 3)
    given = [noise, tmp_path / "noise.png", Image.fromarray(noise)]
    write_page(tmp_path / "one.html", [(RESULT, noise)])
    write_page(tmp_path / "p.html", [*((one, image) for one in (RESULT, FOIL) for image in given), turned])
    assert encoded == [(80, 60), (80, 60), (60, 80)]
    text = (tmp_path / "p.html").read_text("utf-8")
    states = states_of(text)
    assert len({state["_image"] for state in states[:-1]}) == 1
    assert states[-1]["_image"] != states[0]["_image"]
    assert text.count(base64.b64encode(states[0]["_image"]).decode()) == 1
    assert [state["caption"] for state in states[:-1]] == [RESULT.caption] * 3 + [FOIL.caption] * 3


def test_an_unknown_origin_is_left_out(tmp_path: Path) -> None:
    page = written(tmp_path / "p.html", (result_of(origin=None), IMAGE))
    assert page.all("strong")[0].endswith("in this model.")
    assert page.all("figcaption")[0].endswith("Made with exclip-widget.")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str, tmp_path: Path) -> None:
    """It may come from anywhere: caption, tokens, foil, title, names of models and layers."""
    caption = f"a {text} boat"
    result = result_of(
        tokens=tokens_of(caption),
        method=text,
        text_layer=text,
        origin=Origin(text, {text: text}, text),
    )
    foil = result_of(tokens=tokens_of(f"{caption} b"), method=text, text_layer=text, origin=result.origin)
    page = written(tmp_path / "p.html", (result, IMAGE, foil), title=text)
    plain = written(tmp_path / "plain.html", (RESULT, IMAGE, FOIL))
    assert [name for name, _ in page.elements] == [name for name, _ in plain.elements]
    assert [attributes for _, attributes in page.elements] == [attributes for _, attributes in plain.elements]
    assert not page.comments
    assert page.scripts("module") == plain.scripts("module")
    (state,) = states_of((tmp_path / "p.html").read_text("utf-8"))
    assert (state["caption"], state["foil"]) == (caption, f"{caption} b")
    shown = text.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert page.all("h1")[0].replace("\x00", "\ufffd") == shown
    assert shown in page.all("strong")[0].replace("\x00", "\ufffd")


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text(min_size=1))
def test_any_text_stays_text(caption: str, title: str) -> None:
    result = result_of(tokens=tokens_of(f"a {caption}"))
    text = document([figure_of(result, IMAGE)], title)
    page = Document(text.encode("utf-8", "xmlcharrefreplace").decode("utf-8"))
    assert [name for name, _ in page.elements].count("script") == 2
    assert not page.comments
    assert states_of(text)[0]["caption"] == f"a {caption}"


def test_nothing_but_its_own_script_and_styles_may_run(tmp_path: Path) -> None:
    page = written(tmp_path / "p.html", (RESULT, IMAGE))
    (policy,) = (
        attributes["content"]
        for _, attributes in page.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    (script,), (style,) = page.scripts("module"), page.all("style")

    def hashed(code: str) -> list[str]:
        return [f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"]

    assert rules == {
        "default-src": ["'none'"],
        "script-src": hashed(script),
        "style-src": hashed(style),
        "img-src": ["blob:", "data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    assert not re.search(r"\beval\(|new Function|import\(|https?://(?!www\.w3\.org/)", script + style)
    names = [name for name, _ in page.elements]
    assert not {"link", "img", "iframe", "object", "base"} & set(names)
    assert names.index("meta") < names.index("style")
    links = [key for _, attributes in page.elements for key in attributes if key in ("src", "href")]
    assert not links


def test_it_is_small(tmp_path: Path) -> None:
    """With results of a ViT-B-16's size, a page adds little to the image's own bytes."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    caption = "a red boat and a blue boat beside two dogs on a beach"
    results = [result_of(caption, rows=14, columns=14, view=View((400, 300)), seed=seed) for seed in (0, 1)]
    path = tmp_path / "p.html"
    results[0].to_html(path, noise, foil=results[1])
    (state,) = states_of(path.read_text("utf-8"))
    assert path.stat().st_size - len(base64.b64encode(state["_image"])) < 200_000


def test_a_large_image_is_bounded(tmp_path: Path) -> None:
    page = tmp_path / "p.html"
    result_of(view=View((3000, 1500))).to_html(page, Image.new("RGB", (3000, 1500)))
    assert page.stat().st_size < 200_000


def test_it_is_written_without_torch(tmp_path: Path) -> None:
    RESULT.save(tmp_path / "r.safetensors")
    IMAGE.save(tmp_path / "i.png")
    code = (
        "import sys; from exclip_widget import Interactions; "
        "Interactions.load('r.safetensors').to_html('p.html', 'i.png'); "
        "assert not {'torch', 'anywidget', 'open_clip'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert states_of((tmp_path / "p.html").read_text("utf-8"))[0]["caption"] == RESULT.caption


# ----------------------------------------------------------------------------------------------- refusals

NOT_FINITE = np.where(RESULT.values > 0, RESULT.values, np.nan).astype(np.float32)
TOO_LARGE = RESULT.values.astype(np.float64) * 1e300


@pytest.mark.parametrize(
    ("shown", "error", "message"),
    [
        ((RESULT, IMAGE.resize((60, 80))), ImageError, "image is 60 x 80 pixels; expected 80 x 60, those of"),
        ((RESULT, "no-such-photo.png"), ImageError, "there is no image 'no-such-photo.png'"),
        ((RESULT, None), ImageError, "image is a NoneType; expected a PIL image"),
        ((result_of(view=None), IMAGE), ImageError, "from preprocessed pixels.*expected the result of exp"),
        ((result_of(values=NOT_FINITE), IMAGE), ParameterError, r"\d+ of 117 interactions of 'a red boat on"),
        ((result_of(values=TOO_LARGE), IMAGE), ParameterError, "are not finite; expected an explanation"),
        ((RESULT - FOIL, IMAGE), ParameterError, "result is a difference from the foil 'a blue boat on a r"),
        ((RESULT, IMAGE, RESULT - FOIL), ParameterError, "foil is a difference from the foil"),
        (
            (RESULT, IMAGE, result_of(method="frozen")),
            ParameterError,
            "method='exclip', and 'frozen' for the foil",
        ),
        ((RESULT, IMAGE, result_of(rows=5)), ParameterError, "grid="),
        ((RESULT, IMAGE, "a blue boat"), ParameterError, "foil is a str; expected Interactions, as explain"),
        ((IMAGE, RESULT), ParameterError, "result is an Image; expected Interactions"),
        ((RESULT,), ParameterError, "results has a tuple of 1; expected tuples of a result, its image"),
        (RESULT, ParameterError, "results has an Interactions; expected tuples of a result"),
    ],
)
def test_what_cannot_be_shown(shown: Any, error: type[ExclipError], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        write_page(tmp_path / "p.html", [shown])
    assert not list(tmp_path.iterdir())


def test_no_results_and_no_title(tmp_path: Path) -> None:
    for several in (None, 5, RESULT):
        with pytest.raises(ParameterError, match=r"results is an? .*; expected a list of tuples"):
            write_page(tmp_path / "p.html", several)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="results is empty; expected at least one result"):
        write_page(tmp_path / "p.html", [])
    with pytest.raises(ParameterError, match="title=5 is an int; expected a string"):
        RESULT.to_html(tmp_path / "p.html", IMAGE, title=5)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "p.html"
    RESULT.to_html(path, IMAGE)
    before = path.read_bytes()
    with pytest.raises(FileError, match=r"p\.html' exists already; pass overwrite=True to replace it"):
        FOIL.to_html(path, IMAGE)
    assert path.read_bytes() == before
    FOIL.to_html(path, IMAGE, overwrite=True)
    assert states_of(path.read_text("utf-8"))[0]["caption"] == FOIL.caption
    assert [one.name for one in tmp_path.iterdir()] == ["p.html"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p.htm", "ends in '.htm'; expected '.html'"),
        ("p", "ends in 'no suffix'; expected '.html'"),
        ("no/such/folder/p.html", "cannot be written: no such file or directory"),
        ("x" * 300 + ".html", "cannot be written: file name too long"),
    ],
)
def test_a_path_that_cannot_be_written(name: str, message: str, tmp_path: Path) -> None:
    for overwrite in (False, True):
        with pytest.raises(FileError, match=message):
            RESULT.to_html(f"{tmp_path}/{name}", IMAGE, overwrite=overwrite)
    with pytest.raises(FileError, match="path=5 is an int"):
        write_page(5, [(RESULT, IMAGE)])  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    path = tmp_path / "p.html"
    path.write_text("before")
    real = Path.open

    def open_full(self: Path, mode: str) -> Any:
        real(self, mode).close()
        return real(full, "wb", buffering=0)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_full)
        for target, overwrite in ((path, True), (tmp_path / "new.html", False)):
            with pytest.raises(FileError, match="cannot be written: no space left on device"):
                RESULT.to_html(target, IMAGE, overwrite=overwrite)
    assert [one.name for one in tmp_path.iterdir()] == ["p.html"]
    assert path.read_text() == "before"


def test_a_loaded_result_makes_the_same_page(tmp_path: Path) -> None:
    result = demo.example()
    result.save(tmp_path / "r.safetensors")
    image = demo.load().pages[0].image
    figures = [figure_of(one, image) for one in (result, Interactions.load(tmp_path / "r.safetensors"))]
    assert document(figures[:1], None) == document(figures[1:], None)
