"""`exclip-widget explain`: explains one image and one caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..whole_file import reason
from .options import explainer_of, explaining, name_of
from .outputs import FORMATS, KINDS, Explanation, check_targets, format_of, require_folder, write
from .refusals import visible
from .summary import summary
from .texts import require_text, word_file

if TYPE_CHECKING:
    from ..explainer import Explainer
    from ..results.selection import Words

SUFFIXES = ", ".join(FORMATS)


@click.command(
    short_help="Explain an image and a caption.",
    epilog="\b\nExamples:\n"
    '  exclip-widget explain boat.png "a red boat"\n'
    '  exclip-widget explain boat.png "a red boat" --words boat -o boat.pdf -o boat.csv\n'
    '  exclip-widget explain boat.png "a red boat" --foil "a blue boat" -o foil.html\n'
    '  exclip-widget explain dogs.jpg "two dogs" --per-word dogs/ \\\n'
    "      --model ViT-B-16 --pretrained laion2b_s34b_b88k\n"
    "\n"
    f"The suffix of an output sets its format: {SUFFIXES}. With a foil, a page shows both captions, and all "
    "other files contain the difference of their explanations.",
)
@click.argument("image")
@click.argument("caption")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file to write, with one of the suffixes below. May be given several times.",
)
@click.option(
    "--per-word",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write a picture for each word, all with the same colour scale.",
)
@click.option("--foil", metavar="CAPTION", help="Another caption of the image to compare with.")
@click.option(
    "--words",
    multiple=True,
    metavar="PHRASE",
    help="Words to include in the heat map and the receipt; all by default. May be given several times.",
)
@click.option(
    "--token",
    "tokens",
    multiple=True,
    type=int,
    metavar="N",
    help="Like --words, but by the number of a token, counting special tokens.",
)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="What pictures show. By default both, the heat map and the tinted caption, or heat with --words.",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@explaining
def explain(
    image: str,
    caption: str,
    outputs: tuple[Path, ...],
    per_word: Path | None,
    foil: str | None,
    words: tuple[str, ...],
    tokens: tuple[int, ...],
    kind: str | None,
    force: bool,
    **given: Any,
) -> None:
    """Explain the similarity of the file IMAGE and a CAPTION.

    Without an output, a summary is printed: the similarity, what each word adds to it, the strongest pairs
    of a phrase and a region, and the receipt, which itemises the similarity.
    """
    from ..image import open_image

    require_text(caption, "caption")
    require_text(foil, "foil")
    chosen: Words = [*words, *tokens] or None
    inputs = image, given.get("image_reference")
    check_targets(outputs, inputs, force=force)
    if per_word is not None:
        format_of(".png", ".png")
        require_folder(per_word.parent)
    opened = open_image(image)
    explainer = explainer_of(given)
    found = explanation_of(explainer, opened, caption, foil)
    found = replace(found, words=chosen, kind=kind or ("both" if chosen is None else "heat"))
    _ = found.shown[chosen]  # raises before anything is written
    written = list(outputs)
    if per_word is not None:
        written += _write_words(found, per_word, inputs, force=force)
    for path in outputs:
        write(found, path, force=force)
    for path in written:
        click.echo(f"wrote {visible(str(path))}")
    if not written:
        click.echo(summary(found, image, name_of(given)))


def explanation_of(explainer: Explainer, image: Any, caption: str, foil: str | None) -> Explanation:
    """Return the explanation of a caption, and of its foil if there is one, with one pass of the image."""
    texts = [explainer.text_factors(text) for text in (caption, foil) if text is not None]
    *_, results = explainer.refine(texts, image)
    return Explanation(results[0], image, results[1] if foil is not None else None)


def _write_words(
    found: Explanation, folder: Path, inputs: Sequence[str | None], *, force: bool
) -> list[Path]:
    """Write a picture of each word to a folder, all with the same colour scale, and return their paths."""
    from ..errors import FileError
    from ..results.selection import rows_of_words, text_of

    shown = found.shown
    words = rows_of_words(shown.rows)
    paths = [
        folder / word_file(number, len(words), text_of(shown.rows, rows))
        for number, rows in enumerate(words, start=1)
    ]
    scale = max(float(abs(shown.heat(list(rows))).max()) for rows in words) or None
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise FileError(f"folder {str(folder)!r:.200} cannot be created: {reason(error)}") from None
    check_targets(paths, inputs, force=force)
    for path, rows in zip(paths, words, strict=True):
        write(replace(found, words=list(rows), kind="heat", scale=scale), path, force=force)
    return paths
