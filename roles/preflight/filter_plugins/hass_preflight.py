# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""From what was found on every host to lines for a person."""

from __future__ import annotations

SHOWN = 6


def clocks(results, tolerance):
    """What is wrong with the clocks, by host: those that are certainly too far from the middle one.

    ``results`` has the results of hass_preflight by host. An answer that took so long that nothing can be
    said is no finding.
    """
    known = {}
    for host, result in results.items():
        clock = (result or {}).get("clock")
        if clock:
            known[host] = (clock["offset"], clock["uncertainty"])
    if len(known) < 2:
        return {}
    middle, unsure = sorted(known.values())[(len(known) - 1) // 2]
    wrong = {}
    for host, (offset, uncertainty) in known.items():
        distance = offset - middle
        if abs(distance) - uncertainty - unsure > tolerance:
            words = "ahead of" if distance > 0 else "behind"
            wrong[host] = [
                f"its clock is {abs(distance):.0f} s {words} that of most other hosts, "
                f"expected {tolerance:g} s at most"
            ]
    return wrong


def report(results, tolerance=30.0, optional=()):
    """``{"failed": text, "optional": text}``, hosts that lack the same told together."""
    late = clocks(results, tolerance)
    missing, wanted = {}, {}
    for host, result in results.items():
        problems = list((result or {}).get("problems") or ())
        problems += [{"item": "time", "text": text} for text in late.get(host, ())]
        for problem in problems:
            where = wanted if problem["item"] in optional else missing
            where.setdefault(host, []).append(problem["text"])
    return {"failed": _by_hosts(missing), "optional": _by_hosts(wanted)}


def peers(names, hostvars):
    """Hosts of an inventory as ``preflight_peers``: name in OpenStack, and address."""
    made = []
    for name in names:
        known = hostvars[name]
        address = known.get("management_address") or known.get("ansible_host") or ""
        made.append({"name": str(known.get("hass_host_name") or name), "address": str(address)})
    return made


# Which rows of the guide's tables a kind of host has.
EVERYWHERE = ("reach", "python", "os", "names", "time", "packages")
BY_KIND = {
    "controller": (
        *("sql", "message_queue", "memcached", "etcd"),
        *("keystone", "glance", "nova", "neutron", "horizon", "cinder"),
    ),
    "compute": ("host_name", "nova", "neutron", "resume_guests"),
    "blockstorage": ("cinder",),
}


def rows(result, kinds, late=()):
    """By item, what tasks/verify.yml makes a row of: ``problem`` and ``skip``, empty unless there is one."""
    asked = set(EVERYWHERE).union(*(BY_KIND.get(kind, ()) for kind in kinds))
    problems = {}
    for problem in (result or {}).get("problems") or ():
        problems.setdefault(problem["item"], []).append(problem["text"])
    problems.setdefault("time", []).extend(late)
    # What kept the host from being looked at says nothing about the rest; one row is enough to tell it.
    blind = problems.pop("reach", []) + problems.pop("python", [])
    problems["python"] = blind
    made = {}
    for item in set(EVERYWHERE).union(*BY_KIND.values()):
        texts = problems.get(item) or []
        skip = "" if item in asked else "not on " + (" and ".join(kinds) or "this host")
        if blind and item != "python":
            skip = skip or "could not be looked at"
        made[item] = {"problem": "; ".join(texts), "skip": skip}
    return made


def _by_hosts(texts):
    together = {}
    for host, lines in texts.items():
        together.setdefault(tuple(lines), []).append(host)
    told = []
    for lines, hosts in together.items():
        shown = ", ".join(hosts[:SHOWN]) + (f" and {len(hosts) - SHOWN} more" if len(hosts) > SHOWN else "")
        told.append(f"{shown}:")
        told.extend(f"  - {line}" for line in lines)
    return "\n".join(told)


class FilterModule:
    def filters(self):
        return {
            "hass_preflight_report": report,
            "hass_preflight_clocks": clocks,
            "hass_preflight_rows": rows,
            "hass_preflight_peers": peers,
        }
