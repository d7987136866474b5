"""Talking to systemd from a Type=notify service: sd_notify(3) without its library."""

from __future__ import annotations

import os
import socket


def notify(**fields: str | int) -> bool:
    """Send ``READY=1``, ``STATUS=…`` and the like; False when not started by systemd or it does not listen.

    Field names are given in capitals as systemd knows them: ``notify(READY=1, STATUS="polling")``.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@") or not fields:
        return False
    if path.startswith("@"):
        path = "\0" + path[1:]  # the abstract namespace
    lines = "\n".join(f"{name}={' '.join(str(value).splitlines())}" for name, value in fields.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)  # a stuck systemd must not hang the service
        try:
            sock.connect(path)
            sock.send(lines.encode("utf-8", "replace"))
        except OSError:
            return False
    return True


def watchdog_interval() -> float | None:
    """Seconds between two ``WATCHDOG=1``: half of what systemd allows; None when it does not watch us."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return microseconds / 2_000_000 if microseconds > 0 else None
