"""The command line: `exclip-widget explain`, `batch`, `demo` and `models`.

Nothing here imports torch or a model's library until a command needs it, so that help appears instantly.
"""

from .program import main

__all__ = ["main"]
