"""Data sets in the formats in which they are published, as streams of pairs of an image and a caption.

Each reader yields a `Pair` at a time and keeps no image. A record that is malformed is skipped and reported
with its file and line, by a warning or to `on_error`; a file that cannot be read is one `FileError`. Nothing
in a data set is ever run: there is no pickle, XML without entities, archives are not unpacked onto the disk,
and all that is decoded is bounded.

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
