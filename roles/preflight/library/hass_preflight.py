#!/usr/bin/python
# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
# Runs on the hosts themselves, on those of Ubuntu 16.04, too: Python 3.5, standard library only.
"""What a host lacks of what HASS builds upon: section 1 of the guide, both tables."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import glob
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: hass_preflight
short_description: Tell what a host lacks of what HASS builds upon
description:
  - Reads only. Returns what is missing as lines for people; the task does not fail because of them.
  - An action of the same name asks first, without Python on the host, whether the host can be reached, has a
    Python that Ansible can use, and what its clock says.
options:
  kinds:
    description: What the host is, some of C(controller), C(compute) and C(blockstorage).
    type: list
    elements: str
    required: true
  name:
    description: The name that the inventory, and therefore HASS, has for the host.
    type: str
    required: true
  peers:
    description: The other hosts, each with C(name) and C(address). Names have to resolve to the addresses.
    type: list
    elements: dict
    default: []
  release:
    description: The release of OpenStack that is expected.
    type: str
  platforms:
    description: Names of units, packages and so on by operating system, such as C(debian-12).
    type: dict
    required: true
  versions:
    description: Beginnings of the versions by release and service.
    type: dict
    default: {}
  elsewhere:
    description: Addresses (C(HOST:PORT)) of what does not run on the controller itself, by item.
    type: dict
    default: {}
  auth:
    description: How to ask Keystone for its catalogue; without it nobody is asked.
    type: dict
    suboptions:
      auth_url:
        description: Keystone's URL.
        type: str
        required: true
      username:
        description: A user, C(admin) without it.
        type: str
      password:
        description: The user's password.
        type: str
      project_name:
        description: A project, C(admin) without it.
        type: str
      user_domain_id:
        description: Domain of the user, C(default) without it.
        type: str
      project_domain_id:
        description: Domain of the project, C(default) without it.
        type: str
      interface:
        description: Which endpoints, C(public) without it.
        type: str
      region_name:
        description: Which region, when there are several.
        type: str
      cacert:
        description: File of the CA certificates that sign the endpoints.
        type: str
  timeout:
    description: The longest that one answer may take, in seconds.
    type: int
    default: 10
attributes:
  check_mode:
    description: It never changes anything.
    support: full
author:
  - The HASS authors
"""

EXAMPLES = r"""
- name: Look at the host
  hass_preflight:
    kinds: [compute]
    name: compute1
    peers:
      - {name: controller, address: 192.0.2.11}
    release: zed
    platforms:
      debian-12:
        title: Debian 12
        time_units: [chrony]
        services:
          compute:
            nova: [[nova-compute]]
"""

RETURN = r"""
problems:
  description: What is missing, each with C(item) and C(text).
  returned: always
  type: list
  elements: dict
clock:
  description: How far the host's clock is from that of the machine that runs Ansible, and how sure that is.
  returned: always
  type: dict
  sample: {offset: 0.02, uncertainty: 0.05}
"""

PORTS = {"sql": 3306, "message_queue": 5672, "memcached": 11211, "etcd": 2379}
ORDER = (
    "sql",
    "message_queue",
    "memcached",
    "etcd",
    "keystone",
    "glance",
    "nova",
    "neutron",
    "horizon",
    "cinder",
)
TITLES = {
    "sql": "the SQL database",
    "message_queue": "the message queue",
    "memcached": "memcached",
    "etcd": "etcd",
    "keystone": "Keystone",
    "glance": "Glance",
    "nova": "Nova",
    "neutron": "Neutron",
    "horizon": "Horizon",
    "cinder": "Cinder",
}
CATALOGUE = (
    ("keystone", ("identity",)),
    ("glance", ("image",)),
    ("nova", ("compute",)),
    ("neutron", ("network",)),
    ("cinder", ("volumev3", "block-storage", "volume")),
)
AUTH = (
    "username",
    "project_name",
    "user_domain_id",
    "project_domain_id",
    "interface",
    "region_name",
    "cacert",
)
SHOWN = 4


