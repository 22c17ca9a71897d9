"""A replica that was removed without grace is replaced within the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.fault import Drill
    from provisioners.base import Target


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("phase4.node_failure")
def test_a_removed_replica_is_replaced(target: Target, drill: Drill) -> None:
    drill.delete_pod(target.side)
