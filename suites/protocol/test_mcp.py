"""Every server speaks MCP, by its own name, and offers the same tools on both sides.

An HTTP 200 is not enough: the server introduces itself, lists its tools, answers a call
that changes nothing, and refuses a call that is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fixtures.mcp import McpClient, Tool
    from fixtures.record import Record
    from provisioners.base import ServiceSpec, Side, Target

    Connect = Callable[[Target, ServiceSpec], McpClient]

NO_TOOL = "gonogo_no_such_tool"


@pytest.mark.criterion("technical.servers", "cutover.services")
def test_server_speaks_mcp(
    target: Target,
    server: ServiceSpec,
    mcp: Connect,
    refused: Callable[[McpClient, str], str],
    record: Record,
) -> None:
    where = f"{target.side}: {server.name}"
    client = mcp(target, server)
    hello = client.hello()
    tools = client.tools()
    record(
        observed=100.0 if tools else 0.0,
        unit="%",
        samples=len(tools),
        era=hello.era,
        version=hello.version,
        name=hello.name,
        server_version=hello.server_version,
    )
    assert tools, f"{where} offers no tools"
    names = [tool.name for tool in tools]
    assert len(set(names)) == len(names), f"{where} lists a tool twice: {names}"
    safe = next((tool for tool in tools if tool.safe), None)
    if safe is None:
        record.inconclusive(f"{where} offers no tool that can be called safely")
        return
    result = client.call(safe.name)
    assert not result.is_error, f"{where}: tool {safe.name} answered an error: {result.text[:300]}"
    said = result.structured.get("service", server.name)
    assert said == server.name, f"{where}: {said} answers at its address"
    # Control: a server that answers anything to anything shows nothing by its answers.
    assert refused(client, NO_TOOL), f"{where} does not refuse {NO_TOOL}, a tool that nobody made"


@pytest.mark.criterion("cutover.services")
def test_same_contract_on_both_sides(
    both: Mapping[Side, Target],
    server: ServiceSpec,
    mcp: Connect,
    record: Record,
) -> None:
    contracts: dict[str, Sequence[Tool]] = {}
    for side, target in both.items():
        client = mcp(target, server)
        client.hello()
        contracts[side] = client.tools()
    first, second = ({tool.name: tool for tool in tools} for tools in contracts.values())
    differ = sorted(first.keys() ^ second.keys())
    changed = sorted(
        name for name in first.keys() & second.keys() if first[name].contract() != second[name].contract()
    )
    record(observed=len(differ) + len(changed), unit="tools that differ", samples=len(first))
    assert not differ, f"{server.name}: only on one side: {', '.join(differ)}"
    assert not changed, f"{server.name}: schema differs between the sides: {', '.join(changed)}"
