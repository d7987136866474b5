# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""Rows of verify.yml compared with those that something broken on purpose has to bring."""

from __future__ import annotations

import re


def hass_unexpected(rows, wanted):
    """Lines that say which rows did not fail, failed too, or say something else.

    ``wanted`` is by host and check the regular expression for what the row says.
    """
    failed = {(row["host"], row["check"]): row["why"] for row in rows if row["status"] == "failed"}
    told = []
    for host, checks in wanted.items():
        for check, pattern in checks.items():
            why = failed.pop((host, check), None)
            if why is None:
                told.append(f"{host}: {check!r} has not failed")
            elif not re.search(pattern, why):
                told.append(f"{host}: {check!r} says {why!r}, expected {pattern!r}")
    told += [f"{host}: {check!r} has failed, too: {why}" for (host, check), why in failed.items()]
    return told


class FilterModule:
    def filters(self):
        return {"hass_unexpected": hass_unexpected}
