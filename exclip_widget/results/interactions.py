"""Interactions: how much each token of a caption and each patch of an image add to their similarity."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ..checks import whole_number
from ..errors import ImageError, ParameterError
from .alignment import align_rows
from .difference import aligned, difference_of
from .factors import Factors
from .matching import require_same_kind, require_same_width, require_side
from .normalisation import Normalisation
from .origin import Crop, Difference, Option, Origin, View
from .outliers import without_outliers
from .pairs import HALF, strongest_pairs
from .places import Boxes, Mask, Points, boxes_of, mask_of, points_of
from .receipt import Receipt, parts_of
from .regions import Region, patch_boxes, require_view, select_patches
from .rows import Grid, Span, Tokens
from .selection import Rows, Words, select_rows, text_of

if TYPE_CHECKING:
    import pandas
    import shapiq
    import xarray
    from matplotlib.axes import Axes
    from PIL import Image

    from ..image import ImageLike


class OwnTerms(NamedTuple):
    """What each side adds by itself: products with the other side's reference.

    With f = f_r + sum T and g = g_r + sum P, the similarity has these terms besides the interactions T P^T.

    Attributes
    ----------
    text : np.ndarray
        T . g_r: each token's product with the reference image, (text rows,).
    image : np.ndarray
        f_r . P: each image token's product with the reference caption, (image tokens,).
    references : float
        f_r . g_r: the product of both references.
    """

    text: Float[np.ndarray, " rows"]
    image: Float[np.ndarray, " tokens"]
    references: float


class Estimate(NamedTuple):
    """Interactions as a method computes them, complete or still being refined.

    Attributes
    ----------
    matrix : np.ndarray
        Interactions, (text rows, image tokens).
    error : np.ndarray or None
        Standard error of each, for methods that sample; about how far off each may be, if directions are
        left out.
    similarity : float
        Cosine similarity of the pair.
    total : float or None
        What `matrix` sums to in the limit of many steps, for methods that know it.
    done, steps : int
        How many evaluations of the image tower it includes, and how many there will be.
    own : OwnTerms or None
        Each side's own terms, for methods that know them.
    """

    matrix: Float[np.ndarray, "rows tokens"]
    error: Float[np.ndarray, "rows tokens"] | None
    similarity: float
    total: float | None
    done: int
    steps: int
    own: OwnTerms | None = None


@dataclass(frozen=True, eq=False)
class Pair:
    """A phrase and a region that interact strongly.

    Attributes
    ----------
    words : tuple of int
        Rows of the phrase.
    region : np.ndarray
        Which patches are in the region, bool, (rows, columns).
    value : float
        Their interaction.
    text : str
        The phrase.
    """

    words: Rows
    region: Bool[np.ndarray, "rows columns"]
    value: float
    text: str

    def __repr__(self) -> str:
        return f"Pair({self.text!r} × {_count_patches(self.region)}: {self.value:+z.4f})"


class Pairs(NamedTuple):
    """The strongest pairs of each sign, strongest first."""

    positive: tuple[Pair, ...]
    negative: tuple[Pair, ...]


@dataclass(frozen=True, eq=False)
class Interactions:
    """Token-patch interactions of one caption and one image, in units of cosine similarity.

    A result never changes: its arrays are read-only. Two results are equal if all their attributes are.

    Words are chosen with a phrase, the index of a token, a slice, a compiled regular expression, or a list
    of those; see `__getitem__`. Regions are chosen with a box or polygon in pixels of the image, or with a
    mask of its pixels or of the patches; see `patches`.

    Attributes
    ----------
    rows : Tokens
        The caption's tokens. `caption`, `tokens`, `spans` and `words` are taken from it.
    grid : Grid
        The image's patches.
    values : np.ndarray
        Interactions, float32, (tokens, rows, columns). Row 0 is at the top of what the model saw.
    cls : np.ndarray
        Each token's interaction with the image's tokens that are not patches, such as its class token,
        float32, (tokens,). exclip drops it.
    similarity : float
        Cosine similarity of caption and image.
    total : float
        What `values` and `cls` sum to in the limit of many steps, for `"exclip"`: the left side of the
        identity ``(f(x) - f(r)) . (g(y) - g(r')) / (|f(x)| |g(y)|)`` with references r and r'. If something
        goes around a layer, it also includes all that this adds, which no step makes up for. NaN for methods
        without such an identity.
    method : str
        Name of the method.
    text_layer, image_layer : str
        Names of the layers at which the towers were cut.
    steps : int
        Evaluations of the image tower: nodes of the quadrature, pull-backs, or masks.
    nodes : int
        How many of them are done; fewer than `steps` in an estimate.
    rule : str or None
        Name of the quadrature rule, for `"exclip"`.
    error : np.ndarray or None
        Standard error of each of `values`, for `"banzhaf"`; about how far off each may be, for methods with
        a `rank`.
    token_terms : np.ndarray or None
        What each token adds by itself: its product with the reference image, float32, (tokens,). None for
        methods without own terms; the following three are then unknown too.
    patch_terms : np.ndarray or None
        What each patch adds by itself: its product with the reference caption, float32, (rows, columns).
    cls_term : float
        The same for the image's tokens that are not patches, summed; NaN if unknown.
    reference_term : float
        The product of both references; NaN if unknown. Together with `values`, `cls` and the own terms, it
        sums to the similarity, up to the quadrature's residual.
    outliers : np.ndarray or None
        Which patches are outliers, bool, (rows, columns): the norm of their activation at the image layer is
        more than four standard deviations above the mean of the others, and more than twice the median.
        Their interactions reflect the whole image rather than their place. None if unknown.
    view : View or None
        Size of the image and the part of it that the model saw, which locates patches in the image. None if
        the image was given as preprocessed pixels.
    origin : Origin or None
        Model, options of the method and version of the package; None if unknown.
    foil : str or None
        The foil's caption, if this is the difference of two results.

    Examples
    --------
    >>> from exclip_widget import demo
    >>> result = demo.example()
    >>> result["red boat"], result.strongest(1).positive
    ((2, 3), (Pair('red' × ... patches: +...),))
    """

    rows: Tokens
    grid: Grid
    values: Float[np.ndarray, "tokens rows columns"]
    cls: Float[np.ndarray, " tokens"]
    similarity: float
    total: float
    method: str
    text_layer: str
    image_layer: str
    steps: int
    nodes: int
    rule: str | None
    error: Float[np.ndarray, "tokens rows columns"] | None = None
    token_terms: Float[np.ndarray, " tokens"] | None = None
    patch_terms: Float[np.ndarray, "rows columns"] | None = None
    cls_term: float = float("nan")
    reference_term: float = float("nan")
    outliers: Bool[np.ndarray, "rows columns"] | None = None
    view: View | None = None
    origin: Origin | None = None
    foil: str | None = None

    __iter__ = None  # or Python would iterate by passing 0, 1, 2, ... to `__getitem__`

    def __post_init__(self) -> None:
        for name, wanted in shapes_of(self.rows, self.grid).items():
            array = getattr(self, name)
            if array is None:
                continue
            if array.shape != wanted:
                raise ParameterError(f"{name} is {array.shape}; expected {wanted}")
            own = array.copy()  # the caller may still write to the original
            own.flags.writeable = False
            object.__setattr__(self, name, own.view())  # a view of it cannot be made writeable

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.__post_init__()  # arrays from another process are writeable

    @property
    def caption(self) -> str:
        """The caption as it was given."""
        return self.rows.caption

    @property
    def tokens(self) -> tuple[str, ...]:
        """The caption's tokens, special ones included; see `Tokens.texts`."""
        return self.rows.texts

    @property
    def spans(self) -> tuple[Span | None, ...]:
        """Which characters of the caption each token came from; see `Tokens.spans`."""
        return self.rows.spans

    @property
    def words(self) -> tuple[int, ...]:
        """Which word each token is a piece of; see `Tokens.words`."""
        return self.rows.words

    @property
    def residual(self) -> float:
        """Relative error of the quadrature, ``|total - sum| / |total|``; NaN if `total` is.

        It stays large with any number of steps if something goes around a layer.
        """
        found = float(self.values.sum(dtype=np.float64) + self.cls.sum(dtype=np.float64))
        return relative_residual(found, None if np.isnan(self.total) else self.total)

    @property
    def own_sums(self) -> tuple[float, float] | None:
        """Sums of the own terms of all tokens, and of all the image's tokens; None if unknown."""
        if self.token_terms is None or self.patch_terms is None:
            return None
        of_patches = float(self.patch_terms.sum(dtype=np.float64)) + self.cls_term
        return float(self.token_terms.sum(dtype=np.float64)), of_patches

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Width and height of the image in pixels; None if it was given as preprocessed pixels."""
        return None if self.view is None else self.view.size

    @property
    def _picture(self) -> Image.Image | None:
        """The image, if it is still cached."""
        return None if self.view is None else self.view.picture

    @property
    def crop(self) -> Crop | None:
        """Left, top, width and height of what the model saw, as fractions of the image.

        None if the image was given as preprocessed pixels. It is looked up when it is first needed; an error
        says if it is unknown, or if preprocessing has changed since the image was explained.
        """
        return None if self.view is None else self.view.crop

    def __repr__(self) -> str:
        rows, columns = self.values.shape[1:]
        residual = "" if np.isnan(self.total) else f", residual {self.residual:.2%}"
        similarity = "similarity" if self.foil is None else "difference of similarities"
        return (
            f"Interactions({self.caption!r}: {len(self.rows)} tokens x {rows} x {columns} patches, "
            f"{similarity} {self.similarity:z.4f}{residual})"
        )

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return what a notebook shows: the widget, and a picture for viewers that cannot show it.

        The widget is included if the image is among the last ones that were explained. Otherwise, and in a
        saved notebook that is read elsewhere, the tinted caption and the heat map are shown, as HTML and as a
        PNG. If there is no heat map, only the `repr` is shown, with the reason.
        """
        del include, exclude
        from .preview import live_view, picture, preview

        shown = {"text/plain": repr(self)}
        try:
            shown |= {"text/html": preview(self), "image/png": picture(self)}
            shown |= live_view(self)
        except (ImageError, ParameterError) as error:  # such as a mirrored image, or an unknown crop
            shown["text/plain"] += f"\nwithout a heat map: {error}"
        return shown

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Interactions):
            return NotImplemented
        return all(_same(getattr(self, one.name), getattr(other, one.name)) for one in fields(self))

    def __hash__(self) -> int:
        return hash((self.rows, self.grid, self.method, self.text_layer, self.image_layer, self.similarity))

    # ---------------------------------------------------------------------------------------- selecting

    def __getitem__(self, words: Words) -> Rows:
        """Return the rows of words, sorted. `ExplainWidget.tokens` and `Explainer.test` accept them too.

        Parameters
        ----------
        words : str, int, slice, re.Pattern, or a list of those
            A phrase selects the words that it names, whatever their case. If it names no whole words, it
            selects pieces of words, or else the special token with that text, such as ``"<eot>"``. An index
            or slice counts tokens as `tokens` lists them, special ones included. A compiled regular
            expression selects all tokens that its matches touch.

        Raises
        ------
        ParameterError
            If no token is selected, or a phrase is in the caption more than once.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> import re
        >>> result = demo.example()
        >>> result.caption
        'a red boat left of two yellow fish'
        >>> result["red boat"], result[-2], result[1:4], result[re.compile("yellow|fish")], result["boat", -2]
        ((2, 3), (8,), (1, 2, 3), (7, 8), (3, 8))
        """
        return select_rows(self.rows, words)

    def patches(self, region: Region) -> Bool[np.ndarray, "rows columns"]:
        """Return which patches a region selects, bool, (rows, columns).

        `ExplainWidget.region` and `Explainer.test` take their indices, ``np.flatnonzero(...)``.

        Parameters
        ----------
        region : box, polygon, mask or None
            A box (left, top, right, bottom) in pixels of the image selects all patches that it touches;
            right and bottom are excluded. A polygon of (x, y) selects those whose centres lie within. A mask
            of pixels, bool, (height, width), selects those of which it covers at least half. A mask of
            patches, bool, (rows, columns), selects its own. None selects all patches.

        Raises
        ------
        ParameterError
            If the region selects no patch, reaches beyond the image, or is of another kind.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> demo.example().patches((0, 0, 100, 50)).sum(1)
        array([3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        """
        return select_patches(region, self._size, self.view)

    @property
    def patch_boxes(self) -> Float[np.ndarray, "rows columns 4"]:
        """Left, top, right and bottom of each patch in pixels of the image, (rows, columns, 4).

        They reach beyond the image if preprocessing pads it.

        Raises
        ------
        ParameterError
            If the image was given as preprocessed pixels, so that nothing is known about the image itself.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> demo.example().patch_boxes[0, 1].tolist()
        [40.0, 0.0, 80.0, 40.0]
        """
        return patch_boxes(require_view(self.view), self._size)

    @property
    def _size(self) -> tuple[int, int]:
        return self.grid.rows, self.grid.columns

    def _finite(self) -> Float[np.ndarray, "tokens rows columns"]:
        count = int((~np.isfinite(self.values)).sum() + (~np.isfinite(self.cls)).sum())
        if count:
            raise ParameterError(
                f"{count} of {self.values.size + self.cls.size} interactions of {self.caption!r} are not "
                "finite; expected an explanation of a model with finite weights"
            )
        return self.values

    # ---------------------------------------------------------------------------------------- summing

    def heat(self, words: Words = None) -> Float[np.ndarray, "rows columns"]:
        """Return the heat map of words: each patch's interaction with all of them, (rows, columns).

        Parameters
        ----------
        words : words, optional
            As `__getitem__` takes them. By default, all words, without special tokens.

        Raises
        ------
        ParameterError
            If no token is selected, or the interactions are not finite.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> result = demo.example()
        >>> parts = result.heat("red") + result.heat("boat")
        >>> np.allclose(result.heat("red boat"), parts)
        True
        """
        heat: np.ndarray = self._finite()[list(self[words])].sum(0, dtype=np.float64)
        return heat

    def tint(self, region: Region = None) -> Float[np.ndarray, " tokens"]:
        """Return the tint of each token: its interaction with all patches of a region, (tokens,).

        Parameters
        ----------
        region : region, optional
            As `patches` takes it. By default, all patches.

        Raises
        ------
        ParameterError
            If the region cannot be used, or the interactions are not finite.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> result = demo.example()
        >>> tint = result.tint((0, 100, 240, 300))
        >>> bool(tint[result["boat"][0]] > tint[result["fish"][0]])
        True
        """
        tint: np.ndarray = self._finite()[:, self.patches(region)].sum(1, dtype=np.float64)
        return tint

    def between(self, words: Words = None, region: Region = None) -> float:
        """Return the interaction of words and a region: the sum over all pairs of a token and a patch.

        Parameters
        ----------
        words, region : optional
            As `__getitem__` and `patches` take them. By default, all words, and all patches.

        Raises
        ------
        ParameterError
            If either cannot be used, or the interactions are not finite.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> result = demo.example()
        >>> result.between("boat", (0, 100, 240, 300)) > result.between("fish", (0, 100, 240, 300))
        True
        """
        return float(self.tint(region)[list(self[words])].sum())

    def strongest(self, k: int = 3) -> Pairs:
        """Return the strongest pairs of a phrase and a region, at most `k` of each sign.

        A region consists of the patches that are connected to a word's strongest patch and have at least half
        its value. Neighbouring words join into a phrase if they interact with the region too. A phrase ends
        where a noun phrase does: English function words, such as "of", and punctuation marks are never part
        of one, but stand alone if they are among the strongest. Pairs below a tenth of the strongest are left
        out. The widget lists the same pairs; see `exclip_widget.results.pairs`.

        Raises
        ------
        ParameterError
            If `k` is not a whole number of at least 1, or the interactions are not finite.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> [pair.text for pair in demo.example().strongest(2).positive]
        ['red', 'boat']
        """
        found = strongest_pairs(self._finite(), self.rows, whole_number("k", k))
        positive, negative = (
            tuple(
                Pair(one.rows, _mask_of(one.patches, self._size), one.value, text_of(self.rows, one.rows))
                for one in pairs
            )
            for pairs in found
        )
        return Pairs(positive, negative)

    def receipt(self, words: Words = None, region: Region = None) -> Receipt:
        """Return what the similarity is made of, seen from a selection.

        Parameters
        ----------
        words, region : optional
            As `__getitem__` and `patches` take them. By default, all words, and all patches; outlier patches
            have a line of their own unless they are in the given region.

        Raises
        ------
        ParameterError
            If either cannot be used, or the interactions are not finite.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> receipt = demo.example().receipt("red boat")
        >>> print(receipt)
        red boat × image       +...
        other words × patches  +...
        ...
        similarity             +...
        >>> bool(np.isclose(sum(receipt.parts.values()), receipt.similarity))
        True
        """
        rows, patches = self[words], self.patches(region)
        outliers = None if self.outliers is None or not self.outliers.any() else self.outliers
        if region is None and outliers is not None:
            patches = ~outliers
        parts = parts_of(
            self._finite(),
            self.cls,
            content=tuple(row for row, word in enumerate(self.words) if word >= 0),
            rows=rows,
            patches=patches,
            similarity=self.similarity,
            total=self.total,
            own=self.own_sums,
            outliers=outliers,
        )
        left = "caption" if words is None else text_of(self.rows, rows)
        right = "image" if region is None else _count_patches(patches)
        return Receipt(f"{left} × {right}", parts, self.similarity)

    def without_outliers(self, *, spread: bool = False) -> Interactions:
        """Return this result with outlier patches hidden from all heat maps, tints and regions.

        All sums stay the same, for each token and for the whole.

        Parameters
        ----------
        spread : bool
            Whether to spread what outlier patches add evenly over all other patches. By default, it is added
            to that of the image's tokens that are not patches, in `cls` and `cls_term`.

        Returns
        -------
        Interactions
            A result whose `outliers` marks no patch; this one if it has none, or if they are unknown.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> result = demo.example()
        >>> int(result.outliers.sum()), result.without_outliers() is result
        (0, True)
        """
        return without_outliers(self, spread=spread)

    # ------------------------------------------------------------------------------- places in the image

    def boxes(self, words: Words = None, *, threshold: float = HALF) -> Boxes:
        """Return boxes around what words refer to, in pixels of the image, strongest first.

        The rule: patches with at least `threshold` of the strongest one's value in `heat` are taken; those
        connected side by side are one place; its box is the outer edges of its patches, clipped to the image.

        Parameters
        ----------
        words : words, optional
            As `__getitem__` takes them. By default, all words, without special tokens.
        threshold : float
            Share of the strongest patch's value, above 0 and up to 1.

        Returns
        -------
        Boxes
            Empty if no patch is positive.

        Raises
        ------
        ParameterError
            If no token is selected, `threshold` is out of range, the interactions are not finite, or the
            image was given as preprocessed pixels.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> found = demo.example().boxes("boat")
        >>> found.boxes.shape[1], found.rule
        (4, "patches with at least 0.5 of the strongest one's ...")
        """
        return boxes_of(self.heat(words), require_view(self.view), threshold)

    def mask(self, words: Words = None, *, threshold: float = HALF) -> Mask:
        """Return a mask of the pixels of the image that words refer to.

        The rule: patches with at least `threshold` of the strongest one's value in `heat` are taken, with
        all pixels whose centres lie in them.

        Parameters
        ----------
        words, threshold
            As `boxes` takes them.

        Returns
        -------
        Mask
            Empty if no patch is positive.

        Raises
        ------
        ParameterError
            As `boxes` does.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> demo.example().mask("boat").mask.shape
        (480, 480)
        """
        return mask_of(self.heat(words), require_view(self.view), threshold)

    def points(self, words: Words = None, *, threshold: float = HALF) -> Points:
        """Return points on what words refer to, in pixels of the image, strongest first.

        The rule: patches with at least `threshold` of the strongest one's value in `heat` are taken; those
        connected side by side are one place; its point is the centre of its strongest patch. The points can
        be passed to segmenters that take points as prompts.

        Parameters
        ----------
        words, threshold
            As `boxes` takes them.

        Returns
        -------
        Points
            Empty if no patch is positive.

        Raises
        ------
        ParameterError
            As `boxes` does.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> demo.example().points("boat", threshold=1).points
        array([[..., ...]])
        """
        return points_of(self.heat(words), require_view(self.view), threshold)

    # -------------------------------------------------------------------------------------------- files

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write this result to a file; `load` reads it.

        The file is in the safetensors format: arrays, with the rest as JSON in its metadata. It contains
        neither the image nor anything of the model but its name. `exclip_widget.results.files` documents it.

        Parameters
        ----------
        path : str or path
            Where to write; ends in ``.safetensors``. ``~`` is the home directory.
        overwrite : bool
            Whether an existing file may be replaced.

        Raises
        ------
        FileError
            If the path has another suffix, exists already, or cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from exclip_widget import demo
        >>> result = demo.example()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result.save(Path(folder) / "boat.safetensors")
        ...     Interactions.load(Path(folder) / "boat.safetensors") == result
        True
        """
        from .files import save

        save(self, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Interactions:
        """Read a result from a file that `save` wrote. Needs neither the model nor torch.

        Reading a file never runs code from it, whatever it contains.

        Parameters
        ----------
        path : str or path
            The file.

        Raises
        ------
        FileError
            If there is no such file, or it is damaged, in another format, or from a later version.
        """
        from .files import load

        return load(path)

    def to_html(
        self,
        path: str | os.PathLike[str],
        image: ImageLike | None = None,
        *,
        foil: Interactions | None = None,
        title: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write this result into one HTML file, in which words and patches can be selected as in the widget.

        The file contains the front end, the image (at most 1024 pixels a side) and the numbers. It needs no
        kernel, no network and no model. `exclip_widget.write_page` puts several results into one file.

        Parameters
        ----------
        path : str or path
            Where to write; ends in ``.html``. ``~`` is the home directory.
        image : PIL image, numpy array, path or binary file, optional
            The image that was explained. It may be left out if it is among the last ones that this process
            explained.
        foil : Interactions, optional
            The result of another caption of the same image, explained in the same way, to compare with.
        title : str, optional
            The heading at the top.
        overwrite : bool
            Whether an existing file may be replaced.

        Raises
        ------
        FileError
            If the path has another suffix, exists already, or cannot be written.
        ImageError
            If the image cannot be read, or is not the size of the one that was explained.
        ParameterError
            If this result or the foil's cannot be shown: it is a difference, or has numbers that are not
            finite, or the two are of different images or methods.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from exclip_widget import demo
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "boat.html"
        ...     demo.example().to_html(path, demo.load().pages[0].image)
        ...     path.stat().st_size < 200_000
        True
        """
        from .page import write_page

        shown = image if image is not None else self._picture
        if shown is None:
            raise ParameterError(
                "image=None, and the image that was explained is no longer cached; expected that image"
            )
        write_page(path, [(self, shown, foil)], title=title, overwrite=overwrite)

    # ----------------------------------------------------------------------------------- other libraries

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with a row for each pair of a token and a patch. Needs pandas.

        Returns
        -------
        pandas.DataFrame
            With the columns `token` (its row in this result), `text`, `word` (its number, -1 for special
            tokens), `start` and `end` (characters of the caption, -1 if unknown), `row` and `column` of the
            patch, its edges `left`, `top`, `right` and `bottom` in pixels of the image (if it is known), and
            `value`; `error` and `outlier` (whether the patch is one), if known. Its `attrs` have the numbers
            of the whole result.

        Raises
        ------
        MissingLibraryError
            If pandas is not installed.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> table = demo.example().to_pandas()
        >>> table[table.text == "boat"].nlargest(1, "value")[["row", "column"]].shape
        (1, 2)
        """
        from .tables import to_pandas

        return to_pandas(self)

    def to_xarray(self) -> xarray.Dataset:
        """Return the arrays with named dimensions `token`, `row` and `column`. Needs xarray.

        Returns
        -------
        xarray.Dataset
            `values`, `cls` and whatever else the method gives, with the coordinates `text`, `word`, `start`
            and `end` of tokens (-1 if unknown), and `x` and `y`, the centres of patches in pixels of the
            image (if it is known). Its `attrs` have the numbers of the whole result.

        Raises
        ------
        MissingLibraryError
            If xarray is not installed.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> dict(demo.example().to_xarray()["values"].sizes)
        {'token': 10, 'row': 12, 'column': 12}
        """
        from .tables import to_xarray

        return to_xarray(self)

    def to_shapiq(self) -> shapiq.InteractionValues:
        """Return the result as shapiq's `InteractionValues`, for its plots. Needs shapiq.

        The players are the tokens, followed by the patches row by row. A pair of a token and a patch has
        their interaction; a single player has its own term, which for a token includes its interaction with
        the image's tokens that are not patches. The empty set has the rest of the similarity, so that all
        values sum to it. The index is `"Moebius"`: the similarity that is predicted if only some players are
        present is the sum over all sets of them.

        Raises
        ------
        MissingLibraryError
            If shapiq is not installed.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> result = demo.example()
        >>> values = result.to_shapiq()
        >>> (boat,), patch = result["boat"], int(result.heat("boat").argmax())
        >>> bool(np.isclose(values[boat, len(result.tokens) + patch], result.heat("boat").max()))
        True
        """
        from .tables import to_shapiq

        return to_shapiq(self)

    # ------------------------------------------------------------------------------------------ figures

    def plot(
        self,
        image: ImageLike | Literal[False] | None = None,
        words: Words = None,
        region: Region = None,
        *,
        kind: str = "heat",
        axes: Axes | None = None,
        scale: float | None = None,
        palette: str = "blue–orange",
    ) -> Axes:
        """Draw this result on matplotlib axes, in the widget's colours. Needs matplotlib.

        A foil difference is drawn in the same way: ``(a - b).plot(image)``. Rings mark outlier patches.

        Parameters
        ----------
        image : image or False, optional
            The image that was explained, in any form that `explain` accepts. It may be left out if it is
            among the last ones that this process explained. Otherwise, or with False, the patches are drawn
            alone.
        words, region : optional
            As `__getitem__` and `patches` take them. The heat map is of `words`, the tints are of `region`,
            and a receipt is of both.
        kind : {"heat", "words", "both", "caption", "receipt"}
            The heat map over the image; a grid of heat maps on one scale, one for each entry of `words` if
            that is a list, or else for each word; the heat map with the tinted caption above; the caption
            alone, each word on its tint; or the receipt as a waterfall.
        axes : matplotlib.axes.Axes, optional
            Where to draw. By default, in a new figure that is as high as its contents.
        scale : float, optional
            The value of the strongest colour, of the heat map or of a caption alone. By default, the largest
            magnitude. Figures that are to be compared need the same scale.
        palette : {"blue–orange", "purple–green", "teal–ochre"}
            The hues.

        Returns
        -------
        matplotlib.axes.Axes
            The axes. Those of a heat map are in pixels of the image; those of a grid contain the axes of each
            heat map in `child_axes`.

        Raises
        ------
        MissingLibraryError
            If matplotlib is not installed.
        ImageError
            If the image cannot be read or has another size, or the result was computed from preprocessed
            pixels.
        ParameterError
            If any other argument is invalid.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> from exclip_widget import demo
        >>> axes = demo.example().plot(demo.load().pages[0].image, "red boat")
        >>> axes.get_title()
        'red boat'
        """
        from .figures import plot

        return plot(self, image, words, region, kind=kind, axes=axes, scale=scale, palette=palette)

    def latex(
        self, region: Region = None, *, scale: float | None = None, palette: str = "blue–orange"
    ) -> str:
        r"""Return the caption in LaTeX, each word on a background of its tint. The output needs xcolor.

        Parameters
        ----------
        region : region, optional
            As `patches` takes it. By default, all patches.
        scale, palette
            As `plot` takes them.

        Raises
        ------
        ParameterError
            If an argument is invalid.

        Examples
        --------
        >>> from exclip_widget import demo
        >>> print(demo.example().latex())
        {\setlength{\fboxsep}{1pt}\colorbox[RGB]{...}{\strut\textcolor{black}{a}} ...
        """
        from .figures import latex

        return latex(self, region, scale=scale, palette=palette)

    def __sub__(self, foil: Interactions) -> Interactions:
        """Return the difference from a foil: another caption of the same image, explained in the same way.

        Rows are aligned as in the widget. Words that both captions share are paired, and so are words that
        replace each other, in order: "black − brown". A row without a counterpart counts alone. `similarity`
        and `total` are differences too, so a receipt adds up to the difference of both similarities. Sampled
        results share the masks of their image, so `error` is the sum of both errors, which is a bound.

        Raises
        ------
        ParameterError
            If the foil is of another image, method, layer, reference or model, or of the same model with
            other weights, is itself a difference, or shows outlier patches that are hidden in this result, or
            the other way round.

        Examples
        --------
        >>> from exclip_widget import Explainer, demo
        >>> book = demo.load()
        >>> explainer = Explainer(book.model, tokenizer=book.tokenizer)
        >>> image = book.pages[0].image
        >>> explainer.explain(image, "a red boat") - explainer.explain(image, "a blue boat")
        Interactions('a red − blue boat': 5 tokens x 12 x 12 patches, difference of similarities ...)
        """
        if not isinstance(foil, Interactions):
            return NotImplemented
        require_comparable(self, foil)
        pairs = align_rows(self.rows, foil.rows)
        both = self.error is not None and foil.error is not None
        own = self.token_terms is not None and foil.token_terms is not None
        assert self.patch_terms is None or foil.patch_terms is None or own
        return Interactions(
            rows=difference_of(self.rows, foil.rows, pairs),
            grid=self.grid,
            values=aligned(self.values, foil.values, pairs),
            cls=aligned(self.cls, foil.cls, pairs),
            similarity=self.similarity - foil.similarity,
            total=self.total - foil.total,
            method=self.method,
            text_layer=self.text_layer,
            image_layer=self.image_layer,
            steps=self.steps,
            nodes=min(self.nodes, foil.nodes),
            rule=self.rule,
            error=aligned(self.error, foil.error, pairs, sign=1) if both else None,  # type: ignore[arg-type]
            token_terms=aligned(self.token_terms, foil.token_terms, pairs) if own else None,  # type: ignore[arg-type]
            patch_terms=self.patch_terms - foil.patch_terms if own else None,  # type: ignore[operator]
            cls_term=self.cls_term - foil.cls_term,
            reference_term=self.reference_term - foil.reference_term,
            outliers=foil.outliers if self.outliers is None else self.outliers,
            view=self.view,
            origin=self.origin,
            foil=foil.caption,
        )


def shapes_of(tokens: Tokens, grid: Grid) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of a result, by its name."""
    shape = len(tokens), grid.rows, grid.columns
    return {
        "values": shape,
        "cls": shape[:1],
        "error": shape,
        "token_terms": shape[:1],
        "patch_terms": shape[1:],
        "outliers": shape[1:],
    }


def _same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        equal_nan = one.dtype.kind == "f"
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=equal_nan)
    if one is None or other is None:
        return one is other
    return one == other or (one != one and other != other)  # NaN


def _mask_of(patches: Sequence[int], size: tuple[int, int]) -> Bool[np.ndarray, "rows columns"]:
    mask = np.zeros(size, bool)
    mask.flat[list(patches)] = True
    return mask


def _count_patches(region: Bool[np.ndarray, "rows columns"]) -> str:
    count = int(region.sum())
    return f"{count} patch{'' if count == 1 else 'es'}"


def require_comparable(one: Interactions, foil: Interactions) -> None:
    """Raise an error unless two results are of the same image, explained in the same way.

    Raises
    ------
    ParameterError
        If they are not. The message names the first thing in which they differ.
    """
    for result, name in ((one, "the first result"), (foil, "the foil")):
        if result.foil is not None:
            raise ParameterError(f"{name} is already a difference; expected the result of a caption")
    differences: list[Difference] = []
    for name in ("grid", "method", "text_layer", "image_layer", "rule", "image_size", "crop"):
        ours, theirs = getattr(one, name), getattr(foil, name)
        known = name not in ("image_size", "crop") or (ours is not None and theirs is not None)
        if known and ours != theirs:
            differences.append((name, ours, theirs))
    if one.origin is not None and foil.origin is not None and (found := one.origin.difference(foil.origin)):
        differences.append(found)
    for name, ours, theirs in differences[:1]:
        raise ParameterError(
            f"{name}={ours!r}, and {theirs!r} for the foil; expected two captions of one image, "
            "explained in the same way by one model"
        )
    # Results that were saved before pixels were hashed have no digest.
    if one.view is not None and foil.view is not None and one.view.is_of_another_image(foil.view):
        raise ParameterError(
            "the foil is of another image of the same size: its pixels differ; expected two captions of one "
            "image"
        )
    if one.outliers is not None and foil.outliers is not None and one.outliers.any() != foil.outliers.any():
        hidden, there = ("the first result", "the foil")[:: -1 if one.outliers.any() else 1]
        raise ParameterError(
            f"outlier patches are hidden in {hidden} and not in {there}; call without_outliers of both, or "
            "of neither"
        )


def interactions_of(
    texts: Factors | Sequence[Factors], images: Factors | Sequence[Factors]
) -> Interactions | list[list[Interactions]]:
    """Return the interactions of captions and images from their factors. Needs no model.

    Parameters
    ----------
    texts, images : Factors, or a sequence of them
        As `Explainer.text_factors` and `Explainer.image_factors` return them, by one method and model.

    Returns
    -------
    Interactions, or a list of lists of them
        A single one if single factors were given; otherwise ``result[i][j]`` for caption i and image j.

    Raises
    ------
    ParameterError
        If the factors are of different methods or models, or of a model with different weights, or are given
        in the wrong order.
    """
    single = isinstance(texts, Factors) and isinstance(images, Factors)
    rows = list(texts) if isinstance(texts, Iterable) else [texts]
    columns = list(images) if isinstance(images, Iterable) else [images]
    require_side("text", rows)
    require_side("image", columns)
    require_same_kind(rows, columns)
    result = _all_products(rows, columns)
    return result[0][0] if single else result


def _all_products(texts: list[Factors], images: list[Factors]) -> list[list[Interactions]]:
    if not texts or not images:
        return [[] for _ in texts]
    if any(one.samples is not None for one in texts):
        return [[_product_of(text, image) for image in images] for text in texts]
    # One matrix product for all pairs.
    matrix = np.concatenate([one.values for one in texts]) @ np.concatenate([one.values for one in images]).T
    similarities = np.stack([one.embedding for one in texts]) @ np.stack([one.embedding for one in images]).T
    changes = [[one.change for one in side if one.change is not None] for side in (texts, images)]
    totals = np.stack(changes[0]) @ np.stack(changes[1]).T if all(changes) else None
    own = _all_own_terms(texts, images)
    text_ends, image_ends = (np.cumsum([len(one.values) for one in side])[:-1] for side in (texts, images))
    result = []
    for i, (text, row) in enumerate(zip(texts, np.split(matrix, text_ends), strict=True)):
        of_text = []
        for j, (image, part) in enumerate(zip(images, np.split(row, image_ends, axis=1), strict=True)):
            total = None if totals is None else float(totals[i, j]) + _total_around(text, image)
            estimate = Estimate(
                matrix=part,
                error=None,
                similarity=float(similarities[i, j]),
                total=total,
                done=image.steps,
                steps=image.steps,
                own=None if own is None else own[i][j],
            )
            of_text.append(_labelled(estimate, text, image))
        result.append(of_text)
    return result


def _all_own_terms(texts: list[Factors], images: list[Factors]) -> list[list[OwnTerms]] | None:
    """Return the own terms of every pair; None if their method does not give them."""
    captions = [one.reference for one in texts if one.reference is not None]
    pictures = [one.reference for one in images if one.reference is not None]
    if not captions or not pictures:
        return None
    with_pictures = [text.values @ np.stack(pictures).T for text in texts]
    with_captions = [image.values @ np.stack(captions).T for image in images]
    references = np.stack(captions) @ np.stack(pictures).T
    for j, image in enumerate(images):
        if image.along is not None:
            of_image = _terms_beside_interactions(texts, image)
            references[:, j] += with_captions[j].sum(0) - of_image.sum(0)
            with_captions[j] = of_image
    return [
        [
            OwnTerms(of_text[:, j], of_image[:, i], float(references[i, j]))
            for j, of_image in enumerate(with_captions)
        ]
        for i, of_text in enumerate(with_pictures)
    ]


def _terms_beside_interactions(texts: list[Factors], image: Factors) -> Float[np.ndarray, "tokens captions"]:
    """Return what an image's tokens add beyond their interactions, for each caption."""
    assert image.along is not None
    assert image.start is not None
    normalisation = Normalisation.between(image.start, image.embedding)
    in_all = normalisation.of_parts(np.stack([text.embedding for text in texts]))
    sums = np.stack([text.values.sum(0) for text in texts])
    found: np.ndarray = normalisation.parts_of(image.values, image.along) @ in_all.T - image.values @ sums.T
    return found


def _product_of(text: Factors, image: Factors) -> Interactions:
    return _labelled(product(text, image), text, image)


def _labelled(estimate: Estimate, text: Factors, image: Factors) -> Interactions:
    assert isinstance(image.rows, Grid)
    references = None if image.origin is None else image.origin.references
    return label_estimate(
        estimate, text, image.rows, image.layer, image.view, image.outliers, references=references
    )


def label_estimate(
    estimate: Estimate,
    text: Factors,
    grid: Grid,
    image_layer: str,
    view: View | None = None,
    outliers: Bool[np.ndarray, "rows columns"] | None = None,
    *,
    references: Mapping[str, Option] | None = None,
) -> Interactions:
    """Return an estimate as `Interactions`, with its tokens and patches, method, layers and origin.

    The origin is that of the caption's factors, with the references of the image added.
    """
    assert isinstance(text.rows, Tokens)
    origin = text.origin
    if origin is not None:
        origin = replace(origin, references={**origin.references, **(references or {})})
    shape = (len(text.rows), grid.rows, grid.columns)
    others = np.delete(estimate.matrix, grid.patches, axis=1)
    own = estimate.own
    return Interactions(
        rows=text.rows,
        grid=grid,
        values=estimate.matrix[:, grid.patches].reshape(shape).astype(np.float32, order="C"),
        cls=others.sum(1).astype(np.float32),
        similarity=estimate.similarity,
        total=float("nan") if estimate.total is None else estimate.total,
        method=text.method,
        text_layer=text.layer,
        image_layer=image_layer,
        steps=estimate.steps,
        nodes=estimate.done,
        rule=text.rule,
        error=None if estimate.error is None else estimate.error[:, grid.patches].reshape(shape),
        token_terms=None if own is None else own.text.astype(np.float32),
        patch_terms=None if own is None else own.image[grid.patches].reshape(shape[1:]).astype(np.float32),
        cls_term=float("nan") if own is None else float(np.delete(own.image, grid.patches).sum()),
        reference_term=float("nan") if own is None else own.references,
        outliers=outliers,
        view=view,
        origin=origin,
    )


def product(text: Factors, image: Factors) -> Estimate:
    """Return the interactions of a caption and an image as the product of their factors.

    Raises
    ------
    ModelError
        If the model embeds the two in spaces of different width.
    """
    require_same_width(len(text.embedding), len(image.embedding))
    total = None
    if text.change is not None and image.change is not None:
        total = float(text.change @ image.change) + _total_around(text, image)
    own = _all_own_terms([text], [image])
    return Estimate(
        matrix=text.values @ image.values.T,
        error=_standard_error(text, image),
        similarity=float(text.embedding @ image.embedding),
        total=total,
        done=image.steps,
        steps=image.steps,
        own=None if own is None else own[0][0],
    )


def _total_around(text: Factors, image: Factors) -> float:
    return text.total_around(image.embedding, image.around)


def _standard_error(text: Factors, image: Factors) -> Float[np.ndarray, "rows tokens"] | None:
    if text.samples is None or image.samples is None:
        return None
    variance = text.samples.variance(image.values) + image.samples.variance(text.values).T
    error: np.ndarray = np.sqrt(variance).astype(np.float32)
    return error


def relative_residual(found: float, total: float | None) -> float:
    """Return ``|total - found| / |total|``, the relative error of a sum whose limit is `total`.

    NaN if `total` is None. If it is 0, the error is 0 or infinite.
    """
    if total is None:
        return float("nan")
    if found == total:
        return 0.0
    return abs(total - found) / abs(total) if total else float("inf")
