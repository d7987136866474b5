"""Where remediation playbooks are: those that come with HASS, and an operator's own beside them.

An operator's own playbook is one more rung that a ladder of the symptom table may name. It never takes the
place of another: `host_failure` fences with proof, and a file that happens to have its name must not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hass_runtime.decide.view import FAILBACK, KEEP, RESTORE

NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Shelf:
    """The playbooks that there are. ``main`` is `[paths] playbooks`; ``own``, which need not exist, is
    `[paths] own_playbooks`.
    """

    main: Path
    own: Path | None = None

    def find(self, playbook: str) -> Path:
        """The file of a playbook; where it would be when it is in neither directory."""
        path = self.main / f"{playbook}.yml"
        if self.own is not None and not path.exists() and (self.own / path.name).exists():
            return self.own / path.name
        return path

    def libraries(self, playbook: str) -> tuple[Path, ...]:
        """Where its modules are looked for: beside it, and, for an operator's own, among those of HASS."""
        beside = self.find(playbook).parent / "library"
        return tuple(dict.fromkeys((beside, self.main / "library")))

    def rungs(self) -> frozenset[str]:
        """The playbooks that a ladder may name.

        Not the restoration, for hosts whose instances are safe, nor what is done to hosts that are well.
        """
        return (_names(self.main) | _names(self.own)) - {RESTORE, KEEP, FAILBACK}

    def problems(self) -> list[str]:
        """Why the operator's own ones cannot be used, one line each."""
        if self.own is None or _same(self.main, self.own):
            return []
        found = []
        for path in _files(self.own):
            if not NAME.fullmatch(path.stem):
                found.append(
                    f"{path}: no name of a playbook, expected small letters, digits and _, a letter first"
                )
            elif (self.main / path.name).exists():
                found.append(
                    f"{path}: {path.stem} comes from {self.main}, expected another name "
                    "([paths] playbooks names the directory to take it from)"
                )
        return found


def _files(directory: Path | None) -> list[Path]:
    try:
        return sorted(directory.glob("*.yml")) if directory is not None else []
    except OSError:
        return []  # a directory that may not be read holds nothing that could be run


def _names(directory: Path | None) -> frozenset[str]:
    return frozenset(path.stem for path in _files(directory) if NAME.fullmatch(path.stem))


def _same(one: Path, other: Path) -> bool:
    return one.absolute() == other.absolute()
