"""Reads the sensors of a BMC: what it has (its SDR repository, kept), and what they show.

What a record and a reading mean is decoded by pyghmi (``SDREntry``). Not by its ``SDR``, which reads the
repository: that one shares what it read among all BMCs of a model, so that two hosts of the same model
with different parts get each other's sensors; walks without an end through a repository whose records
form a ring, or when reservations are lost again and again; cannot go on where a time limit stopped it; and
does not come back from a name in 6-bit ASCII. Names and the comparison with thresholds are ours for that
and for two more reasons: pyghmi takes a name in Latin-1 for UTF-8, and a threshold sensor without a number
for a discrete one.

Only the BMC's own sensors are read. Those of other controllers behind it would need bridged commands, and
by their numbers alone the BMC would answer for others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pyghmi.constants import Health
from pyghmi.ipmi import sdr
from pyghmi.ipmi.private import constants as events

from hass_runtime.bmc import BmcClient, BmcError
from hass_runtime.detect.gauging import OWN, Gauge, Look, Opinion

_APP, _SENSOR, _STORAGE = 0x06, 0x04, 0x0A  # netfn
_DEVICE_ID = 0x01
_READING, _FACTORS = 0x2D, 0x23
_REPOSITORY_INFO, _RESERVE, _RECORD = 0x20, 0x22, 0x23
_CANNOT_RETURN_SO_MUCH = frozenset({0xC3, 0xC7, 0xC8, 0xCA, 0xFF})
_RESERVATION_LOST = 0xC5

_BMC = 0x20  # the BMC's own address, as the owner of a sensor
_LAST = 0xFFFF
_HEADER = 5
_CHUNKS = (0xFF, 64, 32, 16, 8)  # bytes at a time; 0xff is the whole record, what most BMCs can do
_MOST_RECORDS = 4096
_MOST_RESERVATIONS = 8  # lost in one look
_MOST_VALUE = 1e9  # what shows more is broken
_COMMANDS = 5.0  # timeouts of a command that a whole look may take

_THRESHOLD = 0x01  # event/reading type
# Bits of the comparison in Get Sensor Reading: what the BMC thinks of it, and its words.
_BITS = (
    (Opinion.WARNING, "lower non-critical"),
    (Opinion.CRITICAL, "lower critical"),
    (Opinion.CRITICAL, "lower non-recoverable"),
    (Opinion.WARNING, "upper non-critical"),
    (Opinion.CRITICAL, "upper critical"),
    (Opinion.CRITICAL, "upper non-recoverable"),
)
# Sensors with states instead of numbers, by sensor type. About people, the past or the operating system, and
# so not about the hardware's health: physical and platform security, event log, watchdog, button, boot, OS,
# session, version.
_NOT_JUDGED = frozenset({0x05, 0x06, 0x10, 0x11, 0x14, 0x1D, 0x1E, 0x1F, 0x20, 0x23, 0x24, 0x2A, 0x2B})
# A host goes on without these (a second supply, a disk of an array, a battery), or they remember what has
# been: emptied by live migration it loses nothing, switched off its instances do. Power supply, power unit,
# drive, firmware progress, critical interrupt, add-in card, cable, slot, monitor, LAN, management, battery.
_AT_MOST_WARNING = frozenset({0x08, 0x09, 0x0D, 0x0F, 0x13, 0x17, 0x1B, 0x21, 0x26, 0x27, 0x28, 0x29})
_REDUNDANCY = frozenset({0x0A, 0x0B})  # reading types: availability and redundancy, likewise

_UNITS = {"°C": "degrees C", "°F": "degrees C", "K": "degrees C"}


@dataclass
class _Repository:
    """What a BMC has, as far as it has been read. ``stamp`` changes whenever the repository does."""

    stamp: bytes
    following: int = 0
    seen: set[int] = field(default_factory=set)
    sensors: list[Any] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return self.following == _LAST

    @property
    def dated(self) -> bool:
        """Whether its BMC keeps account of changes; some say the same for ever."""
        return self.stamp[2:6] not in (bytes(4), b"\xff" * 4)


class BmcSensors:
    """The sensors of one BMC. Not thread-safe: one look at a time.

    A look ends within five times ``timeout`` seconds, and a single command within ``timeout``. A repository
    that cannot be read in one look is read on at the next.
    """

    def __init__(self, client: BmcClient, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._device: tuple[int, int] | None = None
        self._repository: _Repository | None = None
        self._chunk = 0  # position in _CHUNKS

    def look(self) -> Look:
        """Read them all, or as many as the time allows. Raises BmcError, with the reason in one line."""
        try:
            return self._look(_Asking(self._client, time.monotonic() + _COMMANDS * self._timeout))
        except BmcError as error:
            if self._repository is not None and (error.code is not None or not self._repository.dated):
                self._repository = None
            raise

    def _look(self, bmc: _Asking) -> Look:
        if self._client.power() == "off":
            raise BmcError("its power is off: its sensors say nothing without power")
        self._device = self._device or _device(bmc)
        maker, product = self._device
        repository = self._known(bmc)
        self._read_on(bmc, repository, maker, product)
        sensors = repository.sensors
        gauges = []
        for entry in sensors:
            if bmc.left <= 0:
                break
            gauges.append(_gauge(bmc, entry))
        return Look(tuple(gauges), len(sensors), maker)

    def _known(self, bmc: _Asking) -> _Repository:
        try:
            info = bmc.ask(_STORAGE, _REPOSITORY_INFO)
        except BmcError as error:
            if error.code is None:
                raise
            why = str(error).removeprefix(f"{self._client.name}: ")
            raise BmcError(f"{self._client.name} has no list of its sensors: {why}", error.code) from error
        if len(info) < 13:
            raise BmcError(f"{self._client.name}: garbage instead of an account of its sensors")
        stamp = info[1:3] + info[5:13]  # number of records, times of the last addition and erasure
        if self._repository is None or self._repository.stamp != stamp:
            self._repository = _Repository(stamp, _LAST if info[1:3] == bytes(2) else 0)
        return self._repository

    def _read_on(self, bmc: _Asking, repository: _Repository, maker: int, product: int) -> None:
        reservation = b""
        lost = 0
        while not repository.complete:
            if bmc.left <= 0:
                count = f"{len(repository.seen)} of {int.from_bytes(repository.stamp[:2], 'little')}"
                raise BmcError(f"{self._client.name}: its list of sensors is being read: {count} records")
            at = repository.following
            if at in repository.seen or len(repository.seen) >= _MOST_RECORDS:
                self._repository = None
                raise BmcError(f"{self._client.name}: garbage: the list of its sensors has no end")
            try:
                reservation = reservation or _reserve(bmc)
                following, record = self._record(bmc, reservation, at)
            except BmcError as error:
                lost += 1
                if error.code != _RESERVATION_LOST or lost > _MOST_RESERVATIONS:
                    raise
                reservation = b""
                continue
            repository.seen.add(at)
            repository.following = following
            entry = decode(record, maker, product)
            if entry is not None:
                repository.sensors.append(entry)

    def _record(self, bmc: _Asking, reservation: bytes, at: int) -> tuple[int, bytes]:
        """The number of the next record, and this one; in smaller pieces when the BMC can do no other."""
        while True:
            piece = _CHUNKS[self._chunk]
            try:
                return _read_record(bmc, reservation, at, piece)
            except BmcError as error:
                smaller = error.code in _CANNOT_RETURN_SO_MUCH or isinstance(error, _TooShort)
                if not smaller or self._chunk + 1 == len(_CHUNKS):
                    raise
                self._chunk += 1


class _TooShort(BmcError):
    """Fewer bytes of a record than were asked for."""


class _Asking:
    """A BMC with a time limit over all questions of a look. Also what pyghmi's decoding asks through."""

    def __init__(self, client: BmcClient, deadline: float) -> None:
        self._client = client
        self._deadline = deadline
        self.name = client.name

    @property
    def left(self) -> float:
        return self._deadline - time.monotonic()

    def ask(self, netfn: int, command: int, data: tuple[int, ...] = (), lun: int = 0) -> bytes:
        return self._client.ask(netfn, command, data, lun=lun, within=max(0.1, self.left))


