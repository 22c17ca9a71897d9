"""Whether an answer counts as served: the HTTP status is looked at, and never trusted alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from loadtests.profile import TOOLS_CALL
from loadtests.sample import ErrorKind

if TYPE_CHECKING:
    from loadtests.client import Exchange

_OK = 200
_REDIRECTS = range(300, 400)
_QUOTED_BYTES = 200


def judge(exchange: Exchange, workload: str, call_id: int) -> tuple[ErrorKind, str]:
    """Return why an exchange does not count as served, or NONE, and what to print about it."""
    kind = exchange.error
    if kind is ErrorKind.NONE:
        kind = _status(exchange.status)
    if kind is ErrorKind.NONE and workload == TOOLS_CALL:
        kind = _tool_call(exchange.content_type, exchange.body, call_id)
    if kind is ErrorKind.NONE:
        return kind, ""
    return kind, exchange.detail or f"HTTP {exchange.status}: {exchange.body[:_QUOTED_BYTES]!r}"


def _status(status: int) -> ErrorKind:
    """Judge the status line: 200 only; redirects are not followed, they are another path."""
    if status == _OK:
        return ErrorKind.NONE
    return ErrorKind.REDIRECT if status in _REDIRECTS else ErrorKind.STATUS


def _tool_call(content_type: str, body: bytes, call_id: int) -> ErrorKind:
    """Judge the answer to a JSON-RPC tools/call; 200 with an error inside is an error."""
    if content_type.startswith("text/event-stream"):
        body = _last_event(body)
    try:
        message = json.loads(body)
    except ValueError:
        return ErrorKind.NOT_JSON
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return ErrorKind.NOT_JSON
    result = message.get("result")
    if "error" in message or not isinstance(result, dict):
        return ErrorKind.RPC_ERROR
    if message.get("id") != call_id:
        return ErrorKind.ID_MISMATCH
    return ErrorKind.TOOL_ERROR if result.get("isError") else ErrorKind.NONE


def _last_event(body: bytes) -> bytes:
    """Return the data of the last event of an event stream, where the answer stands."""
    lines = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
    return lines[-1] if lines else b""
