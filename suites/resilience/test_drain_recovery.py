"""What a drained node gives away is ready elsewhere within the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.fault import Drill
    from provisioners.base import Target


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("phase4.node_failure")
def test_a_drained_node_gives_its_services_away(target: Target, drill: Drill) -> None:
    drill.drain_node(target.side)
