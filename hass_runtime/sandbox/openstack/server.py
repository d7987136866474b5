"""The embedded OpenStack's process. It is run by the python of OpenStack's own environment:

    python server.py SPEC.json                  Nova, Placement and, as its child, Keystone
    python server.py --template DIR             make the databases and keys that every run copies
    python server.py --keystone-template DIR    the Keystone part of it
    python server.py --keystone DIR FD PARENT   Keystone alone, on a listening socket that it inherits

Exit status: 0 stopped as asked, 1 failed (one line on stderr, the traceback in DIR/openstack.log), 2 usage.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = "hass_cloud"


def _load_package() -> None:
    """Make this directory importable as a package of its own name.

    Our own package is not installed here and must not be: its dependencies differ. This directory must not
    be on sys.path either, for its `venv.py` would hide the standard library's.
    """
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, HERE / "__init__.py", submodule_search_locations=[str(HERE)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {HERE} as {PACKAGE}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


def _part(name: str):
    """A sibling module, imported only when its mode needs it: each costs seconds of imports."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def main(argv: list[str]) -> int:
    _load_package()
    match argv:
        case ["--keystone", directory, fd, parent]:
            return int(_part("keystone_main").serve(Path(directory), int(fd), int(parent)))
        case ["--keystone-template", directory]:
            return int(_part("keystone_main").make_template(Path(directory)))
        case ["--template", directory]:
            return int(_part("nova_template").make_template(Path(directory)))
        case [spec] if not spec.startswith("-"):
            return int(_part("nova_main").run(Path(spec)))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
