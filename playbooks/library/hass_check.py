#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
# Runs on the hosts themselves, on those of Ubuntu 16.04, too: Python 3.5, standard library only.
"""Look whether a host is as it has to be, and tell it in rows."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import grp
import json
import os
import pwd
import re
import shlex
import signal
import socket
import stat
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: hass_check
short_description: Look whether a host is as it has to be, and tell it in rows
description:
  - Runs checks that only read, and returns a row for each. A check that fails is a row, not a failed task,
    so that one run tells everything that is wrong.
  - The rows go to the fact C(hass_verify_REPORT), from which C(playbooks/verify.yml) makes its table.
  - The environment of a command is never shown, and what a command prints is searched for its values.
    Regular expressions, commands and hints are shown; put no secrets into them.
options:
  report:
    description: Name of the role that asks. The rows go to the fact C(hass_verify_REPORT).
    type: str
    required: true
  part:
    description:
      - Appended to the name of the fact (C(hass_verify_REPORT__PART)), with an underscore for whatever is
        not a letter or a digit.
      - Needed by every task but one of a role that has several, and by a task with a loop, because each
        result replaces the fact.
    type: str
  parallel:
    description: How many checks run at the same time.
    type: int
    default: 1
  checks:
    description:
      - Each entry has a C(name), a C(guide) (the step of the guide, a string such as "3.4") and one of
        C(command), C(unit), C(port), C(file), C(value) and C(problem). Keys whose value is null are as
        good as absent.
      - C(hint) is shown when the check fails.
      - C(skip) is a reason not to run the check; it becomes a row with the status C(skipped). An empty string
        or false runs the check. An entry with a reason needs none of the six.
      - C(command) is a list of words, run without a shell, in the C locale, with the directories of sbin in
        PATH and nothing to read. It passes when it ends with the status C(rc) (a number or a list of numbers,
        0 unless told) and its standard output matches the regular expression C(expect), if there is one.
        C(environment) is added to its environment. It is killed after C(timeout) seconds (30 unless told).
      - C(unit) is the name of a unit of systemd that has to be active and enabled; or a dictionary of
        C(name), C(state) (active or inactive) and C(enabled) (true or false), of which only those present are
        compared.
      - C(port) is a dictionary of C(host) and C(port) that has to accept a TCP connection within C(timeout)
        seconds (5 unless told), or, with C(open) false, must not.
      - C(file) is a dictionary of C(path) and what it has to be - C(exists) (true unless told), C(owner),
        C(group), C(mode) (a string such as "0640"), C(contains) and C(lacks) (regular expressions, or lists
        of them, in which ^ and $ stand for the start and the end of a line).
      - C(value) is something that is already known, which has to match the regular expression C(expect). What
        is not a string is compared as JSON.
      - C(problem) is what is known to be wrong, in words. It passes when that is empty.
    type: list
    elements: dict
    required: true
attributes:
  check_mode:
    description: Checks only read, and run in check mode as well.
    support: full
author: the HASS authors
"""

EXAMPLES = r"""
- name: Verify IPMI
  hass_check:
    report: ipmi
    checks:
      - name: ipmitool reaches the BMC
        guide: "3.4"
        command: [ipmitool, -I, lanplus, -H, 192.0.2.1, -U, admin, -E, chassis, status]
        environment: {IPMI_PASSWORD: "{{ bmc_password }}"}
        expect: '(?m)^System Power\s*: on'
        timeout: 10
        hint: "is the BMC's address right, and LAN access enabled?"
      - name: the daemon runs
        guide: "4.8"
        unit: hass.service
      - name: libvirt listens
        guide: "8.3"
        port: {host: 192.0.2.11, port: 16509}
      - name: the file is readable by HASS alone
        guide: "4.4"
        file: {path: /etc/hass.conf, owner: root, group: hass, mode: "0640", contains: '^\[openstack\]'}
      - name: the kernel is loaded
        guide: "3.3"
        skip: "{{ '' if bmc_address is defined else 'no IPMI on this host' }}"
        value: "{{ modules }}"
        expect: ipmi_si
"""

RETURN = r"""
rows:
  description: A row for each check, in their order.
  returned: always
  type: list
  elements: dict
  sample:
    - {role: ipmi, guide: "3.4", check: ipmitool reaches the BMC, status: ok, why: ""}
ansible_facts:
  description: The same rows as the fact C(hass_verify_REPORT).
  returned: always
  type: dict
"""

