"""A figure that is saved the way journals require. Imported only to draw, because it imports matplotlib."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.figure import Figure

FONT_TYPES = ("pdf.fonttype", "ps.fonttype")
"""matplotlib's settings for how fonts are embedded. It reads them when a figure is saved."""

TRUE_TYPE = 42


class PaperFigure(Figure):
    """A figure whose PDF and PostScript files have TrueType fonts, unless the settings say otherwise.

    Many journals reject matplotlib's default, Type 3.
    """

    def savefig(self, *args: Any, **options: Any) -> None:
        """Save the figure, as `matplotlib.figure.Figure.savefig` does."""
        settings: Any = matplotlib.rcParams
        default: Any = matplotlib.rcParamsDefault
        unset: dict[Any, Any] = {name: TRUE_TYPE for name in FONT_TYPES if settings[name] == default[name]}
        with matplotlib.rc_context(unset):
            super().savefig(*args, **options)
