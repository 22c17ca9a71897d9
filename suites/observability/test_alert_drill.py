"""A condition that is provoked becomes an alert, reaches a receiver, and is told to be over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.alerts import AlertDrill
    from fixtures.record import Record


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("technical.monitoring")
@pytest.mark.criterion("cutover.monitoring")
def test_an_alert_fires_arrives_and_resolves(alert_drill: AlertDrill, record: Record) -> None:
    seen = alert_drill.run()
    clocks = (seen.wired_s, seen.pending_s, seen.firing_s, seen.received_s, seen.resolved_s)
    record(
        observed=0.0 if seen.problem else 100.0,
        unit="%",
        samples=sum(clock is not None for clock in clocks),
        wired_s=_rounded(seen.wired_s),
        pending_s=_rounded(seen.pending_s),
        firing_s=_rounded(seen.firing_s),
        received_s=_rounded(seen.received_s),
        resolved_s=_rounded(seen.resolved_s),
    )
    assert not seen.problem, seen.problem


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
