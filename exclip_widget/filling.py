"""Filling a store with the factors of a data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from tqdm.auto import tqdm

from .datasets.pairs import Pair
from .datasets.reports import Fault, OnError, warn
from .errors import CaptionError, ExclipError, ImageError, ParameterError
from .explainer import Explainer
from .results.factors import Factors
from .store import Head, Store, StoreWriter
from .store.writer import PART_BYTES

PAIRS_TOGETHER = 64
"""Pairs that are explained together: their images are what is held decoded at a time."""

T = TypeVar("T")


def write_store(
    path: str | os.PathLike[str],
    explainer: Explainer,
    pairs: Iterable[Pair],
    *,
    dtype: str = "float16",
    progress: bool = False,
    on_error: OnError = warn,
    part_bytes: int = PART_BYTES,
) -> Store:
    """Write the factors of a data set into a store, or those that it does not have yet.

    Each image and each caption is explained once, foils too. If this is stopped, even killed, it goes on
    from where the last part was written when it is called again with the same pairs.

    Parameters
    ----------
    path : path
        Folder of the store.
    explainer : Explainer
        What makes the factors. To go on it must be as it was: the same weights, method, layers and
        references.
    pairs : iterable of Pair
        The data set, as the readers of `exclip_widget.datasets` stream it.
    dtype : {"float16", "float32"}
        How factors are kept. float16 takes half the space, and is off by a thousandth.
    progress : bool
        Whether to show a progress bar.
    on_error : callable, optional
        Is told each `Fault`: an image or a caption that the model cannot take is left out. A warning by
        default.
    part_bytes : int
        About how many bytes of factors are written at a time.

    Returns
    -------
    Store
        The store, open to be asked.

    Raises
    ------
    ParameterError
        If the store was made in another way, or an id has another caption there.
    FileError
        If the folder holds something else, or cannot be written to.
    MissingLibraryError
        If pyarrow is not installed.
    """
    stream = iter(pairs)
    head = Head(explainer.recipe(), dtype)
    with (
        StoreWriter(path, head, part_bytes=part_bytes) as writer,
        tqdm(unit="pair", disable=not progress, dynamic_ncols=True) as bar,
    ):
        while some := list(islice(stream, PAIRS_TOGETHER)):
            _add(writer, explainer, some, on_error)
            bar.update(len(some))
    return Store(path)


def _add(writer: StoreWriter, explainer: Explainer, pairs: Sequence[Pair], on_error: OnError) -> None:
    """Add the images and captions of some pairs that are not there."""
    images = {
        pair.image_id: (pair.image, pair.source) for pair in pairs if not writer.has_image(pair.image_id)
    }
    found = _each(
        [(key, image, source) for key, (image, source) in images.items()],
        explainer.image_factors,
        ImageError,
        on_error,
    )
    for key, factors in found:
        writer.add_image(key, factors)
    captions: dict[str, tuple[str, Pair, str | None]] = {}
    for pair in pairs:
        for key, text, owner in (
            (pair.id, pair.caption, None),
            (f"{pair.id}~foil", pair.foil, pair.id),
        ):
            if text is None:
                continue
            if captions.setdefault(key, (text, pair, owner))[0] != text:
                raise ParameterError(
                    f"id {key!r:.80} is that of {captions[key][0]!r:.80} and of {text!r:.80}; expected one "
                    "caption for an id"
                )
    missing = [
        (key, text, pair.source)
        for key, (text, pair, _) in captions.items()
        if not writer.has_caption(key, text)
    ]
    for key, factors in _each(missing, explainer.text_factors, CaptionError, on_error):
        _, pair, owner = captions[key]
        writer.add_caption(
            key,
            factors,
            image_id=pair.image_id,
            foil_of=owner,
            phrases=() if owner is not None else pair.phrases,
            source=pair.source,
        )


def _each(
    inputs: Sequence[tuple[str, T, str]],
    factors_of: Callable[[list[T]], list[Factors]],
    kind: type[ExclipError],
    on_error: OnError,
) -> Iterator[tuple[str, Factors]]:
    """Yield the factors of inputs, together if all of them can be read, and else of those that can."""
    try:
        together = factors_of([one for _, one, _ in inputs])
    except kind:
        together = None
    if together is not None:
        yield from zip((key for key, _, _ in inputs), together, strict=True)
        return
    for key, one, source in inputs:
        try:
            (factors,) = factors_of([one])
        except kind as error:
            on_error(Fault(source or key, str(error).partition(": ")[2]))
        else:
            yield key, factors
