"""Exact nearest neighbours, block by block, and what they say about a set of vectors.

Vectors have unit length. A distance is Euclidean: sqrt(2 - 2 cos).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peers.peer import Rows, Vectors

BLOCK_ROWS = 16_384
# Neighbours behind an estimate of local dimension.
LOCAL = 20


def unit_rows(vectors: NDArray[Any]) -> Vectors:
    wide = np.asarray(vectors, dtype=np.float32)
    return np.ascontiguousarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))


def nearest(base: NDArray[Any], queries: Vectors, k: int) -> tuple[Rows, Vectors]:
    """For each query its k nearest rows, best first, and their cosines.

    The base may be mapped, of any float type and of norms near one; a block of it is in memory at
    a time.
    """
    rows = np.empty((len(queries), 0), dtype=np.int64)
    cosines = np.empty((len(queries), 0), dtype=np.float32)
    for first in range(0, len(base), BLOCK_ROWS):
        block = unit_rows(base[first : first + BLOCK_ROWS])
        scores = queries @ block.T
        kept = min(k, len(block))
        best = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
        rows = np.concatenate([rows, best + first], axis=1)
        cosines = np.concatenate([cosines, np.take_along_axis(scores, best, axis=1)], axis=1)
        # Ties go to the lower row, whatever the blocks.
        order = np.lexsort((rows, -cosines), axis=1)[:, :k]
        rows = np.take_along_axis(rows, order, axis=1)
        cosines = np.take_along_axis(cosines, order, axis=1)
    return rows, cosines


def distances(cosines: Vectors) -> Vectors:
    return np.sqrt(np.maximum(2 - 2 * cosines, 0))


def local_dimensions(distances: Vectors) -> Vectors:
    """The maximum-likelihood estimate of Levina and Bickel (2004), one for each row.

    Takes distances to the nearest neighbours, ascending; rows with a neighbour at distance 0 have
    no estimate and are left out.
    """
    apart = distances[distances[:, 0] > 1e-4]
    logs = np.log(apart[:, -1:] / apart[:, :-1])
    return np.asarray((apart.shape[1] - 2) / logs.sum(axis=1), dtype=np.float32)


@dataclass(frozen=True)
class Neighbourhood:
    """Percentiles 5, 50 and 95 over the points asked for."""

    nearest_distance: tuple[float, float, float]
    tenth_distance: tuple[float, float, float]
    local_dimension: tuple[float, float, float]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def neighbourhood(cosines: Vectors) -> Neighbourhood:
    """Of points whose nearest neighbours have these cosines, best first."""
    away = distances(cosines)

    def spread(values: Vectors) -> tuple[float, float, float]:
        low, middle, high = np.percentile(values, [5, 50, 95])
        return round(float(low), 3), round(float(middle), 3), round(float(high), 3)

    return Neighbourhood(
        nearest_distance=spread(away[:, 0]),
        tenth_distance=spread(away[:, 9]),
        local_dimension=spread(local_dimensions(away[:, :LOCAL])),
    )