# --- Reading ----------------------------------------------------------------------------------------------


def run(words, timeout):
    """Status and output of a program in the C locale; None when there is none."""
    environment = dict(os.environ, LC_ALL="C", LANG="C")
    environment["PATH"] = environment.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
    except OSError:
        return None
    try:
        output = process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return 124, ""
    return process.returncode, output.decode("utf-8", "replace")


def read(path):
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def operating_system(text):
    """(id, version, title) by the text of /etc/os-release."""
    values = {}
    for line in text.splitlines():
        name, _sign, value = line.strip().partition("=")
        values[name] = value.strip("\"'")
    return values.get("ID", ""), values.get("VERSION_ID", ""), values.get("PRETTY_NAME", "an unknown system")


def unit_states(text, names):
    """State of each unit, by what `systemctl show` printed for these names, in their order."""
    states = {}
    blocks = [block for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]
    for number, block in enumerate(blocks[: len(names)]):
        name = names[number]
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        states[name] = {
            "there": values.get("LoadState") == "loaded",
            "state": values.get("ActiveState", "unknown"),
            "boot": values.get("UnitFileState", ""),
        }
    return states


def package_versions(text):
    """Version of each installed package, by what `dpkg-query` printed."""
    versions = {}
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) == 3 and parts[1].endswith(" installed"):
            versions[parts[0].split(":")[0]] = parts[2]
    return versions


def bare_version(version):
    """2:26.2.2-1~deb12u5 is 26.2.2."""
    return re.split(r"[-+~]", version.split(":", 1)[-1])[0]


def listening_ports(*texts):
    """Ports that are listened at, by the texts of /proc/net/tcp and tcp6."""
    ports = set()
    for text in texts:
        for line in text.splitlines()[1:]:
            fields = line.split()
            if len(fields) > 3 and fields[3] == "0A":
                with suppress(IndexError, ValueError):
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def ini_value(texts, section, key):
    """The last value of a key in files that oslo.config reads one after the other; None without one."""
    found = None
    for text in texts:
        current = ""
        for line in text.splitlines():
            stripped = line.strip()
            if not stripped or stripped[0] in "#;":
                continue
            header = re.match(r"^\[([^\]]*)\]", stripped)
            if header:
                current = header.group(1)
            elif current == section and not line[0].isspace():
                name, sign, value = re.match(r"^([^=:]*)([=:]?)(.*)$", stripped).groups()
                if sign and name.strip() == key:
                    found = value.strip()
    return found


def is_true(value):
    return value is not None and value.lower() in ("true", "1", "yes", "on")


def some(names):
    names = list(names)
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else "%s and %d more" % (shown, len(names) - SHOWN)


def in_order(by_item):
    """The items of a dictionary in the order of the guide's tables."""
    return [(item, by_item[item]) for item in ORDER if item in by_item]


def resolve(names, timeout):
    """Addresses of each name; an empty set for one without any, None for one that took too long."""
    answers = dict.fromkeys(names)
    todo = list(names)
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                if not todo:
                    return
                name = todo.pop()
            try:
                got = {entry[4][0].split("%")[0] for entry in socket.getaddrinfo(name, None)}
            except (OSError, UnicodeError):
                got = set()
            answers[name] = got

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(16, len(todo)))]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + timeout
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    return dict(answers)


# --- Judging: one function for each row of the guide's tables ---------------------------------------------


def judge_system(found, platforms):
    name = "%s-%s" % found[:2]
    if name in platforms:
        return []
    titles = sorted(platform.get("title", key) for key, platform in platforms.items())
    return ["is %s, expected one of: %s" % (found[2], ", ".join(titles))]


