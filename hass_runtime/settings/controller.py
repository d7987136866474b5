"""Loads the controller's file, /etc/hass.conf."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from hass_runtime.domain import Host
from hass_runtime.settings import convert, model
from hass_runtime.settings.controller_keys import CONTROLLER
from hass_runtime.settings.hosts import read_hosts, read_protected_layers
from hass_runtime.settings.protection import read_protection
from hass_runtime.settings.reader import Reader
from hass_runtime.settings.reserve import read_methods

SHORTEST_KEY = 16
_HIDDEN = "***"
_LOOPBACK_OR_ANY = re.compile(r"localhost\.?\Z|127\.|0\.0\.0\.0\Z|::1?\Z")


def load_controller(
    path: str | os.PathLike[str] = CONTROLLER.default_path, environ: Mapping[str, str] = os.environ
) -> model.ControllerSettings:
    """Reads and checks the file; password files are read here, once.

    Nothing but files is touched: no host, no database and no OpenStack has to be up. Raises
    :class:`~hass_runtime.settings.model.SettingsError` with everything that is wrong.
    """
    reader = Reader(CONTROLLER, Path(path), environ)
    state_dir = Path(reader.text("paths", "state_dir"))
    # Reading goes on after a problem so that all of them come out together; finish() raises then.
    openstack = _openstack(reader)
    hosts = read_hosts(reader)
    detection = _detection(reader)
    network = _network(reader)
    sensors = _sensors(reader)
    database_url, database_url_safe = _database(reader, state_dir)
    log = read_log(reader)
    rest = _rest(reader)
    safety = _safety(reader)
    recovery = _recovery(reader, hosts)
    protected_layers = read_protected_layers(reader, hosts)
    protection = read_protection(reader, hosts)
    paths = _paths(reader, state_dir)
    controller = model.ControllerIdentity(
        name=reader.optional("controller", "name") or socket.gethostname(),
        lease_ttl=reader.number("controller", "lease_ttl"),
    )
    return model.ControllerSettings(
        path=Path(path),
        notes=reader.finish(),
        openstack=openstack,
        hosts=hosts,
        protected_layers=protected_layers,
        protection=protection,
        detection=detection,
        network=network,
        sensors=sensors,
        database_url=database_url,
        database_url_safe=database_url_safe,
        log=log,
        rest=rest,
        safety=safety,
        recovery=recovery,
        paths=paths,
        controller=controller,
    )


def read_log(reader: Reader) -> model.LogSettings:
    """[log], the same in both files."""
    return model.LogSettings(
        level=reader.text("log", "level"), location=reader.optional("log", "location") or ""
    )


def read_polling_key(reader: Reader, section: str, without: str) -> bytes:
    """The secret shared by controllers and agents; b"" with a note ``without`` when there is none."""
    secret = reader.secret(section, "polling_key")
    if not secret:
        if not reader.has(section, "polling_key") and not reader.has(section, "polling_key_file"):
            reader.note(f"[{section}] polling_key", without)
    elif len(secret) < SHORTEST_KEY:
        reader.problem(
            f"[{section}] polling_key",
            f"has {len(secret)} characters, expected {SHORTEST_KEY} or more: `openssl rand -hex 32`",
        )
    # An environment variable that is not UTF-8 arrives with its bytes escaped; this gives them back.
    return secret.encode("utf-8", "surrogateescape")


def _openstack(reader: Reader) -> model.OpenstackSettings:
    section = "openstack"
    return model.OpenstackSettings(
        auth_url=_auth_url(reader),
        username=reader.text(section, "openstack_admin_account"),
        password=reader.secret(section, "openstack_admin_password", required=True),
        user_domain_id=reader.text(section, "openstack_user_domain_id"),
        project_domain_id=reader.text(section, "openstack_project_domain_id"),
        project_name=reader.text(section, "openstack_project_name"),
        region_name=reader.optional(section, "openstack_region_name"),
        interface=reader.text(section, "openstack_interface"),
        cacert=reader.optional(section, "openstack_cacert"),
        gateway_ip=reader.optional(section, "openstack_external_network_gateway_ip"),
        request_timeout=reader.number(section, "openstack_request_timeout"),
    )


def _auth_url(reader: Reader) -> str:
    """openstack_auth_url, or what [keystone_auth], or at last [RESTful] host, says about Keystone."""
    own = reader.optional("openstack", "openstack_auth_url")
    url = reader.optional("keystone_auth", "url")
    port = reader.integer("keystone_auth", "port")
    if reader.has("openstack", "openstack_auth_url"):
        for name in ("url", "port"):
            if reader.has("keystone_auth", name):
                reader.note(
                    f"[keystone_auth] {name}", "accepted, no effect: [openstack] openstack_auth_url is set"
                )
        return own or ""
    if reader.has("keystone_auth", "url"):
        return _keystone_url(reader, url, port) if url else ""
    # HASS 4.1 took the REST host for Keystone's too, and the guide's sample says no more than this.
    host = reader.optional("RESTful", "host") if reader.has("RESTful", "host") else None
    if host and not _LOOPBACK_OR_ANY.match(host):
        derived = f"http://{_in_url(host)}:{port}/v3"
        reader.note("[openstack] openstack_auth_url", f"not set: taken from [RESTful] host, {derived}")
        return derived
    reader.problem(
        "[openstack] openstack_auth_url",
        "missing, expected where Keystone answers, such as http://controller:5000/v3",
    )
    return ""


def _keystone_url(reader: Reader, url: str, port: int) -> str:
    try:
        if "://" not in url:
            return f"http://{_in_url(convert.address(url))}:{port}/v3"
        complete = convert.url(url)
        parts = urlsplit(complete)
        explicit = parts.port is not None or not reader.has("keystone_auth", "port")
        netloc = parts.netloc if explicit else f"{parts.netloc}:{port}"
        return f"{parts.scheme}://{netloc}{parts.path or '/v3'}"
    except ValueError as error:
        reader.problem("[keystone_auth] url", f"{url[:60]!r}: {error}, expected host name, IP address or URL")
        return ""


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _detection(reader: Reader) -> model.DetectionSettings:
    section = "detection"
    return model.DetectionSettings(
        polling_interval=reader.number(section, "polling_interval"),
        polling_threshold=reader.integer(section, "polling_threshold"),
        polling_port=reader.integer(section, "polling_port"),
        wait_restart_threshold=reader.integer(section, "wait_restart_threshold"),
        polling_key=read_polling_key(
            reader, section, "not set: agents are not asked without one; put the same in every agent's file"
        ),
        probe_timeout=reader.number(section, "probe_timeout"),
        watchdog_threshold=reader.number(section, "watchdog_threshold"),
        nova_view=reader.flag(section, "nova_view"),
    )


def _network(reader: Reader) -> model.NetworkSettings:
    return model.NetworkSettings(
        network_transient_time=reader.number("default", "network_transient_time"),
        heartbeat_time=reader.integer("default", "heartbeat_time"),
        max_message_size=reader.integer("default", "max_message_size"),
        shared_storage=reader.flag("default", "shared_storage"),
        ping_command=reader.words("detector", "ping_command"),
        tcp_ports=_tcp_ports(reader),
    )


def _tcp_ports(reader: Reader) -> tuple[int, ...]:
    """The usual port is for the usual ping: who has a ping command has said what an answer is."""
    if reader.has("detector", "ping_command") and not reader.has("detector", "tcp_ports"):
        return ()
    ports = []
    for word in reader.words("detector", "tcp_ports") or ():
        try:
            ports.append(convert.port(word))
        except ValueError as error:
            reader.problem("[detector] tcp_ports", f"{word[:60]!r}: {error}, expected ports from 1 to 65535")
    return tuple(ports)


def _sensors(reader: Reader) -> model.SensorSettings:
    upper = reader.optional_number("ipmi_sensor", "upper_critical")
    lower = reader.optional_number("ipmi_sensor", "lower_critical")
    if upper is not None and lower is not None and lower >= upper:
        reader.problem(
            "[ipmi_sensor] lower_critical", f"{lower:g}: expected less than upper_critical ({upper:g})"
        )
    return model.SensorSettings(
        watched=reader.words("ipmi_sensor", "ipmi_watched_sensors") or (),
        node_sensors=reader.words("ipmi_sensor", "ipmi_node_sensors") or (),
        upper_critical=upper,
        lower_critical=lower,
        horizon=reader.number("ipmi_sensor", "sensor_horizon"),
    )


def _database(reader: Reader, state_dir: Path) -> tuple[str, str]:
    """The database's URL with and without its password."""
    if not reader.has("mysql"):
        file = reader.optional("database", "path") or str(state_dir / "hass.db")
        if "?" in file or "#" in file:
            reader.problem("[database] path", f"{file[:60]!r}: expected a path without ? and #")
        return f"sqlite:///{file}", f"sqlite:///{file}"
    if reader.has("database", "path"):
        reader.note("[database] path", "accepted, no effect: there is a [mysql] section")
    user = reader.text("mysql", "mysql_username")
    password = reader.secret("mysql", "mysql_password", required=True)
    server = f"{_in_url(reader.text('mysql', 'mysql_ip'))}:{reader.integer('mysql', 'mysql_port')}"
    name = reader.text("mysql", "mysql_db")
    if name and not re.fullmatch(r"[A-Za-z0-9_$-]{1,64}", name):
        reader.problem("[mysql] mysql_db", f"{name[:60]!r}: expected 1 to 64 letters, digits, _, $ or -")
    start, end = f"mysql+pymysql://{_quoted(user)}:", f"@{server}/{name}?charset=utf8mb4"
    return f"{start}{_quoted(password)}{end}", f"{start}{_HIDDEN}{end}"


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


