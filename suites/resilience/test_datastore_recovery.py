"""The store behind the Kubernetes API is killed: the API comes back, and no client of a service sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.fault import Drill


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("phase4.node_failure")
def test_the_store_of_the_api_comes_back(drill: Drill) -> None:
    drill.kill_store()
