"""What normalising an embedding does to its parts, expressed as linear maps.

A cosine similarity depends only on an embedding's direction. On the straight path ``g(m)`` from one embedding
to another, the derivative of the direction is

    J(m) = (I - u u^T) / |g(m)|,    u = g(m) / |g(m)|

Its mean over the path has a closed form: outside the plane of both ends it is a multiple of the identity, and
in that plane a 2 x 2 matrix. ``mean(J) (end - start)`` is exactly the change from one direction to the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

NEAR_ZERO = 1e-3
"""How close to zero a path may come, in lengths of its end. Any closer, its direction is ill-defined."""

AT_THE_END = 0.6
"""Share of the derivative at the end in `Normalisation.of_pairs`, from the table in `docs/evaluation.md`."""


@dataclass(frozen=True, eq=False)
class PlaneMap:
    """A symmetric linear map that is a multiple of the identity outside a plane.

    Attributes
    ----------
    outside : float
        The multiple.
    plane : np.ndarray
        Orthonormal vectors that span the plane, (2, embed).
    inside : np.ndarray
        The map in the plane, (2, 2).
    """

    outside: float
    plane: Float[np.ndarray, "2 embed"]
    inside: Float[np.ndarray, "2 2"]

    def __call__(self, vectors: Float[np.ndarray, "rows embed"]) -> Float[np.ndarray, "rows embed"]:
        """Apply the map to each vector, in their dtype."""
        flat = vectors @ self.plane.T
        moved = self.outside * vectors + flat @ (self.inside - self.outside * np.eye(2)) @ self.plane
        found: np.ndarray = moved.astype(vectors.dtype, copy=False)
        return found

    def inverse(self) -> PlaneMap:
        """Return the inverse map."""
        return PlaneMap(1 / self.outside, self.plane, np.linalg.inv(self.inside))


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Linear maps for the normalisation of an embedding, along the path from that of a reference.

    Attributes
    ----------
    end : np.ndarray
        The unit embedding, in the plane of `of_parts`, (2,).
    of_parts : PlaneMap
        The mean of the derivative over the path, for what a part adds in all.
    of_pairs : PlaneMap
        The same with a larger share of the derivative at the end, for interactions.

    Examples
    --------
    >>> start, end = np.array([0.0, 2.0, 0.0]), np.array([1.0, 0.0, 0.0])
    >>> change = Normalisation.between(start, end).of_parts((end - start)[None])[0]
    >>> [round(float(one), 12) for one in change]  # from (0, 1, 0) to (1, 0, 0)
    [1.0, -1.0, 0.0]
    """

    end: Float[np.ndarray, " 2"]
    of_parts: PlaneMap
    of_pairs: PlaneMap

    @classmethod
    def between(cls, start: Float[np.ndarray, " embed"], end: Float[np.ndarray, " embed"]) -> Normalisation:
        """Return the maps for the normalisation of `end`, a unit vector, on the way from `start`.

        A path through zero (`NEAR_ZERO`) has no direction there, so the length is then held at that of the
        end.
        """
        start, end = start.astype(np.float64), end.astype(np.float64)
        plane = _plane_of(end, end - start)
        begin, last = plane @ start, plane @ end
        parts = _mean_derivative(begin, last, plane)
        across = np.eye(2) - np.outer(last, last)
        pairs = PlaneMap(
            (1 - AT_THE_END) * parts.outside + AT_THE_END,
            plane,
            (1 - AT_THE_END) * parts.inside + AT_THE_END * across,
        )
        return cls(last, parts, pairs)

    def parts_of(
        self, paired: Float[np.ndarray, "rows embed"], along: Float[np.ndarray, " rows"]
    ) -> Float[np.ndarray, "rows embed"]:
        """Return the parts that `of_pairs` maps to `paired`, and that add `along` to the end's length.

        The map alone hardly determines their component along the end; `along` does.
        """
        whole = self.of_pairs.inside + np.outer(self.end, self.end)
        with_along = PlaneMap(self.of_pairs.outside, self.of_pairs.plane, whole)
        return with_along.inverse()(paired + np.outer(along, self.end @ self.of_pairs.plane))


def _plane_of(
    end: Float[np.ndarray, " embed"], change: Float[np.ndarray, " embed"]
) -> Float[np.ndarray, "2 embed"]:
    """Return an orthonormal basis of a plane that contains both vectors, `end` first."""
    across = change - (change @ end) * end
    if np.linalg.norm(across) < 1e-9:
        across = np.eye(1, len(end), int(np.abs(end).argmin()))[0]  # any plane that contains the end
    across -= (across @ end) * end
    return np.stack([end, across / np.linalg.norm(across)])


def _mean_derivative(
    start: Float[np.ndarray, " 2"], end: Float[np.ndarray, " 2"], plane: Float[np.ndarray, "2 embed"]
) -> PlaneMap:
    """Return the mean derivative of the direction between two embeddings, given in their plane."""
    change = end - start
    size = float(np.linalg.norm(change))
    if size < NEAR_ZERO**2:  # the path is a point
        return PlaneMap(1, plane, np.eye(2) - np.outer(end, end))
    forward = change / size
    sideways = np.array([-forward[1], forward[0]])
    distance = float(end @ sideways)
    places = np.array([start @ forward, end @ forward])
    lengths = np.hypot(places, distance)
    nearest = abs(distance) if places[0] < 0 < places[1] else float(lengths.min())
    if nearest < NEAR_ZERO:
        return PlaneMap(1, plane, np.eye(2))
    turned = float(np.diff(np.arcsinh(places / max(abs(distance), 1e-150)))[0])  # the integral of 1 / |g|
    cosine, sine = float(np.diff(places / lengths)[0]), float(np.diff(distance / lengths)[0])
    axes = np.stack([forward, sideways])
    inside = np.array([[cosine, sine], [sine, turned - cosine]])
    return PlaneMap(turned / size, plane, axes.T @ inside @ axes / size)
