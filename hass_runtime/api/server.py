"""The REST interface on a port: waitress in threads beside the controller's loop."""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import Any

import waitress
from flask import Flask
from waitress import wasyncore

THREADS = 4
# Seconds for requests to end when the server is closed.
GRACE = 5.0


class ApiServer:
    """A running server. ``port`` is the real one when 0 was asked for."""

    def __init__(self, app: Flask, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        # waitress has no way to stop from another thread: so the loop over its sockets is ours.
        self._sockets: dict[int, Any] = {}
        self._server = waitress.create_server(
            app, map=self._sockets, sockets=[listener], threads=THREADS, channel_timeout=30, ident="hass"
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="api", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop taking requests; returns when those that were begun have ended and the port is free again."""
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join(GRACE * 2)

    def _run(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=1.0, map=self._sockets, count=1)
        self._server.task_dispatcher.shutdown(timeout=GRACE)
        wasyncore.close_all(self._sockets, ignore_all=True)


def serve(app: Flask, host: str, port: int) -> ApiServer:
    """Serve on an address of this machine's loopback, in threads of its own.

    Raises ValueError for any other address, because nobody is asked who he is yet, and OSError when the port
    is taken.
    """
    address = _loopback(host)
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        return ApiServer(app, listener)
    except OSError:
        listener.close()
        raise


def _loopback(host: str) -> str:
    address = "127.0.0.1" if host == "localhost" else host
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(
            f"REST interface: refuses to listen on {host!r}: it has no authentication yet,"
            " so only a loopback address (127.0.0.1 or ::1) is allowed"
        )
    return address
