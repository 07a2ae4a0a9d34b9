"""Reports of malformed records: the file and line, what is wrong, and whom to notify."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeAlias


class Fault(NamedTuple):
    """A record that was skipped.

    Attributes
    ----------
    source : str
        Where the record is, as ``"file:line"``.
    reason : str
        What is wrong with it, and what was expected.
    """

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}; skipped"


OnError: TypeAlias = Callable[[Fault], object]
"""Called with the fault of each record that is skipped, such as ``faults.append``."""


class RecordWarning(UserWarning):
    """A record of a data set was skipped."""


class MalformedError(ValueError):
    """A record, or a part of it, is malformed. For internal use: readers catch and report it."""


def warn(fault: Fault) -> None:
    """Issue a warning about a fault: the default `on_error` of readers."""
    warnings.warn(str(fault), RecordWarning, stacklevel=2)
