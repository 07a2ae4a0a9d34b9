"""Trait types: inputs, for which setting a value is a request, and selections."""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets
from jaxtyping import Bool
from PIL import Image

from ..results.selection import as_list


class InputTrait(traitlets.Any):
    """An input. Setting it is a request, which is validated before anything changes."""

    def set(self, obj: Any, value: Any) -> None:
        """Set `value` if the widget itself publishes it; otherwise request the change."""
        if not obj.publishes:
            obj.session.change_now({self.name: value})
        elif isinstance(value, Image.Image):
            # traitlets asks whether images are equal, and Pillow compares all their pixels to answer that.
            before = obj._trait_values.get(self.name, self.default_value)
            obj._trait_values[self.name] = self._validate(obj, value)
            if value is not before:
                obj._notify_trait(self.name, before, value)
        else:
            super().set(obj, value)


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
        assert self.name is not None
        grid = obj._grid
        shape = (len(obj._tokens),) if self.name == "tokens" else (grid["rows"], grid["columns"])
        count = int(np.prod(shape))
        expected = f"expected numbers from 0 to {count - 1}, or a mask of shape {shape}"
        if hasattr(value, "__array__"):
            value = as_list(self.name, value, expected)
        if isinstance(value, (list, tuple, set, range)):
            value = list(value)
            if (mask := _mask_of(value)) is not None:
                if mask.shape != shape:
                    raise traitlets.TraitError(f"{self.name} is a mask of shape {mask.shape}; {expected}")
                value = np.flatnonzero(mask).tolist()
            for number in value:
                if isinstance(number, (bool, np.bool_)):  # to Python, True is also the number 1
                    raise traitlets.TraitError(f"{self.name} has {bool(number)} among numbers; {expected}")
            value = [int(number) if isinstance(number, np.integer) else number for number in value]
        chosen = sorted(set(super().validate(obj, value) or ()))
        if chosen and (chosen[0] < 0 or chosen[-1] >= count):
            wrong = chosen[0] if chosen[0] < 0 else chosen[-1]
            raise traitlets.TraitError(f"{self.name} has {wrong}; {expected}")
        return chosen


def _mask_of(value: list[Any]) -> Bool[np.ndarray, "..."] | None:
    """Return nested lists of bools as a mask; None if they contain anything else, or nothing."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # lists of unequal lengths, tensors with a gradient
        return None
    return array if array.dtype == bool else None
