from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hass_runtime import logs, resolver
from hass_runtime.systemd import notify, watchdog_interval


@pytest.fixture(autouse=True)
def _restore_root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def test_log_file_is_private_one_line_a_record_and_stderr_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hass" / "hass.log"
    logs.configure("INFO", path)
    log = logging.getLogger("hass.test")
    log.debug("not wanted")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("forged\n2026 INFO me: not me")
    lines = path.read_text().splitlines()
    assert len(lines) == 1
    assert "ERROR hass.test: forged | 2026 INFO me: not me | Traceback" in lines[0]
    assert lines[0].endswith("ValueError: two | lines")
    assert capsys.readouterr().err.count("forged") == 1
    assert path.stat().st_mode & 0o777 & ~0o640 == 0


def test_log_file_moved_by_logrotate_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "hass.log"
    logs.configure("INFO", path)
    logging.info("first")
    path.rename(tmp_path / "hass.log.1")
    logging.info("second")
    assert "second" in path.read_text()
    assert path.stat().st_mode & 0o027 == 0


def test_location_that_cannot_be_written_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("INFO", "/proc/nothing/hass.log")
    logging.info("still here")
    err = capsys.readouterr().err
    assert "cannot write the log file /proc/nothing/hass.log" in err
    assert "still here" in err


def test_second_call_replaces_the_first(tmp_path: Path) -> None:
    logs.configure("INFO", tmp_path / "a.log")
    logs.configure("ERROR", tmp_path / "b.log")
    logging.info("no")
    logging.error("yes")
    assert (tmp_path / "a.log").read_text() == ""
    assert (tmp_path / "b.log").read_text().endswith("ERROR root: yes\n")


def test_unknown_level_is_an_error() -> None:
    with pytest.raises(ValueError, match="'LOUD' is unknown"):
        logs.configure("LOUD")


@pytest.mark.parametrize("abstract", [False, True])
def test_notify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"hass-test-{os.getpid()}"
    address, variable = ("\0" + name, "@" + name) if abstract else (str(tmp_path / "n"),) * 2
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", variable)
        assert notify(READY=1, STATUS="polling\nREADY=0")
        assert systemd.recv(4096) == b"READY=1\nSTATUS=polling READY=0"
    assert not notify(READY=1), "nobody listens any more"


@pytest.mark.parametrize("value", [None, "", "nonsense"])
def test_notify_without_systemd(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if value is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", value)
    assert not notify(READY=1)


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("30000000", None, 15.0),
        ("30000000", "own", 15.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_watchdog_interval(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, expected: float | None
) -> None:
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert watchdog_interval() == expected


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "192.0.2.7"])
def test_numeric_address_is_not_looked_up(address: str) -> None:
    assert resolver.resolve(address, 0.0) == address


def test_outage_of_the_resolver_keeps_the_known_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "_known", {})
    monkeypatch.setattr(resolver, "KEEP", 0.0)
    assert resolver.resolve("localhost", 10.0) in ("127.0.0.1", "::1")
    real = socket.getaddrinfo

    def broken(host: str, *args: object, **kwargs: object) -> object:
        if kwargs.get("flags"):
            return real(host, *args, **kwargs)  # type: ignore[arg-type]
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", broken)
    assert resolver.resolve("localhost", 10.0) in ("127.0.0.1", "::1")
    with pytest.raises(resolver.ResolveError, match="other does not resolve: Temporary failure"):
        resolver.resolve("other", 10.0)


def test_hung_resolver_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    real = socket.getaddrinfo

    def hang(host: str, *args: object, **kwargs: object) -> object:
        if kwargs.get("flags"):
            return real(host, *args, **kwargs)  # type: ignore[arg-type]
        release.wait(60)
        raise socket.gaierror(socket.EAI_FAIL, "late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(resolver.ResolveError, match=r"slow does not resolve in 0\.1 s"):
        resolver.resolve("slow", 0.1)
    release.set()


def test_daemon_needs_no_terminal() -> None:
    assert "\n" not in logs.OneLineFormatter("%(message)s").format(
        logging.LogRecord("n", 20, __file__, 1, "a\r\nb\x0bc\u2028d", (), sys.exc_info())
    )
