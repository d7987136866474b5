"""What the agent checks on its host: libvirt, units, processes, the hypervisor driver, storage, commands.

A check runs in a thread of its own, only when somebody asks and its last result is older than a second. The
asker is never held up by a check: one that hangs (a stuck libvirtd, say) is reported as hanging, and is not
started a second time.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hass_runtime.agent import storage
from hass_runtime.agent.process import last_line, run
from hass_runtime.agent.protocol import Check, cut

log = logging.getLogger(__name__)

CACHE = 1.0  # s; a result is good for so long
REMEMBER = 30.0  # s; the last result of a slow check is told for so long
EVIDENCE = 200  # characters
STORAGE_PATIENCE = 10.0  # s; a storage that takes longer to write a line hangs, a busy one takes seconds


@dataclass(frozen=True)
class Probe:
    """How to make a check, and what it means when it does not come to an end.

    ``patience``: seconds until it counts as hanging, when that is more than a check's time-out. ``close``
    ends, without waiting, what the check keeps.
    """

    ask: Callable[[], Check]
    hanging: str = "unknown"
    patience: float = 0.0
    storage: bool = False
    close: Callable[[], None] = lambda: None


def ok(evidence: str = "") -> Check:
    return Check("ok", cut(evidence, EVIDENCE))


def failed(evidence: str) -> Check:
    return Check("failed", cut(evidence, EVIDENCE))


def unknown(evidence: str) -> Check:
    return Check("unknown", cut(evidence, EVIDENCE))


def make_probe(spec: str, libvirt_uri: str, timeout: float, file_name: str = ".hass") -> Probe | None:
    """The check behind a spec, None for ``off``; ValueError says what is wrong with the spec.

    ``file_name`` is what a storage check calls its file.
    """
    try:
        words = shlex.split(spec)
    except ValueError as error:
        raise ValueError(f"{spec!r}: {error}") from None
    kind, arguments = (words[0], words[1:]) if words else ("", [])
    match kind, arguments:
        case "off", []:
            return None
        # The units after libvirt are what to restart, `hass_runtime.agent.restarting` knows how.
        case "libvirt", units if all("." in unit for unit in units):
            return Probe(lambda: check_libvirt(libvirt_uri), "failed")
        case "driver", []:
            # libvirt examines QEMU anew after every update, which takes seconds: slow is not failed here.
            return Probe(lambda: check_driver(libvirt_uri))
        case "unit", [_, *_]:
            return Probe(lambda: check_units(arguments, timeout))
        case "process", [name]:
            return Probe(lambda: check_process(name))
        case "command", [_, *_]:
            return Probe(lambda: check_command(arguments, timeout))
        case "storage", _:
            try:
                shared, paths = storage.parse(arguments)
            except ValueError as error:
                raise ValueError(f"{spec!r}: {error}; {_EXPECTED}") from None
            asked = storage.Storage(paths, shared, file_name)
            return Probe(asked.ask, "failed", STORAGE_PATIENCE, True, asked.close)
    raise ValueError(f"{spec!r}: {_EXPECTED}")


_EXPECTED = (
    "expected libvirt [UNIT...], unit NAME [NAME...], process NAME, driver, storage [shared] PATH..., "
    "command ARGV... or off"
)


def check_libvirt(uri: str) -> Check:
    """Opens libvirt anew, as nova-compute would, and asks it something."""
    return _with_libvirt(uri, lambda connection: ok(f"{connection.numOfDomains()} guests"))


def check_driver(uri: str) -> Check:
    """Whether libvirt can run guests by kvm or qemu. ``qemu`` alone means slow software emulation."""
    checked = _with_libvirt(uri, lambda connection: judge_capabilities(connection.getCapabilities()))
    if checked.evidence.startswith(f"{uri}: "):
        return failed("cannot be asked, libvirt fails")  # the libvirt check tells why
    return checked


def judge_capabilities(xml: str) -> Check:
    """Pure: the verdict on libvirt's capabilities document."""
    try:
        document = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        return unknown(f"libvirt's capabilities cannot be read: {error}")
    kinds = {domain.get("type", "") for domain in document.iterfind("guest/arch/domain")}
    if "kvm" in kinds:
        return ok("kvm")
    if "qemu" in kinds:
        return ok("qemu without kvm")
    return failed(f"no kvm or qemu driver, only {', '.join(sorted(kinds)) or 'none at all'}")


def _with_libvirt(uri: str, ask: Callable[[Any], Check]) -> Check:
    try:
        import libvirt
    except ImportError:
        return unknown("libvirt-python is not installed")
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else it prints to stderr
    try:
        connection = libvirt.openReadOnly(uri)
        try:
            return ask(connection)
        finally:
            connection.close()
    except libvirt.libvirtError as error:
        return failed(f"{uri}: {error}")


def check_units(names: list[str], timeout: float) -> Check:
    """OK when any of the units is active (distributions name them differently)."""
    argv = ["systemctl", "show", "--no-pager", "--property=Id,LoadState,ActiveState,SubState", "--", *names]
    try:
        done = run(argv, timeout)
    except FileNotFoundError:
        return unknown("systemctl is not installed")
    except subprocess.TimeoutExpired:
        return unknown(f"systemctl did not answer in {timeout:g} s")
    if done.returncode != 0:
        return unknown(f"systemctl: {last_line(done.stderr) or f'exit status {done.returncode}'}")
    return judge_units(done.stdout)


