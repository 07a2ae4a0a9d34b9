"""Kinds of traits: inputs, whose setting is a request, and selections."""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets


class InputTrait(traitlets.Any):
    """An input: setting it is a request, which is read, or refused, before anything changes."""

    def set(self, obj: Any, value: Any) -> None:
        """Set `value` if the widget itself publishes it; request it if anybody else sets it."""
        if obj.publishes:
            super().set(obj, value)
        else:
            obj.session.change_now({self.name: value})


class SelectionTrait(traitlets.List):  # type: ignore[type-arg]
    """Sorted numbers without repeats; a boolean mask stands for the numbers of its true entries."""

    def __init__(self, **options: Any) -> None:
        super().__init__(traitlets.Int(), **options)

    def set(self, obj: Any, value: Any) -> None:
        """Set `value` while nothing else changes what it selects from."""
        with obj.transaction():
            super().set(obj, value)

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the numbers of a mask, an array or any other collection, sorted and in range."""
        grid = obj._grid
        shape = (len(obj._tokens),) if self.name == "tokens" else (grid["rows"], grid["columns"])
        if isinstance(value, np.ndarray) and value.dtype == bool:
            if value.shape != shape:
                raise traitlets.TraitError(
                    f"{self.name} was set to a mask of shape {value.shape}; expected {shape}"
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
