"""fixtures.web and fixtures.mcp: each way in which a server can fail is told apart, within its bounds."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fixtures.mcp import (
    HostRefused,
    IdMismatch,
    InvalidRpc,
    McpClient,
    McpError,
    NotMcp,
    Redirected,
    RpcError,
    refusal,
)
from fixtures.web import Malformed, TooLarge, TooSlow, Unreachable, WebError, fetch

Script = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]
JSON = "application/json"


@contextmanager
def serve(script: Script) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            with suppress(OSError):
                script(self, json.loads(body or b"{}"))

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    class Quick(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    server = Quick(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp"
    finally:
        server.shutdown()
        server.server_close()


def send(status: int = 200, body: bytes = b"", kind: str = JSON, **headers: str) -> Script:
    def script(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.send_response(status)
        handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return script


def reply(kind: str = JSON, wrap: str = "{}", status: int = 200, **fields: Any) -> Script:
    """Answer with JSON-RPC whose fields are given; an `id` of None is the request's own."""

    def script(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        row = {"jsonrpc": "2.0", "id": request.get("id"), **fields}
        send(status, wrap.replace("{}", json.dumps(row)).encode(), kind)(handler, request)

    return script


def by_method(**scripts: Script) -> Script:
    def script(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        name = request.get("method", "").replace("/", "_")
        scripts.get(name, send(202))(handler, request)

    return script


def drip(head: bytes, piece: bytes) -> Script:
    """Begin an answer and never end it."""

    def script(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.wfile.write(head)
        for _n in range(200):
            handler.wfile.write(piece)
            time.sleep(0.02)

    return script


def drop(data: bytes) -> Script:
    """Send some bytes and hang up."""

    def script(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.wfile.write(data)

    return script


SSE = "text/event-stream"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
WRONG: dict[str, tuple[Script, type[AssertionError], str]] = {
    "redirect": (send(307, location="http://elsewhere/"), Redirected, "307.*elsewhere"),
    "html": (send(200, b"<!doctype html><p>hi", "text/html"), NotMcp, "HTML"),
    "html-as-json": (send(200, b" <html>", JSON), NotMcp, "HTML"),
    "host-refused": (send(421, b"{}"), HostRefused, "421"),
    "server-error": (send(500, b"oops", "text/plain"), NotMcp, "500.*oops"),
    "not-json": (send(200, b"{nope"), InvalidRpc, "not JSON"),
    "not-rpc": (send(200, b'{"ok": true}'), InvalidRpc, "not a JSON-RPC"),
    "list": (send(200, b"[]"), InvalidRpc, "not a JSON-RPC"),
    "both-result-and-error": (reply(result={}, error={"code": 1}), InvalidRpc, "not a JSON-RPC"),
    "result-is-a-list": (reply(result=[]), InvalidRpc, "not an object"),
    "other-id": (reply(id=999, result={}), IdMismatch, "999"),
    "id-as-text": (reply(id="1", result={}), IdMismatch, "'1'"),
    "id-as-true": (reply(id=True, result={}), IdMismatch, "True"),
    "error": (reply(error={"code": -32602, "message": "bad params"}), RpcError, "-32602: bad params"),
    "error-with-status": (reply(status=400, error={"code": -32600, "message": "no"}), RpcError, "-32600"),
    "no-server-info": (reply(result={"protocolVersion": "2025-06-18"}), InvalidRpc, "which server"),
    "no-version": (reply(result={"serverInfo": {"name": "x"}}), InvalidRpc, "no protocol version"),
    "stream-of-another": (reply(SSE, "data: {}\n\n", id=7, result={}), IdMismatch, "7"),
    "stream-without-answer": (send(200, b": ping\n\ndata: {}\n\n", SSE), InvalidRpc, "without an answer"),
    "stream-without-end": (drip(STREAM, b": ping\n\n"), TooSlow, "within 0.4 s"),
    "headers-without-end": (drip(b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n"), TooSlow, "within 0.4 s"),
    "status-line-without-end": (drip(b"HTTP/1.1 200", b"O"), TooSlow, "within 0.4 s"),
    "huge": (send(200, b'"' + b"x" * 60_000 + b'"'), TooLarge, "larger than 50000 bytes"),
    "not-http": (drip(b"SSH-2.0-OpenSSH\r\n", b""), Malformed, "broken answer"),
    "cut-short": (drop(b""), Malformed, "broken answer"),
    "body-cut-short": (
        drop(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{}"),
        Malformed,
        "broken answer",
    ),
}


def client(url: str) -> McpClient:
    return McpClient(url, timeout_s=0.4, most_bytes=50_000)


@pytest.mark.parametrize("case", WRONG)
def test_each_failure_is_told_apart(case: str) -> None:
    script, kind, text = WRONG[case]
    started = time.monotonic()
    with serve(script) as url, pytest.raises(kind, match=text) as caught:
        client(url).hello()
    assert type(caught.value) is kind
    assert isinstance(caught.value, WebError | McpError)
    assert url in str(caught.value)
    assert time.monotonic() - started < 1.5


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="refused"):
        client(f"http://127.0.0.1:{port}/mcp").hello()


def test_a_failure_is_a_failed_check_and_not_a_broken_one() -> None:
    assert issubclass(WebError, AssertionError)
    assert issubclass(McpError, AssertionError)


INFO = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "x", "version": "2"}}
TOOL = {"name": "t", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}


def test_hello_tools_and_call() -> None:
    called = reply(result={"content": [{"type": "text", "text": "hi"}], "structuredContent": {"a": 1}})
    script = by_method(
        initialize=reply(result=INFO), tools_list=reply(result={"tools": [TOOL]}), tools_call=called
    )
    with serve(script) as url:
        one = client(url)
        hello = one.hello()
        assert (hello.era, hello.version, hello.name) == ("initialize", "2025-06-18", "x")
        (tool,) = one.tools()
        assert tool.safe
        result = one.call("t")
        assert (result.is_error, result.text, result.structured) == (False, "hi", {"a": 1})
        assert refusal(one, "t") == ""


def test_stream_is_left_when_the_answer_came() -> None:
    def script(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        if "id" not in request:
            send(202)(handler, request)
            return
        row = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": INFO})
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
        handler.wfile.write(STREAM + f"event: message\r\ndata: {note}\r\n\r\ndata: {row}\r\n\r\n".encode())
        time.sleep(3)

    started = time.monotonic()
    with serve(script) as url:
        assert client(url).hello().name == "x"
        assert time.monotonic() - started < 0.4


def test_server_of_the_later_era() -> None:
    headers: list[tuple[str | None, str | None]] = []

    def discover(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        headers.append((handler.headers["mcp-method"], handler.headers["mcp-protocol-version"]))
        info = {"io.modelcontextprotocol/serverInfo": {"name": "later"}}
        reply(result={"supportedVersions": ["2026-07-28"], "_meta": info})(handler, request)

    refuse = reply(error={"code": -32022, "message": "unsupported protocol version"})
    with serve(by_method(initialize=refuse, server_discover=discover)) as url:
        hello = client(url).hello()
    assert (hello.era, hello.name) == ("discover", "later")
    assert headers == [("server/discover", "2026-07-28")]


def test_both_eras_refused() -> None:
    refuse = reply(error={"code": -32601, "message": "method not found"})
    with serve(by_method(initialize=refuse, server_discover=refuse)) as url, pytest.raises(RpcError):
        client(url).hello()


def test_session_is_kept() -> None:
    seen: list[str | None] = []

    def script(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        seen.append(handler.headers["mcp-session-id"])
        body = json.dumps(
            {"jsonrpc": "2.0", "id": request.get("id"), "result": {**INFO, "tools": []}}
        ).encode()
        send(200, body, JSON, **{"mcp-session-id": "abc"})(handler, request)

    with serve(script) as url:
        one = client(url)
        one.hello()
        one.tools()
    assert seen == [None, "abc", "abc"]


def test_pages_that_never_end() -> None:
    endless = by_method(tools_list=reply(result={"tools": [TOOL], "nextCursor": "more"}))
    with serve(endless) as url, pytest.raises(InvalidRpc, match="did not end"):
        client(url).tools()


def test_pages() -> None:
    def pages(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        last = request["params"].get("cursor") == "2"
        row = {"tools": [{**TOOL, "name": "b" if last else "a"}]} | ({} if last else {"nextCursor": "2"})
        reply(result=row)(handler, request)

    with serve(pages) as url:
        assert [tool.name for tool in client(url).tools()] == ["a", "b"]


@pytest.mark.parametrize("tool", [{"name": "t"}, {"inputSchema": {}}, "t", {"name": 3, "inputSchema": {}}])
def test_tools_that_are_none(tool: object) -> None:
    with serve(by_method(tools_list=reply(result={"tools": [tool]}))) as url, pytest.raises(InvalidRpc):
        client(url).tools()


def test_tool_error_is_data_and_a_refusal() -> None:
    failed = by_method(tools_call=reply(result={"content": [{"text": "boom"}], "isError": True}))
    with serve(failed) as url:
        assert client(url).call("t").is_error
        assert refusal(client(url), "t") == "boom"
    with serve(reply(error={"code": -32602, "message": "unknown tool"})) as url:
        assert "unknown tool" in refusal(client(url), "t")


def test_contract_sees_a_changed_schema() -> None:
    with serve(by_method(tools_list=reply(result={"tools": [TOOL]}))) as url:
        (first,) = client(url).tools()
    changed = {**TOOL, "inputSchema": {"type": "object", "required": ["a"]}}
    with serve(by_method(tools_list=reply(result={"tools": [changed]}))) as url:
        (second,) = client(url).tools()
    assert first.contract() != second.contract()
    assert not second.safe


def test_chunked_answer() -> None:
    def script(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        handler.wfile.write(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n \r\n0\r\n\r\n"
        )

    with serve(script) as url:
        assert fetch(url).body == b"{} "
