"""The socket through which other processes command a sandbox: JSON, one object a line, one answer a line.

Request ``{"do": "power_cut", "host": "compute2"}``; answer ``{"ok": true, "result": …}`` or
``{"ok": false, "error": "one line"}``. Only its owner can open the socket: it lies in a 0700 directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SOCKET_NAME = "control.sock"
CALL_TIMEOUT = 60.0
MAX_LINE = 1 << 20

Handler = Callable[[str, dict[str, Any]], Any]


class ControlError(Exception):
    """The sandbox refused, or none answers there; one clear line."""


@contextlib.contextmanager
def _address(directory: Path) -> Iterator[str]:
    """The socket's name by way of its directory's descriptor: a path of its own is limited to 107 bytes."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)


def call(directory: Path, do: str, timeout: float = CALL_TIMEOUT, **arguments: Any) -> Any:
    """Ask the sandbox in ``directory`` to do something; returns the result, raises ControlError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, _address(directory) as address:
            sock.settimeout(timeout)
            sock.connect(address)
            sock.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
            with sock.makefile("rb") as file:
                line = file.readline(MAX_LINE)
    except OSError as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
        raise ControlError(f"{directory}: no sandbox answers there: {reason}") from error
    if not line:
        raise ControlError(f"{directory}: the sandbox ended before it answered")
    answer = json.loads(line)
    if not answer.get("ok"):
        raise ControlError(str(answer.get("error", "refused without a reason")))
    return answer.get("result")


class ControlServer:
    """Answers requests, each connection in a thread of its own, until closed."""

    def __init__(self, directory: Path, handler: Handler, errors: tuple[type[Exception], ...]) -> None:
        """``errors``: what the handler raises to refuse; anything else is answered too, with its type."""
        self._handler = handler
        self._errors = errors
        self._directory = directory
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _address(directory) as address:
            self._sock.bind(address)
        self._sock.listen(16)
        threading.Thread(target=self._accept, name="sandbox-control", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._sock.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
            while line := lines.readline(MAX_LINE):
                connection.sendall(json.dumps(self._answer(line)).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            do = request.pop("do")
        except (ValueError, KeyError, AttributeError, TypeError):
            return {"ok": False, "error": 'expected one JSON object a line with the key "do"'}
        try:
            return {"ok": True, "result": self._handler(str(do), request)}
        except self._errors as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:  # noqa: BLE001 - the caller is another process: it has to get an answer
            return {"ok": False, "error": f"{do}: {type(error).__name__}: {error}"}

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        (self._directory / SOCKET_NAME).unlink(missing_ok=True)
