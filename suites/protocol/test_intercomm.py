"""Each server reaches each service that it calls, by its DNS name, and across nodes.

The servers call each other themselves (`call_peers`): over MCP where the other one speaks
it, with a real query where it is a database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fixtures.mcp import McpClient
    from fixtures.record import Record
    from provisioners.base import ServiceSpec, Target

    Connect = Callable[[Target, ServiceSpec], McpClient]

TOOL = "call_peers"
CALL_S = 15.0


@pytest.mark.criterion("cutover.intercomm")
def test_server_reaches_its_peers(
    target: Target, server: ServiceSpec, workload: Sequence[ServiceSpec], mcp: Connect, record: Record
) -> None:
    where = f"{target.side}: {server.name}"
    if not server.calls:
        record(samples=1, observed="calls nobody")
        return
    client = mcp(target, server)
    client.hello()
    if TOOL not in {tool.name for tool in client.tools()}:
        pytest.skip(f"{where} has no tool {TOOL} that would show whom it reaches")
    result = client.call(TOOL, timeout_s=CALL_S)
    peers = {str(one.get("peer")): one for one in _peers(result.structured)}
    reached = [name for name in server.calls if peers.get(name, {}).get("ok")]
    record(
        observed=100.0 * len(reached) / len(server.calls),
        unit="%",
        samples=len(server.calls),
        milliseconds={name: one.get("ms") for name, one in peers.items()},
    )
    for name in server.calls:
        assert name in peers, f"{where} was not asked to call {name}"
        assert peers[name].get("ok"), f"{where} does not reach {name}: {peers[name].get('error')}"
    assert not result.is_error, f"{where}: {TOOL} answered an error: {result.text[:300]}"
    speaking = {spec.name for spec in workload if spec.mcp} & set(server.calls)
    nameless = [name for name in speaking if not peers[name].get("server")]
    assert not nameless, f"{where}: who answered for {', '.join(nameless)} did not say its name"


@pytest.mark.criterion("cutover.intercomm")
def test_calls_cross_nodes(target: Target, workload: Sequence[ServiceSpec], record: Record) -> None:
    """Calls that never leave a node would show nothing about the network between them."""
    callers = [spec for spec in workload if spec.mcp and spec.calls]
    names = {spec.name for spec in callers} | {name for spec in callers for name in spec.calls}
    nodes = {name: {one.node for one in target.replicas(name) if one.ready} for name in names}
    calls = [(spec.name, callee) for spec in callers for callee in spec.calls]
    across = [(a, b) for a, b in calls if nodes[a] and nodes[b] and nodes[a].isdisjoint(nodes[b])]
    used = set().union(*nodes.values())
    record(observed=len(across), unit="calls across nodes", samples=len(calls), nodes=sorted(used))
    if len(target.nodes) < 2:
        record.inconclusive(f"{target.side}: one node only, so no call can cross nodes")
        return
    assert across, f"{target.side}: none of {len(calls)} calls crosses nodes; all run on {sorted(used)}"


def _peers(structured: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    peers = structured.get("peers")
    return [one for one in peers if isinstance(one, dict)] if isinstance(peers, list) else []
