"""A figure that is saved as journals ask for it. Loaded with matplotlib, once a result is drawn."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.figure import Figure

FONT_TYPES = ("pdf.fonttype", "ps.fonttype")
"""matplotlib's settings of how letters are written. It reads them when a figure is saved."""

TRUE_TYPE = 42


class PaperFigure(Figure):
    """A figure whose PDF and PostScript files have TrueType fonts, unless the settings name others.

    Many journals refuse matplotlib's default, Type 3.
    """

    def savefig(self, *args: Any, **options: Any) -> None:
        """Save the figure, as `matplotlib.figure.Figure.savefig` does."""
        settings: Any = matplotlib.rcParams
        default: Any = matplotlib.rcParamsDefault
        unset: dict[Any, Any] = {name: TRUE_TYPE for name in FONT_TYPES if settings[name] == default[name]}
        with matplotlib.rc_context(unset):
            super().savefig(*args, **options)
