"""Builds the compute hosts from the sections that are keyed by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hass_runtime.domain import Bmc, Host, Layer
from hass_runtime.settings import convert
from hass_runtime.settings.keys import ANY, PLACEHOLDERS, did_you_mean
from hass_runtime.settings.reader import Reader
from hass_runtime.settings.reserve import read_reserved

IPMI_PORT = 623
_LONGEST_IPMI_PASSWORD = 20
_LONGEST_IPMI_USER = 16
_ENVIRONMENT = "HASS_IPMI_PASSWORD_"


def environment_name(host: str) -> str:
    """The environment variable that may hold the password of a host's BMC."""
    return _ENVIRONMENT + re.sub(r"[^A-Z0-9]", "_", host.upper())


def read_hosts(reader: Reader) -> tuple[Host, ...]:
    """The hosts of the controller's file, in the order of the file; problems go to the reader."""
    bmc_addresses = _bmc_addresses(reader)
    names = _names(reader, tuple(bmc_addresses))
    addresses = _addresses(reader)
    clusters = _words(reader, "host_cluster")
    zones = _words(reader, "zone")
    keyed_by_host = (
        ("ipmi", bmc_addresses),
        ("address", addresses),
        ("host_cluster", clusters),
        ("zone", zones),
    )
    for section, keyed in keyed_by_host:
        for name in keyed:
            if name not in names:
                near = did_you_mean(name, names)
                reader.problem(f"[{section}] {name}", f"no host of [cluster] hosts is called that{near}")
    bmcs = _bmcs(reader, bmc_addresses)
    reserved = read_reserved(reader, names)
    cluster = reader.text("cluster", "name")
    hosts = tuple(
        Host(
            name,
            addresses.get(name, (name,))[0],
            clusters.get(name, cluster),
            bmcs.get(name),
            zones.get(name, ""),
            addresses.get(name, (name,))[1:],
            name in reserved,
        )
        for name in names
    )
    _check_distinct(reader, hosts)
    return hosts


def _names(reader: Reader, from_ipmi: tuple[str, ...]) -> tuple[str, ...]:
    listed = reader.words("cluster", "hosts")
    if listed is None:
        names = from_ipmi
    else:
        names = tuple(dict.fromkeys(listed))
        for name in names:
            if listed.count(name) > 1:
                reader.problem("[cluster] hosts", f"{name} is listed twice, expected each host once")
            if name in PLACEHOLDERS:
                reader.problem("[cluster] hosts", f"still the placeholder {name}, expected names of hosts")
            else:
                _check_name(reader, "[cluster] hosts", name)
    if not names and not (reader.has("cluster", "hosts") and listed is None):
        reader.problem("[cluster] hosts", "names no host, expected compute hosts here or in [ipmi]")
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            other = seen[name.lower()]
            reader.note("[cluster] hosts", f"{other} and {name} are two hosts: names are case-sensitive")
        seen[name.lower()] = name
    return names


def _check_name(reader: Reader, where: str, name: str) -> None:
    try:
        convert.host_name(name)
    except ValueError as error:
        reader.problem(where, f"{name[:60]!r}: {error}, expected the name that Nova shows for the host")


def read_protected_layers(reader: Reader, hosts: tuple[Host, ...]) -> dict[str, frozenset[Layer]]:
    """By cluster, the layers whose faults are remedied."""
    usual = _layers(reader, "[cluster] protected_layers", reader.words("cluster", "protected_layers") or ())
    clusters = {host.cluster for host in hosts} | {reader.text("cluster", "name")}
    found = dict.fromkeys(clusters, usual)
    for name, where, value in reader.each("protected_layers"):
        if name not in clusters:
            reader.problem(where, f"there is no cluster of that name{did_you_mean(name, clusters)}")
        found[name] = _layers(reader, where, _list(reader, where, value))
    return found


def _layers(reader: Reader, where: str, words: Iterable[str]) -> frozenset[Layer]:
    known = [layer.value for layer in Layer]
    layers = set()
    for word in words:
        if word in known:
            layers.add(Layer(word))
        else:
            near = did_you_mean(word, known)
            reader.problem(where, f"{word[:60]!r} is no layer, expected some of {', '.join(known)}{near}")
    return frozenset(layers)


def _list(reader: Reader, where: str, value: str) -> tuple[str, ...]:
    try:
        return convert.names(value)
    except ValueError as error:
        reader.problem(where, f"{value[:60]!r}: {error}, expected a list of names")
        return ()


