"""Configuration files for the tests of the settings: sections as mappings, written and loaded."""

from __future__ import annotations

import copy
from pathlib import Path

from hass_runtime.settings import SettingsError, load_agent, load_controller

DATA = Path(__file__).parent / "data"
GUIDE = {"controller": DATA / "guide_hass.conf", "agent": DATA / "guide_hass_compute.conf"}
KEY = "0123456789abcdef"

CONTROLLER = {
    "openstack": {
        "openstack_auth_url": "http://controller:5000/v3",
        "openstack_admin_password": "example",
    },
    "ipmi": {"compute1": "192.0.2.131", "compute2": "192.0.2.132"},
    "ipmi_user": {"compute1": "root,example1", "compute2": "root,example2"},
    "detection": {"polling_key": KEY},
}
AGENT = {"polling": {"polling_key": KEY}}


def ini_text(sections):
    """The text of a file with these sections."""
    return "\n".join(
        f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in keys.items())
        for section, keys in sections.items()
    )


def changed(base, changes):
    """``base`` with "section.key" set to a value, or left out for None."""
    sections = copy.deepcopy(base)
    for where, value in changes.items():
        section, _, name = where.partition(".")
        keys = sections.setdefault(section, {})
        if value is None:
            keys.pop(name, None)
        else:
            keys[name] = value
    return {section: keys for section, keys in sections.items() if keys}


def write(directory, text, name="hass.conf"):
    """A private file with this text."""
    path = Path(directory) / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def controller(directory, changes=None, environ=None):
    """The settings of a good controller's file with some changes."""
    return load_controller(write(directory, ini_text(changed(CONTROLLER, changes or {}))), environ or {})


def agent(directory, changes=None, environ=None):
    """The settings of a good agent's file with some changes."""
    path = write(directory, ini_text(changed(AGENT, changes or {})), "hass_compute.conf")
    return load_agent(path, environ or {})


def problems(load, *arguments):
    """The problems that loading ends with, without the file's name; () when it goes well."""
    try:
        load(*arguments)
    except SettingsError as error:
        return tuple(problem.split(": ", 1)[1] for problem in error.problems)
    return ()
