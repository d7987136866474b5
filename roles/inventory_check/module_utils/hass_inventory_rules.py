# Copyright: the HASS authors
# Licensed under the Apache License, Version 2.0
"""What an inventory has to be like. Plain data in, lines for people out; no I/O, and never an exception.

``check`` takes what Ansible knows about the inventory::

    {
        "groups": {"compute": ["compute1", ...], ...},
        "hosts": {"compute1": {"variable": value, ...}, ...},
        "errors": {"compute1": {"variable": "why it could not be evaluated"}, ...},
        "files": {"hosts.yml": "its text", ...},              # inventory and variable files
        "names": {"host_vars": ["compute1"], "group_vars": ["all"]},   # what files are named after
    }

and ``rules``, which the role passes (its README explains them), and returns every problem there is, one
line each. The value of a secret never gets into a line.
"""

from __future__ import annotations

import difflib
import ipaddress
import re

import yaml

ADDRESSES = ("ansible_host", "management_address", "migration_address", "bmc_address")
BMC = ("bmc_address", "bmc_user", "bmc_password")
# IPMI 2.0 has no room for more.
IPMI_USER_LONGEST = 16
IPMI_PASSWORD_LONGEST = 20
SHOWN = 4

# What the installation guide and our examples have where a value belongs.
PLACEHOLDERS = (
    "ADMIN_PASS",
    "COMPUTE_HOSTNAME",
    "CONTROLLER_GATEWAY",
    "CONTROLLER_IP_ADDRESS",
    "GATEWAY_IP",
    "HASSDB_PASS",
    "HASSDB_USER",
    "IPMI_IP_ADDRESS",
    "IPMI_PASSWORD",
    "IPMI_USER",
    "NETWORK_IP/XX",
    "SUBNET_NAME",
    "VENDOR_NAME",
)
CHANGE_ME = re.compile(r"change[_-]?me", re.IGNORECASE)
SECRET = re.compile(r"pass(word|wd)?$|secret|_key$|token", re.IGNORECASE)
LABEL = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")


def check(inventory, rules):
    """Every problem of ``inventory``, one line each."""
    seen = Inventory(inventory, rules)
    found = Findings(seen)
    for part in (
        _files, _groups, _misnamed_files, _names, _unreadable, _required, _addresses, _one_address_each, _bmc,
        _secrets, _placeholders, _misspelt,
    ):  # fmt: skip
        part(seen, found)
    return found.lines()


class Inventory:
    """The data that was handed in, with whatever does not fit left out."""

    def __init__(self, inventory, rules):
        given = _mapping(inventory)
        self.groups = {
            str(name): [str(host) for host in _sequence(hosts)]
            for name, hosts in _mapping(given.get("groups")).items()
        }
        self.vars = {str(host): _mapping(names) for host, names in _mapping(given.get("hosts")).items()}
        self.errors = {
            str(host): {str(name): str(why) for name, why in _mapping(names).items()}
            for host, names in _mapping(given.get("errors")).items()
        }
        self.files = {
            str(path): text for path, text in _mapping(given.get("files")).items() if isinstance(text, str)
        }
        self.file_names = {
            str(kind): [str(name) for name in _sequence(names)]
            for kind, names in _mapping(given.get("names")).items()
        }
        rules = _mapping(rules)
        self.kinds = [str(group) for group in _sequence(rules.get("groups"))]
        self.needed_groups = [str(group) for group in _sequence(rules.get("required_groups"))]
        self.required = [_mapping(rule) for rule in _sequence(rules.get("required"))]
        self.secrets = [_mapping(rule) for rule in _sequence(rules.get("secrets"))]
        self.known = {str(name) for name in _sequence(rules.get("known"))}
        self.prefixes = tuple(str(prefix) for prefix in _sequence(rules.get("prefixes")))
        self.own = {str(name) for name in _sequence(rules.get("own"))}
        self.secret_names = {str(rule.get("name")) for rule in self.secrets} | {"bmc_password"}
        # In the inventory's order, each once: the hosts that HASS is about.
        self.members = list(dict.fromkeys(h for kind in self.kinds for h in self.groups.get(kind, [])))

    def of(self, groups):
        """The hosts of these groups."""
        wanted = [str(group) for group in _sequence(groups)] or self.kinds
        return list(dict.fromkeys(host for group in wanted for host in self.groups.get(group, [])))

    def get(self, host, name):
        return self.vars.get(host, {}).get(name)

    def has(self, host, name):
        """Whether the variable is there at all, be it empty or not to be evaluated."""
        return name in self.vars.get(host, {}) or name in self.errors.get(host, {})

    def broken(self, host, name):
        return name in self.errors.get(host, {})


