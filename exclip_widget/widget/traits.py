"""Kinds of traits: inputs, which are requests when they are set, and selections."""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets


class Input(traitlets.Any):
    """One of the inputs: setting it is a request, which is read, or refused, before anything changes."""

    def set(self, obj: Any, value: Any) -> None:
        """Take `value` where the widget itself publishes it; ask for it where anybody else sets it."""
        if obj._publishes:
            super().set(obj, value)
        else:
            obj._request({self.name: value})


class Selection(traitlets.List):  # type: ignore[type-arg]
    """Sorted numbers without repeats; a boolean mask stands for the numbers of its true entries."""

    def __init__(self, **options: Any) -> None:
        super().__init__(traitlets.Int(), **options)

    def set(self, obj: Any, value: Any) -> None:
        """Take `value` while nothing else changes what it is a selection of."""
        with obj._together():
            super().set(obj, value)

    def validate(self, obj: Any, value: Any) -> Any:
        """Numbers from a mask, an array or any other collection, sorted and in range."""
        shape = obj._result_shape[:1] if self.name == "tokens" else obj._result_shape[1:]
        if isinstance(value, np.ndarray) and value.dtype == bool:
            if value.shape != tuple(shape):
                raise traitlets.TraitError(
                    f"{self.name} was set to a mask of shape {value.shape}; expected {tuple(shape)}"
                )
            value = np.flatnonzero(value)
        if isinstance(value, (np.ndarray, set, tuple, range)):
            value = [int(number) if isinstance(number, np.integer) else number for number in value]
        chosen = sorted(set(super().validate(obj, value) or ()))
        count = int(np.prod(shape))
        if chosen and (chosen[0] < 0 or chosen[-1] >= count):
            wrong = chosen[0] if chosen[0] < 0 else chosen[-1]
            raise traitlets.TraitError(f"{self.name} has {wrong}; expected numbers from 0 to {count - 1}")
        return chosen
