"""Explaining in many processes: actors of Ray Data, on this machine or on a cluster.

Ray Data hands pieces of work to actors, and if an actor's process dies, restarts it with the same piece. Only
the caller's process plans and writes, in the order of the data set. So each piece is in the store once,
however often it was begun.
"""

from __future__ import annotations

import io
import logging
import os
import traceback
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import ExclipError, ParameterError
from ..explainer import Explainer
from ..image import ImageLike
from ..results.tables import require_library
from ..store import Head
from .work import Done, Work, explain_work

WINDOW_WORKS = 1024
WINDOW_BYTES = 2**28
"""How many pieces of work, and how many bytes of images in them, Ray has at a time.

Actors start anew for each window, so it is large. Images that are given as paths do not count.
"""

STARTS = 3
"""How often to try to start Ray, which waits for itself for only half a minute."""


class Worker:
    """An actor: a copy of the explainer, which explains pieces of work.

    Parameters
    ----------
    shared : ray.ObjectRef
        Reference to the explainer and the store's head. Nothing is explained if the copy has another recipe.
    """

    def __init__(self, shared: Any) -> None:
        self._shared = shared
        self._copy: Explainer | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Done | ExclipError]]:
        """Explain a piece of work. An error is returned instead of raised, because Ray would wrap it."""
        (work,) = batch["work"]
        try:
            if self._copy is None:
                self._copy = self._unpack()
            return {"done": [explain_work(self._copy, work)]}
        except ExclipError as error:
            return {"done": [error]}

    def _unpack(self) -> Explainer:
        import ray

        try:
            explainer, head = ray.get(self._shared)
        except ray.exceptions.RaySystemError as error:
            reason = str(error).partition("traceback:")[0].strip()
            raise ParameterError(
                f"explainer cannot be read by a worker ({reason:.200}); expected functions of modules that "
                "every worker can import"
            ) from None
        assert isinstance(explainer, Explainer)
        head.require_same(Head(explainer.recipe(), head.dtype), "the store")
        if torch.cuda.is_available():  # Ray shows an actor only the GPUs that it may use
            explainer.model.to("cuda")
        return explainer


def explain_by_workers(
    explainer: Explainer, head: Head, works: Iterable[Work], workers: int
) -> Generator[Done, None, None]:
    """Yield the results of pieces of work, in their order.

    Parameters
    ----------
    explainer : Explainer
        The explainer, of which each worker gets a copy.
    head : Head
        The store's head.
    works : iterable of Work
        What to explain.
    workers : int
        How many actors explain.

    Raises
    ------
    ParameterError
        If Ray does not start or has fewer cores than `workers`, or the explainer cannot be sent to the
        workers or has another recipe there.
    MissingLibraryError
        If Ray is not installed.
    """
    require_library("ray", "ray")
    with _quiet_ray():
        for window in _windows(works):
            left = [work for work in window if not work.is_empty]
            if left:
                yield from _explain_window(explainer, head, left, workers)
            yield from (Done([], [], [], work.pairs) for work in window if work.is_empty)


def _explain_window(explainer: Explainer, head: Head, works: list[Work], workers: int) -> Iterator[Done]:
    import ray

    _start(workers)
    gpus = _resources().get("GPU", 0)
    takes = {"num_gpus": min(1, gpus / workers)} if gpus else {"num_cpus": 1}
    # Kept until the end, because a restarted actor reads it again.
    shared = ray.put((explainer, head))
    rows = ray.data.from_items([{"work": work} for work in works], override_num_blocks=len(works))
    rows.context.enable_progress_bars = False
    rows.context.execution_options.preserve_order = True
    done = rows.map_batches(
        Worker,
        fn_constructor_args=(shared,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(works))),
        **takes,
    )
    for row in done.iter_rows():
        if isinstance(row["done"], ExclipError):
            raise row["done"]
        yield row["done"]
    del shared


def _start(workers: int) -> None:
    """Start Ray on this machine, unless the caller has started it; refuse more workers than it has cores."""
    import ray

    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send them to its developers
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # errors reach Python anyway
        start_ray(logging_level=logging.ERROR)
    cores = int(_resources().get("CPU", 0))
    if workers > cores:
        raise ParameterError(
            f"workers={workers}, but Ray has {cores} cores; expected at most {cores}, or a Ray that "
            "was started with more"
        )


def start_ray(**options: Any) -> None:
    """Start Ray on this machine with options of `ray.init`, trying again if the machine was too busy.

    Raises
    ------
    ParameterError
        If it did not start.
    """
    import ray

    for left in reversed(range(STARTS)):
        try:
            ray.init(include_dashboard=False, log_to_driver=False, **options)
            return
        except (ConnectionError, ValueError):  # from a Ray elsewhere that the caller's environment names
            raise
        except Exception as error:  # Ray has no class of its own for it
            _end_processes_of(error)
            ray.shutdown()
            if not left:
                raise ParameterError(
                    f"workers= needs Ray, which did not start in {STARTS} attempts: {error} Expected a "
                    "machine that is less busy, or a Ray that was started before, with ray.init()"
                ) from error


def _end_processes_of(error: Exception) -> None:
    """End the processes that a failed start of Ray has left: Ray forgets them, and they would run on."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        kill = getattr(frame.f_locals.get("self"), "kill_all_processes", None)
        if kill is not None:
            kill(check_alive=False, wait=True)


def _resources() -> dict[str, float]:
    import ray

    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return found


@contextmanager
def _quiet_ray() -> Iterator[None]:
    """Keep Ray Data from announcing each run, and stop Ray if it was started inside."""
    import ray.data  # importing it sets the level

    logger, was_there = logging.getLogger("ray.data"), ray.is_initialized()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if not was_there:
            ray.shutdown()


def _windows(works: Iterable[Work]) -> Iterator[list[Work]]:
    """Yield the lists of works that Ray has at a time, with images that other processes can read."""
    window: list[Work] = []
    held = 0
    for work in works:
        images = [one._replace(input=_sendable(one.input)) for one in work.images]
        window.append(replace(work, images=images))
        held += sum(_bytes(one.input) for one in images)
        if len(window) >= WINDOW_WORKS or held >= WINDOW_BYTES:
            yield window
            window, held = [], 0
    if window:
        yield window


def _sendable(image: ImageLike) -> ImageLike:
    """Return an image in a form that a process in another folder can read."""
    if isinstance(image, (str, os.PathLike)):
        path = Path(os.fsdecode(image)).absolute()
        return path if os.path.lexists(path) else image
    if not isinstance(image, (Image.Image, np.ndarray, io.BytesIO)) and hasattr(image, "read"):
        image.seek(0)
        return io.BytesIO(image.read())
    return image


def _bytes(image: ImageLike) -> int:
    """Return about how many bytes of memory an image takes; 0 for a path."""
    if isinstance(image, Image.Image):
        return image.width * image.height * len(image.getbands())
    if isinstance(image, np.ndarray):
        return image.nbytes
    return image.getbuffer().nbytes if isinstance(image, io.BytesIO) else 0
