"""faiss: HNSW on 8-bit codes, the same with its best candidates compared exactly, and no index.

The codes alone stop short of full recall, however wide the beam; the second one pays four bytes
more for each dimension and does not.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import faiss
import numpy as np

from peers.library import Library
from peers.peer import BEAMS, GRAPH_BUILD_BEAM, GRAPH_NEIGHBOURS, Parameters, Vectors

# Candidates of the codes for each result, when they are compared exactly.
REFINED_PER_RESULT = 2


class Faiss(Library):
    distribution: ClassVar[str | None] = "faiss-cpu"
    search_parameters: Any = None

    def save(self) -> None:
        faiss.write_index(self.index, str(self.file))

    def load(self) -> Any:
        faiss.omp_set_num_threads(1)
        return faiss.read_index(str(self.file))

    def search(self, query: Vectors, k: int) -> Any:
        return self.index.search(query[np.newaxis], k, params=self.search_parameters)

    def search_many(self, queries: Vectors, k: int) -> Any:
        return self.index.search(queries, k, params=self.search_parameters)

    def rows(self, answer: Any) -> Sequence[int]:
        return list(map(int, answer[1][0]))


class FaissFlat(Faiss):
    """Compares every vector: the floor that an index has to beat, and a check of the truth."""

    name: ClassVar[str] = "faiss-flat"

    def make(self, base: Vectors) -> Any:
        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatIP(base.shape[1])
        index.add(base)
        return index

    def parameter_sets(self) -> Sequence[Parameters]:
        return [{}]


class FaissHnswSq8(Faiss):
    name: ClassVar[str] = "faiss-hnsw-sq8"

    def make(self, base: Vectors) -> Any:
        faiss.omp_set_num_threads(1)
        index = faiss.IndexHNSWSQ(
            base.shape[1], faiss.ScalarQuantizer.QT_8bit, GRAPH_NEIGHBOURS, faiss.METRIC_L2
        )
        index.hnsw.efConstruction = GRAPH_BUILD_BEAM
        index.train(base)
        index.add(base)
        return index

    def use(self, parameters: Parameters) -> None:
        self.search_parameters = faiss.SearchParametersHNSW(efSearch=parameters["beam"])


class FaissHnswSq8Refined(FaissHnswSq8):
    name: ClassVar[str] = "faiss-hnsw-sq8-refined"

    def make(self, base: Vectors) -> Any:
        # The outer index does not keep the inner one alive.
        self.codes = super().make(base)
        return faiss.IndexRefineFlat(self.codes, faiss.swig_ptr(base))

    def parameter_sets(self) -> Sequence[Parameters]:
        return [{"beam": beam} for beam in BEAMS if beam >= 16]

    def use(self, parameters: Parameters) -> None:
        self.search_parameters = faiss.IndexRefineSearchParameters(
            k_factor=REFINED_PER_RESULT,
            base_index_params=faiss.SearchParametersHNSW(efSearch=parameters["beam"]),
        )
