"""One parameter set of one peer: recall against the exact answers, latency, queries per second.

- Latency is the wall time of a single query on the side of the caller, whose vector is at hand and
  who has the answer as the peer gives it; turning that into row numbers is not counted. A server's
  answer has crossed a socket.
- Queries per second are what one core does when it is handed all queries at once: a batch call of a
  library with one thread, a pipeline to a server. The best of three rounds, or of those that four
  seconds have room for.
- The core share is how much of that time the peer was on its core. A library never waits, so what
  it lacks went to other programs, and its figures are too bad. What a server lacks may also be its
  client's slowness: then the figure is the client's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

import machine
from peers.peer import Parameters, Peer, Rows, Vectors

WARM_UP_QUERIES = 50
# All queries are asked again and again, up to so often or so long.
PASSES_MAX = 10
PASSES_S = 4.0
BATCH_ROUNDS = 3


@dataclass(frozen=True)
class Point:
    parameters: Parameters
    recall: float
    latency_us_p50: float
    latency_us_p99: float
    latency_us_mean: float
    latencies: int
    queries_per_s: float
    core_share: float
    server_recall_us: Mapping[str, float]
    """The server's own account, where it has one: count, p50, p99, …"""
    load_average: float


def recall(found: list[list[int]], truth: Rows, k: int) -> float:
    """The share of the exact k nearest rows that were found."""
    hits = sum(
        len(set(rows[:k]) & set(map(int, exact[:k])))
        for rows, exact in zip(found, truth, strict=True)
    )
    return hits / (len(truth) * k)


def measure(peer: Peer, parameters: Parameters, queries: Vectors, truth: Rows, k: int) -> Point:
    peer.use(parameters)
    for query in queries[:WARM_UP_QUERIES]:
        peer.search(query, k)
    answers: list[Any] = []
    latencies_ns: list[int] = []
    began = perf_counter()
    for nth in range(PASSES_MAX):
        for query in queries:
            before = perf_counter_ns()
            answer = peer.search(query, k)
            latencies_ns.append(perf_counter_ns() - before)
            if nth == 0:
                answers.append(answer)
        if perf_counter() - began > PASSES_S:
            break
    server = peer.server_figures()
    batch_s, core_share = _best_batch(peer, queries, k)
    p50, p99 = np.percentile(latencies_ns, [50, 99]) / 1000
    return Point(
        parameters=dict(parameters),
        recall=recall([list(peer.rows(answer)) for answer in answers], truth, k),
        latency_us_p50=round(float(p50), 1),
        latency_us_p99=round(float(p99), 1),
        latency_us_mean=round(float(np.mean(latencies_ns)) / 1000, 1),
        latencies=len(latencies_ns),
        queries_per_s=round(len(queries) / batch_s, 1),
        core_share=round(core_share, 2),
        server_recall_us=dict(server),
        load_average=round(machine.load_average(), 2),
    )


def _best_batch(peer: Peer, queries: Vectors, k: int) -> tuple[float, float]:
    """Seconds of the fastest round, and the share of them that the peer had its core."""
    rounds: list[tuple[float, float]] = []
    spent_s = 0.0
    while len(rounds) < BATCH_ROUNDS and spent_s < PASSES_S:
        began_on_core, began = peer.processor_seconds(), perf_counter()
        peer.search_many(queries, k)
        seconds = perf_counter() - began
        rounds.append((seconds, (peer.processor_seconds() - began_on_core) / seconds))
        spent_s += seconds
    return min(rounds)
