"""usearch: HNSW with its own SIMD kernels, on f32 and on i8."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from peers.library import Library
from peers.peer import GRAPH_BUILD_BEAM, GRAPH_NEIGHBOURS, Parameters, Vectors

# Of the components of so many vectors all but one in ten thousand fit into a byte.
SCALE_ROWS = 10_000
SCALE_QUANTILE = 0.9999


class Usearch(Library):
    distribution: ClassVar[str | None] = "usearch"
    scalar: ClassVar[str]

    def empty(self) -> Any:
        return Index(
            ndim=self.place.dimensions,
            metric="cos",
            dtype=self.scalar,
            connectivity=GRAPH_NEIGHBOURS,
            expansion_add=GRAPH_BUILD_BEAM,
        )

    def make(self, base: Vectors) -> Any:
        index = self.empty()
        index.add(range(len(base)), base, threads=1)
        return index

    def save(self) -> None:
        self.index.save(str(self.file))

    def load(self) -> Any:
        index = self.empty()
        index.load(str(self.file))
        return index

    def cue(self, vectors: Vectors) -> NDArray[Any]:
        """The vectors in the type they are given in."""
        return vectors

    def use(self, parameters: Parameters) -> None:
        self.index.expansion_search = parameters["beam"]

    def search(self, query: Vectors, k: int) -> Any:
        return self.index.search(self.cue(query), k, threads=1)

    def search_many(self, queries: Vectors, k: int) -> Any:
        return self.index.search(self.cue(queries), k, threads=1)

    def rows(self, answer: Any) -> Sequence[int]:
        return list(map(int, answer.keys))


class UsearchF32(Usearch):
    name: ClassVar[str] = "usearch-f32"
    scalar: ClassVar[str] = "f32"


class UsearchI8(Usearch):
    """Left to itself usearch multiplies by 127, which leaves a component of a unit vector of 768
    dimensions about ten different values and recall below .96. So the scale is chosen here, and
    the vectors go in as bytes."""

    name: ClassVar[str] = "usearch-i8"
    scalar: ClassVar[str] = "i8"
    scale: float

    def make(self, base: Vectors) -> Any:
        self.scale = 127 / float(np.quantile(np.abs(base[:SCALE_ROWS]), SCALE_QUANTILE))
        return super().make(self.cue(base))

    def save(self) -> None:
        super().save()
        self.scale_file.write_text(repr(self.scale))

    def load(self) -> Any:
        self.scale = float(self.scale_file.read_text())
        return super().load()

    @property
    def scale_file(self) -> Path:
        return self.place.folder / "scale"

    def cue(self, vectors: Vectors) -> NDArray[Any]:
        scaled: Vectors = np.rint(vectors * self.scale)
        return scaled.clip(-127, 127).astype(np.int8)
