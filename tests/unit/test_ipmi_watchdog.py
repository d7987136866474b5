"""What the roles ipmi and watchdog see of a host: its BMC, its watchdog device, its countdown."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"


def load(path):
    spec = importlib.util.spec_from_file_location(Path(path).stem, PLAYBOOKS / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ipmi = load("library/hass_ipmi_device.py")
device = load("library/hass_watchdog_device.py")
timer = load("library/hass_watchdog_timer.py")
bmcs = load("filter_plugins/hass_bmcs.py")


def put(root, path, content=""):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


# ---------------------------------------------------------------------------------------- the BMC


def dmi_entry(kind, texts=b""):
    return bytes([kind, 6, 0, 0, 1, 2]) + (texts or b"\0") + b"\0"


@pytest.mark.parametrize(
    ("path", "ready"),
    [
        ("dev/ipmi0", True),
        ("sys/class/ipmi/ipmi0", False),
        ("sys/firmware/dmi/entries/38-0/raw", False),
        ("sys/bus/acpi/devices/IPI0001:00/status", False),
        ("sys/firmware/acpi/tables/SPMI", False),
    ],
)
def test_a_bmc_is_seen(tmp_path, path, ready):
    put(tmp_path, path)
    seen = ipmi.look(str(tmp_path))
    assert seen["found"]
    assert seen["ready"] is ready
    assert len(seen["evidence"]) == 1


def test_a_bmc_is_seen_in_the_raw_table(tmp_path):
    put(tmp_path, ipmi.DMI_TABLE, dmi_entry(1, b"a\0b\0") + dmi_entry(38) + dmi_entry(127))
    assert ipmi.look(str(tmp_path))["why"] == "it has a BMC: entry 38 of its DMI table"


@pytest.mark.parametrize(
    "table", [b"", b"\x26", dmi_entry(1) + dmi_entry(127) + dmi_entry(38), b"\x01\x02\0\0" * 4, b"\x01\xff"]
)
def test_no_bmc_in_a_table_without_one(tmp_path, table):
    put(tmp_path, ipmi.DMI_TABLE, table)
    seen = ipmi.look(str(tmp_path))
    assert not seen["found"]
    assert seen["why"] == "neither a device nor its firmware tells of a BMC"


def test_a_container_sees_the_firmware_of_its_host(tmp_path):
    put(tmp_path, "run/systemd/container", "systemd-nspawn\n")
    put(tmp_path, "sys/firmware/dmi/entries/38-0/raw")
    seen = ipmi.look(str(tmp_path))
    assert not seen["found"]
    assert seen["container"] == "systemd-nspawn"
    assert "gives it no IPMI device" in seen["why"]


def test_a_container_that_was_given_the_device(tmp_path):
    put(tmp_path, "proc/1/environ", b"PATH=/bin\0container=podman\0")
    put(tmp_path, "dev/ipmi0")
    seen = ipmi.look(str(tmp_path))
    assert seen["found"]
    assert seen["container"] == "podman"


def test_bmcs_of_an_inventory():
    hosts = {
        "a": {"bmc_address": "192.0.2.1", "bmc_user": "u", "bmc_password": "p"},
        "b": {},
        "c": {"bmc_address": "192.0.2.3", "bmc_port": "6230", "bmc_user": "u", "bmc_password": "p"},
        "d": {"bmc_address": ""},
    }
    found = bmcs.hass_bmcs(["c", "b", "a", "d"], hosts)
    assert [(bmc["host"], bmc["address"], bmc["port"]) for bmc in found] == [
        ("c", "192.0.2.3", 6230),
        ("a", "192.0.2.1", 623),
    ]


# ---------------------------------------------------------------------------- the watchdog device


def core_driver(root, number, identity, module=""):
    put(root, f"sys/class/watchdog/watchdog{number}/identity", f"{identity}\n")
    put(root, f"dev/watchdog{number}")
    if module:
        put(root, f"sys/module/{module}/refcnt", "0")
        folder = root / f"sys/class/watchdog/watchdog{number}/device/driver"
        folder.mkdir(parents=True)
        (folder / "module").symlink_to(root / f"sys/module/{module}")


def owner(root, name="/dev/watchdog"):
    return device.owner_of(name, str(root))


def test_no_device(tmp_path):
    assert owner(tmp_path) == ""


def test_the_device_of_the_bmc(tmp_path):
    put(tmp_path, "dev/watchdog")
    put(tmp_path, "sys/module/ipmi_watchdog/refcnt", "1")
    assert owner(tmp_path) == "ipmi_watchdog"
    core_driver(tmp_path, 1, "Software Watchdog")  # came later: it has no part in /dev/watchdog
    assert owner(tmp_path) == "ipmi_watchdog"
    assert owner(tmp_path, "/dev/watchdog1") == "softdog"


def test_a_rival_that_was_faster(tmp_path):
    put(tmp_path, "dev/watchdog")
    put(tmp_path, "sys/module/ipmi_watchdog/refcnt", "0")  # loaded, and without a device
    core_driver(tmp_path, 0, "iTCO_wdt", "iTCO_wdt")
    assert owner(tmp_path) == "iTCO_wdt"


def test_drivers_whose_identity_is_no_module(tmp_path):
    put(tmp_path, "dev/watchdog")
    core_driver(tmp_path, 0, "i6300ESB timer", "i6300esb")
    assert owner(tmp_path) == "i6300esb"


def test_an_unknown_driver(tmp_path):
    put(tmp_path, "dev/watchdog")
    assert owner(tmp_path) == "an unknown driver"


def test_parameters_that_differ(tmp_path):
    folder = "sys/module/ipmi_watchdog/parameters/"
    put(tmp_path, folder + "nowayout", "N\n")
    put(tmp_path, folder + "timeout", "10\n")
    put(tmp_path, folder + "action", "reset\0\n")
    options = {"nowayout": "0", "timeout": 60, "action": "reset", "hidden": 1}
    assert device.differing("ipmi_watchdog", options, str(tmp_path)) == ["timeout"]


def test_a_timer_that_cannot_be_stopped_is_left_alone(tmp_path):
    put(tmp_path, "watchdog0/nowayout", "1\n")
    assert device.release(str(tmp_path / "watchdog0")) == "its timer cannot be stopped (nowayout)"


# --------------------------------------------------------------------------------- the countdown

PRINTED = """Watchdog Timer Use:     SMS/OS (0x44)
Watchdog Timer Is:      Started/Running
Watchdog Timer Logging: On
Watchdog Timer Action:  Hard Reset (0x01)
Pre-timeout interrupt:  None
Pre-timeout interval:   0 seconds
Timer Expiration Flags: None (0x00)
Initial Countdown:      60.0 sec
Present Countdown:      59.1 sec
"""
# As the guide shows it, by an older ipmitool.
OLDER = PRINTED.replace("Action:  ", "Actions: ").replace("60.0", "60").replace("59.1", "59")


def looks(*presents, every=2.0, **changed):
    seen = {**timer.parse(PRINTED), **changed}
    return [(number * every, {**seen, "present": present}) for number, present in enumerate(presents)]


def test_what_ipmitool_prints():
    assert timer.parse(PRINTED) == {
        "use": "SMS/OS (0x44)",
        "is": "Started/Running",
        "action": "Hard Reset (0x01)",
        "initial": 60.0,
        "present": 59.1,
    }
    assert timer.parse(OLDER)["present"] == 59.0


@pytest.mark.parametrize("printed", ["", "Watchdog Timer Use: x\n", PRINTED.replace("59.1", "..")])
def test_garbage(printed):
    with pytest.raises(timer.Unknown, match="garbage from ipmitool"):
        timer.parse(printed)


@pytest.mark.parametrize("presents", [(59.6, 59.8, 59.1), (59.9, 59.0, 59.8), (52, 58, 57.2), (59, 59, 59)])
def test_rearmed(presents):
    assert timer.judge(looks(*presents), 10)[0]


@pytest.mark.parametrize(
    ("presents", "text"),
    [
        ((56.1, 54.0, 52.1), "not re-armed, it falls all the time: 56.1, 54 and 52.1 s left of 60 s"),
        ((46, 44, 42), "not re-armed for 18 s: 46, 44 and 42 s left of 60 s"),
        (
            (6000, 6000, 6000),
            "garbage from the BMC about its watchdog timer: 6000, 6000 and 6000 s left of 60 s",
        ),
        ((30, 30, 30), "not re-armed for 30 s: 30, 30 and 30 s left of 60 s"),
    ],
)
def test_not_rearmed(presents, text):
    assert timer.judge(looks(*presents), 10) == (False, text)


def test_a_timer_that_does_not_run():
    stopped = looks(0, 0, **{"is": "Stopped"})
    assert timer.judge(stopped, 10) == (False, "the BMC's watchdog timer does not run (stopped)")


def test_a_timer_of_the_firmware():
    rearmed, text = timer.judge(looks(59, 59, use="BIOS FRB2 (0x41)"), 10)
    assert not rearmed
    assert "BIOS FRB2" in text
