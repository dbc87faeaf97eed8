"""Engram over its Unix socket: one shard on one core, a client on the other.

Every store is acknowledged after the device flushed it, as by default. What the words of a
parameter set mean is up to the daemon: those that it does not know are left out and named in the
results. A daemon's own histogram of its recalls begins with its start, so each parameter set has a
start of its own.
"""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, ClassVar

import numpy as np

import resp
from daemon import Daemon
from peers.peer import BuildFigures, Parameters, Peer, Place, Vectors

SPACE = "vectors"
STORES_IN_FLIGHT = 512
UNKNOWN_WORDS = "SYNTAX"


class Engram(Peer):
    name: ClassVar[str] = "engram"
    distribution: ClassVar[str | None] = None
    in_process: ClassVar[bool] = False
    words: Sequence[str] = ()
    connection: resp.Connection

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.known: list[str] = []
        self.unknown: list[str] = []

    def start(self) -> None:
        place = self.place
        socket = place.folder / "socket"
        options = {"--data": place.folder / "data", "--socket": socket, "--shards": "1"}
        words = [str(word) for option in options.items() for word in option]
        self.daemon = Daemon([place.engramd, *words], place.folder / "log", place.server_core)
        self.connection = self.daemon.wait_for(lambda: resp.Connection(socket), OSError)

    def build(self, base: Vectors) -> BuildFigures:
        self.start()
        shape = ("DIM", base.shape[1], "METRIC", "cosine", "SHARDS", 1)
        self.connection.call("EG.SPACE", "CREATE", SPACE, *shape)
        stores = (
            resp.command("EG.STORE", SPACE, row, "VEC", vector.tobytes())
            for row, vector in enumerate(base)
        )
        began = perf_counter()
        self.connection.pipelines(stores, STORES_IN_FLIGHT)
        accepted_s = perf_counter() - began
        # The reply comes when it is done; a daemon that does not know it has nothing to wait for.
        self.understood("EG.CONSOLIDATE")
        indexed_s = perf_counter() - began
        self.close()
        return BuildFigures(accepted_s, indexed_s)

    def understood(self, *arguments: bytes | str | int) -> bool:
        """Whether the daemon carries a command out; any refusal but of its form is raised."""
        try:
            self.connection.call(*arguments)
        except resp.RespError as error:
            if str(error).startswith(UNKNOWN_WORDS):
                return False
            raise
        return True

    def stats(self) -> dict[str, Any]:
        return _map(self.connection.call("EG.STATS"))

    def open(self) -> None:
        self.start()
        # Waits, as any command but a few does, until the daemon serves.
        self.connection.call("EG.SPACE", "INFO", SPACE)

    def parameter_sets(self) -> Sequence[Parameters]:
        cue = np.ones(self.place.dimensions, dtype="<f4").tobytes()
        for words in self.place.engram_recalls:
            understood = self.understood("EG.RECALL", SPACE, "K", 1, "VEC", cue, *words.split())
            (self.known if understood else self.unknown).append(words)
        return [{"words": words} for words in self.known]

    def unknown_parameters(self) -> Sequence[str]:
        return self.unknown

    def use(self, parameters: Parameters) -> None:
        self.words = str(parameters["words"]).split()
        self.close()
        self.open()

    def request(self, query: Vectors, k: int) -> bytes:
        return resp.command("EG.RECALL", SPACE, "K", k, "VEC", query.tobytes(), *self.words)

    def search(self, query: Vectors, k: int) -> Any:
        return self.connection.send(self.request(query, k))

    def search_many(self, queries: Vectors, k: int) -> Any:
        return self.connection.pipeline([self.request(query, k) for query in queries])

    def rows(self, answer: Any) -> Sequence[int]:
        return [int(_map(episode)["id"]) for episode in answer]

    def processor_seconds(self) -> float:
        return self.daemon.processor_seconds()

    def resident_bytes(self) -> int:
        return self.daemon.resident_bytes()

    def server_figures(self) -> Mapping[str, float]:
        recall = _map(_map(self.stats()["latency_us"])["recall"])
        return {name: float(recall[name]) for name in ("count", "p50", "p99", "p999", "max")}

    def version(self) -> str | None:
        lines: list[str] = self.connection.call("INFO", "server").decode().splitlines()
        return next(line.split(":")[1] for line in lines if "version" in line.split(":")[0])

    def close(self) -> None:
        self.connection.close()
        self.daemon.stop()


def _map(flat: Sequence[Any]) -> dict[str, Any]:
    """A map as RESP2 has it: key, value, key, value."""
    return {key.decode(): value for key, value in zip(flat[::2], flat[1::2], strict=True)}
