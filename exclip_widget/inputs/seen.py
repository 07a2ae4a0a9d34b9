"""The part of an image that the model saw, looked up when it is first needed."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from threading import Lock
from weakref import WeakKeyDictionary, ref

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..errors import ExclipError, ImageError, ParameterError
from ..lru_cache import LRUCache
from .preprocessing import Preprocess, field_of_view
from .randomness import random_state_kept
from .spots import Trial
from .view import Box

MOST_WAITING = 64 * 2**20
"""Approximate size of all images whose part may wait to be looked up, in bytes."""

MOST_SIZES = 1000
"""Number of image sizes for which the view of a preprocessing function is remembered."""


class SeenPart:
    """Returns the part of an image that the model saw, as a view does: looked up when it is first needed.

    The preprocessing may have been changed by then, or its resources may be gone. That is noticed, because
    this object holds the image and its pixels. To limit the memory that all such objects take, the part is
    looked up for the oldest when there are too many.

    Parameters
    ----------
    preprocess : callable
        The function that made the pixels.
    image : PIL.Image.Image
        The image.
    pixels : Tensor
        What the function gave for it, checked.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        image: Image.Image,
        pixels: Float[Tensor, "1 3 height width"],
    ) -> None:
        # A copy, because the model may change its input in place.
        self._trial: Trial | None = Trial(preprocess, image, pixels.detach().to("cpu", copy=True))
        self._found: Box | ExclipError | None = None
        _waiting.add(self)

    def __call__(self) -> Box:
        """Return left, top, width and height of the part, as fractions of the image.

        Raises
        ------
        ParameterError
            If the preprocessing mirrors or turns the image or changes what it shows, such as to its edges.
            Also if it has changed since it made the pixels.
        ImageError
            If the part cannot be determined.
        """
        trial = self._trial
        if trial is not None:
            try:
                self._found = _part_of(trial)
            except ExclipError as error:
                self._found = error
            self._trial = None
        if isinstance(self._found, ExclipError):
            raise type(self._found)(str(self._found))
        assert self._found is not None
        return self._found

    @property
    def bytes(self) -> int:
        """Number of bytes that wait for the part to be looked up."""
        trial = self._trial
        return 0 if trial is None else 3 * trial.image.width * trial.image.height + trial.pixels.nbytes


class _Waiting:
    """The parts that are not looked up yet, oldest first, without keeping them alive."""

    def __init__(self) -> None:
        self._parts: deque[ref[SeenPart]] = deque()
        self._bytes = 0  # an upper bound: parts may be gone, or looked up
        self.lock = Lock()

    def add(self, part: SeenPart) -> None:
        """Add a part, and look up the oldest if all of them together are too large."""
        for surplus in self._added(part):
            with suppress(ExclipError):  # it is raised again for whoever needs the part
                surplus()

    def _added(self, part: SeenPart) -> list[SeenPart]:
        with self.lock:
            self._parts.append(ref(part))
            self._bytes += part.bytes
            if self._bytes <= MOST_WAITING:
                return []
            waiting = [one for one in (known() for known in self._parts) if one is not None and one.bytes]
            self._bytes = sum(one.bytes for one in waiting)
            surplus = []
            if self._bytes > MOST_WAITING:
                # Down to a half, so that this is not done for every part; but the newest may wait.
                while len(waiting) > 1 and self._bytes > MOST_WAITING // 2:
                    surplus.append(waiting.pop(0))
                    self._bytes -= surplus[-1].bytes
            self._parts = deque(map(ref, waiting))
            return surplus


_waiting = _Waiting()

if hasattr(os, "register_at_fork"):
    # A child must not start with a lock that another thread holds, as that thread does not exist there.
    os.register_at_fork(
        before=_waiting.lock.acquire,
        after_in_parent=_waiting.lock.release,
        after_in_child=_waiting.lock.release,
    )


class _Views:
    """Views that held for an image, by preprocessing function and size; they may not hold for another."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Preprocess, LRUCache[Box]] = WeakKeyDictionary()

    def get(self, preprocess: Preprocess, size: tuple[int, int]) -> Box | None:
        with suppress(TypeError):  # it may have no hash, or take no weak references
            return self._known[preprocess].get(size) if preprocess in self._known else None
        return None

    def put(self, preprocess: Preprocess, size: tuple[int, int], box: Box) -> None:
        with suppress(TypeError):
            self._known.setdefault(preprocess, LRUCache(lambda _: 1, MOST_SIZES)).put(size, box)


_views = _Views()


def _part_of(trial: Trial) -> Box:
    """Return the part of an image that its pixels show; see `SeenPart`."""
    preprocess, size = trial.preprocess, trial.image.size
    # Ignored are errors such as a division by the brightness of a black image.
    with random_state_kept(), np.errstate(all="ignore"):
        known = _views.get(preprocess, size)
        if known is not None and trial.holds(known):
            return known
        if not trial.repeats():
            raise ParameterError(
                "preprocess has changed since the image was explained: it does not give the same pixels "
                "again, so it is unknown which part of the image the model saw; explain the image again, or "
                "look at result.crop before preprocess is changed"
            )
        box = field_of_view(preprocess, size)
        if trial.holds(box):
            _views.put(preprocess, size, box)
            return box
        found = trial.find()
    if found is None:
        raise ImageError(
            "it is unknown which part of the image the model saw: what was altered in the image does not "
            "show in the pixels as it does in a crop or in a resized image; pass preprocessing that crops or "
            "resizes, or explain the pixels instead, explainer.read_image(image)"
        )
    return found
