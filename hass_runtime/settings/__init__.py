"""The configuration of HASS: /etc/hass.conf on controllers, /etc/hass_compute.conf on compute hosts."""

from hass_runtime.settings.agent import load_agent
from hass_runtime.settings.controller import load_controller
from hass_runtime.settings.model import AgentSettings, ControllerSettings, SettingsError

__all__ = ["AgentSettings", "ControllerSettings", "SettingsError", "load_agent", "load_controller"]
