"""The `hass` command against a real REST server over a real store."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console
from seeded import NOW, seed

from hass_runtime import __version__
from hass_runtime.api import create_app, serve
from hass_runtime.cli import screens
from hass_runtime.cli.main import COMMANDS, main
from hass_runtime.domain import Layer, OrderKind, Reading, Scope, Verdict
from hass_runtime.store import Store

HEALTH: dict[str, Any] = {"status": "ok", "role": "leader", "holder": "ctl1", "epoch": 3, "cycle_age": 0.4}
LATER = 4_102_444_800.0  # the year 2100
LATER_LOCAL = f"{datetime.fromtimestamp(LATER):%Y-%m-%d %H:%M:%S}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = seed(f"sqlite:///{tmp_path_factory.mktemp('cli')}/hass.db")
    yield store
    store.close()


@pytest.fixture(scope="module")
def api(store: Store) -> Iterator[str]:
    server = serve(create_app(store, lambda: HEALTH), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def run(*arguments: str, api: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), env={"HASS_API": api, "TZ": "UTC"}, prog_name="hass")


def test_status_shows_hosts_and_open_incidents(api: str) -> None:
    result = run("status", api=api)
    assert result.exit_code == 0, result.output
    assert "controller ok" in result.output
    assert "role leader" in result.output
    for words in ("compute1", "evacuated", "no BMC", "‖ held", "unreachable", "✗ failed"):
        assert words in result.output
    for words in ("DISARMED", "BLIND", "storage", "maintenance"):
        assert words not in result.output


def test_status_says_that_it_is_disarmed(api: str, store: Store) -> None:
    store.disarm("network [works]", "alice")
    try:
        assert "DISARMED by alice: network [works]" in run("status", api=api).output
        assert json.loads(run("status", "-f", "json", api=api).output)["switch"]["armed"] is False
    finally:
        store.arm()


def test_status_and_orders_say_what_people_want(api: str, store: Store) -> None:
    store.disarm("switch [swap]", "alice", at=NOW, scope=Scope.CLUSTER, name="default")
    store.disarm("disk", "bob", LATER, at=NOW, scope=Scope.HOST, name="compute1")
    store.give_order("compute1", OrderKind.MAINTENANCE, "new memory", "carol", LATER, drain=True, at=NOW)
    store.give_order("compute3", OrderKind.CONFIRM_FENCED, "pulled the cable", "dave", at=NOW)
    store.give_order("compute2", OrderKind.RESTORE, "", "erin", at=NOW)
    try:
        status, listed = run("status", api=api).output, run("orders", api=api).output
        for output in (status, listed):
            assert output.index("cluster default paused by alice: switch [swap]\n") < output.index(
                f"host compute1 paused by bob: disk (until {LATER_LOCAL})"
            )
        assert "DISARMED" not in status
        for words in (
            f"compute1: maintenance, ordered by carol: new memory (until {LATER_LOCAL})",
            "compute3: confirmed to be off, ordered by dave: pulled the cable\n",
            "compute2: to be restored, ordered by erin\n",
        ):
            assert words in status
        for words in ("maintenance, drained", "confirmed to be off", "pulled the cable", "to be restored"):
            assert words in listed
        data = json.loads(run("orders", "-f", "json", api=api).output)
        assert [order["kind"] for order in data["orders"]] == ["maintenance", "confirm_fenced", "restore"]
        assert [pause["name"] for pause in data["pauses"]] == ["default", "compute1"]
        assert len(json.loads(run("status", "-f", "json", api=api).output)["orders"]) == 3
    finally:
        store.arm(scope=Scope.CLUSTER, name="default")
        store.arm(scope=Scope.HOST, name="compute1")
        store.end_orders("compute1", OrderKind.MAINTENANCE)
        store.end_orders("compute3", OrderKind.CONFIRM_FENCED)
        store.end_orders("compute2", OrderKind.RESTORE)
    assert run("orders", api=api).output == "no orders\n"


def test_status_says_which_layers_are_blind(store: Store) -> None:
    health = HEALTH | {"blind": {"power": "no BMC of 3 hosts\x1b[2J can be read"}}
    server = serve(create_app(store, lambda: health), "127.0.0.1", 0)
    try:
        output = run("status", api=f"http://127.0.0.1:{server.port}").output
    finally:
        server.close()
    assert "BLIND on layer power: no BMC of 3 hosts" in output
    assert "\x1b" not in output


def test_a_layer_is_shown_when_some_host_has_it(api: str, store: Store) -> None:
    header = next(line for line in run("status", api=api).output.splitlines() if "address" in line)
    assert header.split()[5:] == ["power", "network", "service", "why"]
    lease = store.lease_acquire("ctl1", 600)
    assert lease is not None
    store.writer(lease).put_reading(Reading("compute1", Layer.STORAGE, Verdict.WARNING, "slow", NOW))
    output = run("status", api=api).output
    header = next(line for line in output.splitlines() if "address" in line)
    assert header.split()[5:] == ["power", "network", "storage", "service", "why"]
    assert "▲ warning" in output


def test_incidents_as_table_and_as_json(api: str) -> None:
    table = run("incidents", api=api).output
    assert table.index("compute3") < table.index("compute2")
    assert "✓ recovered" in table
    assert "2 min 00 s" in table
    found = json.loads(run("incidents", "-f", "json", "--host", "compute2", api=api).output)
    assert [item["id"] for item in found["incidents"]] == [1]
    only_open = json.loads(run("incidents", "--open", "-f", "json", "-n", "5", api=api).output)
    assert [item["id"] for item in only_open["incidents"]] == [2]
    assert "no incidents" in run("incidents", "--host", "nobody", api=api).output


def test_an_incident_is_a_timeline(api: str) -> None:
    output = run("incident", "show", "1", api=api).output
    order = [
        "Incident 1  compute2  power  ✓ recovered  2 min 00 s",
        "compute2 failed; its instance is safe on another host, and the host is back",
        "proven off after 6.0 s, last instance up after 13.0 s",
        "Seen",
        "chassis power is off",
        "Decided",
        "power: its BMC says off",
        "remedy: host_failure, rung 1 of its ladder, try 1",
        "no gate is closed",
        "host_failure  ✓ successful in 26.4 s",
        "+1.5 s",
        "Power off compute2",
        "4.5 s",
        "done [as asked]",
        "Instances: 1 of 1 moved",
        "compute2 → compute1",
        "was active",
        "1 attempt",
        "6.5 s",
        "every instance is where it should be",
    ]
    place = 0
    for words in order:
        assert words in output[place:], words
        place = output.index(words, place)


def test_a_held_incident_says_why(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hass_runtime.cli.views.now", lambda: NOW + 300.0)
    output = run("incident", "show", "2", api=api).output
    assert "held: unproven (nothing proves that the host is off)" in output
    assert "only a person can prove that it is off" in output
    assert "ladder" not in output
    assert "  ‖ held  1 min 40 s so far" in output


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"phase": "host_drain", "rung": 1, "tries": 2}, "remedy: host_drain, rung 2 of its ladder, try 2"),
        (
            {"phase": "host_restore", "rung": 0, "tries": 1},
            "remedy: host_restore, after rung 1 of its ladder, try 1",
        ),
    ],
)
def test_an_incident_shows_how_far_up_its_ladder_it_is(fields: dict[str, Any], words: str) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    screens.incident(console, {"id": 1, "host": "compute1", "outcome": "open", **fields})
    assert f"  {words}\n" in console.export_text()


def test_a_fence_without_a_step_of_it_is_told_by_its_moment() -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    opened, fenced = "2026-03-01T03:12:41.250Z", "2026-03-01T03:12:51.250Z"
    screens.incident(console, {"id": 1, "outcome": "open", "opened_at": opened, "fenced_at": fenced})
    assert "proven off after 10.0 s" in console.export_text()


def test_json_is_what_the_interface_says(api: str) -> None:
    found = json.loads(run("incident", "show", "1", "-f", "json", api=api).output)
    assert found["opened_at"] == "2026-03-01T03:12:41.250Z"
    assert {"steps", "moves", "runs", "seen"} <= found.keys()


def test_a_report_is_written(api: str, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    result = run("incident", "report", "1", "-o", str(target), api=api)
    assert (result.exit_code, result.output) == (0, f"written: {target}\n")
    assert target.read_text().startswith("<!doctype html>")
    assert run("incident", "report", "1", "-o", "-", api=api).output == target.read_text()
    failed = run("incident", "report", "1", "-o", str(tmp_path / "no" / "such.html"), api=api)
    assert failed.exit_code == 1
    assert "No such file or directory" in failed.output


@pytest.mark.parametrize(
    "command", [["status"], ["orders"], ["incidents"], ["incident", "show", "1"], ["incident", "report", "1"]]
)
def test_no_controller_is_one_clear_line(command: list[str]) -> None:
    result = run(*command, api="http://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.output == "Error: no HASS controller answers at http://127.0.0.1:1: connection refused\n"


def test_an_unknown_incident_and_wrong_usage(api: str) -> None:
    missing = run("incident", "show", "99", api=api)
    assert missing.exit_code == 1
    assert "there is no incident 99 (404" in missing.output
    for wrong in (
        ["incident", "show", "seven"],
        ["status", "-f", "xml"],
        ["status", "--api", "nonsense"],
        ["nothing"],
    ):
        assert run(*wrong, api=api).exit_code == 2


def test_what_hosts_say_cannot_paint_the_terminal(store: Store, api: str) -> None:
    lease = store.lease_acquire("ctl1", 600)
    assert lease is not None
    writer = store.writer(lease)
    writer.note(2, "\x1b[2J[red]note[/nothing]", _ok(), NOW + 300.0, "a\x07b\r\n\x9b31m\u202eevil")
    output = run("incident", "show", "2", api=api).output
    assert "[red]note[/nothing]" in output
    assert "evil" in output
    assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e"} & set(output)


def _ok() -> Any:
    from hass_runtime.domain import StepStatus

    return StepStatus.OK


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys; from hass_runtime.cli.main import main\n"
        "for arguments in (['--help'], ['version']):\n"
        "    main(arguments, standalone_mode=False)\n"
        "heavy = {'sqlalchemy', 'alembic', 'flask', 'requests', 'rich', 'jinja2', 'openstack', 'pyghmi'}\n"
        "found = sorted(heavy & {name.partition('.')[0] for name in sys.modules})\n"
        "sys.exit(f'imported: {found}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0)
    assert f"hass {__version__}" in done.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_in_the_table_can_be_called(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert f"Usage: hass {name}" in result.output


def test_a_command_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.delitem(sys.modules, "hass_runtime.cli.views", raising=False)
    result = run("status")
    assert result.exit_code == 1
    assert "`hass status` needs the Python package rich" in result.output
