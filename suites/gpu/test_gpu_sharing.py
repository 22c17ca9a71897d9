"""A GPU is one pod's, unless time-slicing says otherwise; then it is so many pods'."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.gpu_cluster import Gpus
    from fixtures.gpu_drill import GpuDrill
    from fixtures.record import Record

_MOST_PODS = 8
_SLICES = 2


@pytest.mark.nightly
@pytest.mark.criterion("technical.gpu_scheduling")
def test_pods_share_a_gpu_as_far_as_it_is_said(gpus: Gpus, gpu_drill: GpuDrill, record: Record) -> None:
    free = next((node for node in gpus.free if node.free == node.allocatable), None)
    if free is None:
        record(observed=0.0, unit="%", samples=0, why="no node has all of its GPUs free")
        return
    count = min(free.allocatable, _MOST_PODS)
    names = [f"one-{number}" for number in range(count)]
    holders = _holders(gpu_drill, names, free.name)
    most = max(map(len, holders.values()), default=0)
    over = {uuid: pods for uuid, pods in holders.items() if len(pods) > free.replicas}
    blind = [name for name in names if not any(name in pods for pods in holders.values())]
    record(
        observed=0.0 if over or blind else 100.0,
        unit="%",
        samples=count,
        node=free.name,
        replicas=free.replicas,
        most_pods_on_one_gpu=most,
    )
    assert not blind, f"{free.name}: {', '.join(blind)} see no GPU or not one"
    assert not over, f"{free.name} shares a GPU by {free.replicas}, yet {over}"
    if gpus.doubt:
        record.inconclusive(gpus.doubt)


@pytest.mark.nightly
@pytest.mark.criterion("technical.gpu_scheduling")
def test_slices_multiply_pods_not_gpus(gpus: Gpus, gpu_drill: GpuDrill, record: Record) -> None:
    free = next((node for node in gpus.free if node.free == node.allocatable), None)
    if free is None:
        record(observed=0.0, unit="%", samples=0, why="no node has all of its GPUs free")
        return
    slices = free.replicas
    if gpu_drill.plays:  # a real plugin's configuration is not changed for a check
        slices = free.replicas * _SLICES
        gpu_drill.change(free.name, "-replicas", str(slices))
        offered_s = gpu_drill.offers(free.name, free.allocatable * _SLICES)
        assert offered_s is not None, f"{free.name} shared by {slices} does not offer {_SLICES} times as many"
    if slices == 1:
        record(observed=100.0, unit="%", samples=1, node=free.name, why="GPUs are not shared here")
        return
    alone = _asks_two(gpu_drill, free.name)
    holders = _holders(gpu_drill, [f"slice-{number}" for number in range(slices)], free.name)
    shared = max(map(len, holders.values()), default=0)
    one_gpu = free.allocatable == free.replicas
    good = shared == slices if one_gpu else 0 < shared <= slices
    record(
        observed=100.0 if good and not alone.startswith("it runs") else 0.0,
        unit="%",
        samples=slices + 1,
        node=free.name,
        slices=slices,
        most_pods_on_one_gpu=shared,
        two_slices=alone,
    )
    assert good, f"{free.name}: {slices} pods may share a GPU, {shared} do: {holders}"
    assert not alone.startswith("it runs"), f"a pod that asks for two of shared GPUs: {alone}"
    if gpus.doubt:
        record.inconclusive(gpus.doubt)


def _asks_two(drill: GpuDrill, node: str) -> str:
    """Return what becomes of a pod that asks for two slices; it must not run with one GPU."""
    drill.put("two", gpus=2, node=node)
    placed = drill.placed("two")
    if placed.node:
        placed = drill.runs_or_ends("two")
    text = f"{placed.phase} {placed.why}".strip()
    if placed.phase == "Running" and len(uuids := drill.seen("two").uuids) < 2:
        text = f"it runs, and sees {len(uuids)} GPU"
    drill.remove("two")
    return text


def _holders(drill: GpuDrill, names: list[str], node: str) -> dict[str, list[str]]:
    """Put one pod after the other on a node; return who sees which GPU."""
    for name in names:
        drill.put(name, gpus=1, node=node)
    found: dict[str, list[str]] = {}
    for name in names:
        seen = drill.seen(name)
        if not seen.lacking(1):
            found.setdefault(seen.uuids[0], []).append(name)
    return found