def judge_names(own, peers, answers):
    unknown, slow, wrong = [], [], []
    for peer in peers:
        name, address = peer.get("name", ""), peer.get("address") or ""
        got = answers.get(name)
        if got is None:
            slow.append(name)
        elif not got:
            unknown.append(name)
        elif is_ip(address) and address not in got and not (name == own and all(loopback(a) for a in got)):
            wrong.append("%s to %s instead of %s" % (name, " and ".join(sorted(got)), address))
    lines = []
    if unknown:
        lines.append("the names of these hosts do not resolve here (DNS or /etc/hosts): %s" % some(unknown))
    if slow:
        lines.append("the name service does not answer for: %s" % some(slow))
    if wrong:
        lines.append("names resolve to another address: %s" % some(wrong))
    return lines


def is_ip(address):
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError, UnicodeError):
            socket.inet_pton(family, address)
            return True
    return False


def loopback(address):
    return address.startswith("127.") or address == "::1"


def judge_own_name(name, nova_host, kinds):
    if "compute" not in kinds or nova_host == name:
        return []
    return [
        "Nova calls this host %r, the inventory %r; HASS needs the name of `openstack compute service list`, "
        "to the letter" % (nova_host, name)
    ]


def judge_time(units, wanted, synchronised):
    running = [unit for unit in wanted if units.get(unit, {}).get("state") == "active"]
    there = [unit for unit in wanted if units.get(unit, {}).get("there")]
    if not running and there:
        return ["no time service runs: %s is there, but %s" % (there[0], units[there[0]]["state"])]
    if not running:
        return ["no time service runs, expected one of: %s" % ", ".join(wanted)]
    if synchronised is False:
        return ["%s runs, but the clock is not synchronised (yet)" % running[0]]
    return []


def judge_units(item, groups, units):
    """``groups`` is a list of lists: of each, one unit has to run."""
    lines, missing = [], []
    for names in groups:
        there = [name for name in names if units.get(name, {}).get("there")]
        active = [name for name in there if units[name]["state"] == "active"]
        if active:
            if all(units[name]["boot"] in ("disabled", "masked") for name in active):
                lines.append(
                    "%s: %s runs, but is not started at boot (systemctl enable %s)"
                    % (TITLES[item], active[0], active[0])
                )
        elif there:
            lines.append(
                "%s: %s does not run (%s)"
                % (TITLES[item], " or ".join(there), ", ".join(units[name]["state"] for name in there))
            )
        else:
            missing.append(" or ".join(names))
    if missing:
        lines.append("%s is missing: there is no service %s" % (TITLES[item], some(missing)))
    return lines


def judge_port(item, ports):
    if PORTS[item] in ports:
        return []
    return ["%s does not listen at port %d" % (TITLES[item], PORTS[item])]


def judge_packages(wanted, versions, expected, release):
    """``wanted`` is a dictionary of service and package."""
    missing = sorted({name for name in wanted.values() if name not in versions})
    lines = ["packages of OpenStack are missing: %s" % some(missing)] if missing else []
    for service, package in sorted(wanted.items()):
        begins = expected.get(service)
        if package in versions and begins:
            version = bare_version(versions[package])
            if not any((version + ".").startswith(begin + ".") for begin in begins):
                lines.append(
                    "%s is version %s, expected %s (%s)"
                    % (package, version, " or ".join("%s.*" % begin for begin in begins), release)
                )
    return lines


def judge_resume(value):
    if not is_true(value):
        return []
    return [
        "nova.conf has resume_guests_state_on_host_boot = %s: a host that comes back would start guests that "
        "run elsewhere since they were evacuated, on the same volumes; HASS starts what has to run" % value
    ]


def judge_catalogue(catalogue, interface, region, answers):
    """(item, line) pairs. ``answers`` gives, for a URL, None when it answers, or why not."""
    by_type = {}
    for service in catalogue:
        for endpoint in service.get("endpoints") or []:
            if endpoint.get("interface") == interface and region in (None, "", endpoint.get("region_id")):
                by_type.setdefault(service.get("type"), endpoint.get("url") or "")
    for item, types in CATALOGUE:
        kind = next((name for name in types if name in by_type), None)
        if kind is None:
            yield (
                item,
                "%s: Keystone's catalogue has no %s endpoint for %s" % (TITLES[item], interface, types[0]),
            )
            continue
        why = answers(by_type[kind])
        if why:
            yield item, "%s: %s does not answer: %s" % (TITLES[item], by_type[kind], why)


