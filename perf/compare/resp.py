"""A client for servers that speak RESP on a Unix socket: the same for Redis and for Engram."""

import socket
import threading
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import hiredis

RECEIVE_BYTES = 1 << 20
TIMEOUT_S = 600.0


def command(*arguments: bytes | str | int) -> bytes:
    """The bytes of a command."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        value = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(parts)


class RespError(Exception):
    """A server refused a command."""


class Connection:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT_S)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.reader = hiredis.Reader()

    def _receive(self) -> Any:
        while (reply := self.reader.gets()) is False:
            received = self.socket.recv(RECEIVE_BYTES)
            if not received:
                raise ConnectionError("the server closed the connection")
            self.reader.feed(received)
        if isinstance(reply, hiredis.ReplyError):
            raise RespError(str(reply))
        return reply

    def call(self, *arguments: bytes | str | int) -> Any:
        self.socket.sendall(command(*arguments))
        return self._receive()

    def send(self, request: bytes) -> Any:
        """The reply to a command that was made before."""
        self.socket.sendall(request)
        return self._receive()

    def pipeline(self, requests: Sequence[bytes]) -> list[Any]:
        """Sends all while it reads the replies. The first error is raised."""
        sender = threading.Thread(target=self.socket.sendall, args=(b"".join(requests),))
        sender.start()
        replies = [self._receive() for _ in requests]
        sender.join()
        return replies

    def pipelines(self, requests: Iterable[bytes], in_flight: int) -> None:
        """Any number of requests, so many at a time; the replies are looked at for errors only."""
        remaining = iter(requests)
        while some := list(islice(remaining, in_flight)):
            self.pipeline(some)

    def close(self) -> None:
        self.socket.close()
