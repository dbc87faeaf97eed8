#!/usr/bin/env python3
"""Spreading activation: the same graph and seeds through Engram's push and through solvers.

Makes seeds, lets `engram-spread` write out the graph and answer them, then asks igraph, scipy and
networkx, all on one core in one run. README.md says how to read the table.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import igraph
import networkx
import numpy as np
import scipy
import through
from scipy import sparse

REPOSITORY = Path(__file__).resolve().parents[3]
BEST = 50
SEEDS = 20
# The truth leaves less than 2⁻⁶⁰ of the mass on its way.
TRUTH_ITERATIONS = 60
# With more edges networkx takes minutes for an answer and gigabytes for the graph.
NETWORKX_EDGES_MAX = 2_000_000

Nodes = np.ndarray[Any, Any]


@dataclass
class Row:
    """What one way of answering came to."""

    name: str
    queries: int
    p50_us: float
    p95_us: float
    overlap: float
    overlap_10: float
    note: str = ""


@dataclass
class Graph:
    """Directed links; a node that had none links to itself, so that its mass stays."""

    nodes: int
    links: int
    sources: Nodes
    targets: Nodes
    weights: Nodes
    # Column j holds what node j passes to each node.
    transition: sparse.csr_array

    @classmethod
    def read(cls, path: Path, nodes: int) -> "Graph":
        kinds = np.dtype([("source", "<u4"), ("target", "<u4"), ("weight", "<f4")])
        links = np.fromfile(path, dtype=kinds)
        without = np.setdiff1d(np.arange(nodes, dtype=np.uint32), links["source"])
        sources = np.concatenate([links["source"], without]).astype(np.int64)
        targets = np.concatenate([links["target"], without]).astype(np.int64)
        weights = np.concatenate([links["weight"], np.ones(len(without))]).astype(np.float64)
        sums = np.bincount(sources, weights=weights, minlength=nodes)
        shares = weights / sums[sources]
        transition = sparse.csr_array((shares, (targets, sources)), shape=(nodes, nodes))
        return cls(nodes, len(links), sources, targets, weights, transition)

    def start(self, seeds: Nodes) -> Nodes:
        start = np.zeros(self.nodes)
        start[seeds] = 1.0 / len(seeds)
        return start


def power_iteration(graph: Graph, seeds: Nodes, decay: float, iterations: int) -> Nodes:
    start = graph.start(seeds)
    scores = start
    for _ in range(iterations):
        scores = (1.0 - decay) * start + decay * (graph.transition @ scores)
    return scores


def best(scores: Nodes, seeds: Nodes, count: int = BEST) -> Nodes:
    """The best nodes that are no seeds; of equal ones the lower first."""
    scores = np.array(scores)
    scores[seeds] = 0.0
    among = np.argpartition(-scores, count)[: count + 1]
    # All that are as good as the last, so that the order decides among them.
    among = np.flatnonzero(scores >= max(scores[among].min(), 1e-300))
    return among[np.lexsort((among, -scores[among]))][:count]


def overlap(found: Sequence[Nodes], truth: Sequence[Nodes], count: int) -> float:
    shares = [
        len(np.intersect1d(mine[:count], exact[:count])) / max(1, len(exact[:count]))
        for mine, exact in zip(found, truth, strict=False)
    ]
    return float(np.mean(shares))


class Race:
    """One graph, its seeds and the truth about them."""

    def __init__(self, graph: Graph, rows: Nodes, truth: list[Nodes], decay: float) -> None:
        self.graph, self.rows, self.truth, self.decay = graph, rows, truth, decay
        self.table: list[Row] = []

    def add(self, name: str, times_us: Sequence[float], found: list[Nodes], note: str) -> None:
        p50_us, p95_us = np.percentile(times_us, [50, 95])
        row = Row(
            name=name,
            queries=len(times_us),
            p50_us=float(p50_us),
            p95_us=float(p95_us),
            overlap=overlap(found, self.truth, BEST),
            overlap_10=overlap(found, self.truth, 10),
            note=note,
        )
        self.table.append(row)
        print(f"{name}: p50 {row.p50_us:,.1f} µs, overlap {row.overlap:.4f}", file=sys.stderr)

    def ask(self, name: str, queries: int, answer: Callable[[Nodes], Nodes], note: str) -> None:
        """Asks the first rows. Choosing the best is not in the time."""
        answer(self.rows[-1])
        times_us, found = [], []
        for seeds in self.rows[:queries]:
            began = perf_counter()
            scores = answer(seeds)
            times_us.append((perf_counter() - began) * 1e6)
            found.append(best(scores, seeds))
        self.add(name, times_us, found, note)

    def solvers(self, queries: int) -> None:
        graph, decay = self.graph, self.decay
        for iterations in (10, 20):
            self.ask(
                f"scipy, {iterations} iterations",
                queries,
                lambda seeds, times=iterations: power_iteration(graph, seeds, decay, times),
                "CSR times vector, double precision",
            )
        links = np.column_stack([graph.sources, graph.targets])
        whole = igraph.Graph(n=graph.nodes, edges=links, directed=True)
        whole.es["weight"] = graph.weights
        self.ask(
            "igraph prpack",
            queries,
            lambda seeds: np.array(
                whole.personalized_pagerank(
                    damping=decay,
                    reset_vertices=seeds.tolist(),
                    weights="weight",
                    directed=True,
                    implementation="prpack",
                )
            ),
            "solves for the whole graph",
        )
        if graph.links <= NETWORKX_EDGES_MAX:
            self.networkx(min(queries, 3))

    def networkx(self, queries: int) -> None:
        summed = sparse.coo_array(
            (self.graph.weights, (self.graph.sources, self.graph.targets)),
            shape=(self.graph.nodes, self.graph.nodes),
        ).tocsr()
        whole = networkx.from_scipy_sparse_array(summed, create_using=networkx.DiGraph)

        def answer(seeds: Nodes) -> Nodes:
            wanted = dict.fromkeys(seeds.tolist(), 1.0)
            ranks = networkx.pagerank(
                whole, alpha=self.decay, personalization=wanted, dangling=wanted, tol=1e-9
            )
            return np.fromiter((ranks[node] for node in range(self.graph.nodes)), dtype=float)

        self.ask("networkx", queries, answer, "tolerance 1e-9")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--relations", type=Path, help="source, target, kind; packed with gzip")
    add("--nodes", type=int, default=100_000, help="nodes of a made-up graph without --relations")
    add("--queries", type=int, default=1000, help="rows of seeds for Engram")
    add("--judged", type=int, default=50, help="rows for scipy and igraph, and for the overlap")
    add("--decay", type=float, default=0.5, help="the share that a node passes on")
    add(
        "--points",
        default="4096:5e-5,4096:3e-5,4096:1e-4,1024:3e-4",
        help="edges:threshold of pushes",
    )
    add("--seed", type=int, default=1, help="decides which nodes are seeds")
    add("--core", type=int, default=0, help="the core that all run on")
    add("--client-core", type=int, default=1, help="the core of the daemon's client")
    add("--engramd", type=Path, default=REPOSITORY / "target/release/engramd")
    add("--no-daemon", action="store_true", help="leave out the rows through the socket")
    add("--spread", type=Path, default=REPOSITORY / "target/release/engram-spread")
    add("--out", type=Path, default=REPOSITORY / "target/compare-spreading")
    return parser.parse_args()


def engram(given: argparse.Namespace, *options: str) -> dict[str, Any]:
    source = ["--nodes", str(given.nodes)]
    if given.relations:
        source = ["--relations", str(given.relations)]
    command = [str(given.spread), *source, "--decay", str(given.decay), *options]
    answer: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True).stdout
    )
    return answer


def through_socket(given: argparse.Namespace, race: Race, links: Path) -> None:
    """The first point once more, through the socket of a daemon on the core of the others."""
    budget, threshold = given.points.split(",")[0].split(":")
    options = ["BUDGET", budget, "THRESHOLD", threshold, "DECAY", str(given.decay)]
    kinds = np.dtype([("source", "<u4"), ("target", "<u4"), ("weight", "<f4")])
    os.sched_setaffinity(0, {given.client_core})
    answers = through.ask(
        given.engramd,
        np.fromfile(links, dtype=kinds),
        race.graph.nodes,
        race.rows,
        options,
        BEST,
        given.core,
    )
    os.sched_setaffinity(0, {given.core})
    note = (
        f"{answers.edges:,.0f} edges; in the server p50 {answers.server_p50_us:,.1f} µs, "
        f"p95 {answers.server_p95_us:,.1f} µs"
    )
    name = f"engram through its socket, {budget} edges, {threshold}"
    race.add(name, answers.times_us, answers.found, note)


def markdown(race: Race, results: dict[str, Any]) -> str:
    first = race.table[0].p50_us
    lines = [
        f"{results['graph']}: {race.graph.nodes:,} nodes, {race.graph.links:,} links; "
        f"{SEEDS} seeds, decay {race.decay}; the best {BEST} that are no seeds, against {TRUTH_ITERATIONS} "
        "iterations in double precision.",
        f"{results['processor']}, one core, load average {results['load_average_before']} before, "
        f"igraph {igraph.__version__}, scipy {scipy.__version__}, "
        f"networkx {networkx.__version__}.",
        "",
        "| | queries | p50 µs | p95 µs | : first | top 50 | top 10 | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.queries} | {row.p50_us:,.1f} | {row.p95_us:,.1f} "
        f"| {row.p50_us / first:,.1f} | {row.overlap:.4f} | {row.overlap_10:.4f} | {row.note} |"
        for row in race.table
    ]
    return "\n".join(lines) + "\n"


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main() -> None:
    given = arguments()
    os.sched_setaffinity(0, {given.core})
    load_average_before = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as folder:
        links, seeds = Path(folder, "links"), Path(folder, "seeds")
        none = Path(folder, "none")
        none.touch()
        known = engram(given, "--seeds", str(none), "--export", str(links))
        graph = Graph.read(links, known["nodes"])
        linked = np.unique(graph.sources[: graph.links])
        random = np.random.default_rng(given.seed)
        rows = np.array([random.choice(linked, SEEDS, replace=False) for _ in range(given.queries)])
        rows.astype("<u4").tofile(seeds)
        judged = rows[: given.judged]
        truth = [
            best(power_iteration(graph, row, given.decay, TRUTH_ITERATIONS), row) for row in judged
        ]
        race = Race(graph, rows, truth, given.decay)
        for point in given.points.split(","):
            budget, threshold = point.split(":")
            options = ("--budgets", budget, "--thresholds", threshold, "--seeds", str(seeds))
            answers = engram(given, *options)["answers"]
            edges = np.mean([answer["edges"] for answer in answers])
            race.add(
                f"engram, at most {budget} edges, {threshold}",
                [answer["us"] for answer in answers],
                [np.array(answer["best"]) for answer in answers],
                f"{edges:,.0f} edges",
            )
        if not given.no_daemon:
            through_socket(given, race, links)
        race.solvers(given.judged)
    results = {
        "graph": given.relations.name if given.relations else "power law",
        "nodes": graph.nodes,
        "links": graph.links,
        "processor": processor(),
        "load_average_before": load_average_before,
        "rows": [asdict(row) for row in race.table],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    Path(given.out, "results.json").write_text(json.dumps(results, indent=1))
    text = markdown(race, results)
    Path(given.out, "results.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
