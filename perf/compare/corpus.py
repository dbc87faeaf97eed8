"""The vectors of a run, the queries that were held out of them, and the exact answers.

A data folder has `vectors_f16.npy`. If it also has `queries_f16.npy`, these are the queries and all
vectors are searched; otherwise queries are drawn from the vectors by the seed and taken out. Both
are widened to f32 and made unit length, so inner product, cosine and L2 rank alike.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neighbours import nearest, unit_rows
from peers.peer import Rows, Vectors

VECTORS = "vectors_f16.npy"
# By what is asked: real vectors that were held out, or some that were grown like the rest.
QUERIES = {"held-out": "queries_f16.npy", "grown": "queries_grown_f16.npy"}
TRUTH = {"held-out": "truth.npy", "grown": "truth_grown.npy"}
# More than any k asked for, so that a file of answers serves them all.
TRUTH_K = 100


@dataclass(frozen=True)
class Corpus:
    """Files of a run; the processes of the peers map them."""

    folder: Path

    @property
    def base(self) -> Vectors:
        base: Vectors = np.load(self.folder / "base.npy", mmap_mode="r")
        return base

    @property
    def queries(self) -> Vectors:
        queries: Vectors = np.load(self.folder / "queries.npy")
        return queries

    @property
    def truth(self) -> Rows:
        truth: Rows = np.load(self.folder / "truth.npy")
        return truth


def split(rows: int, queries: int, seed: int) -> tuple[Rows, Rows]:
    """Rows to search and rows to ask with, both ascending."""
    asked = np.sort(np.random.default_rng(seed).choice(rows, queries, replace=False))
    return np.setdiff1d(np.arange(rows), asked), asked


@dataclass(frozen=True)
class Choice:
    """What of a data folder is used."""

    base: int | None
    """Search only so many vectors."""
    queries: int
    ask: str
    """A key of QUERIES."""
    seed: int


def prepare(data: Path, folder: Path, choice: Choice) -> Corpus:
    """Writes the files of a run into `folder`."""
    vectors = np.load(data / VECTORS, mmap_mode="r")
    own_queries = data / QUERIES[choice.ask]
    if own_queries.exists():
        searched = np.arange(len(vectors))
        asked_vectors = np.load(own_queries)[: choice.queries]
    else:
        searched, asked = split(len(vectors), choice.queries, choice.seed)
        asked_vectors = vectors[asked]
    if choice.base is not None:
        searched = searched[: choice.base]
    base = widen(folder / "base.npy", vectors, searched)
    asked_vectors = unit_rows(asked_vectors)
    np.save(folder / "queries.npy", asked_vectors)
    known = data / TRUTH[choice.ask]
    if own_queries.exists() and known.exists() and choice.base is None:
        truth = np.load(known)[: choice.queries]
    else:
        truth, _ = nearest(base, asked_vectors, TRUTH_K)
    np.save(folder / "truth.npy", truth)
    return Corpus(folder)


def widen(file: Path, vectors: Any, rows: Rows, block: int = 65_536) -> Vectors:
    """Writes chosen rows as f32 of unit length, block by block."""
    shape = (len(rows), vectors.shape[1])
    wide = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
    for first in range(0, len(rows), block):
        some = slice(first, first + block)
        wide[some] = unit_rows(vectors[rows[some]])
    wide.flush()
    return wide
