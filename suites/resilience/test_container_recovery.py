"""A killed container comes back within the limit, as its orchestrator, its health and a client see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fixtures.fault import Breaker
    from fixtures.limit import LimitOf
    from fixtures.mcp import McpClient
    from fixtures.record import Record
    from provisioners.base import ServiceSpec, Target

LIMIT_S = 300.0


@pytest.mark.disruptive
@pytest.mark.criterion("metric.recovery_time")
def test_killed_container_comes_back(
    target: Target,
    workload: Sequence[ServiceSpec],
    fault: Breaker,
    mcp: Callable[[Target, ServiceSpec], McpClient],
    limit_of: LimitOf,
    record: Record,
) -> None:
    limit_s = 60 * limit_of("metric.recovery_time", unit="min", default=LIMIT_S / 60)
    victim = _victim(workload)
    seen = fault.kill_container(target, victim.name, victim.replicas)
    slowest = seen.slowest_s
    record(
        observed=None if slowest is None else round(slowest / 60, 4),
        unit="min",
        samples=seen.requests,
        service=victim.name,
        detected_s=_rounded(seen.detected_s),
        ready_s=_rounded(seen.ready_s),
        client_s=_rounded(seen.client_s),
        failed_requests=seen.failed_requests,
        first_failure=seen.first_failure,
    )
    where = f"{target.side}: {victim.name}"
    if slowest is None and seen.waited_s < limit_s:
        record.inconclusive(
            f"{where} was not back after {seen.waited_s:.0f} s ({', '.join(seen.running)}); "
            f"nobody waited for the limit of {limit_s:.0f} s"
        )
        return
    assert slowest is not None, f"{where} was not back after {seen.waited_s:.0f} s: {', '.join(seen.running)}"
    assert slowest < limit_s, f"{where} took {slowest:.1f} s to come back"
    client = mcp(target, victim)
    client.hello()
    assert client.tools(), f"{where} answers again, but offers no tools"


def _victim(workload: Sequence[ServiceSpec]) -> ServiceSpec:
    """Return a server that no other one calls, so that one thing breaks and not several."""
    called = {name for spec in workload for name in spec.calls}
    servers = [spec for spec in workload if spec.mcp]
    assert servers, "the workload promises no MCP server"
    return next((spec for spec in servers if spec.name not in called), servers[0])


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
