"""Whether an answer counts as served: the HTTP status is looked at, and never trusted alone."""

from __future__ import annotations

import json
from typing import Any

from loadtests.profile import TOOLS_LIST
from loadtests.sample import ErrorKind
from loadtests.workloads import is_rpc, is_tool_call

_OK = 200
_REDIRECTS = range(300, 400)
_QUOTED_BYTES = 200


def judge(status: int, content_type: str, body: bytes, workload: str, call_id: int) -> tuple[ErrorKind, str]:
    """Return why an answer does not count as served, or NONE, and what to print about it.

    `call_id` is the JSON-RPC id that the answer to a call must repeat.
    """
    kind = _status(status)
    if kind is ErrorKind.NONE and is_rpc(workload):
        kind = _call(content_type, body, workload, call_id)
    if kind is ErrorKind.NONE:
        return kind, ""
    return kind, f"HTTP {status}: {body[:_QUOTED_BYTES]!r}"


def last_event(body: bytes) -> bytes:
    """Return the data of the last server-sent event that has any, where the answer stands.

    An event ends with an empty line; its data may stand on several lines, which end in CR LF,
    LF or CR. A last event without its empty line was cut off, and is taken all the same.
    """
    found = b""
    data: list[bytes] = []
    for line in [*body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), b""]:
        if not line:
            found = b"\n".join(data) if data else found
            data = []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
    return found


def message_of(content_type: str, body: bytes) -> dict[str, Any] | None:
    """Return the JSON-RPC 2.0 message that an answer holds, plain or as an event; None if it is none."""
    if content_type.startswith("text/event-stream"):
        body = last_event(body)
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and message.get("jsonrpc") == "2.0" else None


def _status(status: int) -> ErrorKind:
    """Judge the status line: 200 only; redirects are not followed, they are another path."""
    if status == _OK:
        return ErrorKind.NONE
    return ErrorKind.REDIRECT if status in _REDIRECTS else ErrorKind.STATUS


def _call(content_type: str, body: bytes, workload: str, call_id: int) -> ErrorKind:
    """Judge the answer to a JSON-RPC call; 200 with an error inside is an error."""
    message = message_of(content_type, body)
    if message is None:
        return ErrorKind.NOT_JSON
    result = message.get("result")
    if "error" in message or not isinstance(result, dict):
        return ErrorKind.RPC_ERROR
    if message.get("id") != call_id or isinstance(message.get("id"), bool):
        return ErrorKind.ID_MISMATCH
    if workload == TOOLS_LIST and not isinstance(result.get("tools"), list):
        return ErrorKind.RPC_ERROR
    return ErrorKind.TOOL_ERROR if is_tool_call(workload) and result.get("isError") else ErrorKind.NONE