KINDS = ("command", "unit", "port", "file", "value", "problem")
OPTIONS = {
    "command": ("environment", "expect", "rc", "timeout"),
    "unit": ("timeout",),
    "port": ("timeout",),
    "file": (),
    "value": ("expect",),
    "problem": (),
}
COMMON = ("name", "guide", "hint", "skip")
INSIDE = {
    "unit": ("name", "state", "enabled"),
    "port": ("host", "port", "open"),
    "file": ("path", "exists", "owner", "group", "mode", "contains", "lacks"),
}
SBIN = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
# What systemd says of a unit that will be started at boot, be it by another one that needs it.
STARTED_AT_BOOT = ("enabled", "enabled-runtime", "alias", "static", "generated", "indirect")
MOST_OUTPUT = 1024 * 1024
MOST_FILE = 16 * 1024 * 1024
MOST_SHOWN = 160
MOST_COMMAND = 80
HIDDEN = "***"


# ---------------------------------------------------------------------------------------- the input


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_text(value):
    return isinstance(value, str) and bool(value.strip())


def is_whole(value):
    """Templates give numbers as text."""
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, str) and re.match(r"\d+\Z", value.strip()) is not None
    )


def truth(value):
    """A boolean, also as a template gives it; None for what is neither."""
    if isinstance(value, bool):
        return value
    return {"true": True, "yes": True, "false": False, "no": False}.get(str(value).strip().lower())


def as_list(value):
    return value if isinstance(value, list) else [value]


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def reason_to_skip(check):
    skip = check.get("skip")
    if skip is False or (isinstance(skip, str) and skip.strip().lower() in ("", "false")):
        return None
    return skip


def regex_problems(key, value):
    for pattern in as_list(value):
        if not isinstance(pattern, str):
            yield "%s: must be a regular expression, not %s" % (key, type(pattern).__name__)
            continue
        try:
            re.compile(pattern)
        except re.error as error:
            yield "%s: %r is no regular expression: %s" % (key, pattern, error)


def unknown_key(key, known):
    return "%s: no such key, there are %s" % (key, ", ".join(known))


def command_problems(check):
    command = check["command"]
    if not isinstance(command, list) or not command:
        yield "command: must be a list of words, such as [systemctl, is-active, hass]"
    elif not all(is_number(word) or isinstance(word, str) for word in command):
        yield "command: every word must be a string or a number"
    environment = check.get("environment", {})
    if not isinstance(environment, dict):
        yield "environment: must be a dictionary"
    elif not all(isinstance(v, (str, int, float)) for v in environment.values()):
        yield "environment: every value must be a string or a number"
    if not all(is_whole(code) for code in as_list(check.get("rc", 0))):
        yield "rc: must be an exit status, or a list of them"


def unit_problems(check):
    unit = check["unit"]
    if isinstance(unit, str):
        if not unit.strip():
            yield "unit: must be the name of a unit"
        return
    if not isinstance(unit, dict):
        yield "unit: must be the name of a unit, or a dictionary of %s" % ", ".join(INSIDE["unit"])
        return
    if not is_text(unit.get("name")):
        yield "unit.name: must be the name of a unit"
    if unit.get("state", "active") not in ("active", "inactive"):
        yield "unit.state: must be active or inactive, not %r" % unit["state"]
    if truth(unit.get("enabled", True)) is None:
        yield "unit.enabled: must be true or false, not %r" % unit["enabled"]


def port_problems(check):
    port = check["port"]
    if not isinstance(port, dict):
        yield "port: must be a dictionary of host and port"
        return
    if not is_text(port.get("host")):
        yield "port.host: must be a name or an address"
    number = port.get("port")
    if not is_whole(number) or not 0 < int(number) < 65536:
        yield "port.port: must be a number from 1 to 65535, not %r" % (number,)
    if truth(port.get("open", True)) is None:
        yield "port.open: must be true or false, not %r" % port["open"]


def file_problems(check):
    wanted = check["file"]
    if not isinstance(wanted, dict):
        yield "file: must be a dictionary with path"
        return
    if not is_text(wanted.get("path")) or not wanted["path"].startswith("/"):
        yield "file.path: must be an absolute path, not %r" % (wanted.get("path"),)
    if truth(wanted.get("exists", True)) is None:
        yield "file.exists: must be true or false, not %r" % wanted["exists"]
    mode = wanted.get("mode", "0644")
    if not isinstance(mode, str) or re.match(r"[0-7]{3,4}\Z", mode) is None:
        yield 'file.mode: must be a string such as "0640", not %r' % (mode,)
    for key in ("owner", "group"):
        if key in wanted and not is_text(str(wanted[key])):
            yield "file.%s: must be a name" % key
    for key in ("contains", "lacks"):
        if key in wanted:
            for problem in regex_problems("file.%s" % key, wanted[key]):
                yield problem


