"""What ran on a node that nobody reaches comes back elsewhere within the limit, on both orchestrators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.fault import Drill


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("phase4.node_failure")
def test_services_of_a_cut_off_node_come_back(drill: Drill) -> None:
    drill.partition_node()