# --- Asking -----------------------------------------------------------------------------------------------


class Nobody(Exception):
    """Nobody answers, with the reason."""


class Cloud:
    """Keystone's catalogue and what answers behind it."""

    def __init__(self, auth, timeout):
        self.auth = auth
        self.timeout = timeout
        self.token = None
        self.context = None
        if auth.get("cacert"):
            self.context = ssl.create_default_context(cafile=auth["cacert"])

    def _open(self, url, body=None):
        headers = {"Accept": "application/json"}
        if self.token:
            headers["X-Auth-Token"] = self.token
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode("utf-8")
        request = urllib.request.Request(url, data=body, headers=headers)
        # The service itself is asked, whatever proxy the environment names.
        handlers = [urllib.request.ProxyHandler({})]
        if self.context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=self.context))
        return urllib.request.build_opener(*handlers).open(request, timeout=self.timeout)

    def catalogue(self):
        auth = self.auth
        url = auth["auth_url"].rstrip("/")
        if not re.search(r"/v3$", url):
            url += "/v3"
        user = {
            "name": auth.get("username") or "admin",
            "password": auth.get("password") or "",
            "domain": {"id": auth.get("user_domain_id") or "default"},
        }
        project = {
            "name": auth.get("project_name") or "admin",
            "domain": {"id": auth.get("project_domain_id") or "default"},
        }
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": project},
            }
        }
        try:
            answer = self._open(url + "/auth/tokens", body)
            self.token = answer.headers.get("X-Subject-Token")
            return json.loads(answer.read().decode("utf-8", "replace"))["token"].get("catalog") or []
        except urllib.error.HTTPError as error:
            if error.code == 401:
                raise Nobody("it refuses the user or the password (hass_admin_password?)") from None
            raise Nobody("it says %s" % error) from None
        except (OSError, ValueError, KeyError) as error:
            raise Nobody(reason(error)) from None

    def answers(self, url):
        try:
            self._open(url).close()
        except urllib.error.HTTPError as error:
            # Whatever it says about the request, it is there; 5xx is what a proxy says for a dead one.
            return "it says %s" % error if error.code >= 500 else None
        except (OSError, ValueError) as error:
            return reason(error)
        return None


def reason(error):
    return str(getattr(error, "reason", None) or error)


def synchronised(units, timeout):
    """Whether the clock is synchronised; None when nobody can tell."""
    if any(units.get(name, {}).get("state") == "active" for name in ("chrony", "chronyd")):
        got = run(["chronyc", "-n", "tracking"], timeout)
        match = re.search(r"^Leap status\s*:\s*(.+?)\s*$", got[1], re.MULTILINE) if got else None
        if match:
            return match.group(1) != "Not synchronised"
    if any(units.get(name, {}).get("state") == "active" for name in ("ntp", "ntpd", "ntpsec")):
        got = run(["ntpq", "-c", "rv 0 stratum,leap"], timeout)
        match = re.search(r"stratum=(\d+)", got[1]) if got else None
        if match:
            return int(match.group(1)) < 16
    got = run(["timedatectl", "status"], timeout)
    match = re.search(r"(?:System clock|NTP) synchronized:\s*(yes|no)", got[1]) if got else None
    return match.group(1) == "yes" if match else None


def connects(address, timeout):
    host, _colon, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()
    except (OSError, ValueError, OverflowError) as error:
        return str(error)
    return None


