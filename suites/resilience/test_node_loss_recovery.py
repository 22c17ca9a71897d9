"""What ran on a lost node comes back elsewhere within the limit, on both orchestrators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.fault import Drill


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("phase4.node_failure")
def test_services_of_a_stopped_node_come_back(drill: Drill) -> None:
    drill.stop_node()
