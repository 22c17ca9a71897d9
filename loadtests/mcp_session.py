"""MCP's handshake, outside the time that is measured: one session per endpoint, renewed when lost.

A server that gives a session id at `initialize` gets it back with every call; one that gives
none, or knows no `initialize`, is called without. The calls themselves are judged by
`answer`, so a handshake that failed is no verdict of its own, only a reason that is kept.
"""

from __future__ import annotations

import concurrent.futures
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtests.answer import message_of
from loadtests.http1 import AnswerReader, Cut, Garbage, HeadCache, TooLarge
from loadtests.workloads import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.endpoint import Endpoint

_TIMEOUT_S = 3.0
_TOGETHER = 16
_CHUNK = 65536
_MOST_SESSION_LETTERS = 1024
_SUCCESS = range(200, 300)
_CLIENT = {"name": "gonogo", "version": "1"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What one blocking exchange gave; `status` 0 and a reason in `detail` when nothing came."""

    status: int
    content_type: str = ""
    body: bytes = b""
    session_id: str = ""
    detail: str = ""


def introduce_all(endpoints: Sequence[Endpoint], timeout_s: float = _TIMEOUT_S) -> list[str]:
    """Shake hands with every endpoint, side by side; return the reasons of those that failed."""
    with concurrent.futures.ThreadPoolExecutor(_TOGETHER, thread_name_prefix="mcp") as pool:
        futures = [pool.submit(introduce, endpoint, timeout_s) for endpoint in endpoints]
        return [reason for future in futures if (reason := future.result())]


def introduce(endpoint: Endpoint, timeout_s: float = _TIMEOUT_S) -> str:
    """Send `initialize` and `notifications/initialized`; return why no session came of it, or nothing.

    On failure the endpoint is called without a session, as before.
    """
    endpoint.keep_session(session_id="", introduced=False)
    params = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": _CLIENT}
    hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    reply = ask(endpoint, endpoint.post(hello), timeout_s)
    message = message_of(reply.content_type, reply.body) if reply.status in _SUCCESS else None
    result = message.get("result") if message else None
    if not isinstance(result, dict) or not result.get("protocolVersion"):
        why = reply.detail or f"status {reply.status}: {reply.body[:200]!r}"
        return f"{endpoint.label} knows no initialize: {why}"
    if not usable(reply.session_id):
        return f"{endpoint.label} gave a session id that is no header value"
    endpoint.keep_session(session_id=reply.session_id, introduced=True)
    ready = ask(endpoint, endpoint.post({"jsonrpc": "2.0", "method": "notifications/initialized"}), timeout_s)
    if ready.status not in _SUCCESS:
        return f"{endpoint.label} refused notifications/initialized: {ready.status}"
    return ""


class Renewals:
    """Shakes hands again with endpoints that lost their session, beside the load and one at a time each."""

    def __init__(self) -> None:
        self.count = 0
        self._running: set[int] = set()

    def renew(self, endpoint: Endpoint) -> None:
        """Start a handshake with `endpoint`, unless one is under way."""
        key = id(endpoint)
        if key in self._running:
            return
        self._running.add(key)
        self.count += 1
        threading.Thread(target=self._renew, args=(endpoint, key), daemon=True).start()

    def _renew(self, endpoint: Endpoint, key: int) -> None:
        try:
            introduce(endpoint)
        finally:
            self._running.discard(key)


def ask(endpoint: Endpoint, request: bytes, timeout_s: float) -> Reply:
    """Send one request on a connection of its own and wait for the answer, bounded; raises nothing."""
    if endpoint.address is None:
        return Reply(0, detail=endpoint.unresolved or "not resolved")
    end = time.monotonic() + timeout_s
    reader = AnswerReader(HeadCache())
    try:
        with socket.create_connection(endpoint.address[:2], timeout_s) as plain:
            sock: socket.socket = plain
            if endpoint.context is not None:
                sock = endpoint.context.wrap_socket(plain, server_hostname=endpoint.host)
            with sock:
                sock.sendall(request)
                _read(sock, reader, end)
    except (OSError, ssl.SSLError, Garbage, TooLarge, Cut) as error:
        return Reply(0, detail=str(error) or type(error).__name__)
    head = reader.head
    if head is None:
        return Reply(0, detail="no answer")
    return Reply(head.status, head.content_type, bytes(reader.body), head.session_id)


def _read(sock: socket.socket, reader: AnswerReader, end: float) -> None:
    """Read one answer; of a stream of events that stays open, what it says up to its first answer."""
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("no whole answer in time")
        sock.settimeout(left)
        data = sock.recv(_CHUNK)
        if not data:
            reader.end()
            return
        if reader.feed(data):
            return
        head = reader.head
        if head is not None and head.event_stream:
            message = message_of(head.content_type, bytes(reader.body))
            if message is not None and ("result" in message or "error" in message):
                return


def usable(session_id: str) -> bool:
    """Whether a session id is what the protocol allows: visible ASCII, or none at all."""
    return len(session_id) <= _MOST_SESSION_LETTERS and all("!" <= letter <= "~" for letter in session_id)
