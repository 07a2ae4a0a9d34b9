"""The picture book: a small trained CLIP and its world of drawn scenes, so that everything works offline.

Every picture is drawn by this package from a description. So for every caption, it is known which pixels show
what the words refer to: a ground truth to check explanations against.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from open_clip.model import CLIP
from PIL import Image

from ..explainer import explain
from ..inputs.preprocessing import Preprocess
from ..results.interactions import Interactions
from .picture_book import PictureBookTokenizer, load_model
from .scenes import Group, Scene

__all__ = ["Page", "PictureBook", "example", "load"]


@dataclass(frozen=True)
class Page:
    """A picture of the book, its caption, and the scene that both show."""

    image: Image.Image
    caption: str
    scene: Scene


class PictureBook(NamedTuple):
    """The result of `load`: a model with its tokenizer and preprocessing, and some pages to try it on."""

    model: CLIP
    tokenizer: PictureBookTokenizer
    preprocess: Preprocess
    pages: tuple[Page, ...]


PAGE_PIXELS = 480

_PAGES = (
    (
        "a red boat left of two yellow fish",
        Scene(
            (
                Group("boat", "red", 0.42, ((0.27, 0.40),)),
                Group("fish", "yellow", 0.30, ((0.74, 0.36), (0.70, 0.74))),
            ),
            "sky",
            7,
        ),
    ),
    (
        "a big blue house below a small orange sun",
        Scene(
            (
                Group("house", "blue", 0.52, ((0.42, 0.66),)),
                Group("sun", "orange", 0.24, ((0.68, 0.20),)),
            ),
            "meadow",
            3,
        ),
    ),
    (
        "a green snail and a pink mushroom and a white umbrella",
        Scene(
            (
                Group("snail", "green", 0.36, ((0.26, 0.74),)),
                Group("mushroom", "pink", 0.34, ((0.72, 0.64),)),
                Group("umbrella", "white", 0.36, ((0.40, 0.26),)),
            ),
            "stone",
            11,
        ),
    ),
    (
        "three purple butterflies above a black cup",
        Scene(
            (
                Group("butterfly", "purple", 0.28, ((0.22, 0.24), (0.54, 0.18), (0.80, 0.34))),
                Group("cup", "black", 0.34, ((0.46, 0.76),)),
            ),
            "sand",
            5,
        ),
    ),
    (
        "a yellow car right of a red car",
        Scene(
            (
                Group("car", "red", 0.42, ((0.26, 0.56),)),
                Group("car", "yellow", 0.42, ((0.74, 0.56),)),
            ),
            "paper",
            2,
        ),
    ),
)


def load() -> PictureBook:
    """Return the picture book: model, tokenizer, preprocessing and pages. Needs no network."""
    model, tokenizer, preprocess = load_model()
    pages = tuple(Page(scene.draw(PAGE_PIXELS), caption, scene) for caption, scene in _PAGES)
    return PictureBook(model, tokenizer, preprocess, pages)


@cache
def example(page: int = 0) -> Interactions:
    """Return the interactions of a picture-book page with its caption, to try out results.

    Examples
    --------
    >>> example()
    Interactions('a red boat left of two yellow fish': 10 tokens x 12 x 12 patches, similarity ...)
    """
    book = load()
    shown = book.pages[page]
    return explain(book.model, shown.image, shown.caption, tokenizer=book.tokenizer)
