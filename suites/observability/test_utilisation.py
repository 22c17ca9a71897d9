"""Every node's CPU and memory are known while load runs, and each still has room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.node_load import NodeLoad
    from fixtures.record import Record

# Over these a load test measures queues: a node has nothing left for the pods of one that is lost.
MOST_CPU_PERCENT = 90.0
MOST_MEMORY_PERCENT = 90.0


# It breaks nothing: what is marked so runs after the load, and that is when there is a window to look at.
@pytest.mark.nightly
@pytest.mark.disruptive
@pytest.mark.criterion("phase2.utilisation")
def test_every_node_is_measured_and_has_room_while_load_runs(node_load: NodeLoad, record: Record) -> None:
    nodes, problems = node_load.seen.nodes, node_load.seen.problems
    over = [text for one in nodes if (text := one.over(MOST_CPU_PERCENT, MOST_MEMORY_PERCENT))]
    busiest = max(nodes, key=lambda one: one.cpu_percent, default=None)
    told = f"busiest {busiest.node}: CPU {busiest.cpu_percent:.1f} %" if busiest else ""
    if node_load.shared and told:
        told += "; the nodes share one machine, and each is measured against all of it"
    record(
        observed=100.0 * (len(nodes) - len(over)) / max(1, node_load.expected),
        unit="%",
        samples=sum(one.samples for one in nodes),
        why=told,
        cpu_percent={one.node: round(one.cpu_percent, 2) for one in nodes},
        memory_percent={one.node: round(one.memory_percent, 2) for one in nodes},
        read_from={one.node: one.source for one in nodes},
        window_s=round(node_load.window.length_s, 1),
        requests=node_load.window.requests,
        problems=list(problems),
    )
    assert not over, f"no room while load runs: {'; '.join(over)}"
    if problems:
        record.inconclusive("; ".join(problems))
