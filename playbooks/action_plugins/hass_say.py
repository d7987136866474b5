# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Prints text as it is: a table in the middle of JSON cannot be read."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        self.validate_argument_spec(argument_spec={"text": {"type": "str", "required": True}})
        Display().display(self._task.args["text"].rstrip("\n"))
        return {**super().run(tmp, task_vars), "changed": False}