def _words(reader: Reader, section: str) -> dict[str, str]:
    return {name: value.strip() for name, _, value in reader.each(section) if value.strip()}


def _addresses(reader: Reader) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, where, value in reader.each("address"):
        words = tuple(value.split())
        found[name] = words or (name,)
        for word in words:
            try:
                convert.address(word)
            except ValueError as error:
                reader.problem(where, f"{error}, expected host names or IP addresses, separated by blanks")
    return found


def _bmc_addresses(reader: Reader) -> dict[str, tuple[str, int]]:
    found = {}
    for name, where, value in reader.each("ipmi"):
        _check_name(reader, where, name)
        found[name] = (value, IPMI_PORT)
        try:
            found[name] = convert.address_and_port(value, IPMI_PORT)
        except ValueError as error:
            # The value stays out of it: under a forgotten [ipmi_user] line it is a user and password.
            reader.problem(where, f"{error}, expected ADDRESS or ADDRESS:PORT of a BMC")
    return found


def _bmcs(reader: Reader, addresses: dict[str, tuple[str, int]]) -> dict[str, Bmc]:
    users = {name: value for name, _, value in reader.each("ipmi_user")}
    files = {name: value for name, _, value in reader.each("ipmi_password_file")}
    for section, keyed in (("ipmi_user", users), ("ipmi_password_file", files)):
        for name in keyed:
            if not reader.has("ipmi", name):
                near = did_you_mean(name, addresses)
                reader.problem(f"[{section}] {name}", f"there is no BMC of that name in [ipmi]{near}")
    bmcs: dict[str, Bmc] = {}
    owner: dict[str, str] = {}
    for name, (address, port) in addresses.items():
        where = f"[ipmi_user] {name}"
        if not reader.has("ipmi_user", name):
            reader.problem(where, f"missing, expected USER,PASSWORD of the BMC in [ipmi] {name}")
            continue
        if name not in users:
            continue
        variable = environment_name(name)
        if variable in owner and reader.environ.get(variable):
            reader.problem(
                where, f"${variable} would be for {owner[variable]} as well, expected another way to give it"
            )
        owner[variable] = name
        username, password = _credentials(reader, name, users[name], files.get(name), variable)
        if username and password:
            bmcs[name] = Bmc(address, username, password, port)
    return bmcs


def _credentials(reader: Reader, name: str, value: str, file: str | None, variable: str) -> tuple[str, str]:
    where = f"[ipmi_user] {name}"
    username, comma, password = value.partition(",")
    username, password = username.strip(), password.strip()
    if not username:
        reader.problem(where, "names no user, expected USER,PASSWORD")
    from_environment = reader.environ.get(variable, "")
    if from_environment:
        password = from_environment
    elif file is not None and password:
        reader.problem(where, "the password is given twice, here and in [ipmi_password_file]; expected one")
    elif file is not None:
        password = reader.secret_file(reader.table.key("ipmi_password_file", ANY), name, file)
        if not password:
            return username, ""
    elif not password:
        what = "no password after the comma" if comma else "no password"
        reader.problem(
            where, f"{what}, expected USER,PASSWORD, or the password in [ipmi_password_file] or ${variable}"
        )
    still = [word for word in (username, password) if word in PLACEHOLDERS]
    if still:
        reader.problem(where, f"still the placeholder {' and '.join(still)}, expected USER,PASSWORD")
    for what, word, longest in (
        ("user's name", username, _LONGEST_IPMI_USER),
        ("password", password, _LONGEST_IPMI_PASSWORD),
    ):
        if len(word.encode("utf-8", "surrogateescape")) > longest:
            reader.note(where, f"the {what} is longer than the {longest} bytes that IPMI 2.0 allows")
    return username, password


def _check_distinct(reader: Reader, hosts: tuple[Host, ...]) -> None:
    """Two hosts behind one address would be taken for each other, and the wrong one switched off."""
    by_address: dict[str, str] = {}
    by_bmc: dict[tuple[str, int], str] = {}
    for host in hosts:
        for address in host.addresses:
            other = by_address.setdefault(address, host.name)
            if other != host.name:
                reader.problem(f"[address] {host.name}", f"{address} is the address of {other} as well")
        if host.bmc is not None:
            other = by_bmc.setdefault((host.bmc.address, host.bmc.port), host.name)
            if other != host.name:
                reader.problem(f"[ipmi] {host.name}", f"{host.bmc.address} is the BMC of {other} as well")
