"""hass_check on real commands, sockets and files: what it says when something is not as it has to be."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "playbooks" / "library" / "hass_check.py"
SECRET = "s3cret-of-the-bmc"

spec = importlib.util.spec_from_file_location("hass_check", MODULE)
hass_check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hass_check)


def look(**check):
    entry = {"name": "it is so", "guide": "3.4", **check}
    problems = hass_check.input_problems("ipmi", [entry])
    assert problems == []
    return hass_check.row("ipmi", entry)


def why(**check):
    row = look(**check)
    assert row["status"] == "failed", row
    assert "\n" not in row["why"]
    return row["why"]


def passes(**check):
    row = look(**check)
    assert (row["status"], row["why"]) == ("ok", ""), row


def problem(**check):
    entry = {"name": "it is so", "guide": "3.4", **check}
    return "; ".join(hass_check.input_problems("ipmi", [entry]))


def shell(script):
    return ["sh", "-c", script]


def test_runs_on_python_3_5():
    ast.parse(MODULE.read_text(), feature_version=(3, 5))


def test_a_row_says_whose_check_it_is():
    assert look(command=["true"]) == {
        "role": "ipmi",
        "guide": "3.4",
        "check": "it is so",
        "status": "ok",
        "why": "",
    }


# ------------------------------------------------------------------------------------ commands


def test_a_command_passes_by_its_status_and_its_output():
    passes(command=shell("echo 'System Power : on'"), expect=r"(?m)^System Power\s*: on")
    passes(command=shell("exit 3"), rc=3)
    passes(command=shell("exit 3"), rc=[0, "3"])
    passes(command=["test", 16509, "-gt", 1])


def test_a_wrong_status_tells_what_the_command_said_and_the_hint():
    assert why(command=shell("echo one; echo >&2 'no session'; exit 1"), hint="is LAN access on?") == (
        "expected exit status 0 of: sh -c 'echo one; echo >&2 '\"'\"'no session'\"'\"'; exit 1', "
        "got exit status 1 ('no session'); is LAN access on?"
    )
    assert why(command=["false"]) == "expected exit status 0 of: false, got exit status 1 (nothing)"
    assert (
        why(command=["true"], rc=[1, 2])
        == "expected exit status 1 or 2 of: true, got exit status 0 (nothing)"
    )


def test_a_command_that_dies():
    assert "got death by signal 9" in why(command=shell("kill -9 $$"))


def test_a_wrong_output_is_shown_in_one_line():
    assert why(command=["printf", "System\n\tPower : off\n"], expect="on$") == (
        "expected /on$/ in the output of: printf 'System Power : off ', got 'System Power : off'"
    )
    assert "(standard error: 'it is elsewhere')" in why(
        command=shell("echo it is elsewhere >&2"), expect="is"
    )


def test_of_a_long_output_the_start_and_the_end_are_shown():
    said = why(command=shell("echo first; seq 10000; echo last"), expect="never")
    assert "'first 1 2" in said
    assert "10000 last'" in said
    assert len(said) < 400


def test_a_command_that_is_not_there():
    assert why(command=["hass-no-such-tool"]) == (
        "expected the command hass-no-such-tool, got no such command on this host"
    )
    assert why(command=["/etc/passwd"]) == "expected the command /etc/passwd, got Permission denied"


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path):
    started = time.monotonic()
    said = why(command=shell(f"echo waiting; sleep 60 & echo $! > {tmp_path}/pid; wait"), timeout=0.5)
    assert time.monotonic() - started < 10
    assert said.startswith("expected an end within 0.5 s of: sh -c ")
    assert said.endswith("got none (so far: 'waiting')")
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "the command's child lives on"
        time.sleep(0.02)


def test_what_a_command_leaves_behind_keeps_nobody_waiting():
    started = time.monotonic()
    passes(command=shell("setsid sleep 20 & echo done"), expect="^done$", timeout=10)
    assert time.monotonic() - started < 8


def test_commands_run_in_the_c_locale_with_sbin_in_path_and_nothing_to_read(monkeypatch):
    monkeypatch.setenv("LC_MESSAGES", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    passes(command=shell('test "$LC_ALL" = C && test -z "$LC_MESSAGES$LANGUAGE"'))
    passes(command=shell('echo "$PATH"'), expect="^/usr/bin:/bin:.*/usr/sbin.*/sbin")
    passes(command=["wc", "-c"], expect="^0$", timeout=5)


def test_the_environment_is_given_and_never_shown():
    environment = {"IPMI_PASSWORD": SECRET, "PIN": 7}
    script = 'test "$IPMI_PASSWORD" = s3cret-of-the-bmc && test "$PIN" = 7'
    passes(command=shell(script), environment=environment)
    for check in (
        {"command": shell('echo "bad password: $IPMI_PASSWORD, $PIN" >&2; exit 1')},
        {"command": shell('echo "$IPMI_PASSWORD $PIN"'), "expect": "never"},
        {"command": shell('echo "$IPMI_PASSWORD $PIN"; sleep 9'), "timeout": 0.3},
        # Cut in the middle of it: not half of it either.
        {
            "command": shell(
                f'printf "%0{hass_check.MOST_SHOWN // 2 - 5}d" 0; echo "$IPMI_PASSWORD"; seq 99; exit 1'
            )
        },
    ):
        said = why(environment=environment, **check)
        assert "***" in said
        assert "s3cr" not in said
        assert ", 7" not in said
    # Somebody who puts it into argv is not helped to spread it.
    assert SECRET not in why(command=["false", SECRET], environment=environment)


# ------------------------------------------------------------------------------------ units


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """Says what the two calls of it would print; the machine that runs the tests may have no systemd."""

    def put(enabled, **properties):
        shown = "\n".join(f"{key}={value}" for key, value in properties.items())
        script = tmp_path / "systemctl"
        script.write_text(
            f'#!/bin/sh\ncase "$1" in show) cat <<END\n{shown}\nEND\n;; is-enabled) echo {enabled};; esac\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return put


def test_a_unit_that_is_active_and_enabled(systemctl):
    systemctl("enabled", LoadState="loaded", ActiveState="active", SubState="running", Result="success")
    passes(unit="hass.service")
    passes(unit={"name": "hass.service", "state": "active"})
    assert why(unit={"name": "hass.service", "state": "inactive", "enabled": False}) == (
        "expected hass.service inactive and disabled, got active (running) and enabled"
    )


def test_a_unit_that_failed(systemctl):
    systemctl("enabled", LoadState="loaded", ActiveState="failed", SubState="failed", Result="exit-code")
    assert why(unit="hass.service", hint="see journal") == (
        "expected hass.service active and enabled, got failed (failed, exit-code) and enabled; see journal"
    )
    passes(unit={"name": "hass.service", "enabled": True})


def test_a_unit_that_will_not_be_there_after_a_reboot(systemctl):
    systemctl("disabled", LoadState="loaded", ActiveState="active", SubState="running", Result="success")
    assert why(unit="hass.service") == (
        "expected hass.service active and enabled, got active (running) and disabled"
    )


def test_a_unit_that_is_not_there(systemctl):
    systemctl("", LoadState="not-found", ActiveState="inactive", SubState="dead", Result="success")
    assert why(unit="hass.service") == "expected hass.service active and enabled, got no such unit"


def test_a_machine_without_systemd(tmp_path, monkeypatch):
    monkeypatch.setattr(hass_check, "SBIN", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert why(unit="hass.service") == "expected the command systemctl, got no such command on this host"


# ------------------------------------------------------------------------------------ ports


def test_a_port_that_listens_and_one_that_does_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        passes(port={"host": "127.0.0.1", "port": port})
        passes(port={"host": "localhost", "port": str(port)})
        assert why(port={"host": "127.0.0.1", "port": port, "open": False}) == (
            f"expected nobody to listen on 127.0.0.1 port {port}, got a connection"
        )
    assert why(port={"host": "127.0.0.1", "port": port}, hint="is libvirtd -l running?") == (
        f"expected a connection to 127.0.0.1 port {port}, got Connection refused; is libvirtd -l running?"
    )
    passes(port={"host": "127.0.0.1", "port": port, "open": False})


def test_a_port_that_never_answers():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = []
        for _ in range(4):  # until its backlog is full
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(address)
            waiting.append(sock)
        assert why(port={"host": address[0], "port": address[1]}, timeout=0.2).endswith(
            "got no answer within 0.2 s"
        )
        for sock in waiting:
            sock.close()


def test_a_name_that_nobody_knows():
    said = why(port={"host": "compute1.invalid", "port": 22})
    assert said.startswith("expected a connection to compute1.invalid port 22, got ")


# ------------------------------------------------------------------------------------ files


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "hass.conf"
    path.write_text("[openstack]\nopenstack_admin_password = " + SECRET + "\n# comment\n")
    path.chmod(0o640)
    return path


def test_a_file_as_it_has_to_be(conf):
    owner, group = hass_check.owner_name(os.getuid()), hass_check.group_name(conf.stat().st_gid)
    passes(file={"path": str(conf)})
    passes(file={"path": str(conf), "owner": owner, "group": group, "mode": "0640"})
    passes(
        file={
            "path": str(conf),
            "mode": "640",
            "contains": [r"^\[openstack\]$", "^# comment$"],
            "lacks": "^x",
        }
    )
    passes(file={"path": str(conf) + ".bak", "exists": False})


def test_a_file_of_another_mode(conf):
    conf.chmod(0o666)
    assert why(file={"path": str(conf), "owner": "nobody", "mode": "0640"}) == (
        f"expected {conf} with owner nobody, mode 0640, "
        f"got owner {hass_check.owner_name(os.getuid())}, mode 0666"
    )


def test_what_a_file_says_is_not_shown(conf):
    said = why(file={"path": str(conf), "contains": "^openstack_project"})
    assert said == f"expected /^openstack_project/ in {conf}, got no line like it"
    said = why(file={"path": str(conf), "lacks": ["^nothing", "password.*$"]})
    assert said == f"expected no /password.*$/ in {conf}, got one in line 2"


def test_a_file_that_is_not_there_or_should_not_be(conf, tmp_path):
    assert why(file={"path": f"{conf}.bak"}) == f"expected {conf}.bak, got no such file"
    assert why(file={"path": str(conf), "exists": False}) == f"expected no {conf}, got a file"
    assert why(file={"path": str(tmp_path), "exists": False}) == f"expected no {tmp_path}, got a directory"


def test_a_check_that_cannot_look_has_failed(tmp_path):
    said = why(file={"path": str(tmp_path), "contains": "x"})
    assert said == "could not be looked at: Is a directory"


# ------------------------------------------------------------------------------------ values, and skipping


def test_something_already_known():
    passes(value="queens", expect="^(queens|zed)$")
    passes(value=True, expect="^true$")
    passes(value=["b", "a"], expect='"a"')
    assert why(value={"b": 1, "a": None}, expect="^x") == """expected /^x/, got '{"a": null, "b": 1}'"""
    assert why(value="", expect="x") == "expected /x/, got nothing"


def test_a_problem():
    passes(problem="")
    passes(problem=" \n")
    assert why(problem="Nova does\nnot run", hint="start it") == "Nova does not run; start it"


def test_a_check_that_is_skipped_is_a_row_with_its_reason():
    row = look(skip="no IPMI\non this host")
    assert (row["status"], row["why"]) == ("skipped", "no IPMI on this host")
    assert look(skip="no IPMI", command=["false"])["status"] == "skipped"
    assert look(skip="no IPMI", port={"host": "", "port": ""})["status"] == "skipped"
    for nothing in ("", " ", False, "False", None):
        row = hass_check.row(
            "ipmi", {"name": "n", "guide": "3.4", "skip": nothing or "", "command": ["false"]}
        )
        assert row["status"] == "failed"


# ------------------------------------------------------------------------------------ the input


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (
            {"guide": 3.4, "unit": "x"},
            'checks[1] (it is so): guide: must be the step of the guide as a string, such as "3.4", not 3.4',
        ),
        ({"name": "", "unit": "x"}, "checks[1]: name: is missing"),
        ({}, "command: one of command, unit, port, file, value, problem is missing"),
        ({"unit": "x", "file": {"path": "/x"}}, "unit, file: only one of these may be there"),
        (
            {"unit": "x", "expect": "y"},
            "expect: no such key, there are name, guide, hint, skip, unit, timeout",
        ),
        (
            {"comand": ["x"], "command": ["x"]},
            "comand: no such key, there are name, guide, hint, skip, command",
        ),
        ({"command": "true"}, "command: must be a list of words, such as [systemctl, is-active, hass]"),
        ({"command": []}, "command: must be a list of words"),
        ({"command": ["x", ["y"]]}, "command: every word must be a string or a number"),
        ({"command": ["x"], "environment": "A=b"}, "environment: must be a dictionary"),
        (
            {"command": ["x"], "environment": {"A": ["b"]}},
            "environment: every value must be a string or a number",
        ),
        ({"command": ["x"], "rc": "zero"}, "rc: must be an exit status, or a list of them"),
        ({"command": ["x"], "expect": "("}, "expect: '(' is no regular expression: missing )"),
        ({"command": ["x"], "expect": 5}, "expect: must be a regular expression, not int"),
        ({"command": ["x"], "timeout": 0}, "timeout: must be a number of seconds above 0, not 0"),
        ({"command": ["x"], "timeout": "5 s"}, "timeout: must be a number of seconds above 0, not '5 s'"),
        ({"command": ["x"], "hint": ["y"]}, "hint: must be a string"),
        ({"command": ["x"], "skip": True}, "skip: must be the reason in words, not True"),
        ({"unit": ""}, "unit: must be the name of a unit"),
        ({"unit": {"nam": "x"}}, "unit.nam: no such key, there are name, state, enabled"),
        ({"unit": {"name": "x", "state": "up"}}, "unit.state: must be active or inactive, not 'up'"),
        ({"unit": {"name": "x", "enabled": "maybe"}}, "unit.enabled: must be true or false, not 'maybe'"),
        ({"port": 22}, "port: must be a dictionary of host and port"),
        ({"port": {"port": 22}}, "port.host: must be a name or an address"),
        ({"port": {"host": "x", "port": 65536}}, "port.port: must be a number from 1 to 65535, not 65536"),
        ({"port": {"host": "x", "port": "ssh"}}, "port.port: must be a number from 1 to 65535, not 'ssh'"),
        ({"file": "/x"}, "file: must be a dictionary with path"),
        ({"file": {"path": "x"}}, "file.path: must be an absolute path, not 'x'"),
        ({"file": {"path": "/x", "mode": 416}}, 'file.mode: must be a string such as "0640", not 416'),
        ({"file": {"path": "/x", "mode": "rw"}}, "file.mode: must be a string such as"),
        ({"file": {"path": "/x", "contains": ["a", "["]}}, "file.contains: '[' is no regular expression"),
        ({"value": "x"}, "expect: is missing"),
        ({"problem": ["x"]}, "problem: must be what is wrong in words, or an empty string, not ['x']"),
    ],
)
def test_a_bad_entry_is_named_with_its_key(check, expected):
    assert expected in problem(**check)


def test_names_are_unique_and_everything_wrong_is_told_at_once():
    entry = {"name": "n", "guide": "3.4", "command": ["true"]}
    problems = hass_check.input_problems("My Role", [entry, entry, {"name": "m"}])
    assert problems[0] == "report: must be the name of a role, not 'My Role'"
    assert problems[1] == "checks[2] (n): name: is there twice"
    assert [p.split(":")[0] for p in problems[2:]] == ["checks[3] (m)", "checks[3] (m)"]


# ------------------------------------------------------------------------------------ as a module


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """One playbook with the module in it, run for real with -vvv: what it printed, and its facts."""
    where = tmp_path_factory.mktemp("played")
    tasks = [
        {
            "hass_check": {
                "report": "ipmi",
                "checks": [
                    {
                        "name": "secret",
                        "guide": "3.4",
                        "command": shell("echo $P; exit 1"),
                        "environment": {"P": SECRET},
                    },
                    {"name": "nulls", "guide": "3.5", "command": ["true"], "expect": None, "skip": None},
                ],
            },
            "register": "first",
        },
        {
            "hass_check": {
                "report": "ipmi",
                "part": "{{ item }}",
                "parallel": 2,
                "checks": [
                    {"name": "{{ item }} a", "guide": "3.4", "command": ["sleep", "1"]},
                    {"name": "{{ item }} b", "guide": "3.4", "command": ["sleep", "1"]},
                ],
            },
            "loop": ["compute1", "10.0"],
        },
        {
            "hass_check": {"report": "ipmi", "checks": [{"name": "n", "guide": "3.4"}]},
            "register": "bad",
            "ignore_errors": True,
        },
        {
            "ansible.builtin.copy": {
                "dest": str(where / "out.json"),
                "mode": "0600",
                "content": "{{ {'facts': ansible_facts, 'first': first, 'bad': bad} | to_json }}",
            },
            "check_mode": False,
        },
    ]
    (where / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}])
    )
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    ansible = Path(sys.executable).parent / "ansible-playbook"
    run = subprocess.run(
        [
            ansible,
            "-vvv",
            "--check",
            "-i",
            "localhost,",
            "-c",
            "local",
            "-e",
            f"ansible_python_interpreter={sys.executable}",
            where / "play.yml",
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr, json.loads((where / "out.json").read_text())


def test_rows_become_facts_and_nothing_fails_or_changes(played):
    _, out = played
    rows = out["facts"]["hass_verify_ipmi"]
    assert rows == out["first"]["rows"]
    assert [(row["check"], row["status"]) for row in rows] == [("secret", "failed"), ("nulls", "ok")]
    assert not out["first"]["changed"]


def test_each_item_of_a_loop_keeps_its_rows(played):
    _, out = played
    facts = {name for name in out["facts"] if name.startswith("hass_verify_")}
    assert facts == {"hass_verify_ipmi", "hass_verify_ipmi__compute1", "hass_verify_ipmi__10_0"}
    assert [row["check"] for row in out["facts"]["hass_verify_ipmi__10_0"]] == ["10.0 a", "10.0 b"]


def test_a_bad_entry_fails_the_task_in_one_line(played):
    _, out = played
    assert out["bad"]["msg"] == (
        "checks[1] (n): command: one of command, unit, port, file, value, problem is missing"
    )


def test_the_environment_is_not_in_what_ansible_prints(played):
    printed, out = played
    # The words of the play itself, which -vvv quotes in an error, are not there either.
    assert SECRET not in printed
    assert SECRET not in json.dumps(out)


def test_its_documentation_names_its_options():
    tree = ast.parse(MODULE.read_text())
    documented = next(
        yaml.safe_load(node.value.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "DOCUMENTATION"
    )
    assert set(documented["options"]) == {"report", "part", "parallel", "checks"}
    text = json.dumps(documented)
    for key in (*hass_check.KINDS, *hass_check.COMMON, *sum(hass_check.OPTIONS.values(), ())):
        assert f"C({key})" in text, key
