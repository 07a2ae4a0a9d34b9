"""The head of a store: how all of its factors were made. Only factors with the same head belong together.

A store is a folder. ``store.json`` is a JSON object of `format`, `version`, `dtype` and `recipe`; the folders
``captions`` and ``images`` contain the parts, which `exclip_widget.store.parts` describes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import FileError, ParameterError, named_type
from ..results.factors import Factors
from ..results.origin import Difference, Option
from ..results.rows import Tokens
from ..whole_file import named, reason, write_whole

FORMAT = "exclip_widget.Store"
VERSION = 1
NAME = "store.json"

DTYPES = ("float16", "float32")
"""Types in which factors may be stored. Embeddings are float32 in either case."""

NEEDED = ("model", "weights", "method", "text_layer", "image_layer", "package")
"""What every recipe contains."""

FREE = ("package",)
"""What may differ if a store is continued, because later versions of the package compute the same."""

MOST_BYTES = 2**20


@dataclass(frozen=True)
class Head:
    """How the factors of a store were made, and how they are stored.

    Attributes
    ----------
    recipe : mapping
        All that factors depend on besides their inputs, as `Explainer.recipe` returns it: the model's class
        and the fingerprint of its weights, the method with its options, layers and references.
    dtype : {"float16", "float32"}
        Type in which factors are stored.

    Raises
    ------
    ParameterError
        If `dtype` is neither, or the recipe lacks something.
    """

    recipe: Mapping[str, Option] = field(hash=False)
    dtype: str = "float16"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ParameterError(f"dtype={self.dtype!r:.40}; expected one of {', '.join(map(repr, DTYPES))}")
        for name in NEEDED:
            if not isinstance(self.recipe.get(name), str):
                raise ParameterError(f"the recipe has no {name!r}; expected what Explainer.recipe returns")

    @property
    def options(self) -> dict[str, Option]:
        """The method's own options."""
        return {
            name.removeprefix("method."): value
            for name, value in self.recipe.items()
            if name.startswith("method.")
        }

    def difference(self, factors: Factors) -> Difference | None:
        """Return the first known thing in which factors were made in another way than the store's.

        Options of the method are not compared. None if nothing differs.
        """
        side, origin = "text" if isinstance(factors.rows, Tokens) else "image", factors.origin
        made: dict[str, Option] = {"method": factors.method, f"{side}_layer": factors.layer}
        if origin is not None:
            made |= {"model": origin.model, **origin.references}
            made |= {} if origin.weights is None else {"weights": origin.weights}
        for name, found in made.items():
            if name in self.recipe and found != self.recipe[name]:
                return name, found, self.recipe[name]
        return None

    def text(self) -> str:
        """Return the head as it is written to files."""
        head = {"format": FORMAT, "version": VERSION, "dtype": self.dtype, "recipe": dict(self.recipe)}
        return json.dumps(head, indent=1, sort_keys=True)

    def require_same(self, other: Head, where: str) -> None:
        """Refuse a different head, such as that of an explainer that is to continue a store.

        Raises
        ------
        ParameterError
            If the two differ. The message names the first thing in which they do.
        """
        for name, ours, theirs in self.differences(other):
            if name not in FREE:
                raise ParameterError(
                    f"{where} was made with {name}={ours!r:.80}, not with {theirs!r:.80}; continue in the "
                    "same way, or write another store"
                )

    def differences(self, other: Head) -> Iterator[Difference]:
        """Yield all in which two heads differ: the dtype, and entries of their recipes.

        Examples
        --------
        >>> recipe = dict.fromkeys(NEEDED, "same")
        >>> list(Head(recipe).differences(Head(recipe | {"weights": "others"}, "float32")))
        [('dtype', 'float16', 'float32'), ('weights', 'same', 'others')]
        """
        ours, theirs = {"dtype": self.dtype, **self.recipe}, {"dtype": other.dtype, **other.recipe}
        for name in dict.fromkeys((*theirs, *ours)):
            if ours.get(name) != theirs.get(name):
                yield name, ours.get(name), theirs.get(name)


def read_head(folder: Path) -> Head:
    """Return the head of a store.

    Raises
    ------
    FileError
        If there is no store, or it is damaged, in another format, or from a later version.
    """
    path = folder / NAME
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES)
    except (OSError, ValueError) as error:
        raise FileError(f"there is no store in {str(folder)!r:.200}: {reason(error)} ({NAME})") from None
    try:
        return head_of(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FileError(f"{named(path)} is not the head of a store: {error!s:.200}") from None


def head_of(given: Any) -> Head:
    """Return the head that a JSON object describes.

    Raises
    ------
    ValueError, TypeError, KeyError, AttributeError, ParameterError
        If it is none that this version of the package reads.
    """
    if given["format"] != FORMAT:
        raise ValueError(f"it names format {given['format']!r:.60}; expected {FORMAT!r}")
    if given["version"] != VERSION:
        raise ValueError(
            f"it has version {given['version']!r:.60}, and this version of the package reads {VERSION}; "
            "update exclip-widget, if the store is from a later one"
        )
    recipe = given["recipe"]
    for name, value in recipe.items():
        is_number = isinstance(value, (int, float)) and math.isfinite(value)
        if not (value is None or isinstance(value, str) or is_number):
            raise TypeError(f"{name!r:.60} of the recipe is {named_type(value)}")
    return Head(recipe, given["dtype"])


def write_head(folder: Path, head: Head) -> None:
    """Write the head of a new store.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    data = head.text().encode()
    write_whole(folder / NAME, lambda partial: partial.write_bytes(data), overwrite=True)
