"""The derivative of an embedding's direction, averaged along a straight path.

A cosine similarity sees an embedding's direction only. On the path ``g(m) = start + m (end - start)`` it
changes by ``J(m) (end - start)``, with

    J(m) = (I - u u^T) / |g(m)|,    u = g(m) / |g(m)|

and the mean of ``J`` over the path has a closed form: outside of the plane of start and end it is a multiple
of the identity, and in that plane four numbers. So ``mean(J) (end - start)`` is exactly the change from the
one direction to the other.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

NEAR_ZERO = 1e-3
"""How close to zero a path may come, in lengths of its end: nearer, it has no direction to speak of."""


def along_the_path(
    start: Float[np.ndarray, " embed"],
    end: Float[np.ndarray, " embed"],
    cotangents: Float[np.ndarray, "rows embed"],
) -> Float[np.ndarray, "rows embed"]:
    """Return the products of cotangents with the mean derivative of the direction from `start` to `end`.

    Parameters
    ----------
    start, end : np.ndarray
        The path, (embed,); `end` is a unit vector.
    cotangents : np.ndarray
        (rows, embed).

    Returns
    -------
    np.ndarray
        (rows, embed), float64. `cotangents` as they are if the path passes zero (`NEAR_ZERO`): that takes
        the length at its end for all of it.

    Examples
    --------
    >>> start, end = np.array([0.0, 2.0]), np.array([1.0, 0.0])
    >>> change = along_the_path(start, end, np.eye(2)) @ (end - start)  # (1, 0) - (0, 1)
    >>> [round(float(one), 12) for one in change]
    [1.0, -1.0]
    """
    start, end, given = (np.asarray(one, np.float64) for one in (start, end, cotangents))
    change = end - start
    size = float(np.linalg.norm(change))
    if size < NEAR_ZERO * 1e-3:
        return given - np.outer(given @ end, end)  # the path is a point
    forward = change / size
    across = end - (end @ forward) * forward
    distance = float(np.linalg.norm(across))
    places = np.array([start @ forward, end @ forward])
    lengths = np.hypot(places, distance)
    nearest = distance if places[0] < 0 < places[1] else float(lengths.min())
    if nearest < NEAR_ZERO:
        return given
    sideways = across / distance if distance else across
    turned = float(np.diff(np.arcsinh(places / max(distance, 1e-150)))[0])  # the integral of 1 / |g|
    cosine, sine = float(np.diff(places / lengths)[0]), float(np.diff(distance / lengths)[0])
    of_forward, of_sideways = given @ forward, given @ sideways
    moved = (
        turned * given
        - np.outer((turned - cosine) * of_forward - sine * of_sideways, forward)
        - np.outer(cosine * of_sideways - sine * of_forward, sideways)
    )
    found: np.ndarray = moved / size
    return found
