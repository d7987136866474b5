"""What decisions were made from: kept, read back, put into sentences, judged again by another policy."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from person import run, use_database
from test_controller import Box
from views import (
    COMPLAINING,
    CUT,
    DEAD,
    MUTE,
    NO_BMC,
    NOW,
    POLICY,
    SICK,
    UNPLUGGED,
    WELL,
    answering,
    host,
    order,
    silent,
    unread,
    view_of,
)

from hass_runtime import settings
from hass_runtime.api import create_app
from hass_runtime.api.render import moment
from hass_runtime.cli.main import main
from hass_runtime.decide import gates
from hass_runtime.decide.decisions import Launch
from hass_runtime.decide.plan import decide
from hass_runtime.decide.view import FAILURE, HostView, View
from hass_runtime.domain import (
    Gate,
    HostState,
    Incident,
    Layer,
    OrderKind,
    Outcome,
    Pause,
    Reading,
    Verdict,
)
from hass_runtime.explain import again, replay, saving, snapshot, story
from hass_runtime.explain.chronicle import Chronicle
from hass_runtime.explain.recorded import recorded
from hass_runtime.settings.controller import shipped_playbooks
from hass_runtime.simulator.run import Simulation
from hass_runtime.simulator.scenario import load
from hass_runtime.store import Decided, Store, Writer

SCENARIOS = Path(__file__).parents[1] / "scenarios"
LOOKS = st.dictionaries(st.sampled_from(list(Layer)), st.sampled_from([WELL, DEAD, MUTE, SICK]))


@st.composite
def any_view(draw: st.DrawFn) -> View:
    hosts = [
        host(
            f"host{number}",
            draw(LOOKS),
            times=draw(st.integers(1, 3)),
            bmc=draw(st.booleans()),
            zone=draw(st.sampled_from(["", "rack1", "rack2"])),
            state=draw(st.sampled_from([HostState.HEALTHY, HostState.FAULTY, HostState.EVACUATED])),
        )
        for number in range(draw(st.integers(1, 5)))
    ]
    return view_of(*hosts, gateway_answers=draw(st.sampled_from([None, True, False])))


# What is kept of a view


@given(any_view())
def test_a_view_that_is_read_back_decides_the_same(view: View) -> None:
    read = snapshot.unpack(snapshot.pack(view))
    assert decide(read) == decide(view)
    for name in view.hosts:
        was, back = again.gates_of(view, name, FAILURE), again.gates_of(read, name, FAILURE)
        if snapshot.is_well(view.hosts[name], view):  # kept without words, and gates quote those
            was, back = ([(gate, bool(why)) for gate, why in told] for told in (was, back))
        assert back == was
        assert read.hosts[name].fault == view.hosts[name].fault


def test_of_a_view_everything_comes_back_but_credentials_and_the_words_of_the_well() -> None:
    held = Incident(3, "host2", "power", "power", Outcome.HELD, NOW - 9.0, gate="storm", reason="many")
    view = view_of(
        answering("host1", evidence="it answers"),
        silent("host2", incident=held, confirmed=order("host2", OrderKind.CONFIRM_FENCED), fences=(1.0,)),
        pauses=(Pause("works", "ann", 5.0),),
        troubled_at={"": 3.0},
        fences=(("host2", 1.0),),
        blind={Layer.OS: "nothing is seen"},
    )
    body = snapshot.pack(view)
    read = snapshot.unpack(body)
    bmc = view.hosts["host2"].host.bmc
    assert bmc is not None
    assert read.hosts["host2"] == replace(
        view.hosts["host2"],
        host=replace(view.hosts["host2"].host, bmc=replace(bmc, address="", username="", password="")),
    )
    assert (read.policy, read.pauses, read.blind) == (view.policy, view.pauses, view.blind)
    assert (read.troubled_at, read.fences, read.now) == (view.troubled_at, view.fences, NOW)
    assert read.hosts["host1"].track.layers[Layer.NETWORK].reading.evidence == ""
    import zlib

    assert b"secret" not in zlib.decompress(body)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of(*(silent(f"host{number}", evidence="x\ud800" * 9000) for number in range(300)))
    whole = snapshot.pack(view)
    assert len(whole) < 100_000
    words = snapshot.unpack(whole).hosts["host7"].track.layers[Layer.POWER].reading.evidence
    assert len(words) == snapshot.EVIDENCE
    monkeypatch.setattr(snapshot, "LIMIT", 10)
    cut = snapshot.unpack(snapshot.pack(view))
    assert cut.hosts["host7"].track.layers[Layer.POWER].reading.evidence == ""
    assert cut.hosts["host7"].fault is not None


@pytest.mark.parametrize("body", [b"", b"nonsense", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_what_is_no_snapshot_is_refused_in_a_line(body: bytes) -> None:
    with pytest.raises(snapshot.SnapshotError, match="cannot be read") as caught:
        snapshot.unpack(body)
    assert "\n" not in str(caught.value)


def test_a_snapshot_of_a_newer_hass_is_refused() -> None:
    import zlib

    with pytest.raises(snapshot.SnapshotError, match="its format is 99"):
        snapshot.unpack(zlib.compress(b'{"format": 99}'))


def test_a_snapshot_that_nobody_can_read_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    class Keeps:
        def decided(self, id: int) -> list[Decided]:
            return [Decided(id, 1.0, "opened", "power", "off", (), number) for number in (1, 2, 3)]

        def snapshot(self, id: int) -> bytes | None:
            return {1: b"nonsense", 2: snapshot.pack(view_of(answering("host1")))}.get(id)

    with caplog.at_level(logging.WARNING):
        made, views = recorded(Keeps(), 7)
    assert (len(made), list(views)) == (3, [2])
    assert "snapshot 1 of incident 7: it cannot be read" in caplog.text


# What a round of decisions has to say


def opened(name: str, number: int, fault: str = "power") -> Incident:
    return Incident(number, name, fault, "power", Outcome.OPEN, NOW)


def dead(name: str, number: int) -> HostView:
    return silent(name, incident=opened(name, number), state=HostState.FAULTY)


def test_a_host_that_is_held_by_those_before_it_is_explained_with_them() -> None:
    view = view_of(dead("host1", 1), dead("host2", 2), *(answering(f"host{n}") for n in range(3, 9)))
    view = replace(view, policy=replace(POLICY, max_remedies=1))
    made = decide(view)
    chronicle = Chronicle(view, made)
    first, second = chronicle.known
    assert (first.incident, first.kind, first.what, first.launched) == (1, "launched", FAILURE, ())
    assert (second.kind, second.what, second.launched) == ("held", "rate", (("host1", "fencing", FAILURE),))
    told = story.data(opened("host2", 2), [second], {0: snapshot.unpack(chronicle.body())})
    (decision,) = told["decisions"]
    closed = {gate["gate"]: gate["said"] for gate in decision["gates"] if not gate["open"]}
    assert closed == {"rate": "1 remedies run already (host1)"}
    assert decision["alike"]


def test_what_opens_an_incident_gets_its_number_afterwards() -> None:
    view = view_of(silent("host1"), answering("host2"), answering("host3"))
    chronicle = Chronicle(view, decide(view))
    assert chronicle.known == []
    (made,) = chronicle.opened({"host1": opened("host1", 42)})
    assert (made.incident, made.kind, made.what) == (42, "opened", "power")
    assert chronicle.opened({}) == []


# The daemon


def test_the_daemon_keeps_what_it_decided_from_and_the_rest_interface_explains_it(tmp_path: Path) -> None:
    box = Box(tmp_path, ttl=60.0)
    for _ in range(3):
        assert box.cycle("host1")
    (incident,) = box.store.incidents()
    made, views = recorded(box.store, incident.id)
    assert [each.kind for each in made] == ["opened", "launched"]
    assert len(views) == 2
    client = create_app(box.store, lambda: {"status": "ok"}).test_client()
    told = client.get(f"/v1/incidents/{incident.id}/explanation").get_json()
    assert told == story.data(incident, made, views, moment)
    text = "\n".join(story.lines(told))
    assert "Row 1 of the symptom table matched, power: its BMC says off and nothing on it answers" in text
    assert re.search(r"power silent, read [0-9.]+ s before, missed [0-9]+ times in a row: evidence", text)
    assert "    unproven: open" in text
    assert client.get("/v1/incidents/99/explanation").status_code == 404
    box.store.close()


def test_who_cannot_explain_himself_acts_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Writer, made: Sequence[Decided], body: object, number: int = 0) -> int:
        raise OverflowError("too much")

    monkeypatch.setattr(Writer, "put_decided", broken)
    box = Box(tmp_path, ttl=60.0)
    for _ in range(3):
        assert box.cycle("host1")
    assert box.launcher.at_work
    assert "decisions were made from cannot be kept: too much" in caplog.text
    box.store.close()


# Sentences


def played(name: str) -> Simulation:
    simulation = Simulation(load(SCENARIOS / name / "scenario.yml"))
    simulation.run()
    return simulation


def sentences(simulation: Simulation, number: int = 1) -> str:
    incident = simulation.journal.incident(number)
    assert incident is not None
    made, views = recorded(simulation.journal, number)
    return "\n".join(story.lines(story.data(incident, made, views, moment)))


def test_a_held_incident_names_the_gate_that_was_closed() -> None:
    text = sentences(played("power_cut_bmc_cut"))
    assert "It was held back (unproven): nothing can prove that" in text
    assert "    unproven: closed: nothing can prove that" in text
    assert "    storm: open" in text
    assert "(unreachable)" in text


def test_an_incident_of_which_nothing_is_kept_says_so() -> None:
    told = story.data(opened("host1", 5), [], {}, moment)
    assert "Nothing is kept of how it was decided" in "\n".join(story.lines(told))
    gone = story.data(opened("host1", 5), [Decided(5, NOW, "opened", "power", "off", (), 9)], {}, moment)
    assert f"Its readings: {story.LOST}." in "\n".join(story.lines(gone))


def test_a_decision_that_this_hass_would_not_make_is_called_that() -> None:
    view = view_of(dead("host1", 1), answering("host2"), answering("host3"))
    made = Decided(1, NOW, "held", "storm", "many are down", (), 1)
    told = story.data(opened("host1", 1), [made], {1: view}, moment)
    assert not told["decisions"][0]["alike"]
    assert "another version than the one that decided" in "\n".join(story.lines(told))


# Another policy


def test_by_the_same_policy_nothing_is_different() -> None:
    simulation = played("power_cut")
    incident = simulation.journal.incident(1)
    assert incident is not None
    told = replay.replay(incident, *recorded(simulation.journal, 1), None)
    assert told.same
    assert not told.parted
    assert replay.lines(told, "the recorded policy")[-1] == "Nothing would have been different."


def test_a_stricter_policy_parts_where_it_does_not_act() -> None:
    simulation = played("power_cut")
    incident = simulation.journal.incident(1)
    assert incident is not None
    made, views = recorded(simulation.journal, 1)
    policy = simulation.policy
    slow = replace(policy, thresholds=replace(policy.thresholds, misses=5))
    told = replay.replay(incident, made, views, slow)
    assert (told.same, told.parted, len(told.moments)) == (False, True, 1)
    (first,) = told.moments
    assert (first.was.kind, first.would.kind, first.would.fault) == ("launched", "nothing", "")
    strict = replay.replay(incident, made, views, replace(policy, storm_threshold=0.2))
    assert [(each.was.what, each.would.what) for each in strict.moments] == [(FAILURE, "storm")]
    only_told = tuple(replace(row, ladder=()) if row.fault == "power" else row for row in policy.table)
    table = replay.replay(incident, made, views, replace(policy, table=only_told))
    assert [each.would.kind for each in table.moments] == ["held"]
    assert "is reported only" in table.moments[0].would.why


def test_while_nothing_is_done_later_moments_are_still_compared() -> None:
    """Held by both: by one until its BMC is back, by the other for good."""
    simulation = played("power_cut_bmc_cut")
    incident = simulation.journal.incident(1)
    assert incident is not None
    made, views = recorded(simulation.journal, 1)
    told = replay.replay(incident, made, views, replace(simulation.policy, armed=False))
    assert len(told.moments) >= 2
    assert told.parted
    assert {each.would.what for each in told.moments} == {"disarmed"}
    assert [each.was.kind for each in told.moments] == ["held", "launched"]


def test_what_is_not_kept_is_counted() -> None:
    simulation = played("power_cut")
    incident = simulation.journal.incident(1)
    assert incident is not None
    made, views = recorded(simulation.journal, 1)
    views.pop(made[0].snapshot)
    told = replay.replay(incident, made, views, None)
    assert told.unread == 1
    assert any("1 decisions could not be compared" in line for line in replay.lines(told, "x"))


def test_an_incident_that_no_event_can_bring_about_is_refused() -> None:
    """Its agent is silent while its network answers: the made-up world has no such thing."""
    looks = {Layer.POWER: WELL, Layer.NETWORK: WELL, Layer.SERVICE: DEAD}
    view = view_of(host("host1", looks), answering("host2"))
    made = Decided(1, NOW, "opened", "agent", "silent", (), 1)
    with pytest.raises(saving.SavingError, match="makes the fault agent of host1"):
        saving.scenario(opened("host1", 1, "agent"), [made], {1: view}, [])
    with pytest.raises(saving.SavingError, match="is not kept"):
        saving.scenario(opened("host1", 1), [made], {}, [])


# The command


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A database with the incident of a power cut, and one without anything kept."""
    real = settings.load_controller
    url = use_database(tmp_path, monkeypatch)
    known = SimpleNamespace(
        database_url=url,
        detection=SimpleNamespace(wait_restart_threshold=2),
        paths=SimpleNamespace(playbooks=shipped_playbooks(), own_playbooks=Path("/nonexistent")),
    )
    monkeypatch.setattr(
        settings, "load_controller", lambda path: known if str(path) == "hass.conf" else real(path)
    )
    store = Store(url)
    store.migrate()
    lease = store.lease_acquire("ctl1", 600)
    assert lease is not None
    writer = store.writer(lease)
    view = view_of(silent("host1"), answering("host2"), answering("host3"))
    writer.put_hosts([each.host for each in view.hosts.values()])
    for name in ("host1", "host2"):
        fault = view.hosts["host1"].fault
        assert fault is not None
        incident = writer.open_incident(name, fault, "power: off", NOW)
    writer.put_decided([Decided(1, NOW, "opened", "power", "power: off")], lambda: snapshot.pack(view))
    assert incident.id == 2
    return store


