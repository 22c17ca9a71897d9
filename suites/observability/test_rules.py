"""Every rule that the cluster's objects ask for is loaded, and is evaluated without an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.metrics import Metrics
    from fixtures.monitors import Monitors
    from fixtures.record import Record


@pytest.mark.nightly
@pytest.mark.criterion("technical.monitoring")
def test_rules_are_loaded_and_evaluated(metrics: Metrics, monitors: Monitors, record: Record) -> None:
    rules = metrics.rules()
    wrong = monitors.rule_problems(rules)
    record(
        observed=0.0 if wrong else 100.0,
        unit="%",
        samples=len(rules),
        alerting=sum(rule.kind == "alerting" for rule in rules),
        objects=len(monitors.rules),
    )
    assert rules, "no rule is loaded: nothing could ever be told"
    assert not wrong, "; ".join(wrong)
