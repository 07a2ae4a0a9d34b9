"""Reads data sets in their published formats, as streams of pairs of an image and a caption.

Each reader yields one `Pair` at a time and keeps no image in memory. A malformed record is skipped and
reported with its file and line, as a warning or to `on_error`; a file that cannot be read raises `FileError`.
Nothing in a data set is ever executed: there is no pickle, XML is read without entities, archives are not
unpacked to disk, and everything that is decoded has a size limit.

Importable without torch.
"""

from .coco import read_coco
from .flickr30k import read_flickr30k
from .hnc import read_hnc
from .pairs import Pair, Phrase
from .reports import Fault, RecordWarning
from .rows import read_rows
from .tables import read_table
from .webdataset import read_webdataset

__all__ = [
    "Fault",
    "Pair",
    "Phrase",
    "RecordWarning",
    "read_coco",
    "read_flickr30k",
    "read_hnc",
    "read_rows",
    "read_table",
    "read_webdataset",
]
