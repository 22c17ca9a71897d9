"""Round trips between replicas stay under the limit: between all nodes, on one node, and by Service.

One byte there and back on a kept connection, timed inside the replicas, one pair after the
other and while no other check runs. The worst pair is named. A pair over the limit is measured
again, and all of its round trips are judged together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fixtures.latency import Pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fixtures.inside import Look
    from fixtures.latency import Latency
    from fixtures.limit import LimitOf
    from fixtures.load import Quantile
    from fixtures.record import Record
    from provisioners.base import Replica, ServiceSpec, Target

EYES = "net-probe"
LIMIT_MS = 10.0
FEWEST = 100  # fewer round trips than this, over all pairs, hold no p99
CLOSED_PORT = 7776


@pytest.mark.criterion("performance.network_latency", "phase2.latency")
@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("way", ["across-nodes", "same-node", "by-service"])
def test_p99_is_under_the_limit(
    target: Target,
    workload: Sequence[ServiceSpec],
    way: str,
    latency: Latency,
    quantile: Quantile,
    limit_of: LimitOf,
    record: Record,
) -> None:
    limit_ms = limit_of("performance.network_latency", "phase2.latency", unit="ms", default=LIMIT_MS)
    pairs = _pairs(target, workload, way)
    assert pairs, f"{target.side}: no pair of replicas to measure {way}"
    measured = [latency.measure(target, pair, limit_ms) for pair in pairs]
    everything = [rtt for one in measured for rtt in one.rtt_ms]
    worst = max(measured, key=lambda one: one.p99_ms)
    record(
        observed=round(worst.p99_ms, 3),
        unit="ms",
        samples=len(everything),
        why=f"worst pair {worst.pair.name}",
        p99_all_ms=round(quantile(everything, 0.99), 3),
        p50_all_ms=round(quantile(everything, 0.5), 3),
        p99_ms={one.pair.name: round(one.p99_ms, 3) for one in measured},
        control_p99_ms={one.pair.name: one.control_p99_ms for one in measured},
        tries={one.pair.name: one.tries for one in measured if one.tries > 1},
    )
    slow = [one for one in measured if one.p99_ms >= limit_ms and one.believable]
    doubtful = [one for one in measured if not one.believable]
    if len(everything) < FEWEST:
        record.inconclusive(f"{target.side}: {len(everything)} round trips are too few for a p99")
    if doubtful:
        record.inconclusive(
            f"{target.side}, {way}: cannot tell, the machines are too busy: "
            + "; ".join(
                f"{one.pair.name} {one.p99_ms:.1f} ms, its ends to themselves {one.control_p99_ms:.1f}"
                for one in doubtful
            )
        )
    assert not slow, f"{target.side}, {way}: p99 " + "; ".join(
        f"{one.p99_ms:.2f} ms between {one.pair.name}" for one in slow
    )


@pytest.mark.criterion("performance.network_latency")
def test_closed_port_is_refused(
    target: Target, workload: Sequence[ServiceSpec], look: Look, record: Record
) -> None:
    """Control: where nobody listens there must be no round trip to time."""
    source, other = _eyes(target, workload)[:2]
    answer = look(target, source, ["tcp", other.address, str(CLOSED_PORT), "--count", "1"])
    record(observed=str(answer.get("error", "answered")), samples=1)
    assert not answer.get("ok"), (
        f"{target.side}: port {CLOSED_PORT} of {other.node} answers; nothing serves it"
    )


def _eyes(target: Target, workload: Sequence[ServiceSpec]) -> Sequence[Replica]:
    if EYES not in {spec.name for spec in workload}:
        pytest.skip(f"the workload has no {EYES} service to measure from")
    return [one for one in target.replicas(EYES) if one.ready]


def _pairs(target: Target, workload: Sequence[ServiceSpec], way: str) -> list[Pair]:
    """Return what to measure; each node has one probe replica."""
    eyes = _eyes(target, workload)
    nodes = {one.node for one in eyes}
    expected = {node.name for node in target.nodes}
    assert nodes == expected, f"{target.side}: {EYES} runs on {sorted(nodes)}, nodes are {sorted(expected)}"
    if way == "across-nodes":
        return [
            Pair(f"{a.node} to {b.node}", a, b.address, controls=(a, b))
            for a in eyes
            for b in eyes
            if a.node != b.node
        ]
    if way == "by-service":
        name = target.dns_name(EYES)
        return [Pair(f"{one.node} to {name}", one, name, controls=tuple(eyes)) for one in eyes]
    here = {one.node: one for one in eyes}
    sources: dict[str, Replica] = {}
    for spec in workload:
        for one in target.replicas(spec.name) if spec.mcp and len(sources) < len(here) else ():
            if one.ready and one.node in here:
                sources.setdefault(one.node, one)
    return [
        Pair(f"{node}, {one.service} to {EYES}", one, here[node].address, controls=(here[node],))
        for node, one in sorted(sources.items())
    ]
