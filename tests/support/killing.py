"""Preprocessing that kills its own process, as a machine that runs out of memory would."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image
from torch import Tensor

from exclip_widget import demo
from exclip_widget.inputs.preprocessing import Preprocess


@cache
def preprocess() -> Preprocess:
    return demo.load().preprocess


@dataclass
class KillOnce:
    """The picture book's preprocessing, which kills one process with SIGKILL.

    The first process to start on an image after reading `after` of them is killed. Process ids are recorded
    in `folder`: `ran` contains those that preprocessed anything, `killed` the one that was killed.
    """

    folder: Path
    after: int
    count: int = 0

    def __call__(self, image: Image.Image) -> Tensor:
        self._note("ran")
        self.count += 1
        if self.count > self.after and not self.killed:
            self._note("killed")
            os.kill(os.getpid(), signal.SIGKILL)
        return preprocess()(image)

    def _note(self, what: str) -> None:
        (self.folder / f"{what}-{os.getpid()}").touch()

    @property
    def ran(self) -> set[int]:
        return self._noted("ran")

    @property
    def killed(self) -> set[int]:
        return self._noted("killed")

    def _noted(self, what: str) -> set[int]:
        return {int(path.name.partition("-")[2]) for path in self.folder.glob(f"{what}-*")}
