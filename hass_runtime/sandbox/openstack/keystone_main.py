"""Keystone: its template (database and keys, made once) and its server (one process, waitress)."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import sqlite3
import sys
from pathlib import Path

DATABASE = "keystone.sqlite"
PASSWORDS = "passwords"  # a file, mode 0600: one `user password` a line
REGION = "RegionOne"
_PR_SET_PDEATHSIG = 1

CONFIG = """\
[DEFAULT]
log_file = {directory}/keystone.log
use_stderr = false
[database]
connection = sqlite:///{directory}/keystone.sqlite
[fernet_tokens]
key_repository = {directory}/fernet-keys
[fernet_receipts]
key_repository = {directory}/fernet-keys
[credential]
key_repository = {directory}/credential-keys
[identity]
# The lowest cost that bcrypt allows: this cluster lives for minutes, and a log-in must not cost 0.3 s.
password_hash_rounds = 4
max_password_length = 72
[cache]
backend = dogpile.cache.memory
"""


def write_config(directory: Path) -> Path:
    """Write keystone.conf for a run in that directory and return its path."""
    path = directory / "keystone.conf"
    path.write_text(CONFIG.format(directory=directory), encoding="utf-8")
    return path


def read_passwords(directory: Path) -> dict[str, str]:
    """User name -> password, as the template's maker wrote them."""
    text = (directory / PASSWORDS).read_text(encoding="utf-8")
    return dict(line.split(" ", 1) for line in text.splitlines())


def set_endpoints(directory: Path, urls: dict[str, str]) -> None:
    """Point the catalogue at this run's ports; `urls` is service type -> URL.

    Straight into the database, before Keystone opens it: through its API this would cost a log-in and
    nine requests at every start.
    """
    with sqlite3.connect(directory / DATABASE) as database:
        for kind, url in urls.items():
            database.execute(
                "UPDATE endpoint SET url = ? WHERE service_id = (SELECT id FROM service WHERE type = ?)",
                (url, kind),
            )
    database.close()


def make_template(directory: Path) -> int:
    """Fill an empty directory with a bootstrapped Keystone: database, keys, passwords. Takes about 7 s."""
    os.umask(0o077)
    config = write_config(directory)
    passwords = {name: secrets.token_urlsafe(18) for name in ("admin", "nova", "demo")}
    lines = "".join(f"{name} {password}\n" for name, password in passwords.items())
    (directory / PASSWORDS).write_text(lines, encoding="utf-8")

    import keystone.conf
    import keystone.server
    from keystone.cmd import bootstrap
    from keystone.common import fernet_utils, provider_api
    from keystone.common.sql import upgrades
    from keystone.credential.providers import fernet as credential_fernet

    sys.argv = ["keystone"]  # Keystone's configuration parses it

    keystone.server.configure(config_files=[str(config)])
    upgrades.offline_sync_database_to_version(None)
    for group, keys in (("fernet_tokens", None), ("credential", credential_fernet.MAX_ACTIVE_KEYS)):
        settings = getattr(keystone.conf.CONF, group)
        repository = fernet_utils.FernetUtils(
            settings.key_repository, keys or settings.max_active_keys, group
        )
        repository.create_key_directory()
        repository.initialize_key_repository()

    boot = bootstrap.Bootstrapper()
    boot.admin_username = boot.project_name = boot.admin_role_name = "admin"
    boot.admin_password = passwords["admin"]
    boot.region_id = REGION
    boot.service_name = "keystone"
    boot.public_url = boot.internal_url = boot.admin_url = "http://127.0.0.1:1/v3"
    boot.immutable_roles = True
    boot.bootstrap()

    api = provider_api.ProviderAPIs
    for kind, name in (("compute", "nova"), ("placement", "placement")):
        service = {"id": secrets.token_hex(16), "type": kind, "name": name, "enabled": True}
        api.catalog_api.create_service(service["id"], service)
        for interface in ("public", "internal", "admin"):
            endpoint = {
                "id": secrets.token_hex(16),
                "service_id": service["id"],
                "interface": interface,
                "region_id": REGION,
                "url": "http://127.0.0.1:1",
                "enabled": True,
            }
            api.catalog_api.create_endpoint(endpoint["id"], endpoint)
    # `nova` is what Nova itself logs in as; `demo` is a tenant, to prove what tenants may not see.
    _add_user(api, "nova", passwords["nova"], "service", [boot.admin_role_id, boot.service_role_id])
    _add_user(api, "demo", passwords["demo"], "demo", [boot.member_role_id])
    return 0


def _add_user(api, name: str, password: str, project_name: str, roles: list[str]) -> None:
    """Create a project and a user in it who has these roles there."""
    project = {"id": secrets.token_hex(16), "name": project_name, "domain_id": "default", "enabled": True}
    api.resource_api.create_project(project["id"], project)
    user = api.identity_api.create_user(
        {
            "name": name,
            "password": password,
            "domain_id": "default",
            "enabled": True,
            "default_project_id": project["id"],
        }
    )
    for role in roles:
        api.assignment_api.add_role_to_user_and_project(user["id"], project["id"], role)


def serve(directory: Path, fd: int, parent: int) -> int:
    """Serve /v3 on the inherited listening socket until the parent goes away."""
    # The kernel ends this process with its parent, whatever the parent died of; the check closes the gap
    # between the fork and this line.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return 1

    import waitress
    from keystone.server.flask import core

    sys.argv = ["keystone"]
    application = core.initialize_application(name="public", config_files=[str(directory / "keystone.conf")])
    waitress.serve(application, sockets=[socket.socket(fileno=fd)], threads=4, _quiet=True)
    sys.stdout.flush()
    return 0