def test_the_command_says_by_its_exit_status_whether_it_would_be_the_same(
    kept: Store, tmp_path: Path
) -> None:
    done = run("replay", "1")
    assert done.exit_code == 0, done.output
    assert "the same: power: launch host_failure" in done.output
    table = tmp_path / "table.yml"
    table.write_text("- {fault: power, layer: power, when: {power: failed}, why: its BMC says off}\n")
    other = run("replay", "1", "--policy", str(table))
    assert other.exit_code == 1, other.output
    assert "would be:  power: held (power is reported only: its BMC says off)" in other.output
    assert "Here they part" in other.output
    told = json.loads(run("replay", "1", "--policy", str(table), "-f", "json").output)
    assert (told["same"], told["parted"]) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("9",), "there is no incident 9"),
        (("2",), "incident 2: what its decisions were made from is not kept"),
        (("1", "--policy", "/nonexistent.yml"), "/nonexistent.yml"),
        (("1", "--settings", "/nonexistent.conf"), "/nonexistent.conf"),
        (("1", "--save", "/nonexistent/x.yml"), "/nonexistent/x.yml: cannot be written"),
    ],
)
def test_what_cannot_be_told_is_exit_status_2(kept: Store, arguments: tuple[str, ...], words: str) -> None:
    done = run("replay", *arguments)
    assert (done.exit_code, words in done.output) == (2, True), done.output
    assert "Traceback" not in done.output


