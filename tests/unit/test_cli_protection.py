"""`hass protect`, `unprotect`, `protection` and `failback` on their own database, with a made-up Nova."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from person import fill
from settings_files import KEY

from hass_runtime.cli.main import main
from hass_runtime.domain import Fault, Layer, Move, MoveState, OrderKind
from hass_runtime.remedy import cloud
from hass_runtime.remedy.nova import CloudError, Server
from hass_runtime.store import Store, Writer

ID = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"


class Nova:
    def __init__(self):
        self.all = [
            Server(ID, "db1", "compute1", "active", "", 5),
            Server(OTHER, "web", "compute1", "active", "", metadata={"hass:protect": "false"}),
        ]
        self.trouble: CloudError | None = None

    def _ask(self):
        if self.trouble is not None:
            raise self.trouble

    def server(self, server_id):
        self._ask()
        return next((each for each in self.all if each.id == server_id), None)

    def servers_named(self, name):
        self._ask()
        return [each for each in self.all if each.name == name]

    def servers_on(self, host):
        self._ask()
        return [each for each in self.all if each.host == host]

    def aggregates_of(self, host):
        return ()


@pytest.fixture
def nova(monkeypatch) -> Nova:
    made = Nova()
    monkeypatch.setattr(cloud, "connect", lambda settings, workers=None: made)
    monkeypatch.delenv("SUDO_USER", raising=False)
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hass.conf"
    path.write_text(
        "[openstack]\nopenstack_auth_url = http://c:5000/v3\nopenstack_admin_password = p\n"
        f"[cluster]\nhosts = compute1, compute2\n[detection]\npolling_key = {KEY}\n"
        f"[database]\npath = {tmp_path}/hass.db\n"
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path}/hass.db")


@pytest.fixture
def writer(store: Store) -> Writer:
    return fill(store)


@pytest.fixture
def run(config, writer, nova):
    def call(*words: str, typed: str | None = None):
        return CliRunner().invoke(main, [*words, "--config", str(config)], input=typed)

    return call


def test_a_word_by_name_and_by_uuid_and_taken_back(run, store):
    done = run("unprotect", "db1", "--reason", "a test")
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"db1 ({ID}): left alone by ")
    assert done.output.endswith(": a test\n")
    (choice,) = store.choices()
    assert (choice.instance, choice.name, choice.protected, choice.reason) == (ID, "db1", False, "a test")
    assert run("protect", ID.upper()).exit_code == 0
    assert [each.protected for each in store.choices()] == [True]
    assert run("protect", "db1", "--by-rules").output == f"db1 ({ID}): the rules decide again\n"
    assert store.choices() == ()
    assert run("protect", "db1", "--by-rules").output == f"db1 ({ID}): the rules decide already\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("protect", "db"), "Nova knows no instance named 'db', expected a UUID or a whole name"),
        (("protect", OTHER.replace("9", "8")), "Nova knows no instance 88888888-"),
        (("protection", "--host", "compute10"), "names no host compute10; its hosts are: compute1, compute2"),
    ],
)
def test_what_is_not_there_is_refused(run, store, words, says):
    done = run(*words)
    assert done.exit_code == 1
    assert says in done.output
    assert store.choices() == ()


def test_a_name_of_two_is_refused_with_their_uuids(run, nova):
    nova.all.append(Server(OTHER, "db1", "compute2", "active", ""))
    done = run("protect", "db1")
    assert (done.exit_code, "2 instances are named 'db1'" in done.output) == (1, True)
    assert ID in done.output
    assert OTHER in done.output


def test_a_nova_that_is_away_is_no_obstacle_to_a_uuid(run, nova, store):
    nova.trouble = CloudError("read instance: Nova does not answer")
    done = run("protect", ID)
    assert done.exit_code == 0, done.output
    assert [each.instance for each in store.choices()] == [ID]
    done = run("protect", "db1")
    assert (done.exit_code, "Nova does not answer" in done.output) == (1, True)


def test_the_listing_says_why(run):
    run("protect", "db1", "--reason", "pays for it")
    listed = json.loads(run("protection", "-f", "json").output)["instances"]
    assert [(each["name"], each["protected"], each["by"]) for each in listed] == [
        ("db1", True, "one by one"),
        ("web", False, "instance"),
    ]
    table = run("protection", "--host", "compute1").output.splitlines()
    assert table[0].split() == ["NAME", "INSTANCE", "HOST", "PRIORITY", "WHY"]
    assert "left alone" in table[2]
    assert table[2].endswith("its metadata says hass:protect=false")
    assert run("protection", "--host", "compute2").output == "no instances on the hosts that are watched\n"


# Home again


@pytest.fixture
def incident(writer: Writer) -> int:
    """One that has moved an instance from compute1 to compute2."""
    made = writer.open_incident("compute1", Fault("compute1", "power", Layer.POWER, "off"), "", 1.0)
    for name, state in (("db1", MoveState.SUCCEEDED), ("web", MoveState.FAILED)):
        target = "compute2" if state is MoveState.SUCCEEDED else ""
        writer.put_move(Move(made.id, f"u-{name}", name, "compute1", state, target))
    return made.id


@pytest.mark.parametrize("by_host", [True, False])
def test_a_failback_asks_first_and_names_its_incident(run, store, incident, by_host):
    what = "compute1" if by_host else str(incident)
    done = run("failback", what, typed="n\n")
    assert done.exit_code == 1
    assert "db1: compute2 -> compute1" in done.output
    assert "web" not in done.output
    assert store.orders() == ()
    done = run("failback", what, "--reason", "as it was", typed="y\n")
    assert done.exit_code == 0, done.output
    (order,) = store.orders()
    assert (order.host, order.kind, order.incident) == ("compute1", OrderKind.FAILBACK, incident)
    assert "failback of 1 instances to compute1 ordered by" in done.output
    assert run("failback", what, "--cancel").output == "failback of compute1 taken back\n"
    assert store.orders() == ()
    assert run("failback", what, "--cancel").output == "no failback of compute1 was ordered\n"


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("compute2", "no incident has moved anything away from compute2"),
        ("compute3", "no host is called 'compute3', expected a host or the number of an incident"),
        ("77", "there is no incident 77"),
        ("-1", "No such option"),
        ("9" * 30, "no host is called"),
    ],
)
def test_a_failback_of_nothing_is_refused(run, store, incident, what, says):
    done = run("failback", what, "--yes")
    assert done.exit_code in (1, 2)
    assert says in done.output
    assert store.orders() == ()
