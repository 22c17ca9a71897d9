"""Settings alone must leave time to come back: what a lost node's services wait before they are moved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from fixtures.fault import Failover
    from fixtures.limit import LimitOf
    from fixtures.record import Record
    from provisioners.base import Target

LIMIT_MIN = 5.0


@pytest.mark.nightly
@pytest.mark.criterion("phase4.node_failure")
def test_settings_leave_time_to_come_back(
    target: Target, failover_of: Callable[[Target], Failover], limit_of: LimitOf, record: Record
) -> None:
    limit_s = 60 * limit_of("metric.recovery_time", unit="min", default=LIMIT_MIN)
    found = failover_of(target)
    never = math.isinf(found.expected_s)
    record(
        observed=None if never else round(found.expected_s / 60, 4),
        unit="min",
        samples=1,
        why=f"{target.side}: a lost node's services are moved after {found}",
        grace_s=found.grace_s,
        toleration_s=None if never else found.toleration_s,
        slowest=found.slowest,
        source=found.source,
    )
    assert not never, f"{target.side}: {found.slowest} is never moved off a lost node"
    assert found.expected_s < limit_s, f"{target.side}: {found}; the limit is {limit_s:.0f} s"