class Findings:
    """Problems, the same one of several hosts told once."""

    def __init__(self, seen):
        self._seen = seen
        self._hosts = {}

    def add(self, text):
        """A problem of the inventory as a whole."""
        self._hosts.setdefault(text, None)

    def host(self, host, text):
        hosts = self._hosts.setdefault(text, [])
        if hosts is not None and host not in hosts:
            hosts.append(host)

    def lines(self):
        told = (
            _one_line(text if hosts is None else f"{self._who(hosts)}: {text}")
            for text, hosts in self._hosts.items()
        )
        return list(dict.fromkeys(told))  # what differed may be what a line cannot show

    def _who(self, hosts):
        if len(hosts) == 1:
            return f"host {hosts[0]}"
        for name in self._seen.kinds:
            if set(self._seen.groups.get(name, [])) == set(hosts):
                return f"group {name}"
        if set(self._seen.members) == set(hosts):
            return "all hosts"
        return f"hosts {_some(hosts)}"


# --- The parts, in the order of the lines they give -------------------------------------------------------


def _files(seen, found):
    """The same name twice: Ansible merges or overwrites without a word that anybody reads."""
    for path, text in seen.files.items():
        for line in twice_in_ini(text) if _is_ini(path, text) else twice(text):
            found.add(f"{path}, {line}")


def _groups(seen, found):
    for name in seen.kinds:
        if not seen.groups.get(name) and name in seen.needed_groups:
            found.add(f"group {name}: has no hosts, expected at least one")
        elif name in seen.groups and not seen.groups[name]:
            found.add(f"group {name}: has no hosts, expected some, or no such group")
    for name, hosts in seen.groups.items():
        if name in ("all", "ungrouped") or name in seen.kinds:
            continue
        meant = _meant(name, seen.kinds, 0.75)
        outside = [host for host in hosts if host not in seen.groups.get(meant, [])] if meant else []
        if outside:
            found.add(
                f"group {name}: is not a group of HASS, did you mean {meant}? "
                f"{_some(outside)} would be left out"
            )
    for host in seen.groups.get("ungrouped", []):
        if host not in ("localhost", "127.0.0.1", "::1") and seen.get(host, "ansible_connection") != "local":
            found.host(host, f"is in no group, expected {_either(seen.kinds)}")


def _misnamed_files(seen, found):
    everything = set(seen.vars) | {host for hosts in seen.groups.values() for host in hosts}
    for folder, names in (("host_vars", everything), ("group_vars", set(seen.groups) | {"all", "ungrouped"})):
        kind = folder.split("_")[0]
        for name in seen.file_names.get(folder, []):
            if name not in names and name not in everything:
                meant = _meant(name, names, 0.6)
                hint = f": did you mean {meant}?" if meant else ""
                found.add(f"{folder}/{name}: there is no {kind} {name} in the inventory{hint}")


def _names(seen, found):
    for host in seen.members:
        if _is_ip(host):
            found.host(
                host, "is an IP address, expected the name that Nova has for the host, and ansible_host"
            )
        else:
            why = _host_name(host)
            if why:
                found.host(host, f"the name {host!r} {why}")
    folded = {}
    for host in seen.members:
        folded.setdefault(host.strip().lower(), []).append(host)
    for hosts in folded.values():
        if len(hosts) > 1:
            found.add(
                f"hosts {_some(hosts)}: differ in upper and lower case or blanks only, "
                "expected one name, spelt as Nova spells it"
            )
    alone = [hosts[0] for hosts in folded.values()]
    for kind in seen.kinds:
        short = {}
        for host in alone:
            if host in seen.groups.get(kind, []) and not _is_ip(host):
                short.setdefault(host.lower().split(".")[0], []).append(host)
        for name, hosts in short.items():
            if len(hosts) > 1:
                found.add(f"hosts {_some(hosts)}: have one name, {name!r}, expected each {kind} host its own")


def _unreadable(seen, found):
    """Variables that cannot be evaluated, such as one that refers to a missing one."""
    for host in seen.errors:
        for name, why in seen.errors[host].items():
            missing = re.search(r"'([A-Za-z_][A-Za-z0-9_.]*)' is undefined", why)
            if missing:
                text = f"needs {missing.group(1)}, which is not defined"
            elif "vault" in why.lower() or "decrypt" in why.lower():
                text = "cannot be decrypted, expected the vault's password by --ask-vault-pass or --vault-id"
            elif name in seen.secret_names or SECRET.search(name):
                text = "cannot be evaluated"
            else:
                text = f"cannot be evaluated: {why[:200]}"
            found.host(host, f"{name} {text}")


