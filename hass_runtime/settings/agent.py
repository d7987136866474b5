"""Loads a compute host's file, /etc/hass_compute.conf."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Mapping
from pathlib import Path

from hass_runtime.agent import storage
from hass_runtime.settings.agent_keys import AGENT, DEFAULT_CHECKS
from hass_runtime.settings.controller import read_log, read_polling_key
from hass_runtime.settings.model import AgentSettings
from hass_runtime.settings.reader import Reader

# Kind of check -> how many words may follow it (None: any number from the first on).
_CHECK_WORDS: Mapping[str, tuple[int, int | None]] = {
    "libvirt": (0, None),
    "driver": (0, 0),
    "off": (0, 0),
    "process": (1, 1),
    "unit": (1, None),
    "command": (1, None),
    "storage": (1, None),
}
_CHECKS_EXPECTED = (
    "expected `unit NAME…`, `process NAME`, `libvirt [UNIT…]`, `driver`, `storage [shared] PATH…`, "
    "`command ARGV…` or `off`"
)


def load_agent(
    path: str | os.PathLike[str] = AGENT.default_path, environ: Mapping[str, str] = os.environ
) -> AgentSettings:
    """Reads and checks the file; a key file is read here, once.

    Raises :class:`~hass_runtime.settings.model.SettingsError` with everything that is wrong.
    """
    reader = Reader(AGENT, Path(path), environ)
    host = reader.optional("agent", "host") or socket.gethostname()
    listen_address = reader.text("polling", "listen_address")
    listen_port = reader.integer("polling", "listen_port")
    key = read_polling_key(
        reader, "polling", "not set: no controller is answered without one; put the one of its file here"
    )
    max_message_size = reader.integer("polling", "max_message_size")
    libvirt_uri = reader.text("libvirt", "libvirt_uri")
    log = read_log(reader)
    if log.location.endswith(".log.log"):
        reader.note("[log] location", f"{log.location} ends in .log.log: a slip of the guide's sample")
    checks = _checks(reader)
    check_timeout = reader.number("agent", "check_timeout")
    clock_tolerance = reader.number("polling", "clock_tolerance")
    boot_id_file = Path(reader.text("agent", "boot_id_file"))
    return AgentSettings(
        path=Path(path),
        notes=reader.finish(),
        host=host,
        listen_address=listen_address,
        listen_port=listen_port,
        key=key,
        max_message_size=max_message_size,
        libvirt_uri=libvirt_uri,
        log=log,
        checks=checks,
        check_timeout=check_timeout,
        clock_tolerance=clock_tolerance,
        boot_id_file=boot_id_file,
    )


def _checks(reader: Reader) -> Mapping[str, str]:
    checks = dict(DEFAULT_CHECKS)
    for name, where, spec in reader.each("checks"):
        reason = _wrong_with(spec)
        if reason:
            reader.problem(where, f"{spec[:60]!r}: {reason}, {_CHECKS_EXPECTED}")
        checks[name] = spec
    return checks


def _wrong_with(spec: str) -> str:
    """What is wrong with the spec of a check, "" for nothing."""
    try:
        words = shlex.split(spec)
    except ValueError as error:
        return f"not a command line ({str(error).lower()})"
    kind = words[0] if words else ""
    if kind not in _CHECK_WORDS:
        return "no such kind of check"
    least, most = _CHECK_WORDS[kind]
    given = len(words) - 1
    if given < least:
        return f"{kind} needs something after it"
    if most is not None and given > most:
        return f"too many words after {kind}"
    if kind == "libvirt" and (slips := [word for word in words[1:] if "." not in word]):
        return f"{slips[0]} is no unit such as libvirtd.service"
    if kind == "storage":
        try:
            storage.parse(words[1:])
        except ValueError as error:
            return str(error)
    return ""
