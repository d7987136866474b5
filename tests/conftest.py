"""Puts this directory on the import path: modules here are shared by the unit and the integration tests."""

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("store_suite", "store_suite_shared")

# A busy machine is not a reason to fail: what counts is what is found, not how fast it is drawn.
settings.register_profile("hass", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hass")