def _required(seen, found):
    for rule in seen.required:
        name = str(rule.get("name"))
        expected = str(rule.get("expected") or "a value")
        choices = [str(choice) for choice in _sequence(rule.get("choices"))]
        if choices:
            expected = _either(choices)
        pattern = _pattern(rule.get("pattern"))
        for host in seen.of(rule.get("groups")):
            if seen.broken(host, name):
                continue
            value = seen.get(host, name)
            if _empty(value):
                if not rule.get("optional"):
                    found.host(host, f"{name} is missing, expected {expected}")
            elif _placeholder(value):
                continue
            elif not isinstance(value, str):
                found.host(host, f"{name} is not text, expected {expected}")
            elif (choices and value not in choices) or (pattern and not pattern.search(value)):
                found.host(host, f"{name} is {_shown(value)}, expected {expected}")


def _addresses(seen, found):
    for host, names in seen.vars.items():
        for name, value in names.items():
            if not isinstance(name, str) or _placeholder(value):
                continue
            if name in ADDRESSES:
                if _empty(value):
                    continue
                why = bad_address(value, port=name == "bmc_address")
                if not why and _is_ip(value) and ipaddress.ip_address(value.split("%")[0]).is_unspecified:
                    why = "is the address of nothing"
            elif name in seen.known and name.endswith(("_address", "_addresses")):
                values = value if isinstance(value, (list, tuple)) else [value]
                why = next((bad_address(v, port=False) for v in values if not _empty(v) and v != "*"), None)
            else:
                continue
            if why:
                found.host(
                    host, f"{name} is {_shown(value)}, which {why}; expected an IP address or a host name"
                )


def _one_address_each(seen, found):
    for name in ADDRESSES:
        users = {}
        for host in seen.vars:
            key = _address_key(seen, host, name)
            if key:
                users.setdefault(key, []).append(host)
        for hosts in users.values():
            if len(hosts) > 1:
                found.add(
                    f"hosts {_some(hosts)}: {name} is {_shown(seen.get(hosts[0], name))} for each of them, "
                    "expected each its own"
                )
    hosts_by_address = {}
    for name in ADDRESSES[:3]:
        for host in seen.vars:
            value = seen.get(host, name)
            if (
                isinstance(value, str)
                and _is_ip(value)
                and not ipaddress.ip_address(value.split("%")[0]).is_loopback
            ):
                hosts_by_address.setdefault(_canonical(value), (host, name))
    for host in seen.vars:
        value = seen.get(host, "bmc_address")
        if not isinstance(value, str) or not _is_ip(value) or seen.get(host, "bmc_port"):
            continue
        if _canonical(value) in hosts_by_address:
            other, name = hosts_by_address[_canonical(value)]
            found.host(host, f"bmc_address is {value}, the {name} of {other}; expected an address of the BMC")


def _bmc(seen, found):
    for host in seen.vars:
        given = [name for name in BMC if seen.broken(host, name) or not _empty(seen.get(host, name))]
        # An address that is there and empty says: this host has no IPMI, whatever its group has.
        if not given or ("bmc_address" not in given and seen.has(host, "bmc_address")):
            continue
        for name in BMC:
            if name in given:
                continue
            if name == "bmc_address":
                found.host(
                    host,
                    f"bmc_address is missing, expected it beside {given[0]}; a host without IPMI has none of "
                    "the three, or an empty bmc_address",
                )
            else:
                found.host(host, f"{name} is missing, expected it beside bmc_address")
        user, password = seen.get(host, "bmc_user"), seen.get(host, "bmc_password")
        if isinstance(user, str) and "," in user:
            found.host(host, "bmc_user has a comma in it, which hass.conf cannot hold")
        for name, value, longest in (
            ("bmc_user", user, IPMI_USER_LONGEST),
            ("bmc_password", password, IPMI_PASSWORD_LONGEST),
        ):
            if isinstance(value, str) and len(value.encode("utf-8", "surrogatepass")) > longest:
                found.host(host, f"{name} is longer than the {longest} bytes that IPMI 2.0 has room for")
            if name in given and not seen.broken(host, name):
                _text(host, name, value, found)


def _secrets(seen, found):
    for rule in seen.secrets:
        name = str(rule.get("name"))
        shortest = rule.get("shortest")
        shortest = shortest if isinstance(shortest, int) else 1
        values = {}
        for host in seen.of(rule.get("groups")):
            if seen.broken(host, name):
                continue
            value = seen.get(host, name)
            if _empty(value):
                found.host(host, f"{name} is missing, expected {_secret_of(shortest)}, best kept in a vault")
            elif _placeholder(value):
                continue
            elif _text(host, name, value, found):
                if len(value) < shortest:
                    found.host(host, f"{name} has {len(value)} characters, expected {_secret_of(shortest)}")
                values.setdefault(value, host)
        if len(values) > 1:
            found.add(f"{name}: is not the same on {_some(list(values.values()))}, expected one for all")


