"""Records and readings of sensors as bytes, and a BMC that is slow, odd, broken or lies about its records."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hass_runtime import bmc_sensors
from hass_runtime.bmc import BmcClient, BmcError
from hass_runtime.bmc_sensors import BmcSensors, decode, gauge, text
from hass_runtime.detect.gauging import Gauge, Opinion
from hass_runtime.detect.sensors import SensorDetector
from hass_runtime.domain import Bmc, Host, Layer, Verdict
from hass_runtime.settings.model import SensorSettings

BMC = Bmc("192.0.2.1", "admin", "s3cret")
LIMITS = SensorSettings(("Inlet Temp",), (), 80.0, 10.0, 300.0)
TEMPERATURE, FAN, PROCESSOR, SUPPLY, INTRUSION = 0x01, 0x04, 0x07, 0x08, 0x05
AVAILABLE = 0xC0


def full(number: int, name: bytes, kind: int = TEMPERATURE, unit: int = 1, **other: int) -> bytes:
    """A Full Sensor Record; ``coding`` is that of the name, ``form`` how the number is to be read."""
    body = [other.get("owner", 0x20), other.get("lun", 0), number, 7, 1, 0x7F, 0x68, kind, 1]
    body += [0x95, 0x7A, 0x95, 0x7A, 0x3F, 0x3F, other.get("form", 0), unit, 0]
    body += [
        other.get("linearization", 0),
        other.get("m", 1),
        0,
        other.get("b", 0),
        0,
        0,
        other.get("exponents", 0),
    ]
    body += [0, 0, 0, 0, 0xFF, 0, 120, 110, 100, 0, 2, 4, 1, 1, 0, 0, 0]
    body += [other.get("coding", 3) << 6 | len(name), *name]
    return bytes([number, 0, 0x51, 1, len(body), *body])


def compact(number: int, name: bytes, kind: int, reading_type: int = 0x6F) -> bytes:
    body = [
        0x20,
        0,
        number,
        7,
        1,
        0x7F,
        0x40,
        kind,
        reading_type,
        0xFF,
        0x7F,
        0xFF,
        0x7F,
        0xFF,
        0x7F,
        0xC0,
        0,
        0,
    ]
    body += [1, 0, 0, 0, 0, 0, 0, 0, 0xC0 | len(name), *name]
    return bytes([number, 0, 0x51, 2, len(body), *body])


def shown(record: bytes, *reading: int) -> Gauge:
    entry = decode(record)
    assert entry is not None
    return gauge(entry, bytes(reading))


def test_a_temperature() -> None:
    assert shown(full(1, b"Inlet Temp"), 24, AVAILABLE, 0xC0) == Gauge(
        "1", "Inlet Temp", 24.0, "degrees C", 1.0, Opinion.FINE
    )


@pytest.mark.parametrize(
    ("bits", "opinion", "words"),
    [
        (0x00, Opinion.FINE, ""),
        (0x01, Opinion.WARNING, "lower non-critical"),
        (0x03, Opinion.CRITICAL, "lower critical"),
        (0x07, Opinion.CRITICAL, "lower non-recoverable"),
        (0x08, Opinion.WARNING, "upper non-critical"),
        (0x18, Opinion.CRITICAL, "upper critical"),
        (0x38, Opinion.CRITICAL, "upper non-recoverable"),
        (0xC0, Opinion.FINE, ""),
    ],
)
def test_comparison_with_the_bmcs_thresholds(bits: int, opinion: Opinion, words: str) -> None:
    found = shown(full(1, b"Inlet Temp"), 50, AVAILABLE, bits)
    assert found.opinion is opinion
    assert found.states == ((f"the BMC's own {words} threshold",) if words else ())


@pytest.mark.parametrize("flags", [0x00, 0x80, 0xE0, 0x60, 0x20])
def test_unavailable_or_not_scanned_says_nothing_whatever_the_bits(flags: int) -> None:
    for record in (full(1, b"Temp"), compact(1, b"CPU", PROCESSOR)):
        assert shown(record, 0, flags, 0xFF, 0xFF) == Gauge("1", decode(record).sensor_name)


@pytest.mark.parametrize("reading", [(), (24,)])
def test_a_short_reading_says_nothing(reading: tuple[int, ...]) -> None:
    assert shown(full(1, b"Temp"), *reading).opinion is None


def test_a_reading_without_comparison_is_a_number_only() -> None:
    found = shown(full(1, b"Temp"), 24, AVAILABLE)
    assert (found.value, found.opinion) == (24.0, Opinion.FINE)


def test_units_and_factors() -> None:
    fan = shown(full(3, b"Fan1", FAN, 18, m=60), 70, AVAILABLE, 0)
    assert (fan.value, fan.unit, fan.step) == (4200.0, "RPM", 60.0)
    warm = shown(full(3, b"Front", unit=2), 212, AVAILABLE, 0)  # degrees Fahrenheit
    assert (warm.value, warm.unit) == (pytest.approx(100.0), "degrees C")
    cold = shown(full(3, b"Margin", form=0x80), 0xEC, AVAILABLE, 0)  # two's complement
    assert cold.value == -20.0


def test_a_number_beyond_reason_says_nothing_at_all() -> None:
    found = shown(full(1, b"Temp", m=255, exponents=0x70, linearization=8), 255, AVAILABLE, 0x18)
    assert (found.value, found.opinion) == (None, None)


def test_a_threshold_sensor_without_a_number_keeps_the_bmcs_opinion() -> None:
    # The comparison bits are no states: bit 3 is the upper non-critical threshold.
    assert shown(full(1, b"Temp", form=0xC0), 0, AVAILABLE, 0x08).opinion is Opinion.WARNING


@pytest.mark.parametrize(
    ("kind", "reading_type", "state", "opinion"),
    [
        (PROCESSOR, 0x6F, 7, Opinion.FINE),  # present
        (PROCESSOR, 0x6F, 1, Opinion.CRITICAL),  # thermal trip
        (0x0C, 0x6F, 1, Opinion.CRITICAL),  # memory: uncorrectable error
        (0x0C, 0x6F, 0, Opinion.WARNING),
        (FAN, 0x07, 2, Opinion.CRITICAL),
        (FAN, 0x07, 1, Opinion.WARNING),
        (FAN, 0x0B, 1, Opinion.WARNING),  # redundancy lost
        (SUPPLY, 0x6F, 3, Opinion.WARNING),  # a second one has power still
        (0x0D, 0x6F, 1, Opinion.WARNING),  # a drive of an array
        (INTRUSION, 0x6F, 0, Opinion.FINE),  # somebody has the lid off
        (0x23, 0x6F, 0, Opinion.FINE),  # the watchdog timer ran out once: the OS layer's business
        (0xC5, 0x6F, 1, Opinion.FINE),  # a maker's own
        (0x01, 0x75, 1, Opinion.FINE),
    ],
)
def test_sensors_with_states(kind: int, reading_type: int, state: int, opinion: Opinion) -> None:
    found = shown(compact(9, b"Thing", kind, reading_type), 0, AVAILABLE, 1 << state, 0x80)
    assert (found.name, found.opinion, found.value) == ("Thing", opinion, None)


def test_sensors_of_others_and_other_records_are_left_out() -> None:
    assert decode(full(1, b"ME Temp", owner=0x2C)) is None
    assert decode(full(1, b"BIOS", owner=0x41)) is None
    assert decode(bytes([1, 0, 0x51, 0x12, 3, 0x20, 0, 0])) is None
    assert decode(b"") is None


def test_names() -> None:
    assert text(0xC0 | 4, b"Temp") == "Temp"
    assert text(0xC0 | 3, b"Tempest") == "Tem", "its length counts, not what follows"
    assert text(0x83, bytes([0x29, 0xDC, 0xA6])) == "IPMI", "the example of the specification"
    assert text(0x42, bytes([0x12, 0xAB])) == "12 -"
    assert text(0xC5, "\xb0Cold".encode("latin-1")) == "°Cold"
    assert decode(full(5, b"\x00\n")).sensor_name == "sensor 5"
    assert decode(full(5, b"In\nlet\x00")).sensor_name == "In let"


@given(st.binary(max_size=80), st.binary(max_size=8))
def test_no_bytes_break_the_decoding(record: bytes, reading: bytes) -> None:
    entry = decode(record)
    if entry is not None:
        assert gauge(entry, reading).key


@given(st.binary(min_size=48, max_size=48), st.sampled_from([1, 2, 3]), st.binary(max_size=8))
def test_no_sensor_record_breaks_the_decoding(body: bytes, kind: int, reading: bytes) -> None:
    entry = decode(bytes([1, 0, 0x51, kind, len(body), 0x20]) + body[1:])
    if entry is not None:
        found = gauge(entry, reading)
        assert len(reading) >= 2 or found.opinion is None


@given(st.integers(0, 255), st.binary(max_size=40))
def test_no_name_breaks_the_decoding(type_length: int, data: bytes) -> None:
    assert len(text(type_length, data)) <= 2 * 31


class FakeBmc:
    """Answers as a BMC would. ``limit`` is the most of a record that it returns at once."""

    def __init__(self, records: list[bytes], readings: dict[int, tuple[int, ...]]) -> None:
        self.records = records
        self.readings = readings
        self.limit = 255
        self.power = "on"
        self.changed_at = 7
        self.lose_reservations = 0
        self.reserves = True
        self.asked: list[tuple[int, int]] = []
        self.before: Callable[[], None] = lambda: None

    def ask(self, netfn: int, command: int, data: tuple[int, ...] = (), **_: object) -> bytes:
        self.before()
        self.asked.append((netfn, command))
        if (netfn, command) == (6, 1):
            return bytes([0x20, 0x81, 1, 2, 2, 0x9F, 0xA2, 0x02, 0, 1, 0])
        if (netfn, command) == (0x0A, 0x20):
            count = len(self.records).to_bytes(2, "little")
            return b"\x51" + count + bytes(2) + self.changed_at.to_bytes(4, "little") + bytes(4) + b"\x02"
        if (netfn, command) == (0x0A, 0x22):
            if not self.reserves:
                raise BmcError("BMC: refused: invalid command", 0xC1)
            return b"\x01\x00"
        if (netfn, command) == (0x0A, 0x23):
            return self._record(data)
        number = data[0]
        if number not in self.readings:
            raise BmcError("BMC: refused: not there", 0xCB)
        return bytes(self.readings[number])

    def _record(self, data: tuple[int, ...]) -> bytes:
        if self.lose_reservations:
            self.lose_reservations -= 1
            raise BmcError("BMC: refused: reservation lost", 0xC5)
        at, offset, size = data[2] | data[3] << 8, data[4], data[5]
        following = at + 1 if at + 1 < len(self.records) else 0xFFFF
        record = self.records[at]
        piece = record[offset : None if size == 0xFF else offset + size]
        if len(piece) > self.limit:
            raise BmcError("BMC: refused: cannot return so much", 0xCA)
        return following.to_bytes(2, "little") + piece

    def count(self, netfn: int, command: int) -> int:
        return self.asked.count((netfn, command))


RECORDS = [full(1, b"Inlet Temp"), full(2, b"Fan1", FAN, 18, m=60), compact(3, b"PSU1", SUPPLY)]
READINGS = {1: (24, AVAILABLE, 0), 2: (70, AVAILABLE, 0), 3: (0, AVAILABLE, 1, 0x80)}
HOST = Host("compute1", "192.0.2.31", bmc=BMC)


@pytest.fixture
def bmc(monkeypatch: pytest.MonkeyPatch) -> FakeBmc:
    fake = FakeBmc(list(RECORDS), dict(READINGS))
    monkeypatch.setattr(BmcClient, "ask", lambda self, *args, **more: fake.ask(*args, **more))
    monkeypatch.setattr(BmcClient, "power", lambda self: fake.power)
    return fake


def read(detector: SensorDetector) -> tuple[Verdict, str]:
    reading = detector.read(HOST)
    assert (reading.subject, reading.layer, reading.answered) == ("compute1", Layer.HARDWARE, False)
    assert "s3cret" not in reading.evidence
    return reading.verdict, reading.evidence


def test_records_are_read_once_and_again_when_they_change(bmc: FakeBmc) -> None:
    detector = SensorDetector(LIMITS, 2.0)
    for _ in range(3):
        assert read(detector) == (Verdict.OK, "Inlet Temp 24 degrees C; 3 sensors are fine")
    assert bmc.count(0x0A, 0x23) == 3
    bmc.records[0], bmc.changed_at = full(1, b"Exhaust"), 8
    assert read(detector) == (Verdict.OK, "3 sensors are fine; no sensor is called Inlet Temp")
    assert bmc.count(0x0A, 0x23) == 6


@pytest.mark.parametrize("limit", [60, 30, 16, 8])
def test_records_in_pieces(bmc: FakeBmc, limit: int) -> None:
    bmc.limit = limit
    detector = SensorDetector(LIMITS, 2.0)
    assert read(detector)[0] is Verdict.OK


def test_lost_reservations(bmc: FakeBmc) -> None:
    bmc.lose_reservations = 3
    assert read(SensorDetector(LIMITS, 2.0))[0] is Verdict.OK
    bmc.lose_reservations = 1 << 30
    assert read(SensorDetector(LIMITS, 2.0)) == (Verdict.UNKNOWN, "BMC: refused: reservation lost")


def test_a_bmc_without_reservations(bmc: FakeBmc) -> None:
    bmc.reserves = False
    assert read(SensorDetector(LIMITS, 2.0))[0] is Verdict.OK


def test_records_in_a_ring_end(bmc: FakeBmc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bmc, "_record", lambda data: b"\x00\x00" + RECORDS[0])
    verdict, evidence = read(SensorDetector(LIMITS, 2.0))
    assert verdict is Verdict.UNKNOWN
    assert "has no end" in evidence


def test_records_that_take_long_are_read_on_at_the_next_look(
    bmc: FakeBmc, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(bmc_sensors.time, "monotonic", lambda: clock[0])

    def slow() -> None:
        clock[0] += 1.0

    bmc.before = slow
    sensors = BmcSensors(BmcClient(BMC, 1.0), 1.0)
    with pytest.raises(BmcError, match="2 of 3 records"):
        sensors.look()
    look = sensors.look()
    assert bmc.count(0x0A, 0x23) == 3
    assert (len(look.gauges), look.total) == (2, 3), "the readings did not fit in any more"


def test_power_off_means_that_readings_mean_nothing(bmc: FakeBmc) -> None:
    bmc.readings[2] = (0, AVAILABLE, 0x07)
    detector = SensorDetector(LIMITS, 2.0)
    assert read(detector)[0] is Verdict.FAILED
    bmc.power = "off"
    assert read(detector) == (
        Verdict.UNKNOWN,
        "its power is off: its sensors say nothing without power",
    )


def test_a_sensor_that_is_refused_is_not_there(bmc: FakeBmc) -> None:
    del bmc.readings[3]
    assert read(SensorDetector(LIMITS, 2.0)) == (Verdict.OK, "Inlet Temp 24 degrees C; 2 sensors are fine")
    bmc.readings.clear()
    assert read(SensorDetector(LIMITS, 2.0)) == (Verdict.UNKNOWN, "its sensors say nothing")


def test_a_trend_over_several_looks(bmc: FakeBmc) -> None:
    clock = [0.0]
    detector = SensorDetector(LIMITS, 2.0, clock=lambda: clock[0])
    verdicts = []
    for step in range(14):
        bmc.readings[1] = (64 + step, AVAILABLE, 0)
        clock[0] = 20.0 * step
        verdicts.append(read(detector))
    assert verdicts[2][0] is Verdict.OK
    assert verdicts[-1] == (Verdict.WARNING, "Inlet Temp 77 degrees C rises 3 a minute: 80 in 60 s")
    bmc.readings[1] = (77, 0x20, 0)  # says nothing: what was before does not count any more
    assert read(detector)[0] is Verdict.OK
    bmc.readings[1] = (78, AVAILABLE, 0)
    assert read(detector)[0] is Verdict.OK


def test_a_sensor_past_that_is_read_often_stays_small(bmc: FakeBmc) -> None:
    clock = [0.0]
    detector = SensorDetector(LIMITS, 2.0, clock=lambda: clock[0])
    for step in range(2000):
        clock[0] = 0.25 * step
        read(detector)
    past = detector._hosts["compute1"].past["1"]
    assert 100 < len(past) < 300
    assert past[-1].at - past[0].at > 280


@pytest.mark.parametrize(
    "error", [BmcError("BMC 192.0.2.1:623: no answer in 2 s"), OSError("boom"), KeyError(1), IndexError()]
)
def test_it_never_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def power(self: BmcClient) -> str:
        raise error

    monkeypatch.setattr(BmcClient, "power", power)
    verdict, evidence = read(SensorDetector(LIMITS, 2.0))
    assert verdict is Verdict.UNKNOWN
    assert "192.0.2.1" in evidence


def test_a_host_without_a_bmc_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(BmcClient, "ask")
    detector = SensorDetector(LIMITS, 2.0)
    reading = detector.read(Host("compute1", "192.0.2.31"))
    assert (reading.verdict, reading.evidence) == (Verdict.UNKNOWN, "host has no BMC")


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=30))
def test_any_answers_make_a_reading(answers: list[bytes]) -> None:
    turn = [0]

    def ask(self: BmcClient, *args: object, **more: object) -> bytes:
        turn[0] += 1
        return answers[turn[0] % len(answers)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BmcClient, "ask", ask)
        patch.setattr(BmcClient, "power", lambda self: "on")
        found = SensorDetector(LIMITS, 0.2).read(HOST)
    assert found.verdict in set(Verdict)
    assert found.evidence
