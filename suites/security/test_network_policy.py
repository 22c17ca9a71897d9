"""Network policies are enforced: what they deny is stopped, what they allow passes, from a pod's start on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.policy_drill import PolicyDrill, Tried
    from fixtures.policy_workload import WorkloadPolicies
    from fixtures.record import Record
    from fixtures.security import Engine

SHOWN = 6


@pytest.mark.nightly
@pytest.mark.criterion("phase4.network_policy")
@pytest.mark.criterion("technical.security")
def test_the_trap_policy_stops_everything_names_too(
    policy_drill: PolicyDrill, engine: Engine, record: Record
) -> None:
    seen = policy_drill.trapped()
    record(
        observed=100.0 * (1 - len(seen.open_after) / len(seen.open_before)),
        unit="%",
        samples=len(seen.open_before),
        engine=engine.name,
        open_before=list(seen.open_before),
        open_after=list(seen.open_after),
        enforced_after_s=seen.enforced_after_s,
    )
    if len(seen.open_after) == len(seen.open_before):
        record.inconclusive(engine.lacking)
        return
    assert not seen.open_after, f"a policy that denies all leaves open: {', '.join(seen.open_after)}"
    if engine.simulated:
        record.inconclusive(engine.simulated)


@pytest.mark.nightly
@pytest.mark.criterion("phase4.network_policy")
@pytest.mark.criterion("technical.security")
def test_new_pods_meet_the_policies_from_their_start_on(
    policy_drill: PolicyDrill, engine: Engine, record: Record
) -> None:
    policy_drill.require_engine(engine.lacking)
    tried = policy_drill.matrix()
    late = [one.title for one in tried if one.expected and one.seen is False and one.age_s == 0]
    _hold(tried, engine, record, "not allowed yet at their start: " + ", ".join(late) if late else "")


@pytest.mark.nightly
@pytest.mark.criterion("phase4.network_policy")
@pytest.mark.criterion("technical.security")
def test_services_reach_whom_their_policies_say(
    policy_workload: WorkloadPolicies, policy_drill: PolicyDrill, engine: Engine, record: Record
) -> None:
    if not policy_workload.bound and not policy_workload.promised:
        record(observed=0.0, unit="%", samples=0, engine=engine.name)
        record.inconclusive("this run deploys no NetworkPolicy: set `policies: true` in its config")
        return
    if not policy_workload.bound:
        record(observed=0.0, unit="%", samples=0, engine=engine.name)
        pytest.fail(
            f"namespace {policy_workload.namespace} has no NetworkPolicy: everybody reaches everything"
        )
    policy_drill.require_engine(engine.lacking)
    _hold(policy_workload.tried(), engine, record, "")


@pytest.mark.nightly
@pytest.mark.criterion("phase4.network_policy")
def test_no_policy_keeps_a_service_from_names(policy_workload: WorkloadPolicies, record: Record) -> None:
    ends = policy_workload.ends()
    wrong = policy_workload.without_names()
    record(
        observed=100.0 * (len(ends) - len(wrong)) / max(1, len(ends)),
        unit="%",
        samples=len(ends) if policy_workload.dns else 0,
        why="" if policy_workload.dns else "no pod has the label of cluster DNS",
        policies=policy_workload.bound,
    )
    assert not wrong, "; ".join(wrong[:SHOWN])


def _hold(tried: tuple[Tried, ...], engine: Engine, record: Record, note: str) -> None:
    """Record and judge attempts; those that were not made, or showed nothing, decide nothing."""
    seen = [one for one in tried if one.seen is not None]
    wrong = [one.why for one in tried if one.why]
    denied = [one for one in seen if not one.expected]
    record(
        observed=100.0 * (len(seen) - len(wrong)) / max(1, len(seen)),
        unit="%",
        samples=len(seen),
        why=note,
        engine=engine.name,
        denied=len(denied),
        allowed=len(seen) - len(denied),
        not_seen=[one.title for one in tried if one.seen is None],
    )
    assert not wrong, f"{len(wrong)} of {len(seen)}: {'; '.join(wrong[:SHOWN])}"
    if len(seen) < len(tried):
        record.inconclusive(f"{len(tried) - len(seen)} of {len(tried)} attempts showed nothing")
    elif not denied or len(denied) == len(seen):
        record.inconclusive(f"{len(denied)} of {len(seen)} attempts are denied: both kinds have to be seen")
    elif engine.simulated:
        record.inconclusive(engine.simulated)
