"""MkDocs hooks for the documentation site: live examples, formulas and one diagram.

A page names live examples in a comment. The line after it is for people who read the unbuilt page:

    <!-- live: last-blocks, frozen -->
    *The site that `scripts/docs` builds shows live examples here.*

Several examples become tabs. `exclip_widget` writes each one from the picture book while the site is built.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from functools import cache, partial
from html import escape, unescape
from pathlib import Path
from typing import Any, NamedTuple

import latex2mathml.converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from exclip_widget import Explainer, ExplainWidget, Interactions, demo

# ----- live examples


@cache
def book() -> demo.PictureBook:
    return demo.load()


@cache
def explained(caption: str, **options: Any) -> Interactions:
    explainer = Explainer(book().model, tokenizer=book().tokenizer, **options)
    return explainer.explain(book().pages[0].image, caption)


BOAT = demo.load().pages[0].caption
EARLY = {"method": "exclip", "text_layer": 0, "image_layer": 2, "steps": 20}


class Live(NamedTuple):
    """A live example: the label of its tab, its result, the selected words, and the result for a foil."""

    label: str
    result: Callable[[], Interactions]
    selected: str | None = "red boat"
    foil: Callable[[], Interactions] | None = None

    def html(self) -> str:
        widget = ExplainWidget.from_result(
            self.result(), book().pages[0].image, self.foil() if self.foil else None
        )
        if self.selected:
            widget.tokens = list(self.result()[self.selected])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "live.html"
            widget.to_html(path, title=self.label)
            return path.read_text("utf-8")


EARLY_BOAT = partial(explained, BOAT, **EARLY)
LIVE = {
    "start": Live("The picture book", partial(explained, BOAT), selected=None),
    "frozen": Live("frozen (the default)", partial(explained, BOAT)),
    "last-blocks": Live("exclip, last blocks", partial(explained, BOAT, method="exclip")),
    "text-0": Live("exclip, text 0", partial(explained, BOAT, method="exclip", text_layer=0)),
    "early": Live("exclip, text 0, image 2", EARLY_BOAT),
    "similarity": Live("similarity", partial(explained, BOAT, method="similarity")),
    "receipt": Live("A receipt", EARLY_BOAT),
    "foil": Live(
        "Red or blue?",
        partial(explained, BOAT),
        selected="red",
        foil=partial(explained, BOAT.replace("red", "blue")),
    ),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the live examples to the site."""
    for name, live in LIVE.items():
        files.append(File.generated(config, f"live/{name}.html", content=live.html()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Insert the live examples that a page names."""

    def embed(match: re.Match[str]) -> str:
        names = match[1].replace(" ", "").split(",")
        if unknown := [name for name in names if name not in LIVE]:
            raise PluginError(
                f"{page.file.src_uri}: no live example {unknown[0]!r}; there are {sorted(LIVE)}"
            )
        if len(names) == 1:
            return frame(names[0], page)
        return "\n\n".join(f'=== "{LIVE[name].label}"\n\n    {frame(name, page)}' for name in names)

    return re.sub(r"^<!-- live: (.+) -->\n\*.*\*$", embed, markdown, flags=re.MULTILINE)


def frame(name: str, page: Page) -> str:
    """Return a single line of HTML that shows a live example."""
    url, label = get_relative_url(f"live/{name}.html", page.file.url), escape(LIVE[name].label)
    return (
        f'<figure class="live"><iframe src="{url}" title="Live example: {label}" loading="lazy"></iframe>'
        f'<figcaption>Live: select words and patches. <a href="{url}">Open it by itself</a></figcaption>'
        "</figure>"
    )


# ----- formulas and the diagram


def on_page_content(html: str, config: MkDocsConfig, **_: Any) -> str:
    """Turn LaTeX into MathML, which browsers render without a script, and inline the diagram."""
    html = re.sub(
        r'<span class="arithmatex">\\\((.*?)\\\)</span>', partial(as_mathml, "inline"), html, flags=re.S
    )
    html = re.sub(
        r'<div class="arithmatex">\\\[(.*?)\\\]</div>', partial(as_mathml, "block"), html, flags=re.S
    )

    def inline(match: re.Match[str]) -> str:
        # Inlined, its colours follow the page's theme; as an image, they would follow the system's.
        return (Path(config.docs_dir) / "images" / match[1]).read_text("utf-8")

    return re.sub(r'<img [^>]*src="(?:\.\./)*images/(data-flow\.svg)"[^>]*>', inline, html)


def as_mathml(display: str, match: re.Match[str]) -> str:
    converted = str(latex2mathml.converter.convert(unescape(match[1]).strip(), display=display))
    # As an operator, fonts draw the prime in its place; as an identifier, it would be raised twice.
    return converted.replace("<mi>&#x02032;</mi>", "<mo>&#x02032;</mo>")
