"""Pods that ask for GPUs get them, on nodes of the wanted role that have some; others wait and say why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.gpu_cluster import Gpus
    from fixtures.gpu_drill import GpuDrill
    from fixtures.record import Record


@pytest.mark.nightly
@pytest.mark.criterion("cutover.gpu")
@pytest.mark.criterion("phase2.gpu")
def test_a_pod_gets_a_gpu_and_sees_it(gpus: Gpus, gpu_drill: GpuDrill, record: Record) -> None:
    if not gpus.free:
        record(observed=0.0, unit="%", samples=0)
        record.inconclusive("every GPU is taken: none is left to try with")
        return
    gpu_drill.put("asks", gpus=1)
    gpu_drill.put("asks-not")
    placed = gpu_drill.placed("asks")
    assert placed.node, f"a pod that asks for one GPU is not placed: {placed.why}"
    seen, other = gpu_drill.seen("asks"), gpu_drill.seen("asks-not")
    problems = [
        text
        for text in (
            placed.node not in {node.name for node in gpus.having}
            and f"it is on {placed.node}, without GPUs",
            seen.lacking(1),
            other.lacking(0) and f"a pod that asks for none: {other.lacking(0)}",
        )
        if text
    ]
    record(
        observed=0.0 if problems else 100.0,
        unit="%",
        samples=2,
        node=placed.node,
        uuids=list(seen.uuids),
        devices=list(seen.devices),
        without=list(other.uuids),
    )
    assert not problems, "; ".join(problems)
    if gpus.doubt:
        record.inconclusive(gpus.doubt)


@pytest.mark.nightly
@pytest.mark.criterion("technical.gpu_scheduling")
@pytest.mark.criterion("phase2.gpu")
def test_gpu_pods_land_on_the_wanted_role_only(gpus: Gpus, gpu_drill: GpuDrill, record: Record) -> None:
    roles = {node.role: node.name for node in gpus.free if node.role}
    bare = {node.role for node in gpus.without if node.role} - {node.role for node in gpus.having}
    wrong: list[str] = []
    for role in sorted(roles):
        gpu_drill.put(f"in-{role}", gpus=1, role=role)
        placed = gpu_drill.placed(f"in-{role}")
        at = next((node for node in gpus.nodes if node.name == placed.node), None)
        if at is None or at.role != role or not at.allocatable:
            wrong.append(f"a GPU pod for {role} is on {placed.node or 'no node'}: {placed.why}")
    for role in sorted(bare):
        gpu_drill.put(f"not-in-{role}", gpus=1, role=role)
        placed = gpu_drill.placed(f"not-in-{role}")
        if not placed.waits_for_gpu():
            wrong.append(
                f"a GPU pod for {role}, which has none, is on {placed.node or 'no node'}: "
                f"{placed.why or 'no reason'}"
            )
    tried = len(roles) + len(bare)
    record(
        observed=100.0 * (tried - len(wrong)) / max(1, tried),
        unit="%",
        samples=tried,
        roles=sorted(roles),
        roles_without=sorted(bare),
        why="" if roles else f"no node with a free GPU has a label {'instance-role'}",
    )
    assert not wrong, "; ".join(wrong)
    if not roles:
        record.inconclusive("no role has a free GPU: nothing landed anywhere")
    elif gpus.doubt:
        record.inconclusive(gpus.doubt)


@pytest.mark.nightly
@pytest.mark.criterion("technical.gpu_scheduling")
def test_asking_for_more_than_there_is_waits_with_that_reason(
    gpus: Gpus, gpu_drill: GpuDrill, record: Record
) -> None:
    most = max((node.allocatable for node in gpus.having), default=0)
    gpu_drill.put("too-many", gpus=most + 1)
    placed = gpu_drill.placed("too-many")
    good = placed.waits_for_gpu()
    record(
        observed=100.0 if good else 0.0,
        unit="%",
        samples=1 if most else 0,
        asked=most + 1,
        reason=placed.reason,
        message=placed.why,
    )
    assert not placed.node, (
        f"a pod that asks for {most + 1} GPUs is on {placed.node}, which has no more than {most}"
    )
    assert good, f"it waits, but not for GPUs: {placed.reason} {placed.why}"
    if gpus.doubt:
        record.inconclusive(gpus.doubt)


@pytest.mark.nightly
@pytest.mark.criterion("technical.gpu_scheduling")
def test_a_fraction_of_a_gpu_and_a_request_beside_the_limit_are_refused(
    gpu_drill: GpuDrill, record: Record
) -> None:
    tries = {
        "500m": gpu_drill.refusal(gpus="500m"),
        "0.5": gpu_drill.refusal(gpus="0.5"),
        "request 1, limit 2": gpu_drill.refusal(gpus=2, request=1),
    }
    control = gpu_drill.refusal(gpus=1)
    through = [name for name, why in tries.items() if not why]
    other = [
        f"{name}: {why}"
        for name, why in tries.items()
        if why and not ("must be an integer" in why or "must be equal to" in why)
    ]
    record(
        observed=100.0 * (len(tries) - len(through)) / len(tries),
        unit="%",
        samples=0 if control else len(tries),
        why=f"a whole GPU is refused too: {control}" if control else "",
        refusals=tries,
    )
    assert not through, f"not refused: {', '.join(through)}"
    assert not other, f"refused for another reason: {'; '.join(other)}"