def value_problems(check):
    if "expect" not in check:
        yield "expect: is missing: the regular expression that the value has to match"


def problem_problems(check):
    if not isinstance(check["problem"], str):
        yield "problem: must be what is wrong in words, or an empty string, not %r" % (check["problem"],)


PROBLEMS = {
    "command": command_problems,
    "unit": unit_problems,
    "port": port_problems,
    "file": file_problems,
    "value": value_problems,
    "problem": problem_problems,
}


def entry_problems(check):
    """What is wrong with an entry, each starting with the key."""
    if not is_text(check.get("name")):
        yield "name: is missing"
    guide = check.get("guide")
    if not isinstance(guide, str) or re.match(r"(\d+|P)\.\d+\Z", guide) is None:
        yield 'guide: must be the step of the guide as a string, such as "3.4", not %r' % (guide,)
    skip = check.get("skip", "")
    if skip is True or not isinstance(skip, (str, bool)):
        yield "skip: must be the reason in words, not %r" % (skip,)
    if "hint" in check and not isinstance(check["hint"], str):
        yield "hint: must be a string"
    kinds = [kind for kind in KINDS if kind in check]
    if len(kinds) > 1:
        yield "%s: only one of these may be there" % ", ".join(kinds)
        return
    if not kinds:
        if not reason_to_skip(check):
            yield "command: one of %s is missing" % ", ".join(KINDS)
        return
    kind = kinds[0]
    known = COMMON + (kind,) + OPTIONS[kind]
    for key in sorted(set(check) - set(known)):
        yield unknown_key(key, known)
    if reason_to_skip(check):
        return  # what it would look at may well not be known
    if isinstance(check[kind], dict) and kind in INSIDE:
        for key in sorted(set(check[kind]) - set(INSIDE[kind])):
            yield unknown_key("%s.%s" % (kind, key), INSIDE[kind])
    timeout = check.get("timeout", 1)
    if is_whole(timeout):
        timeout = int(timeout)
    if not is_number(timeout) or timeout <= 0:
        yield "timeout: must be a number of seconds above 0, not %r" % (timeout,)
    if "expect" in check:
        for problem in regex_problems("expect", check["expect"]):
            yield problem
    for problem in PROBLEMS[kind](check):
        yield problem


def input_problems(report, checks):
    """Everything that is wrong with the input, each naming the entry and the key."""
    problems = []
    if re.match(r"[a-z][a-z0-9_]*\Z", report) is None:
        problems.append("report: must be the name of a role, not %r" % report)
    names = set()
    for number, check in enumerate(checks, 1):
        name = check.get("name")
        where = "checks[%d]" % number + (" (%s)" % name if is_text(name) else "")
        problems.extend("%s: %s" % (where, problem) for problem in entry_problems(check))
        if is_text(name):
            if name in names:
                problems.append("%s: name: is there twice" % where)
            names.add(name)
    return problems


# ---------------------------------------------------------------------------------------- the checks


class Wrong(Exception):
    """What is wrong, in words."""


class Differs(Wrong):
    """What was expected, and what came."""

    def __init__(self, expected, got):
        Wrong.__init__(self, "expected %s, got %s" % (expected, got))


def one_line(text):
    return " ".join(text.split())


def shown(text):
    """Of a long text, its start and its end: tools tell first what is, and last what went wrong."""
    text = one_line(text)
    if not text:
        return "nothing"
    if len(text) > MOST_SHOWN:
        half = MOST_SHOWN // 2
        text = "%s ... %s" % (text[:half], text[-half:])
    return "'%s'" % text


