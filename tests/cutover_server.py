"""A small MCP server that keeps sessions and items in memory, and goes wrong in one chosen way at a time."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from fixtures.cutover_entry import Door
from fixtures.mcp_server.table import ALL

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE_S = 0.03  # mostly sleep, so that a busy machine changes it little
SERVICE = "snowflake-unified"


class Threads(ThreadingHTTPServer):
    """With room for a burst of connections: five, as is usual, are refused ones on a busy machine."""

    request_queue_size = 256


class CutoverServer:
    """One side: `failing` fails every so many'th call, `slower` is a factor, `stateful` wants sessions."""

    def __init__(self) -> None:
        self.failing = 0
        self.slower = 1.0
        self.stateful = False
        self.forgetful = False
        self.loses_writes = False
        self.dies_after: int | None = None
        self.calls = 0
        self.sessions: set[str] = set()
        self.items: dict[str, str] = {}
        self.count = itertools.count(1)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def log_message(self, *_: object) -> None:
                return

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, answer, session = owner.answer(json.loads(body), self.headers.get("mcp-session-id"))
                if owner.dead:
                    self.close_connection = True
                    return
                data = json.dumps(answer).encode() if answer is not None else b""
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                if session:
                    self.send_header("mcp-session-id", session)
                self.end_headers()
                self.wfile.write(data)
                self.wfile.flush()

        self._http = Threads(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def dead(self) -> bool:
        """Whether it died: it reads requests, and answers none."""
        return self.dies_after is not None and self.calls > self.dies_after

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, asked: dict[str, Any], session: str | None) -> tuple[int, Any, str]:
        method, number = asked["method"], asked.get("id")
        if method == "initialize":
            given = uuid.uuid4().hex
            if self.stateful:
                self.sessions.add(given)
            result = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "small", "version": "1"}}
            return 200, _reply(number, result), given if self.stateful else ""
        if number is None:
            return 202, None, ""
        if self.stateful and session not in self.sessions:
            return (
                404,
                {"jsonrpc": "2.0", "id": number, "error": {"code": -32001, "message": "no session"}},
                "",
            )
        if method == "tools/list":
            return 200, _reply(number, {"tools": [_tool("describe", read_only=True)]}), ""
        self.calls += 1
        if self.forgetful and self.calls % 40 == 0:
            self.sessions.clear()
        time.sleep(BASE_S * self.slower)
        if self.failing and next(self.count) % self.failing == 0:
            return 500, {"error": "broken on purpose"}, ""
        return 200, _reply(number, self._call(asked["params"])), ""

    def _call(self, params: dict[str, Any]) -> dict[str, Any]:
        tool, arguments = params["name"], params.get("arguments", {})
        found: dict[str, Any] = {"server": "small"}
        if tool.endswith("_save"):
            if not self.loses_writes:
                self.items[arguments["key"]] = arguments["value"]
            found["stored_in"] = "memory"
        if tool.endswith("_search"):
            rows = self.items.items()
            found["items"] = [{"key": k, "value": v} for k, v in rows if arguments["query"] in v]
        return {"content": [{"type": "text", "text": "ok"}], "isError": False, "structuredContent": found}


def _reply(number: Any, result: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": result}


def _tool(name: str, *, read_only: bool) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": read_only}}


@contextlib.contextmanager
def two_sides(*, sessions: bool = False) -> Iterator[tuple[CutoverServer, CutoverServer, list[Door]]]:
    """Serve both sides while the block lasts, and give the door that leads to them."""
    assert SERVICE in ALL
    swarm, kubernetes = CutoverServer(), CutoverServer()
    try:
        swarm.stateful = kubernetes.stateful = sessions
        yield swarm, kubernetes, [Door(SERVICE, swarm.url, kubernetes.url, sessions=sessions)]
    finally:
        swarm.close()
        kubernetes.close()
