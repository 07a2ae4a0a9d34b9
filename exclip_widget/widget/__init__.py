"""The widget."""

from .widget import ExplainWidget

__all__ = ["ExplainWidget"]
