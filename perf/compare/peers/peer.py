"""What the comparison asks of everything it measures.

A peer lives in two processes, one after the other. The first builds: it takes the vectors, makes
its index and leaves it in a folder. The second serves: it opens that folder and answers. So what
the second one holds in memory is what serving takes, and how long its opening takes is a restart.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Parameters = Mapping[str, int | float | str]

# The graphs that have these two knobs get the same: the neighbours of a node (twice as many on the
# lowest level), and how many candidates are looked at when a node is added.
GRAPH_NEIGHBOURS = 16
GRAPH_BUILD_BEAM = 200
BEAMS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)


@dataclass(frozen=True)
class Place:
    """Where a peer works."""

    folder: Path
    """Its own, on disk; what it builds must be found here by the process that serves."""
    dimensions: int
    server_core: int
    """The only core of a peer that is a server; its client has the other one."""
    engramd: Path
    engram_recalls: Sequence[str]
    """Words to add to Engram's recall, a parameter set each."""


@dataclass(frozen=True)
class BuildFigures:
    accepted_s: float | None
    """Until every vector was taken in and could be found; None where nothing is taken in before
    the index has it."""
    indexed_s: float
    """Until the index had them all."""


class Peer(ABC):
    name: ClassVar[str]
    distribution: ClassVar[str | None]
    """The PyPI package whose version goes into the results."""
    in_process: ClassVar[bool]
    """Whether the index is called as a function; otherwise it is a server on a core of its own."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def build(self, base: Vectors) -> BuildFigures:
        """Takes the vectors, numbered by row, and leaves an index in the folder."""

    @abstractmethod
    def open(self) -> None:
        """Makes what was built ready to answer."""

    @abstractmethod
    def parameter_sets(self) -> Sequence[Parameters]:
        """What the sweep goes through, once open."""

    def use(self, parameters: Parameters) -> None:  # noqa: B027, for those without a setting
        """Sets what the next searches use."""

    @abstractmethod
    def search(self, query: Vectors, k: int) -> Any:
        """One query; the answer in the form in which the peer gives it."""

    @abstractmethod
    def search_many(self, queries: Vectors, k: int) -> Any:
        """All queries at once: one call, or a pipeline to a server. Still one core."""

    @abstractmethod
    def rows(self, answer: Any) -> Sequence[int]:
        """The rows in an answer of `search`, best first."""

    @abstractmethod
    def resident_bytes(self) -> int:
        """What the serving process holds; for a library, more than before it opened."""

    @abstractmethod
    def processor_seconds(self) -> float:
        """What the serving process has had of its core so far."""

    def server_figures(self) -> Mapping[str, float]:
        """What a server says about its own latency since `use`, in microseconds."""
        return {}

    def unknown_parameters(self) -> Sequence[str]:
        """What was to be swept and the peer does not know."""
        return []

    def version(self) -> str | None:
        """What a server calls its version, where that is not its package's."""
        return None

    def close(self) -> None:  # noqa: B027, a library has nothing to end
        """Ends what `open` began."""