def test_a_saved_incident_is_a_scenario(kept: Store, tmp_path: Path) -> None:
    file = tmp_path / "saved.yml"
    done = run("replay", "1", "--save", str(file))
    assert (done.exit_code, done.output) == (0, f"written: {file}\n")
    again_played = CliRunner().invoke(main, ["simulate", "-q", str(file)])
    assert again_played.exit_code == 0, again_played.output


def test_gates_are_asked_in_their_order() -> None:
    view = view_of(dead("host1", 1), answering("host2"))
    assert [gate for gate, _ in again.gates_of(view, "host1", FAILURE)] == [each.value for each in Gate]
    assert gates.closed(view, view.hosts["host1"]) is None


def test_a_milder_rung_asks_fewer_gates() -> None:
    view = view_of(host("host1", {**UNPLUGGED, **COMPLAINING, Layer.NETWORK: WELL}), answering("host2"))
    verdict = again.judge(view, "host1")
    assert (verdict.kind, verdict.what) == ("launched", "service_restart")
    assert again.wanted(view, "host1") == "service_restart"
    assert "unproven" not in dict(again.gates_of(view, "host1", "service_restart"))


def test_a_view_judged_by_the_same_policy_is_the_same() -> None:
    for looks in (CUT, NO_BMC, UNPLUGGED):
        view = view_of(host("host1", looks), answering("host2"), unread("host3"))
        assert again.judge(again.under(view, view.policy), "host1") == again.judge(view, "host1")


def test_a_launch_of_the_round_counts_for_those_after_it() -> None:
    view = view_of(dead("host1", 1), answering("host2"))
    launch = next(each for each in decide(view) if isinstance(each, Launch))
    counted = again.as_decided(
        view, [("host1", launch.state.value, launch.playbook), ("gone", "fencing", "x")]
    )
    assert counted.hosts["host1"].running == FAILURE


def test_reading_words_of_any_kind_fit(tmp_path: Path) -> None:
    view = view_of(silent("host1", evidence="\ud83d\0\x1b[31m"))
    read = snapshot.unpack(snapshot.pack(view))
    assert isinstance(read.hosts["host1"].track.layers[Layer.POWER].reading, Reading)
    assert read.hosts["host1"].track.layers[Layer.POWER].reading.verdict is Verdict.FAILED
