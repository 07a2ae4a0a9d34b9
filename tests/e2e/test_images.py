"""Images are chosen, dropped, pasted and set from Python; anything else is rejected with a clear message."""

import struct
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.instrument import MARKUP, Instrument, box

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# Drops a file on the widget, given its name, its size, and optionally its bytes.
DROP = """(root, [name, size, bytes]) => {
    const data = new DataTransfer();
    data.items.add(new File([bytes ? Uint8Array.from(bytes) : new Uint8Array(size)], name));
    for (const type of ["dragover", "drop"]) {
        root.dispatchEvent(new DragEvent(type, {
            dataTransfer: data, bubbles: true, cancelable: true,
        }));
    }
}"""


@pytest.fixture
def paths(view: Instrument, tmp_path: Path) -> list[Path]:
    """Save the first three images of the picture book, and return their paths."""
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        view.notebook.execute(f"book.pages[{number}].image.save({str(path)!r})")
    return paths


def huge_png(width: int, height: int) -> bytes:
    """Return an image of very many black pixels, compressed to a few bytes."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 1)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b"")


def test_an_image_is_replaced(view: Instrument, paths: list[Path]) -> None:
    file = view.root.get_by_test_id("exclip-file")
    picture = view.root.locator(".exclip-frame img")
    view.leave()
    before = picture.get_attribute("src") or ""
    heat = view.pixels()
    file.set_input_files(paths[1])
    view.wait_for("w.image.tobytes() == book.pages[1].image.tobytes()", True)
    expect(picture).not_to_have_attribute("src", before)
    view.check()
    assert view.pixels() != heat
    shown = "explain(book.model, book.pages[1].image, w.caption, **options).values"
    assert view.python(f"float(abs({shown} - w.interactions.values).max())") < 1e-5


def test_what_is_no_image_is_refused_in_words_and_the_old_one_stays(
    view: Instrument, paths: list[Path]
) -> None:
    page, root = view.notebook.page, view.root
    file = root.get_by_test_id("exclip-file")
    refused = root.get_by_test_id("exclip-refused-image")
    picture = root.locator(".exclip-frame img")
    view.check()
    before, heat = picture.get_attribute("src") or "", view.pixels()
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><script>window.ran = 1</script>{MARKUP}</svg>'
    whole = paths[2].read_bytes()
    for name, data, words in (
        ("broken.png", whole[: len(whole) // 2], "broken.png"),
        ("drawing.svg", svg.encode(), "an SVG"),
        ("drawing.png", svg.encode(), "an SVG"),
        (f"{MARKUP}.png", b"no picture at all", MARKUP),
        ("huge.png", huge_png(20_000, 10_000), "too large to open"),
        ("nothing.png", b"", "empty"),
    ):
        file.set_input_files({"name": name, "mimeType": "image/png", "buffer": data})
        expect(refused).to_contain_text(words)
    root.evaluate(DROP, ["large.png", 50 * 2**20, None])
    expect(refused).to_contain_text("50 MiB")
    assert picture.get_attribute("src") == before
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 480
    assert view.pixels() == heat
    assert page.evaluate("window.ran") is None
    assert view.python("w.image.tobytes() == book.pages[0].image.tobytes()")
    view.check()


def test_only_what_the_model_sees_has_patches(view: Instrument) -> None:
    notebook, page = view.notebook, view.notebook.page
    picture = view.root.locator(".exclip-frame img")
    notebook.execute("wide = book.pages[2].image.resize((900, 450))")
    notebook.execute("widget.image = wide")
    view.check()
    grid = view.python("w._grid")
    assert grid["left"] > 0.1
    expect(picture).to_have_js_property("naturalWidth", 900)
    view.draw((0.3, 0.3), (2.7, 1.7))
    view.wait_for("w.region", box(0, 0, 1, 2))
    view.check()
    page.keyboard.press("Escape")
    view.wait_for("w.region", [])


def test_an_image_is_dropped_and_pasted(view: Instrument, paths: list[Path]) -> None:
    root = view.root
    refused = root.get_by_test_id("exclip-refused-image")
    root.evaluate(DROP, ["dropped.png", 0, list(paths[2].read_bytes())])
    view.wait_for("w.image.tobytes() == book.pages[2].image.tobytes()", True)
    expect(refused).to_be_hidden()
    view.check()
    root.evaluate(
        """(root, bytes) => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([Uint8Array.from(bytes)], "pasted.png"));
            root.dispatchEvent(new ClipboardEvent("paste", {
                clipboardData, bubbles: true, cancelable: true,
            }));
        }""",
        list(paths[1].read_bytes()),
    )
    view.wait_for("w.image.tobytes() == book.pages[1].image.tobytes()", True)
    view.check()