def look(params):
    """Every problem of this host, as (item, text) pairs."""
    kinds, timeout = params["kinds"], params["timeout"]
    platforms = params["platforms"]
    elsewhere = params["elsewhere"] or {}
    system = operating_system(read("/etc/os-release") or read("/usr/lib/os-release"))
    platform = platforms.get("%s-%s" % system[:2]) or platforms[sorted(platforms)[0]]
    found = [("os", text) for text in judge_system(system, platforms)]

    peers = params["peers"]
    found += [
        ("names", text)
        for text in judge_names(
            params["name"], peers, resolve([peer.get("name", "") for peer in peers], 3 * timeout)
        )
    ]

    services = platform.get("services") or {}
    wanted = [(item, groups) for kind in kinds for item, groups in in_order(services.get(kind) or {})]
    names = list(platform.get("time_units") or [])
    for _item, groups in wanted:
        for group in groups:
            names += [name for name in group if name not in names]
    asked = [name if "." in name else name + ".service" for name in names]
    got = run(["systemctl", "show", "-p", "LoadState,ActiveState,UnitFileState", *asked], timeout)
    units = unit_states(got[1], names) if got and got[0] == 0 else {}
    if not units:
        found.append(("os", "systemd does not answer (systemctl show)"))
    found += [
        ("time", text)
        for text in judge_time(units, platform.get("time_units") or [], synchronised(units, timeout))
    ]

    ports = listening_ports(read("/proc/net/tcp"), read("/proc/net/tcp6"))
    for item, groups in wanted:
        if elsewhere.get(item):
            why = connects(elsewhere[item], timeout)
            if why:
                found.append((item, "%s at %s does not answer: %s" % (TITLES[item], elsewhere[item], why)))
            continue
        texts = judge_units(item, groups, units)
        if not texts and item in PORTS:
            texts = judge_port(item, ports)
        found += [(item, text) for text in texts]

    packages = {}
    for kind in kinds:
        packages.update((platform.get("packages") or {}).get(kind) or {})
    got = run(
        ["dpkg-query", "-W", "-f", "${Package}\\t${Status}\\t${Version}\\n", *sorted(set(packages.values()))],
        timeout,
    )
    expected = (params["versions"] or {}).get(params["release"]) or {}
    found += [
        ("packages", text)
        for text in judge_packages(
            packages, package_versions(got[1] if got else ""), expected, params["release"]
        )
    ]

    if "compute" in kinds:
        more = sorted(glob.glob("/etc/nova/nova.conf.d/*.conf"))
        texts = [read(path) for path in ["/etc/nova/nova.conf", *more, "/etc/nova/nova-compute.conf"]]
        own = ini_value(texts, "DEFAULT", "host") or socket.gethostname()
        found += [("host_name", text) for text in judge_own_name(params["name"], own, kinds)]
        value = ini_value(texts, "DEFAULT", "resume_guests_state_on_host_boot")
        found += [("resume_guests", text) for text in judge_resume(value)]

    auth = params["auth"]
    if "controller" in kinds and auth and auth.get("auth_url"):
        cloud = Cloud(auth, timeout)
        try:
            catalogue = cloud.catalogue()
        except Nobody as nobody:
            found.append(
                ("keystone", "Keystone: %s does not give a catalogue: %s" % (auth["auth_url"], nobody))
            )
        else:
            found += judge_catalogue(
                catalogue, auth.get("interface") or "public", auth.get("region_name"), cloud.answers
            )
    return found


def main():
    module = AnsibleModule(
        argument_spec={
            "kinds": {"type": "list", "elements": "str", "required": True},
            "name": {"type": "str", "required": True},
            "peers": {"type": "list", "elements": "dict", "default": []},
            "release": {"type": "str"},
            "platforms": {"type": "dict", "required": True},
            "versions": {"type": "dict", "default": {}},
            "elsewhere": {"type": "dict", "default": {}},
            "auth": {
                "type": "dict",
                "options": dict(
                    {name: {"type": "str"} for name in AUTH},
                    auth_url={"type": "str", "required": True},
                    password={"type": "str", "no_log": True},
                ),
            },
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    problems = [{"item": item, "text": text} for item, text in look(module.params)]
    module.exit_json(changed=False, problems=problems)


if __name__ == "__main__":
    main()
