# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Looks at a host that may have no Python, or not answer at all: these are findings like any other.

First a line of shell tells the host's clock and its Python, then the module of the same name does the rest.
"""

from __future__ import annotations

import re
import shlex
import time

from ansible import __version__
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

# The oldest Python on a host that ansible-core can work with. The next ones are no older than the last here.
OLDEST_PYTHON = {(2, 15): (3, 5), (2, 16): (3, 6), (2, 17): (3, 7), (2, 18): (3, 8), (2, 20): (3, 9)}


def oldest_python(version):
    core = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    fitting = [python for release, python in OLDEST_PYTHON.items() if release <= core]
    return max(fitting, default=(3, 5))


def judge_python(found, version):
    """What is wrong with a host's Python; ``found`` is what it printed."""
    match = re.search(r"^python (\d+)\.(\d+)", found, re.MULTILINE)
    if not match:
        return "there is no python3, which Ansible needs on a host (apt-get install python3)"
    python, oldest = (int(match.group(1)), int(match.group(2))), oldest_python(version)
    if python >= oldest:
        return None
    core = ".".join(version.split(".")[:2])
    fitting = max((r for r, p in OLDEST_PYTHON.items() if p <= python), default=None)
    hint = f"; ansible-core {fitting[0]}.{fitting[1]} can work with it" if fitting else ""
    needed = f"{oldest[0]}.{oldest[1]} or newer{hint}"
    return f"its Python is {python[0]}.{python[1]}, ansible-core {core} needs {needed}"


def read_clock(found, before, after):
    """How far the host's clock is from ours, given when it was asked and when it had answered."""
    match = re.search(r"^clock (\d+)(?:\.(\d+))?$", found, re.MULTILINE)
    if not match:
        return None
    theirs = float(match.group(1) + "." + (match.group(2) or "5"))
    uncertain = (after - before) / 2 + (0 if match.group(2) else 0.5)
    return {"offset": round(theirs - (before + after) / 2, 3), "uncertainty": round(uncertain, 3)}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        result.update(changed=False, problems=[], clock=None)
        try:
            problem = self._ask(result, task_vars)
        except AnsibleError as error:
            problem = ("reach", f"cannot be reached: {_line(error)}")
        if problem is None:
            try:
                got = self._execute_module(
                    module_name="hass_preflight", module_args=dict(self._task.args), task_vars=task_vars
                )
            except AnsibleError as error:
                got = {"failed": True, "msg": str(error)}
            if got.get("failed") or got.get("unreachable") or "problems" not in got:
                problem = ("reach", f"could not be looked at: {_line(got.get('msg') or 'no answer')}")
            else:
                result["problems"] = got["problems"]
        if problem is not None:
            result["problems"] = [{"item": problem[0], "text": problem[1]}]
        return result

    def _ask(self, result, task_vars):
        interpreter = str(task_vars.get("ansible_python_interpreter") or "")
        if not interpreter or interpreter.startswith("auto") or "{{" in interpreter:
            interpreter = "python3"
        code = "import sys; print('python %d.%d' % sys.version_info[:2])"
        before = time.time()
        # The clock first: Python takes its time to start.
        got = self._low_level_execute_command(
            f'date "+clock %s.%N"; {shlex.quote(interpreter)} -c {shlex.quote(code)} 2>&1', sudoable=True
        )
        after = time.time()
        result["clock"] = read_clock(got.get("stdout", ""), before, after)
        text = judge_python(got.get("stdout", ""), __version__)
        return ("python", text) if text else None


def _line(error):
    return " ".join(str(error).split())[:300]
