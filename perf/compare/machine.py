"""The machine a run is on: cores, memory of processes, and what the results must say about it."""

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "RAYON_NUM_THREADS",
    )
}


def own_process() -> int:
    return os.getpid()


def pin(core: int) -> None:
    """Keeps this process, and those it starts from now on, on one core."""
    os.sched_setaffinity(0, {core})


def resident_bytes(processes: Iterable[int]) -> int:
    """The memory of processes; what they share counts once."""
    return sum(_proportional_bytes(process) for process in processes)


def _proportional_bytes(process: int) -> int:
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel does not say how much memory process {process} has")


def processor_seconds(processes: Iterable[int]) -> float:
    """Time on a processor, of all threads, since the processes began."""
    ticks = 0
    for process in processes:
        # The name in brackets may have blanks; user and system time are the 12th and 13th behind.
        behind_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(behind_name[11]) + int(behind_name[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def with_children(process: int) -> list[int]:
    """A process and all that descend from it."""
    found = [process]
    for thread in Path(f"/proc/{process}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found.extend(with_children(int(child)))
    return found


def load_average() -> float:
    return os.getloadavg()[0]


def facts() -> dict[str, Any]:
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in processors if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_before": round(load_average(), 2),
    }
