"""HASS: high availability for OpenStack instances.

One-way flow: detect -> diagnose -> permit -> remedy -> record (docs/architecture.md).
"""

__version__ = "0.1.0"
