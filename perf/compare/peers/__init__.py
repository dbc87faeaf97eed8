"""Everything that is compared, by name. A peer's module is imported when it is asked for, so the
others' libraries never share its process."""

from importlib import import_module

from peers.peer import Peer

_CLASSES = {
    "engram": ("peers.engram", "Engram"),
    "rabitqlib-symqg": ("peers.rabitq", "RabitqSymqg"),
    "faiss-hnsw-sq8": ("peers.faiss_index", "FaissHnswSq8"),
    "faiss-hnsw-sq8-refined": ("peers.faiss_index", "FaissHnswSq8Refined"),
    "usearch-i8": ("peers.usearch_hnsw", "UsearchI8"),
    "usearch-f32": ("peers.usearch_hnsw", "UsearchF32"),
    "hnswlib": ("peers.hnsw", "Hnswlib"),
    "qdrant-edge-i8": ("peers.qdrant", "QdrantEdge"),
    "redis-vector-set": ("peers.redis_vectors", "RedisVectorSet"),
    "pgvector": ("peers.pgvector", "Pgvector"),
    "faiss-flat": ("peers.faiss_index", "FaissFlat"),
}

NAMES = tuple(_CLASSES)


def named(name: str) -> type[Peer]:
    module, kind = _CLASSES[name]
    found: type[Peer] = getattr(import_module(module), kind)
    return found
