"""Each host offers the GPUs that it has: by what can be allocated, not by labels that speak of NVIDIA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.gpu_cluster import Gpus
    from fixtures.gpu_drill import GpuDrill
    from fixtures.record import Record

_ILL_BOUND_S = 30.0


@pytest.mark.nightly
@pytest.mark.criterion("technical.gpu_scheduling")
@pytest.mark.criterion("phase2.gpu")
def test_hosts_offer_the_gpus_that_they_have(gpus: Gpus, record: Record) -> None:
    claiming = [node for node in gpus.nodes if node.claims or node.odd]
    problems = gpus.problems()
    wrong = {text.partition(":")[0] for text in problems}
    looked_at = len(claiming) + len(gpus.lacking)
    record(
        observed=100.0 * (looked_at - len(wrong)) / max(1, looked_at),
        unit="%",
        samples=looked_at,
        allocatable={node.name: node.allocatable for node in gpus.nodes},
        products={node.name: node.labels.get("product", "") for node in claiming},
        replicas={node.name: node.replicas for node in claiming},
    )
    assert not problems, "; ".join(problems)
    if gpus.doubt:
        record.inconclusive(gpus.doubt)


@pytest.mark.nightly
@pytest.mark.criterion("technical.gpu_scheduling")
def test_a_sick_gpu_is_not_offered(gpus: Gpus, gpu_drill: GpuDrill, record: Record) -> None:
    if not gpu_drill.plays:  # a real device is not made ill: what it says of itself is read
        ill = {node.name: node.capacity - node.allocatable for node in gpus.having}
        record(
            observed=100.0 * sum(not count for count in ill.values()) / max(1, len(ill)),
            unit="%",
            samples=len(ill),
        )
        assert not any(ill.values()), f"GPUs that are not healthy: {ill}"
        return
    node = gpus.free[0] if gpus.free else None
    if node is None:
        record(observed=0.0, unit="%", samples=0, why="no node has a free GPU")
        return
    uuid = gpu_drill.device_of(node.name)
    gpu_drill.change(node.name, "-unhealthy", uuid)
    left_s = gpu_drill.offers(node.name, node.allocatable - node.replicas)
    gpu_drill.change(node.name, "-healthy", uuid)
    back_s = gpu_drill.offers(node.name, node.allocatable)
    good = (left_s is not None) + (back_s is not None)
    record(
        observed=50.0 * good, unit="%", samples=2, node=node.name, device=uuid, left_s=left_s, back_s=back_s
    )
    assert left_s is not None, f"{node.name} still offers {node.allocatable} though {uuid} is ill"
    assert back_s is not None, f"{node.name} does not offer {uuid} again though it is well"
    if gpus.doubt:
        record.inconclusive(gpus.doubt)
