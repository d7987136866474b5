"""Python that lives in a role, imported for tests."""

import importlib.util
import sys
from pathlib import Path

ROLES = Path(__file__).parents[2] / "roles"


def load(role, path):
    """The module at ``path`` in a role, such as ("preflight", "library/hass_preflight.py")."""
    name = f"role_{role}_{path.replace('/', '_').removesuffix('.py')}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROLES / role / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]
