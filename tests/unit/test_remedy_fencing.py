"""The fence: no proof without an off command, readings after it, and silence (safety rules 1 and 2)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.bmc import BmcError
from hass_runtime.domain import Layer, Reading, Verdict
from hass_runtime.remedy.fencing import OffWatch, fence
from hass_runtime.remedy.proof import MIN_READS, FenceError, Word, check_proof, word_of
from hass_runtime.remedy.silence import ears_of, sign_of_life
from hass_runtime.settings import load_controller


class Bench:
    """A BMC that says what it is told to, and a clock that only moves by sleeping."""

    def __init__(self, says, refuses=(), answers=None):
        self.says = list(says)
        self.refuses = list(refuses)
        self.now = 1000.0
        self.offs = []
        self.accepted = []
        self.reads = []
        self._answers = answers or (lambda bench: None)

    def power(self):
        value = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        self.reads.append((self.now, value))
        if value not in ("on", "off"):
            raise BmcError(value)
        return value

    def power_off(self):
        self.offs.append(self.now)
        if self.refuses:
            complaint = self.refuses.pop(0)
            if complaint:
                raise BmcError(complaint)
        self.accepted.append(self.now)

    def answers(self):
        return self._answers(self)

    def sleep(self, seconds):
        self.now += seconds

    def fence(self, **changes):
        values = {"reads": 2, "interval": 1.0, "deadline": 60.0}
        return fence(
            "compute2",
            self,
            self.answers,
            clock=lambda: self.now,
            wall=lambda: self.now,
            sleep=self.sleep,
            **{**values, **changes},
        )


def test_off_is_sent_then_read_twice_then_silence():
    bench = Bench(["on", "on", "on", "off"])
    proof = bench.fence(bmc_name="192.0.2.131:623")
    assert proof.was_on is True
    assert [read.value for read in proof.reads] == ["off", "off"]
    assert all(read.at >= proof.sent_off_at for read in proof.reads)
    assert proof.silent_at >= proof.reads[-1].at
    assert len(bench.offs) == 1
    check_proof(proof.as_dict(), "compute2", 2, bench.now, 60.0)
    assert "off at" in proof.words()


def test_a_host_that_is_off_already_is_told_all_the_same():
    bench = Bench(["off"])
    proof = bench.fence()
    assert (proof.was_on, len(bench.offs)) == (False, 1)
    # The reading from before the command does not count.
    assert len(bench.reads) == 3


def test_a_bmc_that_refuses_the_off_command_proves_nothing_by_saying_off():
    # Somebody power-cycles the host: off for a while, whatever we were refused.
    bench = Bench(["off"], refuses=["insufficient privilege level"] * 99)
    with pytest.raises(FenceError, match=r"in doubt.*insufficient privilege level"):
        bench.fence(deadline=10.0)
    assert len(bench.offs) > 2, "it is tried again"


def test_only_readings_after_the_accepted_command_count():
    bench = Bench(["off"], refuses=["busy", "busy"])
    proof = bench.fence()
    assert len(bench.offs) == 3
    assert proof.sent_off_at == bench.offs[-1]
    assert all(read.at >= bench.offs[-1] for read in proof.reads)
    assert proof.off_complaint == "busy"


def test_a_command_that_was_lost_and_then_refused_was_not_accepted():
    bench = Bench(["on"] * 13 + ["off"], refuses=["", *["busy"] * 99])
    with pytest.raises(FenceError, match="busy"):
        bench.fence(deadline=40.0)


def test_no_bmc_means_no_proof():
    with pytest.raises(FenceError, match="no proof possible"):
        fence("compute2", None, lambda: None)


@pytest.mark.parametrize("other", ["on", "no answer in 2 s", "garbage"])
def test_any_other_reading_begins_the_count_anew(other):
    bench = Bench(["on", "off", other, "off", "off"])
    proof = bench.fence()
    assert [at for at, _ in bench.reads][-2:] == [read.at for read in proof.reads]
    assert len(bench.reads) == 5


def test_a_bmc_that_takes_the_command_and_does_nothing_ends_in_doubt():
    bench = Bench(["on"])
    with pytest.raises(FenceError, match=r"in doubt.*the BMC says on"):
        bench.fence(deadline=25.0)
    assert len(bench.offs) > 1, "a lost command is sent again"


def test_a_dead_bmc_ends_in_doubt():
    bench = Bench(["no answer in 2 s"], refuses=["no answer in 2 s"] * 999)
    with pytest.raises(FenceError, match=r"in doubt.*no answer in 2 s"):
        bench.fence(deadline=10.0)


def test_a_host_that_answers_is_not_off_whatever_its_bmc_says():
    bench = Bench(["off"], answers=lambda bench: "network: 192.0.2.32 answers in 0.3 ms")
    with pytest.raises(FenceError, match="still answers: network"):
        bench.fence(deadline=10.0)


def test_silence_after_an_answer_needs_new_readings():
    signs = ["agent: nova-compute failed"]
    bench = Bench(["off"], answers=lambda bench: signs.pop() if signs else None)
    proof = bench.fence()
    assert len(bench.reads) == 5  # one before the command, two in vain, two that count
    assert [at for at, _ in bench.reads][-2:] == [read.at for read in proof.reads]


def test_who_cannot_listen_has_not_heard_silence():
    def broken(bench):
        raise OSError("no route")

    with pytest.raises(FenceError, match="cannot listen: no route"):
        Bench(["off"], answers=broken).fence(deadline=5.0)


@pytest.mark.parametrize("reads", [-1, 0, 1])
def test_one_reading_is_never_enough(reads):
    assert len(Bench(["off"]).fence(reads=reads).reads) == MIN_READS


@given(
    st.lists(st.sampled_from(["on", "off", "no answer"]), min_size=1, max_size=30),
    st.lists(st.sampled_from(["", "busy"]), max_size=30),
    st.lists(st.booleans(), min_size=1, max_size=10),
    st.integers(2, 5),
)
def test_every_proof_proves(says, refuses, answering, reads):
    pending = list(answering)

    def answers(bench):
        return "agent" if pending and pending.pop(0) else None

    bench = Bench(says, refuses, answers)
    try:
        proof = bench.fence(reads=reads, deadline=40.0)
    except FenceError:
        return
    assert proof.sent_off_at in bench.accepted
    assert proof.sent_off_at <= proof.reads[0].at
    assert len(proof.reads) >= reads
    assert {read.value for read in proof.reads} == {"off"}
    # In a row: they are the last readings that were taken.
    assert [value for _, value in bench.reads[-len(proof.reads) :]] == ["off"] * len(proof.reads)


GOOD = {
    "host": "compute2",
    "sent_off_at": 100.0,
    "reads": [{"at": 101.0, "value": "off"}, {"at": 102.0, "value": "off"}],
    "silent_at": 102.5,
}


def test_a_good_proof_is_accepted():
    check_proof(GOOD, "compute2", 2, 110.0, 60.0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"host": "compute20"}, "about compute20"),
        ({"reads": GOOD["reads"][:1]}, "1 readings"),
        ({"reads": [*GOOD["reads"][:1], {"at": 102.0, "value": "on"}]}, "1 readings"),
        (
            {"reads": [{"at": 99.0, "value": "off"}, {"at": 102.0, "value": "off"}]},
            "older than the off command",
        ),
        ({"silent_at": 99.0}, "silent"),
        ({"sent_off_at": 10.0}, "old"),
        ({"sent_off_at": float("nan")}, "time of it is none"),
        ({"silent_at": 116.0}, "6 s in the future"),
        (
            {"sent_off_at": 9e9, "reads": [{"at": 9e9, "value": "off"}] * 2, "silent_at": 9e9},
            "in the future",
        ),
        ({"reads": None}, "incomplete"),
        ({"reads": [{"value": "off"}, {"value": "off"}]}, "incomplete"),
    ],
)
def test_a_bad_proof_evacuates_nothing(change, why):
    with pytest.raises(FenceError, match=why):
        check_proof({**GOOD, **change}, "compute2", 2, 110.0, 60.0)


def test_no_proof_evacuates_nothing():
    with pytest.raises(FenceError, match="nothing is evacuated"):
        check_proof({}, "compute2", 2, 110.0, 60.0)


def reading(layer, verdict, answered=False):
    return Reading("compute2", layer, verdict, "words", 0.0, answered)


@pytest.mark.parametrize(
    ("readings", "silent"),
    [
        ([(Layer.NETWORK, Verdict.FAILED, False), (Layer.SERVICE, Verdict.FAILED, False)], True),
        ([(Layer.NETWORK, Verdict.OK, True), (Layer.SERVICE, Verdict.FAILED, False)], False),
        # An agent that complains is an agent that lives.
        ([(Layer.NETWORK, Verdict.FAILED, False), (Layer.SERVICE, Verdict.FAILED, True)], False),
        ([(Layer.NETWORK, Verdict.UNKNOWN, False), (Layer.SERVICE, Verdict.FAILED, False)], False),
    ],
)
def test_silence_is_every_layer_asked_and_none_answering(readings, silent):
    assert (sign_of_life([reading(*one) for one in readings]) is None) is silent


# --- looking again, before each instance that is moved


class Still:
    """A host that was fenced: what its BMC says and what it answers, look by look."""

    def __init__(self, says, signs=(None,), **changes):
        self.says, self.signs = list(says), list(signs)
        self.now = 0.0
        self.looks = 0
        self.watch = OffWatch(
            "compute2",
            self,
            self.listen,
            **{"every": 1.0, "patience": 30.0, "clock": lambda: self.now, **changes},
        )

    def listen(self):
        self.looks += 1
        sign = self.signs.pop(0) if len(self.signs) > 1 else self.signs[0]
        if isinstance(sign, Exception):
            raise sign
        return sign

    def power(self):
        value = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if value not in ("on", "off"):
            raise BmcError(value)
        return value

    def power_off(self):
        raise AssertionError("a look changes nothing")

    def after(self, seconds):
        self.now += seconds
        return self.watch()


def test_one_look_serves_all_who_ask_at_once():
    still = Still(["off"])
    ready, slow = threading.Barrier(100), threading.Event()
    real = still.listen

    def listen():
        slow.wait(0.2)
        return real()

    still.watch = OffWatch("compute2", still, listen, clock=lambda: still.now)

    def ask(_):
        ready.wait(30)
        return still.watch()

    with ThreadPoolExecutor(100) as pool:
        assert all(look.off for look in pool.map(ask, range(100)))
    assert still.looks == 1


def test_a_look_is_soon_too_old():
    still = Still(["off"])
    assert [still.after(seconds).off for seconds in (0.0, 0.9, 0.2, 0.2)] == [True] * 4
    assert still.looks == 2


def test_a_host_that_was_seen_on_needs_a_new_fence():
    still = Still(["off", "on", "off"])
    assert still.after(0.0).off
    for _ in range(3):
        look = still.after(5.0)
        assert (look.off, look.final) == (False, True)
        assert look.words == "compute2 came back during its evacuation: its BMC says on"


def test_a_host_that_answers_came_back_whatever_its_bmc_says():
    look = Still(["off"], ["network: 192.0.2.32 answers in 0.3 ms"]).watch()
    assert (look.off, look.final) == (False, True)
    assert "came back during its evacuation: it answers (network" in look.words


@pytest.mark.parametrize(
    ("says", "sign", "words"),
    [
        ("no answer in 5 s", None, "its BMC says no answer in 5 s"),
        ("off", "cannot tell on layer network: ping is not installed", "ping is not installed"),
        ("off", OSError("no route"), "cannot listen: no route"),
    ],
)
def test_who_cannot_look_has_not_seen_it_off(says, sign, words):
    still = Still([says], [sign])
    look = still.watch()
    assert (look.off, look.final) == (False, False)
    assert "cannot be seen off any more during its evacuation" in look.words
    assert words in look.words
    assert not still.after(29.0).final
    assert still.after(2.0).final


def test_a_bmc_that_answers_again_in_time_goes_on():
    still = Still(["no answer", "off", "no answer"])
    assert [still.after(seconds).off for seconds in (0.0, 20.0, 20.0)] == [False, True, False]
    assert not still.after(20.0).final, "counted from the last time it was seen"


def test_no_bmc_was_never_seen_off():
    look = OffWatch("compute2", None, lambda: None)()
    assert (look.off, look.final) == (False, True)


# --- who is listened for


@pytest.mark.parametrize(("key", "layers"), [("", [Layer.NETWORK]), ("k", [Layer.NETWORK, Layer.SERVICE])])
def test_the_agent_is_listened_for_where_there_is_one(key, layers, tmp_path):
    path = tmp_path / "hass.conf"
    path.touch(mode=0o600)
    path.write_text(
        "[openstack]\nopenstack_auth_url = http://127.0.0.1:1/v3\nopenstack_admin_password = x\n"
        "[cluster]\nhosts = compute1\n" + (f"[detection]\npolling_key = {key * 32}\n" if key else "")
    )
    assert [ear.layer for ear in ears_of(load_controller(str(path), {}))] == layers


# --- the word of a person who has seen to it that the host is off

ANNA = Word("anna", "cords pulled", 990.0)


def by_word(bench, bmc=True, **changes):
    values = {"reads": 2, "interval": 1.0, "deadline": 10.0, "word": ANNA, "max_age": 600.0, **changes}
    return fence(
        "compute2", bench if bmc else None, bench.answers, clock=lambda: bench.now, wall=lambda: bench.now,
        sleep=bench.sleep, **values,
    )  # fmt: skip


def check(proof, now, host="compute2", max_age=600.0):
    check_proof(proof, host, 2, now, max_age)


def test_a_person_can_prove_a_host_without_a_bmc_off():
    heard = []
    bench = Bench(["on"], answers=lambda bench: heard.append(bench.now))
    proof = by_word(bench, bmc=False)
    assert bench.offs == []
    assert proof.heard == tuple(heard)
    assert len(set(heard)) == 2, "listened to twice, not at the same moment"
    assert proof.person == ANNA
    assert "anna confirmed it" in proof.words()
    assert "(cords pulled)" in proof.words()
    check(proof.as_dict(), bench.now)


def test_a_word_that_grows_too_old_while_the_host_is_listened_to_proves_nothing():
    bench = Bench(["on"], answers=lambda bench: None)
    young_enough = Word("anna", "", bench.now - 599.0)
    with pytest.raises(FenceError, match=r"what anna confirmed is 60\d s old, .*: confirm it anew"):
        by_word(bench, bmc=False, word=young_enough)


@pytest.mark.parametrize("answers", [[None, "agent: ok"], ["agent: ok"]])
def test_a_host_that_answers_is_not_off_whatever_a_person_says(answers):
    bench = Bench(["on"], answers=lambda bench: answers.pop(0))
    with pytest.raises(FenceError, match="anna confirmed it as off, but it still answers: agent: ok"):
        by_word(bench, bmc=False)


def test_a_host_that_answered_while_its_bmc_was_asked_is_not_off_whatever_a_person_says():
    bench = Bench(["off"], answers=lambda bench: "agent: ok" if bench.now < 1006 else None)
    bench.says = ["off", "off", "off", *["no answer"] * 3]
    with pytest.raises(FenceError, match=r"still answers \(agent: ok\); that anna confirmed it"):
        by_word(bench)


def test_nobody_able_to_listen_is_no_silence_for_a_person_either():
    bench = Bench(["on"], answers=lambda bench: "cannot tell on layer network: no ping")
    with pytest.raises(FenceError, match="anna confirmed it as off, but cannot tell on layer network"):
        by_word(bench, bmc=False)


def test_a_bmc_that_says_on_outweighs_a_person():
    bench = Bench(["on"])
    with pytest.raises(FenceError, match=r"the BMC says on; that anna confirmed it as off does not count"):
        by_word(bench)
    assert bench.offs, "it was tried all the same"


def test_a_bmc_that_said_on_and_fell_silent_outweighs_a_person():
    with pytest.raises(FenceError, match="the BMC says on; that anna"):
        by_word(Bench(["on", "on", "no answer"]))


def test_a_bmc_that_said_off_last_has_nothing_against_a_person():
    proof = by_word(Bench(["on", "on", "off", "no answer"]))
    assert proof.person == ANNA


@pytest.mark.parametrize("refuses", [[], ["no answer"] * 99])
def test_a_bmc_that_cannot_be_read_does_not_stand_in_the_way(refuses):
    proof = by_word(Bench(["no answer"], refuses))
    assert (proof.person, proof.reads, proof.sent_off_at) == (ANNA, (), None)


def test_a_bmc_that_proves_it_needs_nobodys_word():
    bench = Bench(["on", "on", "off"])
    proof = by_word(bench, word=Word("anna", "", -9e9))
    assert (proof.person, proof.heard) == (None, ())
    check(proof.as_dict(), bench.now)


@pytest.mark.parametrize(("at", "why"), [(300.0, "700 s old"), (1020.0, "20 s in the future")])
def test_a_word_has_to_be_of_now(at, why):
    with pytest.raises(FenceError, match=why):
        by_word(Bench(["on"]), bmc=False, word=Word("anna", "", at))


SAID = {
    "host": "compute2", "bmc": "", "was_on": None, "sent_off_at": None, "reads": [], "silent_at": 105.0,
    "person": {"by": "anna", "reason": "", "at": 99.0}, "heard": [100.0, 105.0],
}  # fmt: skip


def test_a_persons_proof_is_accepted():
    check(SAID, 110.0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"host": "compute20"}, "about compute20"),
        ({"person": {}}, "incomplete"),
        ({"person": {"reason": "x", "at": 99.0}}, "by is None"),
        ({"person": {"by": " ", "at": 99.0}}, "by is ' '"),
        ({"person": {"by": "anna"}}, "at is None"),
        ({"person": {"by": "anna", "at": "nan"}}, "at is 'nan'"),
        ({"person": {"by": "anna", "at": True}}, "at is True"),
        ({"person": {"by": "anna", "at": 101.0}}, "not found silent after anna confirmed it"),
        ({"person": {"by": "anna", "at": -600.0}}, "710 s old"),
        ({"person": {"by": "anna", "at": 120.0}, "heard": [120.0, 121.0], "silent_at": 121.0}, "future"),
        ({"heard": [100.0]}, "silent 1 times"),
        ({"heard": [100.0, 100.0]}, "silent 1 times"),
        ({"heard": [100.0, float("nan")]}, "time of it is none"),
        ({"heard": None}, "incomplete"),
        ({"person": "anna"}, "incomplete"),
    ],
)
def test_a_persons_bad_proof_evacuates_nothing(change, why):
    with pytest.raises(FenceError, match=why):
        check({**SAID, **change}, 110.0)


def test_no_confirmation_is_none():
    assert word_of({}) is None
    assert word_of(None) is None
    assert word_of({"by": "anna", "reason": None, "at": "5"}) == Word("anna", "", 5.0)


@given(
    st.one_of(st.none(), st.lists(st.sampled_from(["on", "off", "no answer"]), min_size=1, max_size=15)),
    st.lists(st.sampled_from(["", "busy"]), max_size=15),
    st.lists(st.sampled_from([None, None, "agent", "cannot tell"]), min_size=1, max_size=10),
    st.floats(-1000, 2000),
)
def test_every_proof_by_a_person_is_silent_and_contradicted_by_no_bmc(says, refuses, signs, at):
    left, said = list(signs), []

    def answers(bench):
        said.append(left.pop(0) if left else None)
        return said[-1]

    bench = Bench(says or ["off"], refuses, answers)
    try:
        proof = by_word(bench, bmc=says is not None, word=Word("anna", "", at))
    except FenceError:
        return
    check(proof.as_dict(), bench.now)
    if proof.person is not None:
        assert said[-2:] == [None, None]
        assert "agent" not in said
        assert says is None or [value for _, value in bench.reads][-1] != "on"


# --- looking again at a host that a person confirmed


@pytest.mark.parametrize("says", [None, "no answer", "off"])
def test_a_confirmed_host_is_off_as_long_as_it_is_silent(says):
    signs = [None, None, "network: it answers"]
    still = Still([says or "off"])
    still.watch = OffWatch(
        "compute2", still if says else None, lambda: signs.pop(0), by_word=True, clock=lambda: still.now
    )
    assert still.watch().off
    assert still.after(2.0).off
    look = still.after(2.0)
    assert (look.off, look.final) == (False, True)
    assert "came back" in look.words


def test_a_confirmed_host_whose_bmc_says_on_is_not_off():
    look = Still(["on"], by_word=True).watch()
    assert (look.off, look.final) == (False, True)
    assert "its BMC says on" in look.words


def test_a_confirmed_host_that_nobody_can_listen_for_was_not_seen_off():
    still = Still(["no answer"], ["cannot listen: no route"], by_word=True)
    look = still.watch()
    assert (look.off, look.final) == (False, False)
    assert "no route" in look.words
    assert still.after(31.0).final
