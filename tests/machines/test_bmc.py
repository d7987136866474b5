"""The BMC of a machine: its chassis commands switch it, and its watchdog timer runs down while it hangs."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
MACHINES = TOP / "molecule/machines/machines"
BMC = TOP / "molecule/default/bmc.py"
NAME, ADDRESS, BMC_ADDRESS, BRIDGE = "under-test-bmc", "10.77.252.10", "10.77.252.110", "hm10-77-252"
KEEP_ALIVE = "while sleep 1; do echo; done >/dev/watchdog"
HEADER = Path("/usr/include/OpenIPMI/mcserv.h")


def run(*words, **more):
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=120, check=False, **more
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def ipmi(*words):
    login = ("-I", "lanplus", "-C", "3", "-H", BMC_ADDRESS, "-U", "admin", "-P", "secret")
    return run("ipmitool", *login, *words)


def until(condition, within=30):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def power_is(state):
    return lambda: ipmi("chassis", "power", "status").strip() == f"Chassis Power is {state}"


def timer():
    return dict(
        (part.strip() for part in line.split(":", 1))
        for line in ipmi("mc", "watchdog", "get").splitlines()
        if ":" in line
    )


@pytest.fixture
def machine(tmp_path):
    module = tmp_path / "timer.so"
    run("gcc", "-shared", "-fPIC", "-O2", "-o", module, TOP / "molecule/lab/watchdog_timer.c", "-lm")
    os.mkfifo(tmp_path / "device", 0o600)
    binding = f"--bind={tmp_path / 'device'}:/dev/watchdog"
    try:
        run(MACHINES, "up", NAME, "--layer=base", f"--address={ADDRESS}", binding)
        where = (f"--name={NAME}", f"--address={BMC_ADDRESS}", "--user=admin", f"--bridge={BRIDGE}")
        tools = (f"--machines={MACHINES}", f"--watchdog={module}")
        environment = {**os.environ, "BMC_PASSWORD": "secret"}
        run(sys.executable, BMC, "start", tmp_path, *where, *tools, env=environment)
        yield
    finally:
        run(sys.executable, BMC, "stop", tmp_path)
        run(MACHINES, "down", NAME)


@pytest.mark.skipif(
    os.geteuid() != 0 or not HEADER.exists() or not shutil.which("ipmi_sim"),
    reason="needs root, ipmi_sim and its headers",
)
def test_it_is_the_machine_s(machine):
    assert power_is("on")()
    assert timer()["Watchdog Timer Is"] == "Stopped"

    run(MACHINES, "run", NAME, "--", "systemd-run", "--quiet", "sh", "-c", KEEP_ALIVE)
    until(lambda: timer()["Watchdog Timer Is"] == "Started/Running")
    assert timer()["Initial Countdown"] == "60.0 sec"

    run(MACHINES, "freeze", NAME)
    until(lambda: float(timer()["Present Countdown"].split()[0]) < 57)
    ipmi("chassis", "power", "off")
    until(power_is("off"))
    (known,) = (row for row in json.loads(run(MACHINES, "list", "-f", "json")) if row["name"] == NAME)
    assert known["power"] == "off"
    until(lambda: timer()["Watchdog Timer Is"] == "Stopped")

    ipmi("chassis", "power", "on")
    until(power_is("on"))
    assert run(MACHINES, "up", NAME)
