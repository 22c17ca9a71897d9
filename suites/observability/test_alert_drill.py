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
    clocks = {
        "wired_s": seen.wired_s,
        "pending_s": seen.pending_s,
        "firing_s": seen.firing_s,
        "received_s": seen.received_s,
        "resolved_s": seen.resolved_s,
    }
    stopped = {name: round(value, 2) for name, value in clocks.items() if value is not None}
    record(observed=0.0 if seen.problem else 100.0, unit="%", samples=len(stopped), **stopped)
    assert not seen.problem, seen.problem
