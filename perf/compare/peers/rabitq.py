"""rabitqlib's SymphonyQG: a graph whose nodes carry their neighbours' 1-bit codes. It is static."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import rabitqlib

from peers.library import Library
from peers.peer import BEAMS, GRAPH_BUILD_BEAM, Parameters, Vectors

# One FastScan block, the same as the other graphs have on their lowest level.
DEGREE = 32


class RabitqSymqg(Library):
    name: ClassVar[str] = "rabitqlib-symqg"
    distribution: ClassVar[str | None] = "rabitqlib"
    beam = BEAMS[0]

    def make(self, base: Vectors) -> Any:
        index = rabitqlib.SymqgIndex(base.shape[1], DEGREE, "l2")
        index.build(base, GRAPH_BUILD_BEAM, 1)
        return index

    def save(self) -> None:
        self.index.save(str(self.file))

    def load(self) -> Any:
        return rabitqlib.SymqgIndex.load(str(self.file))

    def use(self, parameters: Parameters) -> None:
        self.beam = int(parameters["beam"])

    def search(self, query: Vectors, k: int) -> Any:
        return self.index.search(query[np.newaxis], k, self.beam, 1)

    def search_many(self, queries: Vectors, k: int) -> Any:
        return self.index.search_batch(queries, k, self.beam, 1)

    def rows(self, answer: Any) -> Sequence[int]:
        return list(map(int, np.asarray(answer[0]).ravel()))