def _placeholders(seen, found):
    names = seen.known | seen.secret_names | set(ADDRESSES) | set(BMC)
    for host, variables in seen.vars.items():
        for name, value in variables.items():
            if name not in names:
                continue
            left = _placeholder_within(value)
            if left:
                found.host(host, f"{name} still has the placeholder {left}, expected a value of yours")


def _misspelt(seen, found):
    fine = seen.known | seen.own | set(ADDRESSES) | set(BMC)
    verdicts = {}
    for host, variables in list(seen.vars.items()) + list(seen.errors.items()):
        for name in variables:
            if not isinstance(name, str) or name in fine or name.startswith("ansible_"):
                continue
            if name not in verdicts:
                ours = name.startswith(seen.prefixes) if seen.prefixes else False
                verdicts[name] = _meant(name, seen.known, 0.87 if ours else 0.93)
            if verdicts[name]:
                found.host(host, f"{name} is not a variable of HASS, did you mean {verdicts[name]}?")


def _is_ini(path, text):
    """Whether Ansible reads this file as INI, which needs no ending."""
    if path.endswith((".yml", ".yaml", ".json")):
        return False
    return any(re.match(r"^\s*\[[^\]]+\]\s*$", line) for line in text.splitlines())


# --- Names twice in one file ------------------------------------------------------------------------------


def twice(text):
    """Keys that stand twice in one mapping of a YAML file, and hosts with two addresses."""
    if text.lstrip().startswith("$ANSIBLE_VAULT"):
        return []
    try:
        roots = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node is not None]
    except (yaml.YAMLError, ValueError, RecursionError):
        return []  # Ansible itself says so, and better
    lines, addresses, repeated = [], {}, set()
    todo = [(root, ()) for root in roots]
    done = set()
    while todo:
        node, path = todo.pop(0)
        if id(node) in done or len(path) > 50:
            continue
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo.extend((child, path) for child in node.value)
        if not isinstance(node, yaml.MappingNode):
            continue
        first = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in first and key.value != "<<":
                repeated.add(key.value)
                lines.append(
                    f"line {line}: {key.value} stands twice (first in line {first[key.value]}), "
                    "and only the last would count; expected each name once"
                )
            first.setdefault(key.value, line)
            todo.append((value, (*path, key.value)))
            if (
                len(path) > 1
                and path[-2] == "hosts"
                and key.value == "ansible_host"
                and isinstance(value, yaml.ScalarNode)
            ):
                known = addresses.setdefault(path[-1], (value.value, line))
                if known[0] != value.value and path[-1] not in repeated:
                    lines.append(
                        f"line {line}: {path[-1]} has another ansible_host than in line {known[1]}, "
                        "expected two names for two hosts"
                    )
    return lines


