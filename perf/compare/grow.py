#!/usr/bin/env python3
"""Grows a large set of vectors from a real one, so that its neighbourhoods stay like real ones.

Isotropic random vectors have no structure: every index looks bad on them, and none as bad as it
should. Copies with a little noise have too much: every vector gets a handful of twins and nothing
else near. What an index feels is how far the nearest neighbours are and how fast their number rises
with the distance (the local intrinsic dimension), so that is what is kept, measured and printed.

A grown vector is made around an anchor, a real vector drawn at random:

1. mix: the anchor and two of its ten nearest real neighbours, with weights of Dirichlet(2, 2, 2);
2. move: add noise of `--noise` times the distance from the anchor to its nearest neighbour. The
   direction is not isotropic: it is the sum of two differences between neighbours taken elsewhere
   in the data, each of unit length and random sign. Real vectors differ from each other in few of
   their dimensions, and differences of real neighbours point that way;
3. make it unit length.

The real vectors stay, at random places among the grown ones. Queries are real vectors that took no
part (`queries_f16.npy`), exact answers beside them (`truth.npy`). Nothing grows where only a
held-out vector would have told it to, so these lie a little outside: their neighbours are farther
and more alike than those of real data of that size. So there is a second set, of vectors that were
grown like the others and left out (`queries_grown_f16.npy`, `truth_grown.npy`).

Everything follows from the seed. Memory holds the real vectors and one block of grown ones.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus import QUERIES, TRUTH, TRUTH_K, VECTORS, split
from neighbours import LOCAL, Neighbourhood, distances, nearest, neighbourhood, unit_rows
from peers.peer import Rows, Vectors

NEIGHBOURS = 10
MIXED = 2
MIX_CONCENTRATION = 2.0
DIFFERENCES = 2
BLOCK_ROWS = 32_768
SAMPLE = 1000


@dataclass(frozen=True)
class Seedbed:
    """The real vectors and what growing needs to know of them."""

    vectors: Vectors
    neighbours: Rows
    nearest_distance: Vectors

    @classmethod
    def of(cls, vectors: Vectors) -> "Seedbed":
        rows, cosines = nearest(vectors, vectors, NEIGHBOURS + 1)
        # A vector's nearest is itself, or a twin in whose list it comes later.
        own = np.arange(len(vectors))[:, np.newaxis]
        others = np.argsort(rows == own, axis=1, kind="stable")[:, :NEIGHBOURS]
        away = distances(np.take_along_axis(cosines, others, axis=1)[:, 0])
        return cls(vectors, np.take_along_axis(rows, others, axis=1), away)

    def grow(self, count: int, noise: float, random: np.random.Generator) -> Vectors:
        anchors = random.integers(len(self.vectors), size=count)
        weights = random.dirichlet([MIX_CONCENTRATION] * (MIXED + 1), count).astype(np.float32)
        grown = weights[:, :1] * self.vectors[anchors]
        chosen = random.random((count, NEIGHBOURS)).argsort(axis=1)[:, :MIXED]
        for nth in range(MIXED):
            mixed = self.neighbours[anchors, chosen[:, nth]]
            grown += weights[:, nth + 1, np.newaxis] * self.vectors[mixed]
        length = noise * self.nearest_distance[anchors] / np.sqrt(DIFFERENCES)
        for _ in range(DIFFERENCES):
            grown += length[:, np.newaxis] * self.difference(count, random)
        return unit_rows(grown)

    def difference(self, count: int, random: np.random.Generator) -> Vectors:
        """Unit vectors from one real vector to a neighbour of it."""
        source = random.integers(len(self.vectors), size=count)
        target = self.neighbours[source, random.integers(NEIGHBOURS, size=count)]
        between = self.vectors[target] - self.vectors[source]
        # Of twins there is no direction to take.
        norms = np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-6)
        signs = random.choice(np.array([-1, 1], dtype=np.float32), size=(count, 1))
        moved: Vectors = signs * between / norms
        return moved


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help=f"folder with {VECTORS}, the real ones")
    add("--out", type=Path, required=True, help="folder for what is grown")
    add("--count", type=int, default=1_000_000, help="vectors, the real ones among them")
    add("--queries", type=int, default=1000, help="real ones held out, and as many grown ones")
    add("--noise", type=float, default=0.7, help="in distances to the nearest neighbour")
    add("--seed", type=int, default=1)
    given = parser.parse_args()
    if not (given.data / VECTORS).exists():
        parser.error(f"{given.data} has no {VECTORS}")
    return given


def write_vectors(file: Path, bed: Seedbed, given: argparse.Namespace) -> NDArray[np.bool_]:
    """Block by block; says which rows are real."""
    count, dimensions = given.count, bed.vectors.shape[1]
    real = np.zeros(count, dtype=bool)
    places = np.random.default_rng([given.seed, 1]).choice(count, len(bed.vectors), replace=False)
    real[places] = True
    vectors = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.float16, shape=(count, dimensions)
    )
    taken = 0
    for first in range(0, count, BLOCK_ROWS):
        here = real[first : first + BLOCK_ROWS]
        block = bed.grow(len(here), given.noise, np.random.default_rng([given.seed, 2, first]))
        block[here] = bed.vectors[taken : taken + here.sum()]
        taken += here.sum()
        vectors[first : first + len(here)] = block
    vectors.flush()
    return real


def sample_neighbourhood(base: Any, rows: Rows) -> Neighbourhood:
    """Of rows of the base, themselves left out."""
    _, cosines = nearest(base, unit_rows(base[rows]), LOCAL + 1)
    return neighbourhood(cosines[:, 1:])


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    source = np.load(given.data / VECTORS, mmap_mode="r")
    used, asked = split(len(source), given.queries, given.seed)
    if given.count < len(used):
        raise SystemExit(f"--count {given.count} is less than the {len(used)} real vectors")
    random = np.random.default_rng([given.seed, 3])
    bed = Seedbed.of(unit_rows(source[used]))
    real = write_vectors(given.out / VECTORS, bed, given)
    grown = np.load(given.out / VECTORS, mmap_mode="r")
    kinds = {
        "held-out": source[asked],
        "grown": bed.grow(given.queries, given.noise, random).astype(np.float16),
    }
    statistics = {
        "real, its own vectors": sample_neighbourhood(
            bed.vectors, random.choice(len(bed.vectors), SAMPLE, replace=False)
        ),
        "real, held-out queries": neighbourhood(
            nearest(bed.vectors, unit_rows(source[asked]), LOCAL)[1]
        ),
        "grown, its own vectors": sample_neighbourhood(
            grown, np.sort(random.choice(np.flatnonzero(~real), SAMPLE, replace=False))
        ),
    }
    shares = {}
    for kind, queries in kinds.items():
        rows, cosines = nearest(grown, unit_rows(queries), TRUTH_K)
        np.save(given.out / QUERIES[kind], queries)
        np.save(given.out / TRUTH[kind], rows)
        statistics[f"grown, {kind} queries"] = neighbourhood(cosines[:, :LOCAL])
        shares[f"{kind} queries"] = round(float((~real[rows[:, :10]]).mean()), 3)
    shares["all vectors"] = round(float((~real).mean()), 3)
    options = {name: getattr(given, name) for name in ("count", "queries", "noise", "seed")}
    described = {
        "options": options,
        "statistics": {name: value.as_json() for name, value in statistics.items()},
        "grown_among_ten_nearest": shares,
    }
    (given.out / "grown.json").write_text(json.dumps(described, indent=1) + "\n")
    print(table(statistics, shares))


def table(statistics: dict[str, Neighbourhood], shares: dict[str, float]) -> str:
    lines = [
        "Percentiles 5, 50, 95 over points asked for:",
        "",
        "| | distance to the nearest | to the tenth | local dimension |",
        "|---|---|---|---|",
    ]
    for name, of in statistics.items():
        spreads = (of.nearest_distance, of.tenth_distance, of.local_dimension)
        cells = [" ".join(f"{value:.3g}" for value in spread) for spread in spreads]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    told = ", ".join(f"{share:.3f} of {name}" for name, share in shares.items())
    return "\n".join([*lines, "", f"Grown vectors among the ten nearest, and among all: {told}."])


if __name__ == "__main__":
    main()
