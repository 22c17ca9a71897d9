"""Every ServiceMonitor has targets and all of them are up; each MCP server is among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fixtures.metrics import Metrics
    from fixtures.monitors import Monitors
    from fixtures.record import Record
    from provisioners.base import ServiceSpec, Side, Target

OFFSET_NOTED_S = 2.0
CONTROL = {"job": "gonogo-no-such-job"}


@pytest.mark.nightly
@pytest.mark.criterion("technical.monitoring")
@pytest.mark.criterion("cutover.monitoring")
def test_every_service_monitor_has_targets_that_are_up(
    metrics: Metrics, monitors: Monitors, record: Record
) -> None:
    seen = monitors.coverage(metrics.targets(), metrics.pools())
    wrong = [f"{one.monitor.title}: {one.why}" for one in seen if one.why]
    targets, up = sum(one.targets for one in seen), sum(one.up for one in seen)
    offset_s = metrics.clock_offset_s()
    record(
        observed=100.0 * (len(seen) - len(wrong)) / max(1, len(seen)),
        unit="%",
        samples=targets,
        monitors=len(seen),
        up=up,
        clock_offset_s=round(offset_s, 3),
        why=f"its clock is {offset_s:+.1f} s from ours" if abs(offset_s) > OFFSET_NOTED_S else "",
    )
    assert seen, "0 targets: there is no ServiceMonitor"
    assert not wrong, f"{up} of {targets} targets up; {'; '.join(wrong)}"


@pytest.mark.nightly
@pytest.mark.criterion("phase1.servicemonitor")
def test_every_mcp_server_is_scraped(
    metrics: Metrics,
    monitors: Monitors,
    both: Mapping[Side, Target],
    workload: Sequence[ServiceSpec],
    record: Record,
) -> None:
    kubernetes = next(target for side, target in both.items() if side == "kubernetes")
    promised = [spec.name for spec in workload if spec.mcp]
    pools = {one.pool(number) for one in monitors.monitors for number in range(len(one.endpoints))}
    up = [one for one in metrics.targets() if one.pool in pools and one.health == "up"]
    hosts = {(one.labels.get("instance") or "").rpartition(":")[0] for one in up}
    wrong = []
    replicas = 0
    for name in promised:
        addresses = {one.address for one in kubernetes.replicas(name) if one.ready}
        replicas += len(addresses)
        if not addresses:
            wrong.append(f"{name} has no ready replica")
        elif not addresses <= hosts:
            wrong.append(f"{name}: {len(addresses - hosts)} of {len(addresses)} replicas are not scraped")
    record(observed=100.0 * (len(promised) - len(wrong)) / max(1, len(promised)), unit="%", samples=replicas)
    assert promised, "the workload promises no MCP server"
    assert not wrong, "; ".join(wrong)


@pytest.mark.nightly
@pytest.mark.criterion("technical.monitoring")
def test_a_wrong_label_is_told_from_a_healthy_one(metrics: Metrics, record: Record) -> None:
    samples = metrics.latest("up")
    record(observed=100.0, unit="%", samples=len(samples), oldest_s=max(one.age_s or 0.0 for one in samples))
    # Control: what nobody scrapes must not be answered, or every answer above shows nothing.
    assert not metrics.knows("up", CONTROL), f"{CONTROL}, which nobody made, has series"
