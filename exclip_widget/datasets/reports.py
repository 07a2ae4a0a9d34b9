"""Reports of malformed records: which file and line, what is wrong there, and who is told."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class Fault(NamedTuple):
    """A record that was skipped.

    Attributes
    ----------
    source : str
        Where it is, ``"file:line"``.
    reason : str
        What is wrong with it, and what was expected.
    """

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}; skipped"


OnError: TypeAlias = Callable[[Fault], object]
"""What is told of each record that is skipped, such as ``faults.append``."""


class RecordWarning(UserWarning):
    """A record of a data set was skipped."""


class MalformedError(ValueError):
    """A record, or a part of it, is not what it should be. Readers report it; nobody else sees it."""


def warn(fault: Fault) -> None:
    """Warn of a fault: what readers do if nobody asks to be told."""
    warnings.warn(str(fault), RecordWarning, stacklevel=2)
