"""Puts this directory on the import path: modules here are shared by the unit and the integration tests."""

import pytest

pytest.register_assert_rewrite("store_suite", "store_suite_shared")
