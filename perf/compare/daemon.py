"""A server of its own for a measurement: started on one core, stopped at the end."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import machine

PATIENCE_S = 600.0
POLL_S = 0.001
STOP_S = 60.0

Connection = TypeVar("Connection")


class Daemon:
    """A running server; what it prints is in `log`."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        core: int,
        user: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                env={**os.environ, **(environment or {})},
            )

    def wait_for(self, connect: Callable[[], Connection], errors: type[Exception]) -> Connection:
        """Tries to connect until it works."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                return connect()
            except errors as error:
                if self.process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError(f"{self.name} did not serve: {self.end()}") from error
                time.sleep(POLL_S)

    def end(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-2000:]

    def resident_bytes(self) -> int:
        return machine.resident_bytes(machine.with_children(self.process.pid))

    def processor_seconds(self) -> float:
        return machine.processor_seconds(machine.with_children(self.process.pid))

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{self.name} did not stop: {self.end()}") from None
