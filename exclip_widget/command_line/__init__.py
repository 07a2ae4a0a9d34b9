"""The command line: `exclip-widget explain`, `batch`, `demo` and `models`.

Nothing here imports torch or a model's library before a command needs it, so that help comes at once.
"""

from .program import main

__all__ = ["main"]
