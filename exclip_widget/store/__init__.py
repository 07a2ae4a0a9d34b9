"""A store: the factors of a whole data set in files, which can be asked without torch and without the model.

`exclip_widget.write_store` fills one, and goes on where it was stopped. Needs the extra ``[store]``.
"""

from .asking import Match, Ranked
from .head import Head
from .store import Store
from .writer import StoreWriter

__all__ = ["Head", "Match", "Ranked", "Store", "StoreWriter"]
