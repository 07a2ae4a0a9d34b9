"""Filling a store with the factors of a data set."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from contextlib import closing

from tqdm.auto import tqdm

from ..checks import whole_number
from ..datasets.pairs import Pair
from ..datasets.reports import OnError, warn
from ..explainer import Explainer
from ..store import Head, Store, StoreWriter
from ..store.writer import PART_BYTES
from .work import Done, explain_work, keep, plan
from .workers import explain_by_workers

PAIRS_TOGETHER = 64
"""Pairs to explain together: only their images are held in memory, decoded, at any one time."""


def write_store(
    path: str | os.PathLike[str],
    explainer: Explainer,
    pairs: Iterable[Pair],
    *,
    workers: int | None = None,
    dtype: str = "float16",
    progress: bool = False,
    on_error: OnError = warn,
    part_bytes: int = PART_BYTES,
) -> Store:
    """Write the factors of a data set into a store, except for those that it already has.

    Each image and each caption is explained once, foils included. If this is stopped or even killed, calling
    it again with the same pairs continues from the last part that was written.

    Parameters
    ----------
    path : path
        Folder of the store.
    explainer : Explainer
        What makes the factors. To continue a store, it must have the same weights, method, layers and
        references.
    pairs : iterable of Pair
        The data set, as the readers of `exclip_widget.datasets` stream it. An image that the store already
        has is compared with the one that is given, without decoding its file if that has not changed.
    workers : int, optional
        Number of processes that explain, as actors of Ray Data. Each takes a core, and a GPU, or its share
        of one, if Ray has any. By default, this process explains. The store is the same in either case.
    dtype : {"float16", "float32"}
        Type in which factors are stored. float16 takes half the space, and is off by a thousandth.
    progress : bool
        Whether to show a progress bar.
    on_error : callable, optional
        Called with each `Fault`: an image or a caption that the model cannot take is left out. By default, a
        warning is issued.
    part_bytes : int
        About how many bytes of factors are written at a time.

    Returns
    -------
    Store
        The store, opened for queries.

    Raises
    ------
    ParameterError
        If an option is out of range, something else than a `Pair` is given, the store was made in another
        way, an id has another caption or image there or in another pair, Ray does not start or has fewer
        cores than `workers`, or the explainer cannot be sent to them.
    FileError
        If the folder contains something else, or cannot be written to.
    MissingLibraryError
        If pyarrow is not installed, or, with `workers`, Ray.
    """
    head = Head(explainer.recipe(), dtype)
    with (
        StoreWriter(path, head, part_bytes=part_bytes) as writer,
        tqdm(unit="pair", disable=not progress, dynamic_ncols=True) as bar,
    ):
        works = plan(writer, pairs, PAIRS_TOGETHER)
        if workers is None:
            found: Generator[Done, None, None] = (explain_work(explainer, work) for work in works)
        else:
            found = explain_by_workers(explainer, head, works, whole_number("workers", workers))
        with closing(found):
            for done in found:
                keep(writer, done, on_error)
                bar.update(done.pairs)
    return Store(path)
