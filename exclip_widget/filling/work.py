"""Pieces of a data set on their way into a store: planned once, explained anywhere, written by one writer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from ..datasets.pairs import Pair, Phrase
from ..datasets.reports import Fault, OnError
from ..errors import CaptionError, ExclipError, ImageError, ParameterError, named_type
from ..explainer import Explainer
from ..image import ImageLike
from ..results.factors import Factors
from ..results.matching import require_same_width
from ..store import StoreWriter
from ..store.hashes import CaptionClash, CaptionHash, places_of
from .given_image import GivenImage, look_at


class NewImage(NamedTuple):
    """An image that the store does not have; see `Pair`."""

    id: str
    input: ImageLike
    source: str
    stamp: str | None = None


class NewCaption(NamedTuple):
    """A caption or a foil that the store does not have; see `StoreWriter.add_caption`."""

    id: str
    input: str
    source: str
    image_id: str
    foil_of: str | None
    phrases: tuple[Phrase, ...]


New = TypeVar("New", NewImage, NewCaption)


@dataclass(frozen=True, eq=False)
class Work:
    """Images and captions that are explained together, and the number of pairs that they are from."""

    images: list[NewImage]
    captions: list[NewCaption]
    pairs: int

    @property
    def is_empty(self) -> bool:
        """Whether the store already has all of it."""
        return not (self.images or self.captions)


@dataclass(frozen=True, eq=False)
class Done:
    """The factors of a piece of work, and a fault for each input that the model cannot take."""

    images: list[tuple[NewImage, Factors]]
    captions: list[tuple[NewCaption, Factors]]
    faults: list[Fault]
    pairs: int


def plan(writer: StoreWriter, pairs: Iterable[Pair], together: int) -> Iterator[Work]:
    """Yield pieces of work with what the store does not have, each image and each caption once.

    Parameters
    ----------
    writer : StoreWriter
        The writer of the store, which knows what it already has.
    pairs : iterable of Pair
        The data set.
    together : int
        Number of pairs in a piece of work.

    Raises
    ------
    ParameterError
        If one is not a `Pair`, two images have the same id, or two captions that are not the same in all that
        the store keeps of them.
    """
    given: object = pairs
    if not isinstance(given, Iterable):
        raise ParameterError(f"pairs is {named_type(given)}; expected an iterable of Pair")
    stream = iter(pairs)
    images: dict[str, GivenImage] = {}
    captions: dict[str, CaptionHash] = {}
    last: Pair | None = None
    while some := list(islice(stream, together)):
        work = Work([], [], len(some))
        for pair in some:
            _require_pair(pair)
            if last is None or pair.image is not last.image or pair.image_id != last.image_id:
                work.images.extend(_new_image(writer, pair, images))
            last = pair
            for one in _captions_of(pair):
                if _is_new_caption(writer, one, captions):
                    work.captions.append(one)
        yield work


def _new_image(writer: StoreWriter, pair: Pair, before: dict[str, GivenImage]) -> Iterator[NewImage]:
    """Yield the image of a pair if the store does not have it and it was not given before.

    Raises
    ------
    ParameterError
        If another image has its id, in the store or in a pair before.
    """
    key, given = pair.image_id, look_at(pair.image)
    first = before.setdefault(key, given)
    if first is not given:
        if given.is_another_than(first, pair.image):
            raise ParameterError(
                f"image_id {key!r:.80} is that of {first.name:.200} and of another image, {given.name:.200}; "
                "expected one image per image_id"
            )
        return
    kept = writer.kept_image(key)
    if kept is None:
        yield NewImage(key, pair.image, pair.source, given.stamp)
    elif given.is_another_than_kept(kept, pair.image):
        raise ParameterError(
            f"image_id {key!r:.80} has another image in store {str(writer.folder)!r:.200} than "
            f"{given.name:.200}; expected one image per image_id; if its file has changed, write another "
            "store"
        )


def _is_new_caption(writer: StoreWriter, one: NewCaption, before: dict[str, CaptionHash]) -> bool:
    """Return whether the store does not have a caption, and it was not given before.

    Raises
    ------
    ParameterError
        If another caption has its id, in the store or in a pair before, or the same one with another image,
        foil, phrases or boxes.
    """
    _, caption, _, image_id, foil_of, phrases = one
    given = CaptionHash.of(caption, image_id, foil_of, places_of(phrases))
    first = before.setdefault(one.id, given)
    if first is given:
        return not writer.has_caption(one.id, caption, image_id=image_id, foil_of=foil_of, phrases=phrases)
    name = given.difference(first)
    if name is not None:
        clash = CaptionClash.of(name, caption, image_id, foil_of, phrases)
        raise ParameterError(
            f"id {one.id!r:.80} is that of {clash.given} and of {clash.kind}; {clash.remedy}"
        )
    return False


def _require_pair(given: object) -> None:
    if not isinstance(given, Pair):
        raise ParameterError(
            f"pairs has {named_type(given)} ({given!r:.80}); expected Pair, as the readers of "
            "exclip_widget.datasets yield"
        )


def _captions_of(pair: Pair) -> Iterator[NewCaption]:
    yield NewCaption(pair.id, pair.caption, pair.source, pair.image_id, None, pair.phrases)
    if pair.foil is not None:
        yield NewCaption(f"{pair.id}~foil", pair.foil, pair.source, pair.image_id, pair.id, ())


def explain_work(explainer: Explainer, work: Work) -> Done:
    """Return the factors of a piece of work, in the caller's process or in one of many workers."""
    faults: list[Fault] = []

    def image_factors(images: list[Any]) -> list[Factors]:
        found = explainer.image_factors(images)
        for one in found:
            _ = one.view and one.view.crop  # an unknown crop is a fault of its image
        return found

    images = _each(work.images, image_factors, ImageError, faults)
    captions = _each(work.captions, explainer.text_factors, CaptionError, faults)
    for (_, caption), (_, image) in zip(captions[:1], images[:1], strict=False):
        require_same_width(len(caption.embedding), len(image.embedding))
    return Done(images, captions, faults, work.pairs)


def _each(
    inputs: Sequence[New],
    factors_of: Callable[[list[Any]], list[Factors]],
    kind: type[ExclipError],
    faults: list[Fault],
) -> list[tuple[New, Factors]]:
    """Return the factors of inputs: together if all of them can be read, otherwise of those that can."""
    try:
        return list(zip(inputs, factors_of([one.input for one in inputs]), strict=True))
    except kind:
        pass
    found = []
    for one in inputs:
        try:
            (factors,) = factors_of([one.input])
        except kind as error:
            faults.append(Fault(one.source or one.id, str(error).partition(": ")[2]))
        else:
            found.append((one, factors))
    return found


def keep(writer: StoreWriter, done: Done, on_error: OnError) -> None:
    """Write the factors of a piece of work, and report its faults."""
    for fault in done.faults:
        on_error(fault)
    for image, factors in done.images:
        writer.add_image(image.id, factors, stamp=image.stamp)
    for caption, factors in done.captions:
        writer.add_caption(
            caption.id,
            factors,
            image_id=caption.image_id,
            foil_of=caption.foil_of,
            phrases=caption.phrases,
            source=caption.source,
        )
