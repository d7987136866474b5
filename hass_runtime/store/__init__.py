"""What HASS remembers: see `Store` and `Writer`."""

from hass_runtime.store.records import Decided, HostRow, LayerRow, Lease, LeaseLost, Run, StoreError
from hass_runtime.store.store import Store
from hass_runtime.store.writer import Writer

__all__ = ["Decided", "HostRow", "LayerRow", "Lease", "LeaseLost", "Run", "Store", "StoreError", "Writer"]
