"""hnswlib: the reference implementation of HNSW, on f32."""

from collections.abc import Sequence
from typing import Any, ClassVar

import hnswlib

from peers.library import Library
from peers.peer import GRAPH_BUILD_BEAM, GRAPH_NEIGHBOURS, Parameters, Vectors


class Hnswlib(Library):
    name: ClassVar[str] = "hnswlib"
    distribution: ClassVar[str | None] = "hnswlib"

    def make(self, base: Vectors) -> Any:
        index = hnswlib.Index(space="ip", dim=base.shape[1])
        index.init_index(len(base), M=GRAPH_NEIGHBOURS, ef_construction=GRAPH_BUILD_BEAM)
        index.add_items(base, num_threads=1)
        return index

    def save(self) -> None:
        self.index.save_index(str(self.file))

    def load(self) -> Any:
        index = hnswlib.Index(space="ip", dim=self.place.dimensions)
        index.load_index(str(self.file))
        index.set_num_threads(1)
        return index

    def use(self, parameters: Parameters) -> None:
        self.index.set_ef(parameters["beam"])

    def search(self, query: Vectors, k: int) -> Any:
        return self.index.knn_query(query, k, num_threads=1)

    def search_many(self, queries: Vectors, k: int) -> Any:
        return self.index.knn_query(queries, k, num_threads=1)

    def rows(self, answer: Any) -> Sequence[int]:
        return list(map(int, answer[0][0]))
