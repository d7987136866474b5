"""The databases and keys that every run starts from: made once, which takes some 15 s, then copied."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from . import nova_config

FLAVOR = "tiny"


def make_template(directory: Path) -> int:
    """Fill an empty directory; Keystone's part is made meanwhile by a process of its own.

    Raises subprocess.CalledProcessError when Keystone's part fails.
    """
    os.umask(0o077)
    directory.mkdir(parents=True, exist_ok=True)
    keystone = directory / "keystone"
    keystone.mkdir()
    server = Path(__file__).with_name("server.py")
    command = [sys.executable, "-I", "-W", "ignore", str(server), "--keystone-template", str(keystone)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as child:
        _nova(directory)
        _placement(directory)
        if child.wait() != 0:
            raise subprocess.CalledProcessError(child.returncode, command)
    return 0


def _nova(directory: Path) -> None:
    """Nova's two schemas, the cell mappings and a small flavour."""
    from nova import monkey_patch

    monkey_patch.patch(backend="eventlet")
    from nova import context, objects
    from nova.db import migration

    config = nova_config.write(
        directory / "nova.conf",
        {
            "DEFAULT": {
                "transport_url": nova_config.TRANSPORT,
                "log_file": directory / "template.log",
                "use_stderr": False,
            },
            "database": {"connection": f"sqlite:///{directory / nova_config.CELL}"},
            "api_database": {"connection": f"sqlite:///{directory / nova_config.API}"},
        },
    )
    nova_config.configure_nova(config)
    for database in ("api", "main"):
        migration.db_sync(database=database)
    admin = context.get_admin_context()
    for name, uuid, connection in (
        ("cell0", objects.CellMapping.CELL0_UUID, nova_config.CELL0),
        ("cell1", "00000000-0000-4000-8000-000000000001", nova_config.CELL1),
    ):
        objects.CellMapping(
            admin,
            uuid=uuid,
            name=name,
            transport_url=nova_config.TRANSPORT,
            database_connection=connection,
        ).create()
    objects.Flavor(
        admin,
        flavorid="1",
        name=FLAVOR,
        vcpus=1,
        memory_mb=128,
        root_gb=1,
        ephemeral_gb=0,
        swap=0,
        rxtx_factor=1.0,
        disabled=False,
        is_public=True,
    ).create()


def _placement(directory: Path) -> None:
    """Placement's schema with the standard traits and resource classes, 0.5 s to insert."""
    from oslo_config import cfg
    from placement import conf, db_api, deploy

    options = cfg.ConfigOpts()
    conf.register_opts(options)
    config = nova_config.write(
        directory / "placement.conf",
        {
            "placement_database": {
                "connection": f"sqlite:///{directory / nova_config.PLACEMENT}",
                "sync_on_startup": True,
            }
        },
    )
    options(["--config-file", str(config)], project="placement", default_config_files=[])
    db_api.configure(options)
    deploy.update_database(options)