def judge_units(shown: str) -> Check:
    """Pure: the verdict on the output of ``systemctl show`` for some units, one block each."""
    units = []
    for block in shown.strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit.get("Id"):
            units.append(unit)
    for unit in units:
        if unit.get("ActiveState") in ("active", "reloading", "refreshing"):
            return ok(unit["Id"])
    there = [unit for unit in units if unit.get("LoadState") != "not-found"]
    if not there:
        return unknown(f"no such unit: {', '.join(unit['Id'] for unit in units) or 'systemctl shows none'}")
    if len(there) == 1:
        return failed(_state_of(there[0]))
    return failed(", ".join(f"{unit['Id']} {_state_of(unit)}" for unit in there))


def _state_of(unit: Mapping[str, str]) -> str:
    if unit.get("LoadState") not in ("loaded", None):
        return unit["LoadState"]
    state, sub = unit.get("ActiveState", "?"), unit.get("SubState", "")
    return state if sub in ("", "dead", state) else f"{state} ({sub})"


def check_process(name: str, proc: Path = Path("/proc")) -> Check:
    """Whether a process of exactly this name runs: its command name, or the base name of its program."""
    for directory in proc.iterdir():
        if directory.name.isdigit() and _is_process(directory, name):
            return ok(f"pid {directory.name}")
    return failed("not running")


def _is_process(directory: Path, name: str) -> bool:
    try:
        comm = (directory / "comm").read_text(errors="replace").rstrip("\n")
        argv = (directory / "cmdline").read_bytes().split(b"\0")
        state = (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False  # it ended meanwhile
    if state in ("Z", "X"):
        return False
    programs = [os.path.basename(word.decode(errors="replace")) for word in argv]
    if programs[0] == name or comm == name:
        return True
    # The kernel keeps 15 bytes of the command name; a script's full name is the second word then.
    short = name.encode()[:15].decode(errors="replace")
    return len(name.encode()) > 15 and comm == short and name in programs[:2]


def check_command(argv: list[str], timeout: float) -> Check:
    """The operator's own check: exit status 0 ok, 1 failed, anything else unknown."""
    try:
        done = run(argv, timeout)
    except FileNotFoundError:
        return unknown(f"{argv[0]} is not installed")
    except OSError as error:
        return unknown(f"{argv[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return unknown(f"{argv[0]} did not end in {timeout:g} s")
    said = last_line(done.stdout) or last_line(done.stderr)
    if done.returncode == 0:
        return ok(said)
    if done.returncode == 1:
        return failed(said or "exit status 1")
    return unknown(f"exit status {done.returncode}{': ' if said else ''}{said}")


@dataclass
class _Slot:
    name: str
    probe: Probe
    running_since: float | None = None
    result: Check | None = None
    result_at: float = 0.0
    told: Check | None = None


class CheckRunner:
    """All checks of the host. ``start`` and ``results`` never block; times are ``time.monotonic()``.

    ``on_done`` is called (from the check's thread) whenever a check has finished. ``host`` tells this host's
    files on a shared storage from those of others.
    """

    def __init__(
        self,
        checks: Mapping[str, str],
        libvirt_uri: str,
        timeout: float,
        on_done: Callable[[], None] = lambda: None,
        host: str = "",
    ) -> None:
        self._timeout = timeout
        self._on_done = on_done
        self._lock = threading.Lock()
        self._slots: list[_Slot] = []
        for name, spec in checks.items():
            try:
                probe = make_probe(spec, libvirt_uri, timeout, storage.file_name(host, name))
            except ValueError as error:
                raise ValueError(f"check {name}: {error}") from None
            if probe is not None:
                self._slots.append(_Slot(name, probe))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(slot.name for slot in self._slots)

    def close(self) -> None:
        """End what checks keep. No check that hangs is waited for."""
        for slot in self._slots:
            slot.probe.close()

    def start(self, now: float) -> None:
        """Start every check that has no recent result and is not running already."""
        for slot in self._slots:
            with self._lock:
                fresh = slot.result is not None and now - slot.result_at < CACHE
                if fresh or slot.running_since is not None:
                    continue
                slot.running_since = now
            threading.Thread(target=self._run, args=(slot,), name=f"check {slot.name}", daemon=True).start()

    def settled(self, now: float) -> bool:
        """True when waiting longer makes no sense: every check has finished or is known to hang."""
        with self._lock:
            return all(
                slot.running_since is None or now - slot.running_since >= self._timeout
                for slot in self._slots
            )

    def results(self, now: float) -> dict[str, Check]:
        """What is known of each check now. State changes are logged, one line each."""
        with self._lock:
            results = {slot.name: self._result(slot, now) for slot in self._slots}
            changed = [
                (slot, results[slot.name])
                for slot in self._slots
                if slot.told is None or slot.told.state != results[slot.name].state
            ]
            for slot, result in changed:
                slot.told = result
        for slot, result in changed:
            level = logging.INFO if result.state == "ok" else logging.WARNING
            detail = f": {result.evidence}" if result.evidence else ""
            log.log(level, "%s is %s%s", slot.name, result.state, detail)
        return results

    def _result(self, slot: _Slot, now: float) -> Check:
        return replace(self._told_of(slot, now), storage=slot.probe.storage)

    def _told_of(self, slot: _Slot, now: float) -> Check:
        running = None if slot.running_since is None else now - slot.running_since
        if running is None:
            return slot.result or unknown("not checked yet")
        if running >= max(self._timeout, slot.probe.patience):
            return Check(slot.probe.hanging, f"hangs for {running:.0f} s")
        if slot.result is not None and now - slot.result_at <= REMEMBER:
            return slot.result
        return unknown(f"no result after {running:.1f} s")

    def _run(self, slot: _Slot) -> None:
        try:
            result = slot.probe.ask()
        except Exception as error:  # noqa: BLE001 - a check that breaks is unknown, with the reason
            result = unknown(f"{type(error).__name__}: {error}")
        with self._lock:
            slot.result, slot.result_at, slot.running_since = result, time.monotonic(), None
        self._on_done()
