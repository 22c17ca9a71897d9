"""A small HTTP server for load tests: answers well, or in one chosen bad way."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

OK = "ok"


class TinyServer:
    """Listens on a free loopback port; `way` chooses how every request is answered."""

    def __init__(self, way: str = OK) -> None:
        self.way = way
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock, sock.makefile("rb") as source:
            while head := _head(source):
                length = int(head.get("content-length", "0"))
                body = source.read(length) if length else b""
                self.requests += 1
                if self.way == "close_idle" and self.requests % 2 == 0:
                    return  # as a server does that gave the connection up while the request was on its way
                sock.sendall(self._answer(json.loads(body)["id"] if body else None))
                if self.way in ("cut", "garbage"):
                    return
                if self.way == "never":
                    time.sleep(5)

    def _answer(self, call_id: int | None) -> bytes:
        result = {"content": [{"type": "text", "text": "hello"}], "isError": self.way == "tool_error"}
        message: dict[str, object] = {"jsonrpc": "2.0", "id": call_id, "result": result}
        if self.way == "rpc_error":
            message = {"jsonrpc": "2.0", "id": call_id, "error": {"code": -32602, "message": "no"}}
        if self.way == "id_mismatch":
            message["id"] = -1
        body, kind, status = json.dumps(message).encode(), "application/json", "200 OK"
        match self.way:
            case "html":
                body, kind = b"<html>hello</html>", "text/html"
            case "sse":
                body, kind = b"event: message\r\ndata: " + body + b"\r\n\r\n", "text/event-stream"
            case "status":
                status = "421 Misdirected Request"
            case "redirect":
                status = "307 Temporary Redirect\r\nLocation: /elsewhere"
            case "garbage":
                return b"\x00\x01 this is not HTTP\r\n\r\n"
        length = len(body) + (1000 if self.way in ("cut", "never") else 0)
        if self.way == "large":
            body = b"x" * (5 << 20)
            length = len(body)
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        return head.encode() + body


def _head(source: BinaryIO) -> dict[str, str]:
    lines = []
    while (line := source.readline().decode("latin-1")).strip():
        lines.append(line)
    pairs = [line.partition(":") for line in lines]
    return {name.strip().lower(): value.strip().lower() for name, _, value in pairs}


@contextlib.contextmanager
def tiny_server(way: str = OK) -> Iterator[TinyServer]:
    """Serve while the block lasts."""
    server = TinyServer(way)
    try:
        yield server
    finally:
        server.close()
