"""The REST interface: read-only, JSON, loopback only until it has authentication."""

from hass_runtime.api.app import create_app
from hass_runtime.api.server import ApiServer, serve

__all__ = ["ApiServer", "create_app", "serve"]
