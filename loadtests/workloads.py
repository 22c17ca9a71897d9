"""What one planned send is, by the name of its workload: the HTTP requests of one visit, as bytes.

A `Step` is a request but for its JSON-RPC id, so that nothing is built between the
planned time and the socket. Which tool a workload calls on a server stands in the
server's `calls`; a server that names none for it is not visited by that workload. Of a session of many
calls only the first request is planned; each of the others follows the answer before it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtests.errors import LoadInputError
from loadtests.profile import (
    CALL_WORKLOADS,
    HEALTH,
    SESSION,
    SESSION_CALLS,
    STREAM,
    TOOLS_LIST,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loadtests.profile import Server

PROTOCOL = "2025-06-18"
_ACCEPT = "application/json, text/event-stream"
_PROGRESS = {"progressToken": "load"}  # asks for the messages that make an answer a stream


@dataclass(frozen=True, slots=True)
class Step:
    """One HTTP request: `body` lacks its end, the JSON-RPC id and a closing brace, when `has_id`.

    `method` and `path` are of HTTP; `rpc` names the JSON-RPC method, empty for a plain GET.
    A POST whose `has_id` is False is a notification, answered by 202 without a body.
    """

    method: str
    path: str
    rpc: str = ""
    accept: str = "*/*"
    body: bytes = b""
    has_id: bool = False

    def payload(self, call_id: int) -> bytes:
        """Return the whole body."""
        return b"%s%d}" % (self.body, call_id) if self.has_id else self.body


def steps_of(server: Server, workload: str) -> tuple[Step, ...]:
    """Return the requests of one visit, in order; each waits for the answer to the one before.

    Raises LoadInputError where the server names no tool for the workload.
    """
    if workload == HEALTH:
        return (Step("GET", server.health_path),)
    if workload == TOOLS_LIST:
        return (_rpc(server.mcp_path, "tools/list", {}),)
    if workload == SESSION:
        call = server.call(SESSION) or ToolCall(server.tool, server.arguments)
        hello = _rpc(server.mcp_path, "initialize", _HELLO)
        return (hello, _ready(server.mcp_path), *(_call(server.mcp_path, call),) * SESSION_CALLS)
    named = server.call(workload)
    if named is None:
        raise LoadInputError(f"load: {server.name} names no tool for {workload}")
    if workload == STREAM:
        return (_call(server.stream_path, named, _meta=_PROGRESS),)
    return (_call(server.mcp_path, named),)


def is_rpc(workload: str) -> bool:
    """Return whether the answer of a workload is a JSON-RPC result."""
    return workload != HEALTH


def is_tool_call(workload: str) -> bool:
    """Return whether the answer is that of a tool, whose own error flag counts."""
    return workload in CALL_WORKLOADS or workload == SESSION


_HELLO = {
    "protocolVersion": PROTOCOL,
    "capabilities": {},
    "clientInfo": {"name": "gonogo", "version": "1"},
}


def _call(path: str, call: ToolCall, **more: object) -> Step:
    return _rpc(path, "tools/call", {"name": call.tool, "arguments": dict(call.arguments), **more})


def _ready(path: str) -> Step:
    body = b'{"jsonrpc": "2.0", "method": "notifications/initialized"}'
    return Step("POST", path, "notifications/initialized", _ACCEPT, body)


def _rpc(path: str, method: str, params: Mapping[str, object]) -> Step:
    body = f'{{"jsonrpc": "2.0", "method": "{method}", "params": {json.dumps(params)}, "id": '
    return Step("POST", path, method, _ACCEPT, body.encode(), has_id=True)