def hide(text, secrets):
    """The text without the secrets; short ones only where they stand alone, not inside of words."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, HIDDEN)
        elif secret:
            text = re.sub(r"(?<!\w)%s(?!\w)" % re.escape(secret), HIDDEN, text)
    return text


def c_locale(added):
    environment = dict(os.environ)
    for name in list(environment):
        if name.startswith("LC_") or name in ("LANG", "LANGUAGE"):
            del environment[name]
    environment["LC_ALL"] = "C"
    here = [part for part in environment.get("PATH", "").split(os.pathsep) if part]
    environment["PATH"] = os.pathsep.join(here + [part for part in SBIN if part not in here])
    environment.update(added)
    return environment


def start_of(output):
    output.seek(0)
    return output.read(MOST_OUTPUT).decode("utf-8", "replace")


def run(words, timeout, environment=None):
    """(exit status, standard output, standard error) of a command; its output goes through files, so that
    nothing that it leaves behind can keep us waiting."""
    added = environment or {}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=c_locale(added),
                cwd="/",
                start_new_session=True,
            )
        except FileNotFoundError:
            raise Differs("the command %s" % words[0], "no such command on this host") from None
        except OSError as error:
            raise Differs("the command %s" % words[0], error.strerror or str(error)) from None
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):  # it may have just ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            said = one_line(hide(start_of(out) + " " + start_of(err), added.values()))
            raise Differs(
                "an end within %g s of: %s" % (timeout, words_shown(words)),
                "none" + (" (so far: %s)" % shown(said) if said else ""),
            ) from None
        return process.returncode, start_of(out), start_of(err)


def words_shown(words):
    shown_words = one_line(" ".join(shlex.quote(word) for word in words))
    return shown_words if len(shown_words) <= MOST_COMMAND else shown_words[: MOST_COMMAND - 4] + " ..."


def ended(code):
    return "exit status %d" % code if code >= 0 else "death by signal %d" % -code


def check_command(check):
    words = [str(word) for word in check["command"]]
    environment = {key: str(value) for key, value in check.get("environment", {}).items()}
    try:
        code, out, err = run(words, float(check.get("timeout", 30)), environment)
        # Without the secrets before it is cut: half a secret is not found any more.
        seen_out, seen_err = hide(out, environment.values()), hide(err, environment.values())
        wanted = [int(number) for number in as_list(check.get("rc", 0))]
        if code not in wanted:
            said = seen_err if one_line(seen_err) else seen_out
            raise Differs(
                "exit status %s of: %s" % (" or ".join(str(number) for number in wanted), words_shown(words)),
                "%s (%s)" % (ended(code), shown(said)),
            )
        if "expect" in check and re.search(check["expect"], out) is None:
            also = "" if one_line(out) or not one_line(err) else " (standard error: %s)" % shown(seen_err)
            raise Differs(
                "/%s/ in the output of: %s" % (check["expect"], words_shown(words)), shown(seen_out) + also
            )
    except Differs as differs:
        raise_hidden(differs, environment.values())


def raise_hidden(differs, secrets):
    """The command itself may name a secret: hide it there, too, except words too short to be one."""
    differs.args = (hide(str(differs), [secret for secret in secrets if len(secret) >= 4]),)
    raise differs


def check_unit(check):
    unit = check["unit"]
    if isinstance(unit, str):
        unit = {"name": unit, "state": "active", "enabled": True}
    name, timeout = unit["name"], float(check.get("timeout", 30))
    asked = ["systemctl", "show", "-p", "LoadState,ActiveState,SubState,UnitFileState,Result", name]
    code, out, err = run(asked, timeout)
    if code != 0:
        raise Differs("the state of %s from systemd" % name, shown(err or out))
    state = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    wanted, found = [], []
    active = state.get("ActiveState", "unknown")
    is_active = active in ("active", "reloading")
    right = True
    if "state" in unit:
        wanted.append(unit["state"])
        right = is_active == (unit["state"] == "active")
    if "enabled" in unit:
        enabled = run(["systemctl", "is-enabled", name], timeout)[1].strip()
        starts = enabled in STARTED_AT_BOOT
        should = truth(unit["enabled"])
        wanted.append("enabled" if should else "disabled")
        right = right and starts == should
        found.append(enabled or "not enabled")
    if right:
        return
    expected = "%s %s" % (name, " and ".join(wanted))
    if state.get("LoadState") == "not-found":
        raise Differs(expected, "no such unit")
    result = state.get("Result", "success")
    detail = state.get("SubState", "") + ("" if result in ("", "success") else ", " + result)
    raise Differs(expected, " and ".join(["%s (%s)" % (active, detail), *found]))


def check_port(check):
    port = check["port"]
    host, number, timeout = port["host"], int(port["port"]), float(check.get("timeout", 5))
    wants_open = truth(port.get("open", True))
    where = "%s port %d" % (host, number)
    try:
        socket.create_connection((host, number), timeout).close()
    except socket.timeout:
        came = "no answer within %g s" % timeout
    except OSError as error:
        came = error.strerror or str(error)
    else:
        if not wants_open:
            raise Differs("nobody to listen on %s" % where, "a connection")
        return
    if wants_open:
        raise Differs("a connection to %s" % where, came)


def owner_name(number):
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number):
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def check_file(check):
    wanted = check["file"]
    path = wanted["path"]
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if truth(wanted.get("exists", True)):
            raise Differs(path, "no such file") from None
        return
    if not truth(wanted.get("exists", True)):
        raise Differs("no %s" % path, "a %s" % ("directory" if stat.S_ISDIR(found.st_mode) else "file"))
    differences = []
    for key, is_there in (
        ("owner", owner_name(found.st_uid)),
        ("group", group_name(found.st_gid)),
        ("mode", "%04o" % stat.S_IMODE(found.st_mode)),
    ):
        should = str(wanted.get(key, is_there))
        if (should.zfill(4) if key == "mode" else should) != is_there:
            differences.append((key, should, is_there))
    if differences:
        raise Differs(
            "%s with %s" % (path, ", ".join("%s %s" % (key, should) for key, should, _ in differences)),
            ", ".join("%s %s" % (key, is_there) for key, _, is_there in differences),
        )
    if "contains" not in wanted and "lacks" not in wanted:
        return
    with open(path, "rb") as stream:
        text = stream.read(MOST_FILE).decode("utf-8", "replace")
    # What a file says is not shown: it may be a password.
    for pattern in as_list(wanted.get("contains", [])):
        if re.search(pattern, text, re.MULTILINE) is None:
            raise Differs("/%s/ in %s" % (pattern, path), "no line like it")
    for pattern in as_list(wanted.get("lacks", [])):
        match = re.search(pattern, text, re.MULTILINE)
        if match is not None:
            line = text.count("\n", 0, match.start()) + 1
            raise Differs("no /%s/ in %s" % (pattern, path), "one in line %d" % line)


def check_value(check):
    value = check["value"]
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    if re.search(check["expect"], text) is None:
        raise Differs("/%s/" % check["expect"], shown(text))


def check_problem(check):
    if check["problem"].strip():
        raise Wrong(check["problem"])


RUNS = {
    "command": check_command,
    "unit": check_unit,
    "port": check_port,
    "file": check_file,
    "value": check_value,
    "problem": check_problem,
}


def row(report, check):
    skip = reason_to_skip(check)
    status, why = ("skipped", one_line(skip)) if skip else ("ok", "")
    if not skip:
        kind = next(kind for kind in KINDS if kind in check)
        try:
            RUNS[kind](check)
        except Wrong as wrong:
            status, why = "failed", str(wrong)
        except Exception as error:  # noqa: BLE001
            # A check that cannot look has not seen that all is well. The error itself may quote anything.
            status = "failed"
            why = "could not be looked at: %s" % (getattr(error, "strerror", None) or type(error).__name__)
        if status == "failed":
            why = one_line("%s; %s" % (why, check["hint"]) if check.get("hint") else why)
    return {"role": report, "guide": check["guide"], "check": check["name"], "status": status, "why": why}


def fact_name(report, part):
    return "hass_verify_%s" % report + ("__" + re.sub(r"\W", "_", part, flags=re.ASCII) if part else "")


def main():
    module = AnsibleModule(
        argument_spec={
            "report": {"type": "str", "required": True},
            "part": {"type": "str"},
            "parallel": {"type": "int", "default": 1},
            "checks": {"type": "list", "elements": "dict", "required": True},
        },
        supports_check_mode=True,
        # Not to syslog: the checks hold the environment of their commands.
        no_log=True,
    )
    report, checks = module.params["report"], [without_nulls(check) for check in module.params["checks"]]
    # Instead of the arguments, which -vvv would show.
    told = {"module_args": {"report": report, "checks": "%d checks" % len(checks)}}
    problems = input_problems(report, checks)
    if module.params["parallel"] < 1:
        problems.insert(0, "parallel: must be 1 or more, not %d" % module.params["parallel"])
    if problems:
        module.fail_json(msg="; ".join(one_line(problem) for problem in problems), invocation=told)
    with ThreadPoolExecutor(max_workers=module.params["parallel"]) as pool:
        rows = list(pool.map(lambda check: row(report, check), checks))
    module.exit_json(
        changed=False,
        rows=rows,
        ansible_facts={fact_name(report, module.params["part"]): rows},
        invocation=told,
    )


if __name__ == "__main__":
    main()
