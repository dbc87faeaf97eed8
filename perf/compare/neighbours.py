"""Exact nearest neighbours, block by block, and what they say about a set of vectors.

Vectors have unit length. A distance is Euclidean: sqrt(2 - 2 cos).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peers.peer import Rows, Vectors

# Together they bound the memory: a block of scores is 128 MiB.
BLOCK_ROWS = 16_384
BLOCK_QUERIES = 2_048
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
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    cosines = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for first in range(0, len(base), BLOCK_ROWS):
        block = unit_rows(base[first : first + BLOCK_ROWS])
        for asked in range(0, len(queries), BLOCK_QUERIES):
            some = slice(asked, asked + BLOCK_QUERIES)
            scores = queries[some] @ block.T
            best = np.argpartition(-scores, min(k, len(block)) - 1, axis=1)[:, :k]
            both_rows = np.concatenate([rows[some], best + first], axis=1)
            found = np.take_along_axis(scores, best, axis=1)
            both = np.concatenate([cosines[some], found], axis=1)
            # Of equals the lower row comes first, whatever the blocks.
            order = np.lexsort((both_rows, -both), axis=1)[:, :k]
            rows[some] = np.take_along_axis(both_rows, order, axis=1)
            cosines[some] = np.take_along_axis(both, order, axis=1)
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