def twice_in_ini(text):
    """The same in an inventory of Ansible's INI kind."""
    lines, section = [], "ungrouped"
    stood, values = {}, {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.rstrip().endswith("]"):
            section = line[1:-1].strip()
            continue
        if ":" in section:  # [group:vars], [group:children]
            continue
        words = line.split()
        host = words[0]
        first = stood.setdefault((section, host), number)
        if first != number:
            lines.append(
                f"line {number}: {host} stands twice in [{section}] (first in line {first}), "
                "expected each name once"
            )
        for word in words[1:]:
            name, sign, value = word.partition("=")
            if not sign:
                continue
            known = values.setdefault((host, name), (value, number))
            if known[0] != value and first == number:
                lines.append(
                    f"line {number}: {host} has another {name} than in line {known[1]}, and only the last "
                    "would count; expected one"
                )
    return lines


# --- Small things -----------------------------------------------------------------------------------------


def bad_address(value, port):
    """Why this is neither an IP address nor a host name; None when it is one."""
    if not isinstance(value, str):
        return "is not text"
    if value != value.strip():
        return "has blanks around it"
    if "://" in value:
        return "is a URL"
    if "/" in value:
        return "is a network, or has a prefix length"
    if port:
        match = re.match(r"^\[([0-9A-Fa-f:.]+)\](?::(\d{1,5}))?$", value) or re.match(
            r"^([^:]*):(\d{1,5})$", value
        )
        if match:
            value = match.group(1)
            if match.group(2) and not 0 < int(match.group(2)) < 65536:
                return "has no port number from 1 to 65535"
    if re.match(r"^[0-9.]+$", value):
        try:
            address = ipaddress.IPv4Address(value)
        except ValueError:
            return "is not an IPv4 address"
        return "is no address of a single host" if address.is_multicast or int(address) == 2**32 - 1 else None
    if ":" in value:
        try:
            address = ipaddress.IPv6Address(value.split("%")[0])
        except ValueError:
            return "is not an IPv6 address"
        return "is no address of a single host" if address.is_multicast else None
    return _host_name(value)


def _host_name(value):
    if not value:
        return "is empty"
    if len(value) > 253:
        return "is longer than a host name may be"
    for label in (value[:-1] if value.endswith(".") else value).split("."):
        if not LABEL.match(label):
            return "is not a host name (letters, digits, '-', and dots between them)"
    if re.match(r"^[0-9]+$", value.rstrip(".").rsplit(".", 1)[-1]):
        return "is not a host name (its last part is a number)"
    return None


def _address_key(seen, host, name):
    value = seen.get(host, name)
    if not isinstance(value, str) or _empty(value) or _placeholder(value) or bad_address(value, port=True):
        return None
    if name == "ansible_host":
        connection = seen.get(host, "ansible_connection")
        if connection not in (None, "", "ssh", "smart", "paramiko", "ansible.builtin.ssh"):
            return None
        return _canonical(value), str(seen.get(host, "ansible_port") or "")
    if name == "bmc_address":
        return _canonical(value), str(seen.get(host, "bmc_port") or "")
    return _canonical(value)


def _canonical(value):
    try:
        return str(ipaddress.ip_address(value.split("%")[0]))
    except ValueError:
        return value.lower().rstrip(".")


def _is_ip(value):
    try:
        ipaddress.ip_address(value.split("%")[0])
    except (ValueError, AttributeError):
        return False
    return True


def _text(host, name, value, found):
    """Whether a secret is text, in one line, with nothing around it that was not meant."""
    if not isinstance(value, str):
        found.host(host, f"{name} is not text, expected it in quotes")
        return False
    if any(ord(character) < 32 for character in value):
        found.host(host, f"{name} has a line break or another control character in it")
        return False
    if value != value.strip():
        found.host(host, f"{name} has blanks around it")
        return False
    return True


def _secret_of(shortest):
    return f"{shortest} or more" if shortest > 1 else "a password"


def _empty(value):
    return value is None or value is False or (isinstance(value, str) and not value.strip())


def _placeholder(value):
    """The placeholder that this value is or contains."""
    if not isinstance(value, str):
        return None
    if value.strip() in PLACEHOLDERS:
        return value.strip()
    match = CHANGE_ME.search(value)
    return match.group(0) if match else None


def _placeholder_within(value, depth=0):
    if depth > 6:
        return None
    inner = ()
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, (list, tuple)):
        inner = value
    return _placeholder(value) or next(filter(None, (_placeholder_within(v, depth + 1) for v in inner)), None)


def _loose(name):
    return re.sub(r"[_\-\s]", "", name.lower())


def _meant(name, candidates, cutoff):
    """The candidate that somebody who wrote ``name`` probably had in mind."""
    loose = _loose(name)
    best, most = None, cutoff
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(loose)
    for candidate in sorted(candidates):
        matcher.set_seq1(_loose(candidate))
        # Singular and plural of one word are a mistake more often than two names.
        if loose.rstrip("s") == _loose(candidate).rstrip("s"):
            return candidate
        if loose != _loose(candidate) and re.sub(r"\d", "", loose) == re.sub(r"\d", "", _loose(candidate)):
            continue  # compute7 is not compute9
        if matcher.real_quick_ratio() < most or matcher.quick_ratio() < most:
            continue
        if loose.startswith(_loose(candidate)) and "_" in name:
            score = max(matcher.ratio(), 0.8)  # compute_nodes, compute_hosts
        else:
            score = matcher.ratio()
        if score >= most:
            best, most = candidate, score
    return best


def _pattern(text):
    try:
        return re.compile(text) if isinstance(text, str) else None
    except (re.error, RecursionError, OverflowError):
        return None


def _shown(value):
    text = value if isinstance(value, str) and value.strip() == value else repr(value)
    return re.sub(r"//[^/@\s]*@", "//...@", text)[:80]


def _some(names):
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _either(words):
    words = list(words)
    return ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else "".join(words)


def _one_line(text):
    return "".join(character if character.isprintable() else "?" for character in text)


def _mapping(value):
    return value if isinstance(value, dict) else {}


def _sequence(value):
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else []
