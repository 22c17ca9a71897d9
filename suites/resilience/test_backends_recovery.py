"""A killed PostgreSQL or Redis comes back within the limit, as the server that needs it sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixtures.fault import Breaker
    from fixtures.limit import LimitOf
    from fixtures.record import Record
    from provisioners.base import ServiceSpec, Target

LIMIT_S = 300.0


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("phase4.node_failure")
@pytest.mark.parametrize("backend", ["postgres", "redis"])
def test_killed_backend_comes_back(
    target: Target,
    backend: str,
    workload: Sequence[ServiceSpec],
    fault: Breaker,
    limit_of: LimitOf,
    record: Record,
) -> None:
    limit_s = 60 * limit_of("metric.recovery_time", unit="min", default=LIMIT_S / 60)
    promised = {spec.name: spec for spec in workload}
    if backend not in promised:
        pytest.skip(f"the workload has no {backend}")
    # The one that calls nothing else, so that it is this backend alone which makes it not ready.
    callers = sorted((spec for spec in workload if spec.mcp and backend in spec.calls), key=_calls)
    assert callers, f"no server calls {backend}, so nobody would see it gone"
    seen = fault.kill_container(
        target, backend, promised[backend].replicas, client=callers[0].name, path="/ready"
    )
    slowest = seen.slowest_s
    record(
        observed=None if slowest is None else round(slowest / 60, 4),
        unit="min",
        samples=seen.requests,
        backend=backend,
        client=callers[0].name,
        detected_s=_rounded(seen.detected_s),
        ready_s=_rounded(seen.ready_s),
        client_s=_rounded(seen.client_s),
        failed_requests=seen.failed_requests,
        first_failure=seen.first_failure,
    )
    where = f"{target.side}: {backend}, asked by {callers[0].name}"
    if slowest is None and seen.waited_s < limit_s:
        record.inconclusive(f"{where}: not back after {seen.waited_s:.0f} s ({', '.join(seen.running)})")
        return
    assert slowest is not None, f"{where}: not back after {seen.waited_s:.0f} s: {', '.join(seen.running)}"
    assert slowest < limit_s, f"{where}: took {slowest:.1f} s to come back"


def _calls(spec: ServiceSpec) -> tuple[int, str]:
    return len(spec.calls), spec.name


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
