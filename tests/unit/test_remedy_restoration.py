"""Taking a host back: each wait for something observed, each change only where it is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hass_runtime.bmc import BmcError
from hass_runtime.domain import Layer, Reading, Verdict
from hass_runtime.remedy import restoration
from hass_runtime.remedy.nova import CloudError, ComputeService, Migration
from hass_runtime.remedy.restoration import Patience, RestoreError

SERVICE = ComputeService("s1", "compute1", True, True, False, "", "12:00:00")


class Cloud:
    """One service; what it looks like may change with each look."""

    def __init__(self, *looks, records=()):
        self.looks = list(looks)
        self.records = [list(step) for step in records]
        self.changes = []
        self.refusals = []

    def compute_service(self, host):
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        return look

    def _change(self, **values):
        if self.refusals:
            raise self.refusals.pop(0)
        self.changes.append(values)
        self.looks = [replace(self.looks[0], **values)]

    def set_forced_down(self, service, forced_down):
        self._change(forced_down=forced_down)

    def set_enabled(self, service, enabled, reason=""):
        self._change(enabled=enabled, disabled_reason=reason)

    def evacuations(self, source, since):
        look = self.records.pop(0) if len(self.records) > 1 else self.records[0]
        if look and isinstance(look[0], Exception):
            raise look[0]
        return look


class Bmc:
    def __init__(self, *says, refuses=0):
        self.says = list(says)
        self.refuses = refuses
        self.ons = 0

    def power(self):
        value = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if value not in ("on", "off"):
            raise BmcError(value)
        return value

    def power_on(self):
        self.ons += 1
        if self.refuses:
            self.refuses -= 1
            raise BmcError("busy")


def patience(deadline=10.0):
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    return Patience(deadline, 1.0, lambda: now[0], sleep)


def record(status):
    return Migration(1, "u1", status, "compute1", "compute2", 1.0)


def reading(verdict, evidence="words"):
    return Reading("compute1", Layer.SERVICE, verdict, evidence, 0.0, True)


def test_power_on_is_read_back():
    bmc = Bmc("off", "off", "no answer", "on", refuses=1)
    assert restoration.power_on("compute1", bmc, patience()) is True
    assert bmc.ons >= 1


def test_a_host_that_is_on_is_left_alone():
    bmc = Bmc("on")
    assert restoration.power_on("compute1", bmc, patience()) is False
    assert bmc.ons == 0


def test_a_host_that_does_not_come_on_is_said():
    with pytest.raises(RestoreError, match=r"does not say on but: off.*busy"):
        restoration.power_on("compute1", Bmc("off", refuses=99), patience())


def test_unfinished_moves_are_waited_for():
    cloud = Cloud(SERVICE, records=[[record("accepted")], [CloudError("away")], [record("done")]])
    assert restoration.wait_moves(cloud, "compute1", 0.0, patience()) == 1
    with pytest.raises(RestoreError, match="u1 pre-migrating"):
        restoration.wait_moves(
            Cloud(SERVICE, records=[[record("pre-migrating")]]), "compute1", 0.0, patience()
        )


def test_a_host_is_healthy_when_its_agent_and_nova_compute_are():
    says = [
        reading(Verdict.FAILED, "silence"),
        reading(Verdict.FAILED, "libvirtd failed"),
        reading(Verdict.OK, "all ok"),
    ]
    cloud = Cloud(replace(SERVICE, up=False), replace(SERVICE, up=False), SERVICE)
    agent = lambda: says.pop(0) if len(says) > 1 else says[0]  # noqa: E731
    evidence, service = restoration.wait_host("compute1", cloud, agent, patience())
    assert service.up
    assert "all ok" in evidence


def test_a_forced_down_service_is_alive_when_its_heart_beats():
    down = replace(SERVICE, up=False, forced_down=True)
    cloud = Cloud(down, down, down, replace(down, updated_at="12:00:10"))
    _, service = restoration.wait_host("compute1", cloud, None, patience())
    assert service.updated_at == "12:00:10"


def test_a_forced_down_service_without_a_heartbeat_is_not_alive():
    with pytest.raises(RestoreError, match="no sign of life"):
        restoration.wait_host(
            "compute1", Cloud(replace(SERVICE, up=False, forced_down=True)), None, patience()
        )


@pytest.mark.parametrize(
    ("look", "words"), [(None, "knows no nova-compute"), (CloudError("Nova is away"), "away")]
)
def test_what_is_missing_is_said(look, words):
    with pytest.raises(RestoreError, match=words):
        restoration.wait_host("compute1", Cloud(look), None, patience())


def test_lifting_force_down_waits_until_nova_accepts_it():
    cloud = Cloud(replace(SERVICE, forced_down=True))
    cloud.refusals = [CloudError("not cleaned up", 400), CloudError("not cleaned up", 400)]
    assert restoration.unforce(cloud, "compute1", patience()) is True
    assert cloud.changes == [{"forced_down": False}]
    assert restoration.unforce(cloud, "compute1", patience()) is False


def test_lifting_force_down_ends_at_its_deadline_with_novas_words():
    cloud = Cloud(replace(SERVICE, forced_down=True))
    cloud.refusals = [CloudError("not cleaned up", 400)] * 99
    with pytest.raises(RestoreError, match="not cleaned up"):
        restoration.unforce(cloud, "compute1", patience())


@pytest.mark.parametrize("status", [401, 403])
def test_what_will_never_be_permitted_is_not_waited_for(status):
    cloud = Cloud(replace(SERVICE, forced_down=True))
    cloud.refusals = [CloudError("policy", status)]
    with pytest.raises(RestoreError, match=r"^policy$"):
        restoration.unforce(cloud, "compute1", patience())


def test_force_down_is_set_once_and_read_back():
    cloud = Cloud(SERVICE)
    assert restoration.force_down(cloud, "compute1", patience()) is True
    assert restoration.force_down(cloud, "compute1", patience()) is False
    assert cloud.changes == [{"forced_down": True}]
    with pytest.raises(RestoreError, match="knows no nova-compute"):
        restoration.force_down(Cloud(None), "compute1", patience())


@pytest.mark.parametrize(
    ("service", "changed", "words"),
    [
        (SERVICE, False, "is enabled"),
        (replace(SERVICE, enabled=False, disabled_reason="hass: incident 4"), True, "enabled again"),
        (replace(SERVICE, enabled=False, disabled_reason="new disks"), False, "new disks"),
        (replace(SERVICE, enabled=False), False, "no reason"),
    ],
)
def test_only_what_hass_disabled_is_enabled(service, changed, words):
    cloud = Cloud(service)
    done, said = restoration.enable(cloud, "compute1")
    assert done is changed
    assert words in said
    assert bool(cloud.changes) is changed
