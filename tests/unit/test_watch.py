"""The watch: every layer at its own pace, nothing started twice, a broken detector says so."""

from __future__ import annotations

import queue
import threading
import time

import pytest

from hass_runtime.detect.watch import Watch
from hass_runtime.domain import Host, Layer, Reading, Verdict

HOST, OTHER = Host("host1", "192.0.2.1"), Host("host2", "192.0.2.2")


class Eye:
    """A detector that does what it is told."""

    def __init__(self, layer=Layer.NETWORK, look=None):
        self.layer, self._look = layer, look
        self.running = self.most = self.looks = 0
        self._lock = threading.Lock()

    def read(self, host):
        with self._lock:
            self.running += 1
            self.looks += 1
            self.most = max(self.most, self.running)
        try:
            if self._look:
                self._look(host)
            return Reading(host.name, self.layer, Verdict.OK, "seen", time.time(), True)
        finally:
            with self._lock:
                self.running -= 1


@pytest.fixture
def watching():
    started = []

    def start(pairs, interval=0.02):
        readings = queue.SimpleQueue()
        watch = Watch(pairs, interval, readings.put)
        started.append(watch)
        watch.start()
        return watch, readings

    yield start
    for watch in started:
        watch.stop()


def take(readings, count):
    return [readings.get(timeout=10) for _ in range(count)]


def test_every_pair_is_read_again_and_again(watching):
    _, readings = watching([(Eye(), HOST), (Eye(), OTHER), (Eye(Layer.POWER), HOST)])
    seen = {(reading.subject, reading.layer) for reading in take(readings, 30)}
    assert seen == {("host1", Layer.NETWORK), ("host2", Layer.NETWORK), ("host1", Layer.POWER)}


def test_a_slow_detector_delays_no_other_and_is_not_started_twice(watching):
    release = threading.Event()
    slow, quick = Eye(Layer.POWER, lambda host: release.wait(10)), Eye()
    _, readings = watching([(slow, HOST), (quick, HOST)])
    assert {reading.layer for reading in take(readings, 10)} == {Layer.NETWORK}
    assert (slow.looks, slow.most) == (1, 1)
    release.set()
    while readings.get(timeout=10).layer is not Layer.POWER:
        pass
    assert slow.most == 1


def test_a_broken_detector_says_unknown_and_is_asked_again(watching):
    def broken(host):
        raise ZeroDivisionError("half a bug")

    _, readings = watching([(Eye(look=broken), HOST)])
    for reading in take(readings, 2):
        assert reading.verdict is Verdict.UNKNOWN
        assert "half a bug" in reading.evidence


def test_hurried_hosts_are_read_more_often(watching):
    calm, hurried = Eye(), Eye()
    watch, readings = watching([(calm, HOST), (hurried, OTHER)], interval=0.1)
    watch.hurry(frozenset({"host2"}))
    take(readings, 60)
    assert hurried.looks > calm.looks


def test_what_takes_many_questions_is_read_less_often(watching):
    often, rarely = Eye(), Eye(Layer.HARDWARE)
    _, readings = watching([(often, HOST), (rarely, OTHER)], interval=0.05)
    take(readings, 60)
    assert often.looks > 2 * rarely.looks > 0


def test_nothing_is_heard_after_the_stop(watching):
    release = threading.Event()
    eye = Eye(look=lambda host: release.wait(10))
    watch, readings = watching([(eye, HOST)])
    while not eye.looks:
        time.sleep(0.01)
    watch.stop()
    release.set()
    with pytest.raises(queue.Empty):
        readings.get(timeout=0.3)
