"""Results in the containers of other libraries, which are imported only when needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingLibraryError
from .interactions import Interactions

if TYPE_CHECKING:
    import pandas
    import shapiq
    import xarray


def require_library(name: str, extra: str) -> Any:
    """Import and return a library.

    Raises
    ------
    MissingLibraryError
        If it is not installed, in which case the message names the extra that installs it, or if importing
        it fails.

    Examples
    --------
    >>> require_library("no_such_library", "tables")
    Traceback (most recent call last):
    ...
    exclip_widget.errors.MissingLibraryError: no_such_library is not installed; ...
    """
    try:
        return import_module(name)
    except MemoryError:
        raise
    except Exception as error:  # a broken library, or a bad setting that it reads, may raise anything
        library = name.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and error.name == library:
            raise MissingLibraryError(
                f"{library} is not installed; run: pip install 'exclip-widget[{extra}]'"
            ) from None
        told = next(iter(str(error).strip().splitlines()), "")
        raise MissingLibraryError(
            f"{library} is installed, but importing it raised {type(error).__name__}: {told:.200}"
        ) from error


def to_pandas(result: Interactions) -> pandas.DataFrame:
    """Return a table with a row for each pair; see `Interactions.to_pandas`."""
    frame = require_library("pandas", "tables").DataFrame
    tokens, grid = result.rows, result.grid
    token, row, column = (index.ravel() for index in np.indices(result.values.shape))
    starts, ends = (
        np.array([-1 if span is None else span[side] for span in tokens.spans]) for side in (0, 1)
    )
    columns: dict[str, np.ndarray] = {
        "token": token,
        "text": np.array(tokens.texts, object)[token],
        "word": np.array(tokens.words)[token],
        "start": starts[token],
        "end": ends[token],
        "row": row,
        "column": column,
    }
    if result.view is not None:
        edges = np.broadcast_to(result.patch_boxes, (len(tokens), grid.rows, grid.columns, 4)).reshape(-1, 4)
        columns |= dict(zip(("left", "top", "right", "bottom"), edges.T, strict=True))
    columns["value"] = result.values.ravel()
    if result.error is not None:
        columns["error"] = result.error.ravel()
    if result.outliers is not None:
        columns["outlier"] = result.outliers[row, column]
    table: pandas.DataFrame = frame(columns)
    table.attrs.update(_attributes(result))
    return table


def to_xarray(result: Interactions) -> xarray.Dataset:
    """Return a data set with named dimensions; see `Interactions.to_xarray`."""
    xarray = require_library("xarray", "tables")
    tokens = result.rows
    arrays = {
        "values": (("token", "row", "column"), result.values),
        "cls": (("token",), result.cls),
        "error": (("token", "row", "column"), result.error),
        "token_terms": (("token",), result.token_terms),
        "patch_terms": (("row", "column"), result.patch_terms),
        "outliers": (("row", "column"), result.outliers),
    }
    coordinates: dict[str, Any] = {
        "token": np.arange(len(tokens)),
        "row": np.arange(result.grid.rows),
        "column": np.arange(result.grid.columns),
        "text": ("token", np.array(tokens.texts)),
        "word": ("token", np.array(tokens.words)),
        "start": ("token", np.array([-1 if span is None else span[0] for span in tokens.spans])),
        "end": ("token", np.array([-1 if span is None else span[1] for span in tokens.spans])),
    }
    if result.view is not None:
        edges = result.patch_boxes
        coordinates["x"] = ("column", edges[0, :, [0, 2]].mean(0))
        coordinates["y"] = ("row", edges[:, 0, [1, 3]].mean(1))
    return xarray.Dataset(  # type: ignore[no-any-return]
        {name: (dims, array.copy()) for name, (dims, array) in arrays.items() if array is not None},
        coordinates,
        _attributes(result),
    )


def to_shapiq(result: Interactions) -> shapiq.InteractionValues:
    """Return shapiq's `InteractionValues`; see `Interactions.to_shapiq`."""
    shapiq = require_library("shapiq", "shapiq")
    count, patches = len(result.rows), len(result.grid)
    values = result.values.reshape(count, patches).astype(np.float64)
    of_tokens = result.cls.astype(np.float64)
    of_patches = np.zeros(patches)
    if result.token_terms is not None:
        of_tokens = of_tokens + result.token_terms
    if result.patch_terms is not None:
        of_patches = of_patches + result.patch_terms.ravel()
    alone = np.concatenate([of_tokens, of_patches])
    rest = float(result.similarity - values.sum() - alone.sum())
    interactions: dict[tuple[int, ...], float] = {(): rest}
    interactions |= {(player,): float(value) for player, value in enumerate(alone)}
    interactions |= {
        (token, count + patch): float(values[token, patch]) for token, patch in np.ndindex(count, patches)
    }
    return shapiq.InteractionValues(  # type: ignore[no-any-return]
        interactions,
        index="Moebius",
        max_order=2,
        min_order=0,
        n_players=count + patches,
        estimated=result.error is not None,
        estimation_budget=result.steps if result.error is not None else None,
        baseline_value=rest,
    )


def _attributes(result: Interactions) -> dict[str, str | float | int]:
    """Return what applies to the whole result, as numbers and strings."""
    found: dict[str, Any] = {
        name: getattr(result, name)
        for name in (
            "caption",
            "foil",
            "similarity",
            "total",
            "method",
            "text_layer",
            "image_layer",
            "rule",
            "steps",
            "nodes",
        )
    }
    if result.origin is not None:
        found |= {"model": result.origin.model, "version": result.origin.version}
    return {name: value for name, value in found.items() if value is not None}