def _rest(reader: Reader) -> model.RestSettings:
    if reader.has("RESTful", "host"):
        given = reader.optional("RESTful", "host")
        if given not in (None, "127.0.0.1", "localhost"):
            reader.note("[RESTful] host", "listens on 127.0.0.1 only: the API has no authentication yet")
    return model.RestSettings(host="127.0.0.1", port=reader.integer("RESTful", "port"))


def _safety(reader: Reader) -> model.SafetySettings:
    section = "safety"
    return model.SafetySettings(
        armed=reader.flag(section, "armed"),
        storm_threshold=reader.number(section, "storm_threshold"),
        fence_reads=reader.integer(section, "fence_reads"),
        fence_timeout=reader.number(section, "fence_timeout"),
        max_remedies=reader.integer(section, "max_remedies"),
        retry_interval=reader.number(section, "retry_interval"),
        max_attempts=reader.integer(section, "max_attempts"),
        domain_threshold=reader.number(section, "domain_threshold"),
        max_fences=reader.integer(section, "max_fences"),
        fence_window=reader.number(section, "fence_window"),
        cooldown=reader.number(section, "cooldown"),
        flap_limit=reader.integer(section, "flap_limit"),
        flap_window=reader.number(section, "flap_window"),
        planned_shutdown_time=reader.number(section, "planned_shutdown_time"),
    )


