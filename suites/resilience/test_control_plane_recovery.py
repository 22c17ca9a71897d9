"""A restarted control plane is back within the limit, and clients of a service hardly see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.fault import Drill
    from provisioners.base import Target


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("phase4.node_failure")
def test_a_restarted_control_plane_comes_back(target: Target, drill: Drill) -> None:
    drill.restart_control_plane(target.side)
