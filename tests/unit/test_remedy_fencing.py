"""The fence: no proof without an off command, readings after it, and silence (safety rules 1 and 2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime.bmc import BmcError
from hass_runtime.domain import Layer, Reading, Verdict
from hass_runtime.remedy import fencing
from hass_runtime.remedy.fencing import FenceError, check_proof, fence
from hass_runtime.remedy.silence import sign_of_life


class Bench:
    """A BMC that says what it is told to, and a clock that only moves by sleeping."""

    def __init__(self, says, refuses=(), answers=None):
        self.says = list(says)
        self.refuses = list(refuses)
        self.now = 1000.0
        self.offs = []
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


def test_the_complaint_of_a_bmc_that_is_off_already_is_tolerated():
    bench = Bench(["off"], refuses=["not in present state"] * 99)
    proof = bench.fence()
    assert proof.off_complaint == "not in present state"
    assert len(bench.offs) >= 2  # tried anew before each reading that counts


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
    assert len(Bench(["off"]).fence(reads=reads).reads) == fencing.MIN_READS


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
    assert bench.offs
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
