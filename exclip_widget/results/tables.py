"""Tables of results: as data frames of pandas, and as data sets of xarray with named dimensions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ExclipError
from .regions import patch_boxes

if TYPE_CHECKING:
    import pandas
    import xarray

    from .interactions import Interactions

EDGES = ("left", "top", "right", "bottom")


def to_pandas(result: Interactions) -> pandas.DataFrame:
    """Return a data frame with a row for each pair of a token and a patch; see `Interactions.to_pandas`."""
    frame = _library("pandas").DataFrame
    count, rows, columns = result.values.shape
    token, row, column = (index.ravel() for index in np.indices(result.values.shape))
    starts, ends = zip(*(span or (-1, -1) for span in result.spans), strict=True)
    found: dict[str, Any] = {
        "token": token,
        "text": np.array(result.tokens, object)[token],
        "word": np.array(result.words)[token],
        "start": np.array(starts)[token],
        "end": np.array(ends)[token],
        "row": row,
        "column": column,
    }
    if result.view is not None:
        boxes = np.broadcast_to(patch_boxes(result.view, (rows, columns)), (count, rows, columns, 4))
        found |= dict(zip(EDGES, boxes.reshape(-1, 4).T, strict=True))
    found["value"] = result.values.ravel()
    if result.error is not None:
        found["error"] = result.error.ravel()
    table: pandas.DataFrame = frame(found)
    return table


def to_xarray(result: Interactions) -> xarray.Dataset:
    """Return a data set with the dimensions token, row and column; see `Interactions.to_xarray`."""
    dataset = _library("xarray").Dataset
    arrays = {
        "values": (("token", "row", "column"), result.values),
        "cls": (("token",), result.cls),
        "error": (("token", "row", "column"), result.error),
        "token_terms": (("token",), result.token_terms),
        "patch_terms": (("row", "column"), result.patch_terms),
    }
    coordinates: dict[str, Any] = {
        "text": ("token", list(result.tokens)),
        "word": ("token", list(result.words)),
    }
    if result.view is not None:
        left, top, right, bottom = np.moveaxis(result.patch_boxes, -1, 0)
        coordinates |= {"x": ("column", (left + right)[0] / 2), "y": ("row", (top + bottom)[:, 0] / 2)}
    attributes = {
        name: getattr(result, name)
        for name in ("caption", "similarity", "total", "method", "text_layer", "image_layer")
    }
    found: xarray.Dataset = dataset(
        {name: (axes, array) for name, (axes, array) in arrays.items() if array is not None},
        coordinates,
        attributes,
    )
    return found


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise ExclipError(f"this needs {name}: pip install exclip-widget[tables]") from None
