"""Trait types: inputs, for which setting a value is a request, and selections."""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets


class InputTrait(traitlets.Any):
    """An input. Setting it is a request, which is validated before anything changes."""

    def set(self, obj: Any, value: Any) -> None:
        """Set `value` if the widget itself publishes it; otherwise request the change."""
        if obj.publishes:
            super().set(obj, value)
        else:
            obj.session.change_now({self.name: value})


class SelectionTrait(traitlets.List):  # type: ignore[type-arg]
    """Sorted, unique indices; may be set to a boolean mask, which selects its true entries."""

    def __init__(self, **options: Any) -> None:
        super().__init__(traitlets.Int(), **options)

    def set(self, obj: Any, value: Any) -> None:
        """Set `value`, with the lock held so that what it selects from cannot change."""
        with obj.transaction():
            super().set(obj, value)

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the indices in a mask, an array or any other collection, sorted and checked."""
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
