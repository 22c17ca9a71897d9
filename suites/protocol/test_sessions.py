"""Clients keep their MCP sessions on several replicas: at rest, in a rollout, while replicas go away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixtures.ladder_sessions import SessionDrill, Sessions
    from fixtures.record import Record
    from provisioners.base import ServiceSpec

# The rungs, as the drill climbs them: each is judged by what clients saw while it lasted.
CALLS, ROLLOUT, SCALE_IN = "calls on all replicas", "a rollout", "a scale-in"


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("cutover.services")
def test_sessions_hold_on_several_replicas(
    sessions: SessionDrill, workload: Sequence[ServiceSpec], record: Record
) -> None:
    seen = sessions.seen(workload)
    _hold(seen, CALLS, record)
    answered = seen.phase(CALLS).answered_by
    if len(answered) < 2:
        record.inconclusive(
            f"{seen.service}: {len(answered)} of {seen.replicas} replicas answered: sessions across several "
            "were not seen"
        )


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("cutover.services")
def test_sessions_hold_while_a_rollout_runs(
    sessions: SessionDrill, workload: Sequence[ServiceSpec], record: Record
) -> None:
    seen = sessions.seen(workload)
    _hold(seen, ROLLOUT, record)
    if not seen.phase(ROLLOUT).answered_by:
        record.inconclusive(f"{seen.service}: no new replica answered: the rollout was not seen by clients")


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("cutover.services", "technical.autoscaling")
def test_sessions_hold_while_replicas_go_away(
    sessions: SessionDrill, workload: Sequence[ServiceSpec], record: Record
) -> None:
    _hold(sessions.seen(workload), SCALE_IN, record)


def _hold(seen: Sessions, name: str, record: Record) -> None:
    phase = seen.phase(name)
    good = phase.calls - phase.errors
    record(
        observed=100.0 * good / max(1, phase.calls),
        unit="%",
        samples=phase.calls,
        service=seen.service,
        clients=seen.clients,
        replicas=seen.replicas,
        keeps_sessions=seen.keeps,
        duration_s=phase.duration_s,
        errors=phase.errors,
        clients_hit=phase.lost,
        answered_by=list(phase.answered_by),
    )
    kind = "keeps sessions" if seen.keeps else "keeps no sessions"
    assert not phase.errors, (
        f"{seen.service} ({kind}): rung {name}: {phase.errors} of {phase.calls} calls of {seen.clients} "
        f"clients failed on {seen.replicas} replicas; the first: {'; '.join(phase.first_errors)}"
    )
