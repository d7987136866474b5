"""Logging of the daemons: one line a record, to stderr (the journal) and to the guide's log file."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from io import TextIOWrapper
from pathlib import Path

_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"
_JOURNAL_FORMAT = "%(levelname)s %(name)s: %(message)s"  # the journal has its own time stamps
_MODE = 0o640


class OneLineFormatter(logging.Formatter):
    """Message and traceback in one line, so that a log can be read with grep and nothing can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).splitlines()
        return " | ".join(line.strip() for line in lines if line.strip())


class PrivateFileHandler(logging.handlers.WatchedFileHandler):
    """Follows logrotate (a moved file is opened anew) and creates the file not readable by everybody."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def configure(level: str, location: str | os.PathLike[str] | None = None) -> None:
    """Set up the root logger, once for the process; a second call replaces the first.

    ``level`` is a name such as ``INFO`` or ``ERROR`` (ValueError otherwise). ``location`` is a file; if it
    cannot be written, that is said in the log and stderr alone is used.
    """
    number = logging.getLevelName(str(level).upper())
    if not isinstance(number, int):
        raise ValueError(f"log level {level!r} is unknown, expected one of DEBUG, INFO, WARNING, ERROR")
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if getattr(handler, "_hass", False)]:
        root.removeHandler(old)
        old.close()
    trouble = ""
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(
        OneLineFormatter(_JOURNAL_FORMAT if "JOURNAL_STREAM" in os.environ else _FORMAT, "%Y-%m-%d %H:%M:%S")
    )
    handlers: list[logging.Handler] = [to_stderr]
    if location:
        try:
            Path(location).parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            to_file = PrivateFileHandler(location, encoding="utf-8")
            to_file.setFormatter(OneLineFormatter(_FORMAT, "%Y-%m-%d %H:%M:%S"))
            handlers.append(to_file)
        except OSError as error:
            trouble = f"cannot write the log file {location}: {error.strerror}; logging to stderr only"
    for handler in handlers:
        handler._hass = True  # type: ignore[attr-defined]
        root.addHandler(handler)
    root.setLevel(number)
    logging.getLogger("alembic").setLevel(max(number, logging.WARNING))  # its plugins announce themselves
    if trouble:
        logging.getLogger(__name__).warning("%s", trouble)
