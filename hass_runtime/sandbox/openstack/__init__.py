"""A real Keystone and a real Nova on loopback, in an environment of their own.

`venv.py` and `process.py` run in our environment; `server.py`, `nova_*.py` and `keystone_*.py` run in
OpenStack's, where `hass_runtime` is not installed, and are loaded by `server.py` from this directory.
"""
