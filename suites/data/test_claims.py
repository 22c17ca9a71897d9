"""A claimed volume is bound, takes what a pod writes, and has it for the next pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.claims import Claims
    from fixtures.record import Record


@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("phase3.pvcs")
def test_claims_are_bound_and_another_pod_reads_what_the_first_one_wrote(
    claims: Claims, record: Record
) -> None:
    rows = claims.deployed()
    loose = [f"the workload's claim {name} is {phase or 'without a phase'}" for name, phase in rows
             if phase != "Bound"]  # fmt: skip
    seen = claims.tried()
    problems = [*loose, *seen.problems()]
    where = f"pinned to {', '.join(seen.pinned)}" if seen.pinned else "to be had on every node"
    record(
        observed=0.0 if problems else 100.0,
        unit="%",
        samples=1 + len(rows),
        why=f"class {seen.storage}; {where}; its size is asked for, not proven",
        storage_class=seen.storage.name,
        reclaim_policy=seen.storage.reclaim,
        pinned_to=list(seen.pinned),
        written_on=seen.nodes[0],
        read_on=seen.nodes[1],
        claim_to_written_s=round(seen.written_s, 2),
        claims_of_the_workload=dict(rows),
    )
    assert not problems, "; ".join(problems)
    if doubts := seen.doubts():
        record.inconclusive("; ".join(doubts))
