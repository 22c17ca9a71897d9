"""A server scales out under load and back in after it, and no client sees an error meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixtures.record import Record
    from fixtures.scaling import ScalingDrill
    from provisioners.base import ServiceSpec


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("technical.autoscaling")
@pytest.mark.criterion("phase4.hpa")
def test_a_server_scales_out_and_back_in(
    scaling_drill: ScalingDrill, workload: Sequence[ServiceSpec], record: Record
) -> None:
    broken = scaling_drill.broken()
    seen = scaling_drill.run(scaling_drill.victim(workload))
    counts = seen.counts
    kept = seen.clients - len(counts.lost)
    whole = seen.in_s is not None and not counts.errors and not broken
    record(
        observed=100.0 if whole else 0.0,
        unit="%",
        samples=counts.calls,
        service=seen.service,
        replicas=seen.replicas,
        most_ready=seen.most_ready,
        out_s=_rounded(seen.out_s),
        in_s=_rounded(seen.in_s),
        cpu_percent=seen.highest_percent,
        wanted_percent=seen.wanted_percent,
        # Shorter than anybody's in production (300 s in): the drill shows that it works, not its pace.
        windows=seen.windows,
        errors=counts.errors,
        sessions=seen.clients,
        sessions_kept=kept,
        answered_by=len(counts.answered_by),
        changes=[f"{one.at_s:g} s: {one.ready} of {one.wanted}" for one in seen.changes],
    )
    assert not broken, f"autoscalers that cannot act: {'; '.join(broken)}"
    assert not seen.problem, f"{seen.service}: {seen.problem}"
    if seen.too_little_load:
        record.inconclusive(
            f"{seen.service}: the load made {seen.highest_percent} % of CPU, and {seen.wanted_percent} % "
            "is what the autoscaler holds: nothing was to be scaled"
        )
        return
    assert seen.out_s is not None, f"{seen.service} did not scale out at {seen.highest_percent} % of CPU"
    assert seen.in_s is not None, f"{seen.service} did not come back to {seen.replicas} replicas"
    assert not counts.errors, (
        f"{seen.service}: {counts.errors} of {counts.calls} calls failed, {kept} of {seen.clients} sessions "
        f"kept, while it went to {seen.most_ready} replicas and back; the first: {counts.first_errors[0]}"
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
