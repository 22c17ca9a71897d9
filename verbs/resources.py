"""Resources while load runs: readings of the nodes and the log of requests become windows, then evidence."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import TYPE_CHECKING

from provisioners.base import Side
from provisioners.usage import OVERHEAD, SHARED, WORKLOAD, Usage, at, span
from reports.efficiency import (
    CHECK,
    EFFICIENCY,
    RESOURCES,
    Efficiency,
    Spent,
    UsageWindow,
    efficiency,
    efficiency_evidence,
    resources_evidence,
)
from reports.model import Evidence, Profile, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from provisioners.usage import Meter, Reading
    from reports.store import Store

_WINDOW_S = 5.0
_SHORTEST_S = 0.5
_WANTED = 12


def every_s(duration_s: float) -> float:
    """Return how often to read: each 5 s, and oftener in a run too short for a dozen windows."""
    return min(_WINDOW_S, max(_SHORTEST_S, duration_s / _WANTED))


def record_resources(store: Store, meter: Meter | None, folder: Path, window_s: float) -> None:
    """Judge what was read while load ran, and record it whatever it is."""
    if meter is None or not meter.readings:
        why = "; ".join(meter.problems) if meter else ""
        for criterion in (RESOURCES, EFFICIENCY) if _business(store) else (RESOURCES,):
            row = Evidence(
                criterion, CHECK, Status.INCONCLUSIVE, why=f"no node could be read; {why}".rstrip("; ")
            )
            store.evidence(row)
        return
    windows = usage_windows(meter.readings, folder, window_s)
    found = efficiency(windows, [f"{node} could not be read: {why}" for node, why in meter.lost.items()])
    store.write_json("load/resources.json", resources_json(windows, found))
    store.evidence(resources_evidence(found))
    if _business(store):
        store.evidence(efficiency_evidence(found))


def _business(store: Store) -> bool:
    """Return whether this run asks for the business metrics: only a cutover does."""
    return store.run().get("profile") == Profile.CUTOVER


def usage_windows(readings: Sequence[Reading], folder: Path, window_s: float) -> list[UsageWindow]:
    """Return windows of whole length within the time that every node was read and load was judged."""
    from loadtests.served import measured_span, served_between

    first_s, last_s = span(readings)
    begin_s, end_s = measured_span(folder)
    start_s, stop_s = max(first_s, begin_s), min(last_s, end_s)
    count = int((stop_s - start_s) / window_s)
    if count < 1:
        return []
    edges = [start_s + place * (stop_s - start_s) / count for place in range(count + 1)]
    served = served_between(folder, edges)
    return [
        _window(readings, pair, {side: served[str(side)][place] for side in Side})
        for place, pair in enumerate(itertools.pairwise(edges))
    ]


def _window(
    readings: Sequence[Reading], edges: tuple[float, float], served: Mapping[Side, int]
) -> UsageWindow:
    spent = {side: _spent(readings, edges, side, served[side]) for side in Side}
    shared = _used(readings, SHARED, edges)
    return UsageWindow(
        start_s=edges[0],
        duration_s=edges[1] - edges[0],
        swarm=spent[Side.SWARM],
        kubernetes=spent[Side.KUBERNETES],
        shared_cpu_s=shared.cpu_s,
        broken=_broken(readings, edges, spent),
    )


def _spent(readings: Sequence[Reading], edges: tuple[float, float], side: Side, served: int) -> Spent:
    own, over = (_used(readings, part, edges) for part in (WORKLOAD[side], OVERHEAD[side]))
    return Spent(own.cpu_s, own.memory_bytes, served, over.cpu_s, over.memory_bytes)


def _used(readings: Sequence[Reading], part: str, edges: tuple[float, float]) -> Usage:
    """Return CPU seconds between the edges, and the mean of the memory at both."""
    low, high = (at(readings, part, edge) for edge in edges)
    return Usage(high.cpu_s - low.cpu_s, (low.memory_bytes + high.memory_bytes) / 2)


def _broken(readings: Sequence[Reading], edges: tuple[float, float], spent: Mapping[Side, Spent]) -> str:
    """Say that containers came or went around the window: their counters began anew."""
    for side in Side:
        if spent[side].cpu_s < 0:
            return f"counters of {side} went back, a container was replaced"
        for node in {reading.node for reading in readings}:
            mine = sorted((one for one in readings if one.node == node), key=lambda one: one.at_s)
            inside = [one for one in mine if edges[0] <= one.at_s <= edges[1]]
            before = [one for one in mine if one.at_s < edges[0]][-1:]
            after = [one for one in mine if one.at_s > edges[1]][:1]
            counts = {one.members.get(WORKLOAD[side], 0) for one in (*before, *inside, *after)}
            if len(counts) > 1:
                return f"{node} had {min(counts)} and then {max(counts)} containers of {side}"
    return ""


def resources_json(windows: Sequence[UsageWindow], found: Efficiency) -> dict[str, object]:
    """Return load/resources.json: every window, and what was made of them."""
    return {
        "status": found.status,
        "ratios": [asdict(one) for one in (found.cpu, found.memory, found.system)],
        "overhead": found.overhead,
        "problems": list(found.problems),
        "windows": [asdict(window) for window in windows],
    }