def _device(bmc: _Asking) -> tuple[int, int]:
    """Maker and product, by number."""
    data = bmc.ask(_APP, _DEVICE_ID)
    if len(data) < 11:
        raise BmcError(f"{bmc.name}: garbage instead of its identity")
    return int.from_bytes(data[6:9], "little"), int.from_bytes(data[9:11], "little")


def _reserve(bmc: _Asking) -> bytes:
    try:
        return bmc.ask(_STORAGE, _RESERVE)[:2].ljust(2, b"\0")
    except BmcError as error:
        if error.code is None:
            raise
        return bytes(2)  # it has no reservations, and needs none


def _read_record(bmc: _Asking, reservation: bytes, at: int, piece: int) -> tuple[int, bytes]:
    def read(offset: int, size: int) -> tuple[int, bytes]:
        data = bmc.ask(_STORAGE, _RECORD, (*reservation, at & 0xFF, at >> 8, offset, size))
        if len(data) < 3 or (size != 0xFF and len(data) != 2 + size):
            raise _TooShort(f"{bmc.name}: garbage instead of a record of its list of sensors")
        return int.from_bytes(data[:2], "little"), data[2:]

    following, record = read(0, piece if piece == 0xFF else _HEADER)
    while len(record) < _HEADER or len(record) < _HEADER + record[4]:
        if piece == 0xFF or len(record) < _HEADER:
            raise _TooShort(f"{bmc.name}: garbage instead of a record of its list of sensors")
        _, more = read(len(record), min(piece, _HEADER + record[4] - len(record)))
        record += more
    return following, record[: _HEADER + record[4]]


