"""Nova's and Placement's configuration, and their databases in memory."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import keystone_main, nova_stubs

if TYPE_CHECKING:
    from .nova_spec import Spec

# Files of the template. Both cells have the same tables; cell1 is the one that has compute hosts.
API, CELL, PLACEMENT = "nova_api.sqlite", "nova_cell.sqlite", "placement.sqlite"
CELL0, CELL1 = "sqlite:///cell0", "sqlite:///cell1"  # names in the cell mappings, nothing that is opened
TRANSPORT = "fake:///"  # oslo.messaging's bus inside one process


def auth_section(auth_url: str, password: str) -> dict[str, Any]:
    """How Nova's own user logs in to Keystone."""
    return {
        "auth_type": "password",
        "auth_url": auth_url,
        "username": "nova",
        "password": password,
        "user_domain_id": "default",
        "project_name": "service",
        "project_domain_id": "default",
        "region_name": keystone_main.REGION,
    }


def nova_sections(spec: Spec, auth_url: str, password: str) -> dict[str, dict[str, Any]]:
    """nova.conf: what a small real cloud would have, except for the bus, the databases and the driver."""
    directory = spec.directory
    auth = auth_section(auth_url, password)
    sections: dict[str, dict[str, Any]] = {
        "DEFAULT": {
            "host": "controller",
            "my_ip": "127.0.0.1",
            "state_path": directory / "state",
            "log_file": directory / "nova.log",
            "use_stderr": False,
            "debug": spec.debug,
            "transport_url": TRANSPORT,
            "compute_driver": f"{nova_stubs.DRIVER_MODULE}.SandboxDriver",
            "report_interval": spec.report_interval,
            "service_down_time": spec.service_down_time,
            # No network to heal and no graceful end: a host that is switched off does not wait.
            "heal_instance_info_cache_interval": -1,
            "manager_shutdown_timeout": 0,
            "vif_plugging_is_fatal": False,
            "vif_plugging_timeout": 0,
        },
        "database": {"connection": "sqlite://", "sqlite_synchronous": False},
        "api_database": {"connection": "sqlite://", "sqlite_synchronous": False},
        # Checking each reply against its schema costs half of the time of a listing.
        "api": {"response_validation": "ignore"},
        "quota": {"instances": -1, "cores": -1, "ram": -1},
        "keystone_authtoken": {**auth, "www_authenticate_uri": auth_url, "service_type": "compute"},
        "placement": auth,
        "wsgi": {"api_paste_config": Path(sys.prefix) / "etc" / "nova" / "api-paste.ini"},
        "oslo_concurrency": {"lock_path": directory / "locks"},
        # Never called; but a URL of each image is part of every notification that Nova drafts.
        "glance": {"api_servers": "http://127.0.0.1:9292"},
        "notifications": {"notification_format": "versioned"},
        "oslo_messaging_notifications": {"driver": "noop"},
        "vnc": {"enabled": False},
    }
    for name, values in spec.nova_conf.items():
        sections.setdefault(name, {}).update(values)
    return sections


def placement_sections(spec: Spec, auth_url: str, password: str) -> dict[str, dict[str, Any]]:
    """placement.conf."""
    return {
        "DEFAULT": {"log_file": spec.directory / "placement.log", "use_stderr": False, "debug": spec.debug},
        "placement_database": {"connection": "sqlite://", "sqlite_synchronous": False},
        "keystone_authtoken": {
            **auth_section(auth_url, password),
            "www_authenticate_uri": auth_url,
            "service_type": "placement",
        },
    }


def write(path: Path, sections: dict[str, dict[str, Any]]) -> Path:
    """Write an INI file that only we can read, for it holds a password."""
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items()), ""]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def configure_nova(config: Path) -> None:
    """Read nova.conf, start logging, register the objects."""
    import nova.conf
    from nova import config as nova_config
    from nova import objects
    from oslo_log import log

    nova_config.parse_args(["nova", "--config-file", str(config)])
    log.setup(nova.conf.CONF, "nova")
    objects.register_all()


def load_databases(template: Path) -> None:
    """Fill Nova's databases in memory from the template and tell Nova which cell is which."""
    from nova.db.api import api as api_db
    from nova.db.main import api as main_db

    # In memory every connection string opens a new database; these two must be the same ones each time,
    # and code that targets no cell (nova-compute) must find itself in cell1, as on a real compute host.
    cell0 = main_db.create_context_manager("sqlite://")
    cells = {CELL0: cell0, CELL1: main_db.context_manager}
    main_db.create_context_manager = cells.__getitem__
    for manager, name in ((main_db.context_manager, CELL), (cell0, CELL), (api_db.context_manager, API)):
        fill(manager.writer.get_engine(), template / name)


def fill(engine: Any, source: Path) -> None:
    """Copy an SQLite file into an engine's database."""
    connection = engine.raw_connection()
    with sqlite3.connect(source) as database:
        database.backup(connection.driver_connection)
    database.close()
    connection.close()


def placement_application(config: Path, template: Path) -> Any:
    """Placement's WSGI application, on a database in memory."""
    from oslo_config import cfg
    from placement import conf, db_api, deploy
    from placement.objects import resource_class, trait

    options = cfg.ConfigOpts()
    conf.register_opts(options)
    options(["--config-file", str(config)], project="placement", default_config_files=[])
    db_api.configure(options)
    fill(db_api.get_placement_engine(), template / PLACEMENT)
    context = db_api.DbContext()
    trait.ensure_sync(context)
    resource_class.ensure_sync(context)
    return deploy.loadapp(options)
