"""One half of a peer's life in a process of its own: `build` or `serve`.

The job comes as JSON on standard input and the figures go as JSON to standard output, so that a
peer that falls over takes nothing else with it.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import machine
import peers
from corpus import Corpus
from measure import measure
from peers.peer import Place


@dataclass(frozen=True)
class Job:
    peer: str
    corpus: str
    folder: str
    k: int
    server_core: int
    client_core: int
    engramd: str
    engram_recalls: list[str]


def build(job: Job, place: Place) -> dict[str, Any]:
    base = np.array(Corpus(Path(job.corpus)).base)
    load_average = machine.load_average()
    figures = peers.named(job.peer)(place).build(base)
    return {
        "vectors": len(base),
        "accepted_s": figures.accepted_s,
        "indexed_s": figures.indexed_s,
        "load_average": round(load_average, 2),
    }


def serve(job: Job, place: Place) -> dict[str, Any]:
    corpus = Corpus(Path(job.corpus))
    queries, truth = corpus.queries, corpus.truth
    peer = peers.named(job.peer)(place)
    began = perf_counter()
    peer.open()
    peer.search(queries[0], job.k)
    restart_s = perf_counter() - began
    try:
        sets = peer.parameter_sets()
        points = [asdict(measure(peer, parameters, queries, truth, job.k)) for parameters in sets]
        distribution = peer.distribution
        return {
            "distribution": distribution and f"{distribution} {version(distribution)}",
            "version": peer.version(),
            "in_process": peer.in_process,
            "restart_s": restart_s,
            "resident_bytes": peer.resident_bytes(),
            "unknown_parameters": peer.unknown_parameters(),
            "points": points,
        }
    finally:
        peer.close()


def main() -> None:
    job = Job(**json.load(sys.stdin))
    in_process = peers.named(job.peer).in_process
    machine.pin(job.server_core if in_process else job.client_core)
    place = Place(
        folder=Path(job.folder),
        dimensions=int(Corpus(Path(job.corpus)).base.shape[1]),
        server_core=job.server_core,
        engramd=Path(job.engramd),
        engram_recalls=job.engram_recalls,
    )
    # What libraries print goes where it can be read, not between the figures.
    figures_output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    figures = {"build": build, "serve": serve}[sys.argv[1]](job, place)
    json.dump(figures, figures_output)


if __name__ == "__main__":
    main()