def _gauge(bmc: _Asking, entry: Any) -> Gauge:
    silent = Gauge(_key(entry), entry.sensor_name)
    try:
        data = bmc.ask(_SENSOR, _READING, (entry.sensor_number,), entry.sensor_lun)
    except BmcError as error:
        if error.code is None:
            raise
        return silent  # not there, or not now: a slot without a processor in it, for example

    def raw_command(netfn: int, command: int, data: tuple[float, ...]) -> dict[str, object]:
        # pyghmi asks for the factors of a value between two steps; there are none but for whole ones.
        whole = tuple(min(255, max(0, round(number))) for number in data)
        return {"code": 0, "data": bytearray(bmc.ask(netfn, command, whole, entry.sensor_lun))}

    try:
        return gauge(entry, data, raw_command)
    except BmcError:
        return silent  # without the factors there is no number


def gauge(entry: Any, data: bytes, raw_command: Callable[..., object] | None = None) -> Gauge:
    """What a sensor shows, from the answer to Get Sensor Reading.

    ``raw_command`` is asked by pyghmi for the factors of a sensor that is not linear; what it raises comes
    out here. Any other trouble makes a sensor that says nothing.
    """
    silent = Gauge(_key(entry), entry.sensor_name)
    if len(data) < 2:
        return silent
    padded = bytearray(data.ljust(4, b"\0"))
    try:
        reading = entry.decode_sensor_reading(SimpleNamespace(raw_command=raw_command), padded)
    except BmcError:
        raise
    except Exception:  # noqa: BLE001 - whatever pyghmi makes of nonsense, the sensor says nothing
        return silent
    if reading.unavailable:
        return silent
    if reading.value is not None and not abs(reading.value) <= _MOST_VALUE:
        return silent
    value, unit, step = _number(reading, entry)
    if entry.reading_type == _THRESHOLD:
        found = [_BITS[bit] for bit in range(len(_BITS)) if padded[2] >> bit & 1]
        opinion = max((each for each, _ in found), default=Opinion.FINE)
        # The outermost one that it is beyond; those before it are so as well.
        states = tuple(f"{OWN} {words} threshold" for each, words in found if each == opinion)[-1:]
        return Gauge(silent.key, silent.name, value, unit, step, opinion, states)
    opinion = _of_states(reading.health, entry)
    return Gauge(silent.key, silent.name, None, "", 0.0, opinion, tuple(reading.states))


def _of_states(health: int, entry: Any) -> Opinion:
    kind = entry.sensor_type_number
    if kind in _NOT_JUDGED or not health:
        return Opinion.FINE
    mild = kind in _AT_MOST_WARNING or entry.reading_type in _REDUNDANCY
    return Opinion.CRITICAL if health & (Health.Critical | Health.Failed) and not mild else Opinion.WARNING


def _number(reading: Any, entry: Any) -> tuple[float | None, str, float]:
    """Value, unit and step; all temperatures in degrees Celsius, as the operator's limits are."""
    value, unit = reading.value, reading.units.strip()
    if value is None:
        return None, "", 0.0
    step = 2 * abs(reading.imprecision or 0.0) / (1.0 + entry.tolerance)
    if unit == "°F":
        value, step = (value - 32) / 1.8, step / 1.8
    elif unit == "K":
        value -= 273.15
    return value, _UNITS.get(unit, unit), step if math.isfinite(step) else 0.0


def _key(entry: Any) -> str:
    return f"{entry.sensor_number}.{entry.sensor_lun}" if entry.sensor_lun else f"{entry.sensor_number}"


class _Entry(sdr.SDREntry):  # type: ignore[misc]  # pyghmi carries no types
    """A record with its name decoded by us."""

    def tlv_decode(self, tlv: int, data: bytes) -> str:
        return text(tlv, bytes(data))


def text(type_length: int, data: bytes) -> str:
    """The text of a record by its type/length byte (IPMI 2.0, 43.15): 8-bit, BCD plus or 6-bit ASCII."""
    data = data[: type_length & 0x1F]
    kind = type_length >> 6
    if kind == 1:
        return "".join("0123456789 -.:,_"[nibble] for byte in data for nibble in (byte >> 4, byte & 0x0F))
    if kind == 2:
        bits = int.from_bytes(data, "little")
        return "".join(chr(0x20 + (bits >> 6 * at & 0x3F)) for at in range(len(data) * 8 // 6))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decode(record: bytes, maker: int = 0, product: int = 0) -> Any:
    """pyghmi's entry of a sensor of the BMC's own that can be read; None for every other record."""
    try:
        entry = _Entry(bytearray(record), events, False, maker, product)
    except Exception:  # noqa: BLE001 - a record that nobody understands is like one that is not there
        return None
    if entry.sdrtype != sdr.TYPE_SENSOR or not entry.readable or entry.sensor_owner != _BMC:
        return None
    if entry.reading_type != _THRESHOLD:
        entry.numeric_format = 3  # states, whatever its record says of a number
    printable = "".join(letter if letter.isprintable() else " " for letter in entry.sensor_name)
    entry.sensor_name = " ".join(printable.split()) or f"sensor {_key(entry)}"
    return entry
