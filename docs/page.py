"""What the generators of pages share."""

from __future__ import annotations

import sys
from pathlib import Path


def keep(path: Path, text: str) -> int:
    """Write the page unless it is so already; with --check, only say whether it is. The exit status."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        print(f"{path}: unchanged")
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{path}: is not what the code says: run `make docs`", file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    print(f"{path}: written")
    return 0
