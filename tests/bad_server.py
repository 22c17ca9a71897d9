"""Servers that misbehave, each in its own way, on real sockets: raw bytes, in odd pieces."""

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Way = Callable[["Talk"], None]
LINGER_NOT_AT_ALL = struct.pack("ii", 1, 0)


@dataclass
class Talk:
    """One request as a server sees it, and what it may answer with."""

    sock: socket.socket
    head: bytes
    body: bytes
    server: "BadServer"

    @property
    def message(self) -> dict[str, object]:
        return json.loads(self.body) if self.body else {}

    def result(self, **more: object) -> bytes:
        found = {"content": [{"type": "text", "text": "hi"}], "isError": False, **more}
        return json.dumps({"jsonrpc": "2.0", "id": self.message.get("id"), "result": found}).encode()

    def send(self, body: bytes, *lines: str, status: str = "200 OK", kind: str = "application/json") -> None:
        more = "".join(f"{line}\r\n" for line in lines)
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        self.sock.sendall(head.encode() + body)

    def pieces(self, data: bytes, size: int) -> None:
        for at in range(0, len(data), size):
            self.sock.sendall(data[at : at + size])

    def chunked(self, parts: list[bytes], kind: str, *, size: int, end: bytes = b"0\r\n\r\n") -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        body = b"".join(b"%X;a=b\r\n%s\r\n" % (len(part), part) for part in parts)
        self.pieces(head + body + end, size)


@dataclass
class BadServer:
    """Listens on a free loopback port; `way` answers each request."""

    way: Way
    tls: ssl.SSLContext | None = None
    requests: int = 0
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    closed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.closed.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            with sock, sock.makefile("rb") as source:
                while (talk := self._request(sock, source)) is not None:
                    self.requests += 1
                    self.heads.append(talk.head)
                    self.way(talk)

    def _request(self, sock, source) -> Talk | None:
        head = b""
        while line := source.readline():
            head += line
            if line == b"\r\n":
                break
        if not head:
            return None
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 : head.find(b"\r", at)]) if at >= 0 else 0
        return Talk(sock, head, source.read(length), self)


class Bye(OSError):
    """Ends a connection from inside a way."""


def ok(talk: Talk) -> None:
    talk.send(talk.result(tools=[]))


def chunked_odd(talk: Talk) -> None:
    body = talk.result()
    parts = [body[:1], body[1:3], body[3:20], body[20:]]
    talk.chunked(parts, "application/json", size=3, end=b"0\r\nX-Trailer: 1\r\nY: 2\r\n\r\n")


def sse_split(talk: Talk) -> None:
    body = talk.result()
    first, rest = body[:10], body[10:].replace(b", ", b",\ndata: ", 1)
    note = b'data: {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}\n\n'
    stream = (
        b": hello\r\n\r\nevent: message\nid: 7\n" + note + b"event: message\ndata: " + first + rest + b"\n\n"
    )
    talk.chunked([stream[:5], stream[5:90], stream[90:]], "text/event-stream; charset=utf-8", size=11)


def sse_never_ends(talk: Talk) -> None:
    talk.chunked([b"data: " + talk.result() + b"\n\n"], "text/event-stream", size=400, end=b"")
    talk.server.closed.wait(5)


def never(talk: Talk) -> None:
    talk.server.closed.wait(5)


def drip(talk: Talk) -> None:
    for letter in b"HTTP/1.1 200 OK\r\nX: this takes for ever":
        talk.sock.sendall(bytes([letter]))
        if talk.server.closed.wait(0.05):
            return


def cut(talk: Talk) -> None:
    talk.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
    raise Bye


def cut_chunk(talk: Talk) -> None:
    talk.chunked([talk.result()], "application/json", size=4000, end=b"5\r\nhe")
    raise Bye


def reset(talk: Talk) -> None:
    talk.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
    time.sleep(0.01)
    talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT_AT_ALL)
    raise Bye


def garbage(talk: Talk) -> None:
    talk.sock.sendall(b"\x00\x01 this is not HTTP\r\n\r\n")


def two_lengths(talk: Talk) -> None:
    talk.send(talk.result(), "Content-Length: 3")


def too_much(talk: Talk) -> None:
    body = talk.result()
    talk.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sMORE" % (len(body), body))


def huge_headers(talk: Talk) -> None:
    talk.sock.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(40):
        talk.sock.sendall(b"X-Filler: " + b"x" * 4000 + b"\r\n")


def declared_huge(talk: Talk) -> None:
    talk.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nhello")


def endless(talk: Talk) -> None:
    talk.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        talk.sock.sendall(b"x" * 65536)


def interim(talk: Talk) -> None:
    body = talk.result()
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    talk.pieces(early + b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body), 30)


def until_close(talk: Talk) -> None:
    talk.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + talk.result())
    raise Bye


def says_close(talk: Talk) -> None:
    talk.send(talk.result(), "Connection: close")
    raise Bye


def no_body(talk: Talk) -> None:
    talk.sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


def unmodified(talk: Talk) -> None:
    talk.sock.sendall(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n")


def redirect(talk: Talk) -> None:
    talk.send(b"", "Location: http://192.0.2.1/", status="307 Temporary Redirect")


def misdirected(talk: Talk) -> None:
    talk.send(b"not here", status="421 Misdirected Request", kind="text/plain")


def html(talk: Talk) -> None:
    talk.send(b"<html>hello</html>", kind="text/html")


def wrong_id(talk: Talk) -> None:
    talk.send(json.dumps({"jsonrpc": "2.0", "id": -1, "result": {"content": []}}).encode())


def is_error(talk: Talk) -> None:
    talk.send(talk.result(isError=True))


def rpc_error(talk: Talk) -> None:
    error = {"code": -32602, "message": "no"}
    talk.send(json.dumps({"jsonrpc": "2.0", "id": talk.message.get("id"), "error": error}).encode())


def closes_idle(talk: Talk) -> None:
    """Read every second request of a connection and close instead of answering it."""
    ok(talk)
    talk.sock.recv(1)
    raise Bye


def gives_session(talk: Talk) -> None:
    """Give a session id at `initialize`; a call without one that is known is a 404."""
    sessions = talk.server.sessions
    named = [
        line[16:].strip() for line in talk.head.lower().splitlines() if line.startswith(b"mcp-session-id:")
    ]
    if talk.message.get("method") == "initialize":
        sessions.add(f"s{talk.server.requests}")
        talk.send(talk.result(protocolVersion="2025-06-18"), f"Mcp-Session-Id: s{talk.server.requests}")
    elif "id" not in talk.message:
        talk.send(b"", status="202 Accepted")
    elif named and named[0].decode() in sessions:
        ok(talk)
    else:
        talk.send(b"no such session", status="404 Not Found", kind="text/plain")


@contextlib.contextmanager
def serving(*ways: Way, tls: ssl.SSLContext | None = None) -> Iterator[list[BadServer]]:
    """Serve each way on a port of its own while the block lasts."""
    servers = [BadServer(way, tls) for way in ways]
    try:
        yield servers
    finally:
        for server in servers:
            server.close()
