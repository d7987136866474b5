"""Directories of ended runs: kept for whoever asks what a playbook said, but not for ever."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection
from pathlib import Path

log = logging.getLogger(__name__)

KEEP = 200  # the newest; one is some 70 kB


def prune_runs(runs: Path, busy: Collection[str], keep: int = KEEP) -> int:
    """Remove all but the ``keep`` newest run directories, and none of a run in ``busy``.

    Returns:
        How many were removed. What cannot be removed is told in the log and stays.
    """
    try:
        found = [(entry.stat().st_mtime, entry) for entry in runs.iterdir() if entry.name not in busy]
    except FileNotFoundError:
        return 0
    except OSError as error:
        log.warning("%s: old runs cannot be listed: %s", runs, error.strerror or error)
        return 0
    removed = 0
    for _, entry in sorted(found, reverse=True)[keep:]:
        try:
            shutil.rmtree(entry)
        except OSError as error:
            log.warning("%s: cannot be removed: %s", entry, error.strerror or error)
        else:
            removed += 1
    return removed
