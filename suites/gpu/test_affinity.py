"""Affinity to a role is honoured: a pod lands on it, and one whose role nobody has waits and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.gpu_drill import GpuDrill
    from fixtures.record import Record

_NOBODY = "gonogo-nobody"


@pytest.mark.nightly
@pytest.mark.criterion("phase2.affinity")
def test_pods_land_on_the_role_that_they_demand(gpu_drill: GpuDrill, record: Record) -> None:
    nodes = gpu_drill.gpus().nodes
    role_of = {node.name: node.role for node in nodes}
    roles = sorted({node.role for node in nodes if node.role and node.schedulable})
    wrong: list[str] = []
    for role in roles:
        gpu_drill.put(f"role-{role}", role=role)
        placed = gpu_drill.placed(f"role-{role}")
        if role_of.get(placed.node) != role:
            wrong.append(f"a pod for {role} is on {placed.node or 'no node'}: {placed.why}")
    gpu_drill.put("nobody", role=_NOBODY)
    nobody = gpu_drill.placed("nobody")
    if not (nobody.waits and "affinity" in nobody.why):
        wrong.append(
            f"a pod for a role that nobody has is on {nobody.node or 'no node'}: {nobody.why or '-'}"
        )
    tried = len(roles) + 1
    record(
        observed=100.0 * (tried - len(wrong)) / tried,
        unit="%",
        samples=tried if roles else 0,
        roles=roles,
        message=nobody.why,
    )
    assert not wrong, "; ".join(wrong)
    if len(roles) < 2:
        record.inconclusive("fewer than two roles: a pod that ignores its role would land on the same nodes")
