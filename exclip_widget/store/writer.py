"""Writing a store: each input once, even if the writer is stopped in between."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType

from ..checks import whole_number
from ..datasets.pairs import Phrase
from ..datasets.reading import path_of
from ..errors import FileError, ParameterError
from ..results.factors import Factors
from ..results.rows import Tokens
from ..whole_file import reason
from .hashes import CaptionClash, CaptionHash, ImageHash, places_of
from .head import NAME, Head, read_head, write_head
from .parts import Part, parts_of, require_pyarrow, require_text, row_of, write_part

PART_BYTES = 2**26
"""Bytes of factors in a part: at most this much is computed again if the writer is stopped."""


class StoreWriter:
    """Writes a store, or continues one.

    Inputs are written in parts, each as a whole or not at all. What was in no part when a writer was stopped
    is not in the store, and `has_caption` and `has_image` return False for it.

    Parameters
    ----------
    path : path
        The folder. It is created if it does not exist.
    head : Head
        How the factors are made, and how they are stored.
    part_bytes : int
        About how many bytes of factors a part contains.

    Raises
    ------
    FileError
        If the folder contains something else, a part is damaged, or it cannot be written to.
    ParameterError
        If the store was made in another way, or `part_bytes` is not a whole number of at least 1.
    MissingLibraryError
        If pyarrow is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], head: Head, *, part_bytes: int = PART_BYTES) -> None:
        require_pyarrow()
        self.folder = path_of(path)
        self.head = head
        self._part_bytes = whole_number("part_bytes", part_bytes)
        self._open()
        self._rows: dict[str, list[Mapping[str, object]]] = {"captions": [], "images": []}
        self._bytes = {"captions": 0, "images": 0}
        self._captions: dict[str, CaptionHash] = {}
        self._images: dict[str, ImageHash] = {}
        for part in self._parts("captions"):
            # If two writers have written an input, the first one counts.
            found = part.columns(["id", "caption", "image_id", "foil_of", "phrases"])
            for key, caption, image_id, foil_of, phrases in zip(*found.values(), strict=True):
                if key not in self._captions:
                    places = [(one["start"], one["end"], one["boxes"]) for one in phrases]
                    self._captions[key] = CaptionHash.of(caption, image_id, foil_of, places)
        for part in self._parts("images"):
            for key, *kept in zip(*part.columns(["id", "stamp", "size", "digest"]).values(), strict=True):
                self._images.setdefault(key, ImageHash.of(*kept))

    def _open(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            is_new = not (self.folder / NAME).exists()
            if is_new and any(self.folder.iterdir()):
                raise FileError(
                    f"{str(self.folder)!r:.200} is neither a store nor empty; give another folder"
                )
            for kind in ("captions", "images"):
                (self.folder / kind).mkdir(exist_ok=True)
        except (OSError, ValueError) as error:
            if isinstance(error, FileError):
                raise
            raise FileError(f"{str(self.folder)!r:.200} cannot be a store: {reason(error)}") from None
        if is_new:
            write_head(self.folder, self.head)
        there = read_head(self.folder)
        there.require_same(self.head, f"store {str(self.folder)!r:.200}")
        self.head = there

    def _parts(self, kind: str) -> list[Part]:
        return parts_of(self.folder, kind, self.head)

    def has_caption(
        self,
        key: str,
        caption: str,
        *,
        image_id: str | None = None,
        foil_of: str | None = None,
        phrases: tuple[Phrase, ...] = (),
    ) -> bool:
        """Return whether a caption is in the store, or waiting to be written; see `add_caption`.

        Raises
        ------
        ParameterError
            If another caption has its id, or the same one with another image, foil, phrases or boxes; or if
            its id or its text cannot be stored as text.
        """
        given: object = caption
        require_text("id", key)
        if isinstance(given, str):  # the explainer refuses anything else
            require_text(f"caption of id {key!r:.80}", given)
        kept = self._captions.get(key)
        if kept is None:
            return False
        name = CaptionHash.of(caption, image_id, foil_of, places_of(phrases)).difference(kept)
        if name is not None:
            clash = CaptionClash.of(name, caption, image_id, foil_of, phrases)
            raise ParameterError(
                f"id {key!r:.80} has {clash.kind} in store {str(self.folder)!r:.200} than {clash.given}; "
                f"{clash.remedy}"
            )
        return True

    def has_image(self, key: str) -> bool:
        """Return whether an image is in the store, or waiting to be written.

        Raises
        ------
        ParameterError
            If the id cannot be stored as text.
        """
        return self.kept_image(key) is not None

    def kept_image(self, key: str) -> ImageHash | None:
        """Return the hashes of an image that is in the store or waiting to be written; None for any other.

        Raises
        ------
        ParameterError
            If the id cannot be stored as text.
        """
        require_text("image_id", key)
        return self._images.get(key)

    def add_caption(
        self,
        key: str,
        factors: Factors,
        *,
        image_id: str | None = None,
        foil_of: str | None = None,
        phrases: tuple[Phrase, ...] = (),
        source: str = "",
    ) -> None:
        """Add the factors of a caption, unless the store has it.

        Parameters
        ----------
        key : str
            Its id.
        factors : Factors
            Its factors.
        image_id : str, optional
            Id of the image that it is paired with.
        foil_of : str, optional
            Id of the caption that it is a foil of.
        phrases : tuple of Phrase
            Where in the image its words are.
        source : str
            Where it is in the data set.

        Raises
        ------
        ParameterError
            If they are not factors of a caption by the store's method and model, cannot be stored in its
            dtype, or another caption has the id; see `has_caption`.
        FileError
            If a part is full and cannot be written.
        """
        if not isinstance(factors.rows, Tokens):
            raise ParameterError(f"factors of {key!r:.80} are an image's; expected a caption's")
        if self.has_caption(key, factors.rows.caption, image_id=image_id, foil_of=foil_of, phrases=phrases):
            return
        more = {
            "image_id": image_id,
            "foil_of": foil_of,
            "phrases": [
                {"start": start, "end": end, "boxes": edges} for start, end, edges in places_of(phrases)
            ],
            "source": source.encode(errors="backslashreplace").decode(),  # it may be any file's name
        }
        self._add("captions", key, factors, more)
        self._captions[key] = CaptionHash.of(factors.rows.caption, image_id, foil_of, places_of(phrases))

    def add_image(self, key: str, factors: Factors, *, stamp: str | None = None) -> None:
        """Add the factors of an image, unless the store has it.

        Parameters
        ----------
        key : str
            Its id.
        factors : Factors
            Its factors.
        stamp : str, optional
            A hash of what it was given as, from which `kept_image` shows whether it is given again.

        Raises
        ------
        ParameterError
            If they are not factors of an image by the store's method and model, cannot be stored in its
            dtype, or another image has the id.
        FileError
            If a part is full and cannot be written.
        """
        if isinstance(factors.rows, Tokens):
            raise ParameterError(f"factors of {key!r:.80} are a caption's; expected an image's")
        view, kept = factors.view, self.kept_image(key)
        given = ImageHash.of(stamp, *((None, None) if view is None else (view.size, view.digest)))
        if kept is None:
            self._add("images", key, factors, {"stamp": stamp})
            self._images[key] = given
        elif None not in (kept.pixels, given.pixels) and kept.pixels != given.pixels:
            raise ParameterError(
                f"image_id {key!r:.80} has another image in store {str(self.folder)!r:.200} than that of "
                "these factors; expected one image per image_id"
            )

    def _add(self, kind: str, key: str, factors: Factors, more: Mapping[str, object]) -> None:
        if difference := self.head.difference(factors):
            name, given, expected = difference
            raise ParameterError(f"factors of {key!r:.80} have {name}={given!r}; expected {expected!r}")
        row = row_of(key, factors, self.head, more)
        self._rows[kind].append(row)
        self._bytes[kind] += len(row["values"])  # type: ignore[arg-type]
        if self._bytes[kind] >= self._part_bytes:
            self._write(kind)

    def _write(self, kind: str) -> None:
        if self._rows[kind]:
            write_part(self.folder, kind, self.head, self._rows[kind])
        self._rows[kind], self._bytes[kind] = [], 0

    def flush(self) -> None:
        """Write everything that is waiting.

        Raises
        ------
        FileError
            If it cannot be written.
        """
        for kind in self._rows:
            self._write(kind)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
