"""The same graph in a daemon: stored, linked and consolidated through its socket, then asked."""

import itertools
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))
from daemon import Daemon
from resp import Connection, command

# Links that a store takes; the others are made one by one.
LINKS_OF_STORE = 256
IN_FLIGHT = 512

Nodes = np.ndarray[Any, Any]


@dataclass
class Answers:
    """What the client saw, and what the server says of the same time."""

    times_us: list[float]
    found: list[Nodes]
    edges: float
    server_p50_us: float
    server_p95_us: float


def commands(links: Nodes, nodes: int) -> Iterator[bytes]:
    """An episode for each node, with its links. Links of the same two nodes differ in kind."""
    links = links[np.lexsort((links["target"], links["source"]))]
    starts = np.searchsorted(links["source"], np.arange(nodes + 1))
    for node in range(nodes):
        own = links[starts[node] : starts[node + 1]]
        words: list[bytes | str | int] = []
        last, nth = -1, 0
        for _, target, weight in own.tolist():
            nth = nth + 1 if target == last else 0
            last = target
            words += ["LINK", target, repr(weight), *(["KIND", f"k{nth}"] if nth else [])]
        pieces = split(words)
        yield command("EG.STORE", "graph", node, "VALUES", 1, 1, *next(pieces, []))
        for link in itertools.chain.from_iterable(map(one_by_one, pieces)):
            yield command("EG.LINK", "graph", node, *link)


def split(words: list[bytes | str | int]) -> Iterator[list[bytes | str | int]]:
    """So many links at a time."""
    begins = [at for at, word in enumerate(words) if word == "LINK"]
    for first in range(0, len(begins), LINKS_OF_STORE):
        until = begins[first + LINKS_OF_STORE] if first + LINKS_OF_STORE < len(begins) else None
        yield words[begins[first] : until]


def one_by_one(words: list[bytes | str | int]) -> Iterator[list[bytes | str | int]]:
    begins = [at for at, word in enumerate(words) if word == "LINK"]
    for at, until in zip(begins, [*begins[1:], len(words)], strict=True):
        yield words[at + 1 : until]


def ask(
    engramd: Path,
    links: Nodes,
    nodes: int,
    rows: Nodes,
    options: list[str],
    count: int,
    core: int,
    shards: int = 1,
) -> Answers:
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder, "socket")
        line = [engramd, "--data", Path(folder, "data"), "--socket", socket, "--shards", shards]
        daemon = Daemon([str(word) for word in line], Path(folder, "log"), core)
        try:
            client = daemon.wait_for(lambda: Connection(socket), OSError)
            client.call("EG.SPACE", "CREATE", "graph", "DIM", 1, "METRIC", "l2", "SHARDS", shards)
            client.pipelines(commands(links, nodes), IN_FLIGHT)
            client.call("EG.CONSOLIDATE")
            return measure(client, rows, options, count)
        finally:
            daemon.stop()
            sys.stderr.write(daemon.end()[-700:])


def measure(client: Connection, rows: Nodes, options: list[str], count: int) -> Answers:
    def request(row: Nodes) -> bytes:
        seeds = itertools.chain.from_iterable((int(seed), 1) for seed in row)
        return command("EG.SPREAD", "graph", "K", count, "FROM", *seeds, *options)

    requests = [request(row) for row in rows]
    for warming in requests[-20:]:
        client.send(warming)
    client.call("CONFIG", "RESETSTAT")
    times_us, replies = [], []
    for each in requests:
        began = perf_counter()
        replies.append(client.send(each))
        times_us.append((perf_counter() - began) * 1e6)
    found = [np.array([int(ids(hit)[b"id"]) for hit in ids(reply)[b"hits"]]) for reply in replies]
    spreading = ids(ids(client.call("EG.STATS"))[b"spreading"])
    return Answers(
        times_us,
        found,
        float(np.mean([ids(reply)[b"edges"] for reply in replies])),
        float(spreading[b"latency_p50_us"]),
        float(spreading[b"latency_p95_us"]),
    )


def ids(reply: Any) -> dict[bytes, Any]:
    """A map, which is a list of keys and values to clients of RESP2."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
