"""What the peers that are called in process have in common."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, ClassVar

import machine
from peers.peer import BEAMS, BuildFigures, Parameters, Peer, Vectors


class Library(Peer):
    in_process: ClassVar[bool] = True
    index: Any
    accepted_s: float | None = None
    """Set by `make` where vectors are taken in, and found, before the index has them."""
    resident_bytes_before = 0

    @property
    def file(self) -> Path:
        return self.place.folder / "index"

    @abstractmethod
    def make(self, base: Vectors) -> Any:
        """The index of the vectors; timed."""

    @abstractmethod
    def save(self) -> None:
        """Writes the index to `file`."""

    @abstractmethod
    def load(self) -> Any:
        """Reads the index from `file`."""

    def build(self, base: Vectors) -> BuildFigures:
        began = perf_counter()
        self.index = self.make(base)
        figures = BuildFigures(self.accepted_s, indexed_s=perf_counter() - began)
        self.save()
        return figures

    def open(self) -> None:
        self.resident_bytes_before = machine.resident_bytes([machine.own_process()])
        self.index = self.load()

    def parameter_sets(self) -> Sequence[Parameters]:
        return [{"beam": beam} for beam in BEAMS]

    def processor_seconds(self) -> float:
        return process_time()

    def resident_bytes(self) -> int:
        return machine.resident_bytes([machine.own_process()]) - self.resident_bytes_before
