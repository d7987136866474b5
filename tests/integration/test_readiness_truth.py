"""What readiness says and what then happens, on a real Nova and Placement: six hosts die, one by one.

`readiness_truth.py` by itself does it with ten hosts and 200 instances.
"""

from __future__ import annotations

import pytest
from readiness_truth import play, table

pytestmark = pytest.mark.integration


def test_readiness_names_exactly_those_that_do_not_come_back() -> None:
    lines = play(hosts=6, each=2, total=30)
    assert len(lines) == 6
    assert all(line.agrees for line in lines), table(lines)
    # It is no comparison of nothing with nothing.
    assert {why for line in lines for why in line.why} >= {"group", "shape", "state", "zone"}
    assert all(line.instances > len(line.lost) for line in lines)
