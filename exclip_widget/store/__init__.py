"""A store: the factors of a whole data set in files, which can be queried without torch or the model.

`exclip_widget.write_store` fills one, and continues where it was stopped. Needs the extra ``[store]``.
"""

from .asking import Match, Ranked
from .head import Head
from .store import Store
from .writer import StoreWriter

__all__ = ["Head", "Match", "Ranked", "Store", "StoreWriter"]