def _recovery(reader: Reader, hosts: tuple[Host, ...]) -> model.RecoverySettings:
    section = "recovery"
    return model.RecoverySettings(
        auto_restore=reader.flag(section, "auto_restore"),
        evacuate_timeout=reader.number(section, "evacuate_timeout"),
        evacuate_retries=reader.integer(section, "evacuate_retries"),
        evacuate_workers=reader.integer(section, "evacuate_workers"),
        priority_groups=reader.text(section, "priority_groups"),
        priority_stagger=reader.number(section, "priority_stagger"),
        evacuate_microversion=reader.text(section, "evacuate_microversion"),
        run_timeout=reader.number(section, "run_timeout"),
        restore_timeout=reader.number(section, "restore_timeout"),
        poll_interval=reader.number(section, "poll_interval"),
        restart_timeout=reader.number(section, "restart_timeout"),
        drain_timeout=reader.number(section, "drain_timeout"),
        healthy_delay=reader.number(section, "healthy_delay"),
        methods=read_methods(reader, hosts),
        by_hand=reader.text(section, "take_back") == "by_hand",
        return_delay=reader.number(section, "return_delay"),
        failback=reader.flag(section, "failback"),
        refill_reserve=reader.flag(section, "refill_reserve"),
        reserved_to_aggregates=reader.flag(section, "reserved_to_aggregates"),
    )


def _paths(reader: Reader, state_dir: Path) -> model.PathSettings:
    playbooks = reader.optional("paths", "playbooks")
    symptoms = reader.optional("paths", "symptoms")
    return model.PathSettings(
        state_dir=state_dir,
        playbooks=Path(playbooks) if playbooks else shipped_playbooks(),
        own_playbooks=Path(reader.text("paths", "own_playbooks")),
        symptoms=Path(symptoms) if symptoms else None,
    )


def shipped_playbooks() -> Path:
    """The remediation playbooks that come with HASS: beside the package in a checkout, else installed."""
    import hass_runtime

    checkout = Path(hass_runtime.__file__).resolve().parent.parent / "playbooks" / "remediation"
    if checkout.is_dir():
        return checkout
    return Path(sys.prefix) / "share" / "hass" / "playbooks" / "remediation"
