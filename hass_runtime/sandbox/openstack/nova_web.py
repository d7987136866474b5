"""HTTP servers on green threads, and a gate in front of each that can be shut."""

from __future__ import annotations

import logging
import socket
from typing import Any

import eventlet
import eventlet.wsgi

MODES = ("refuse", "error", "hang")
_BACKLOG = 128
_LOG = logging.getLogger("nova.hass_cloud.web")


class Server:
    """A WSGI application on a port of 127.0.0.1 that it keeps for the whole run.

    `cut("refuse")` closes the port and resets the connections that are open, `cut("error")` answers 503 to
    everything, `cut("hang")` accepts and then never answers until `restore()`.
    """

    def __init__(self, port: int) -> None:
        self._socket = _bound(port)
        self.port: int = self._socket.getsockname()[1]
        self.mode: str | None = None
        self._application: Any = None
        self._thread: Any = None
        self._restored = eventlet.Event()

    def serve(self, application: Any) -> None:
        """Start to answer."""
        self._application = application
        self._open()

    def cut(self, mode: str) -> None:
        """Shut the gate. Raises ValueError for an unknown mode."""
        if mode not in MODES:
            raise ValueError(f"mode: one of {', '.join(MODES)}, not {mode!r}")
        if self.mode is not None:
            self.restore()
        self.mode = mode
        self._restored = eventlet.Event()
        if mode == "refuse":
            self._thread.kill()
            self._socket.close()
            # Bound but not listening: the kernel refuses connections, and nobody else can take the port.
            self._socket = _bound(self.port)

    def restore(self) -> None:
        """Open the gate again."""
        mode, self.mode = self.mode, None
        if mode == "refuse":
            self._open()
        if mode is not None:
            self._restored.send()

    def _open(self) -> None:
        self._socket.listen(_BACKLOG)
        self._thread = eventlet.spawn(
            eventlet.wsgi.server,
            self._socket,
            self._gate,
            log=_LOG,
            log_output=False,
            debug=False,
            keepalive=True,
        )

    def _gate(self, environ: dict[str, Any], start_response: Any) -> Any:
        if self.mode == "hang":
            self._restored.wait()
        elif self.mode == "refuse":
            # A connection that was open before the cut: reset it under the client.
            environ["eventlet.input"].get_socket().shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError("the sandbox cut the API")
        elif self.mode == "error":
            start_response("503 Service Unavailable", [("Content-Type", "text/plain"), ("Retry-After", "5")])
            return [b"the sandbox cut the API\n"]
        return self._application(environ, start_response)


def _bound(port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(("127.0.0.1", port))
    except OSError as error:
        raise OSError(error.errno, f"port {port}: {error.strerror}") from error
    return found
