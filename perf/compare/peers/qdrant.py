"""Qdrant's engine in process: HNSW over 8-bit codes in memory, the best compared exactly."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any, ClassVar

import qdrant_edge as edge

from peers.library import Library
from peers.peer import GRAPH_BUILD_BEAM, GRAPH_NEIGHBOURS, Parameters, Vectors

UPSERT_POINTS = 1000
# Candidates of the codes for each result, compared exactly.
OVERSAMPLING = 2.0
# Sizes are in KB here: index whatever is there, into one segment.
INDEX_FROM_KB = 1
SEGMENT_KB_MAX = 1 << 30


class QdrantEdge(Library):
    name: ClassVar[str] = "qdrant-edge-i8"
    distribution: ClassVar[str | None] = "qdrant-edge-py"
    parameters: Any = None

    def configuration(self) -> Any:
        return edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(
                size=self.place.dimensions, distance=edge.Distance.Cosine
            ),
            hnsw_config=edge.HnswIndexConfig(
                m=GRAPH_NEIGHBOURS,
                ef_construct=GRAPH_BUILD_BEAM,
                full_scan_threshold=0,
                max_indexing_threads=1,
            ),
            quantization_config=edge.ScalarQuantizationConfig(
                type=edge.ScalarType.Int8, always_ram=True
            ),
            optimizers=edge.EdgeOptimizersConfig(
                default_segment_number=1,
                indexing_threshold=INDEX_FROM_KB,
                max_segment_size=SEGMENT_KB_MAX,
            ),
            max_search_threads=1,
        )

    def make(self, base: Vectors) -> Any:
        began = perf_counter()
        self.file.mkdir()
        shard = edge.EdgeShard.create(str(self.file), self.configuration())
        for first in range(0, len(base), UPSERT_POINTS):
            batch = base[first : first + UPSERT_POINTS].tolist()
            points = [edge.Point(first + nth, vector, None) for nth, vector in enumerate(batch)]
            shard.update(edge.UpdateOperation.upsert_points(points))
        self.accepted_s = perf_counter() - began
        while shard.optimize():
            pass
        indexed = shard.info().indexed_vectors_count
        if indexed < len(base):
            raise RuntimeError(f"Qdrant indexed only {indexed} of {len(base)} vectors")
        return shard

    def save(self) -> None:
        self.index.flush()
        self.index.close()

    def load(self) -> Any:
        return edge.EdgeShard.load(str(self.file))

    def use(self, parameters: Parameters) -> None:
        self.parameters = edge.SearchParams(
            hnsw_ef=int(parameters["beam"]),
            quantization=edge.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING),
        )

    def request(self, query: Vectors, k: int) -> Any:
        return edge.QueryRequest(
            query=edge.Query.Nearest(query.tolist()), limit=k, params=self.parameters
        )

    def search(self, query: Vectors, k: int) -> Any:
        return self.index.query(self.request(query, k))

    def search_many(self, queries: Vectors, k: int) -> Any:
        requests = [self.request(query, k) for query in queries]
        return self.index.query_batch(edge.QueryBatchRequest(requests))

    def rows(self, answer: Any) -> Sequence[int]:
        return [point.id for point in answer]

    def close(self) -> None:
        self.index.close()
