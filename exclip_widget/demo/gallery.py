"""A store of picture-book scenes, and its answers to queries: `python -m exclip_widget.demo.gallery`.

Draws the scenes, explains those that are not in the store yet, and queries it. `scripts/gallery` then shows
them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..explainer import Explainer
from ..filling import write_store
from ..results.rows import Tokens
from ..store import Ranked, Store
from .picture_book import load_model
from .scene_set import write_scenes

SCENES = 2000
FOLDER, STORE = Path("scenes"), "store"
PHRASE = "a red boat"
SHOWN = 5


def make_explainer() -> Explainer:
    """Return the explainer for the picture-book store and for the phrases to search it for.

    It takes one pass per side. At text block 0, words would be located better, but each scene would take
    three times as long.
    """
    model, tokenizer, _ = load_model()
    return Explainer(model, tokenizer=tokenizer, method="exclip")


def make_store(
    folder: Path, scenes: int = SCENES, *, workers: int | None = None, progress: bool = False
) -> Store:
    """Return a store of scenes, drawing and explaining only those that do not exist yet.

    Parameters
    ----------
    folder : path
        Where to create ``images/``, ``pairs.jsonl`` and ``store/``.
    scenes : int
        Number of scenes.
    workers : int, optional
        As in `write_store`.
    progress : bool
        Whether to show a progress bar.

    Examples
    --------
    >>> import tempfile
    >>> make_store(Path(tempfile.mkdtemp()), 2)
    Store(4 captions and 2 images by 'exclip', float16)
    """
    pairs = write_scenes(folder, scenes)
    return write_store(folder / STORE, make_explainer(), pairs, workers=workers, progress=progress)


def answers(store: Store, phrase: str = PHRASE) -> Iterator[str]:
    """Yield lines with a store's answer to each question, and how long it took.

    Parameters
    ----------
    store : Store
        A store from `make_store`.
    phrase : str
        The phrase to search all images for.
    """
    factors = make_explainer().text_factors(phrase)
    start = time.perf_counter()
    found = store.find(factors, top=SHOWN)
    yield f"Images that match {phrase!r} best, and where, in pixels ({_since(start)})"
    for match in found:
        assert match.box is not None  # scenes are images, not preprocessed pixels
        yield f"  {match.value:+z.3f}  {match.image_id}  {', '.join(f'{edge:.0f}' for edge in match.box)}"
    for question, (ask, limit, said) in QUESTIONS.items():
        start = time.perf_counter()
        ranked = ask(store)
        values = [one.value for one in ranked]
        worse = sum(value > limit for value in values)
        yield f"{question} ({_since(start)}): {worse} of {len(values)} {said}; the worst"
        for one in ranked[:SHOWN]:
            caption = store.text_factors(one.caption_id).rows
            assert isinstance(caption, Tokens)
            words = f": {one.words}" if one.words else ""
            yield f"  {one.value:+z.3f}  {one.image_id}  {caption.caption}{words}"


ALL = 10**9

QUESTIONS: dict[str, tuple[Callable[[Store], list[Ranked]], float, str]] = {
    "Foils, by their similarity minus the caption's": (
        lambda store: store.foil_margins(top=ALL),
        0,
        "win",
    ),
    "Phrases, by the share of their heat that is off their box": (
        lambda store: store.off_boxes(top=ALL),
        0.5,
        "are mostly off",
    ),
    "Pairs, by the share that special tokens carry": (
        lambda store: store.special_shares(top=ALL),
        0.5,
        "are mostly special",
    ),
    "Pairs, by the share that outlier patches carry": (
        lambda store: store.outlier_shares(top=ALL),
        0.5,
        "are mostly of outliers",
    ),
}
"""Each question: how to ask it, the value above which an answer is counted, and how to describe those."""


def _since(start: float) -> str:
    return f"{time.perf_counter() - start:.2f} s"


def main() -> None:
    """Make the store, and print its answers."""
    parser = argparse.ArgumentParser(prog="python -m exclip_widget.demo.gallery", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="output folder (%(default)s)")
    parser.add_argument("--scenes", type=int, default=SCENES, help="number of scenes (%(default)s)")
    parser.add_argument("--workers", type=int, help="number of processes that explain, using Ray Data")
    parser.add_argument("--phrase", default=PHRASE, help="phrase to search all images for (%(default)s)")
    given = parser.parse_args()
    start = time.perf_counter()
    store = make_store(given.folder, given.scenes, workers=given.workers, progress=True)
    size = sum(path.stat().st_size for path in store.folder.rglob("*.parquet"))
    print(f"{store} in {store.folder}: {size / 2**20:.0f} MB, {_since(start)}")
    for line in answers(store, given.phrase):
        print(line)


if __name__ == "__main__":
    main()
