"""Which version of HASS a checkout, or a wheel, on the control node is, and a checksum of all of it."""

from __future__ import annotations

import hashlib
import os
import re

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: hass_bundle
author: HASS
short_description: Version and checksum of the HASS bundle
description:
  - Reads the files that a wheel of HASS is made of, on the control node. Nothing is built or changed.
options:
  _terms:
    description: The directory of a checkout, or the path of a wheel. One.
    required: true
  constraints:
    description: A file that belongs to it as well; empty for none.
    type: str
    default: ""
"""
EXAMPLES = "bundle: \"{{ lookup('hass_bundle', '/srv/hass') }}\""
RETURN = """
_raw:
  description: A dictionary with C(version) and C(checksum) (SHA-256, hexadecimal).
  type: list
"""

# What goes into the wheel; a test compares this with pyproject.toml.
PARTS = (
    "LICENSE",
    "README.md",
    "ansible.cfg",
    "constraints.txt",
    "hass_runtime",
    "inventory/example",
    "packaging/systemd",
    "playbooks",
    "pyproject.toml",
    "requirements.yml",
    "roles",
    "site.yml",
)


def bundle(path, constraints=""):
    """Version and checksum of a checkout or a wheel. Raises ValueError in one line."""
    digest = hashlib.sha256()
    if os.path.isdir(path):
        version = _checkout_version(path)
        for name in _files(path):
            _add(digest, name, os.path.join(path, name))
    elif os.path.isfile(path):
        found = re.match(r"hass_runtime-([^-]+)-.*\.whl$", os.path.basename(path))
        if not found:
            raise ValueError(f"{path} is no wheel of HASS, expected hass_runtime-VERSION-py3-none-any.whl")
        version = found.group(1)
        _add(digest, "wheel", path)
    else:
        raise ValueError(f"{path}: there is no such checkout or wheel of HASS on the control node")
    if constraints:
        if not os.path.isfile(constraints):
            raise ValueError(f"{constraints}: there is no such constraints file on the control node")
        _add(digest, "constraints", constraints)
    return {"version": version, "checksum": digest.hexdigest()}


def _checkout_version(path):
    for needed in ("pyproject.toml", os.path.join("hass_runtime", "__init__.py")):
        if not os.path.isfile(os.path.join(path, needed)):
            raise ValueError(
                f"{path} is no checkout of HASS (no {needed}): hass_install_source names one, "
                "hass_install_wheel a wheel"
            )
    with open(os.path.join(path, "hass_runtime", "__init__.py"), encoding="utf-8") as file:
        found = re.search(r'^__version__ = "([^"]+)"', file.read(), re.M)
    if not found:
        raise ValueError(f"{path}: hass_runtime/__init__.py does not say which version it is")
    return found.group(1)


def _files(path):
    """Every file of the parts, relative to the checkout, in order; nothing hidden and nothing compiled."""
    found = []
    for part in PARTS:
        whole = os.path.join(path, part)
        if os.path.isfile(whole):
            found.append(part)
        for directory, below, names in os.walk(whole):
            below[:] = [name for name in below if name != "__pycache__" and not name.startswith(".")]
            for name in names:
                if not name.startswith(".") and not name.endswith((".pyc", ".pyo")):
                    found.append(os.path.relpath(os.path.join(directory, name), path))
    return sorted(found)


def _add(digest, name, path):
    with open(path, "rb") as file:
        content = hashlib.sha256(file.read()).hexdigest()
    digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))


class LookupModule(LookupBase):
    """``lookup('hass_bundle', PATH, constraints=FILE)``."""

    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [bundle(str(term), str(self.get_option("constraints") or "")) for term in terms]
        except (OSError, ValueError) as error:
            raise AnsibleError(str(error)) from error
