"""The client of one side: keep-alive connections to every server, requests prebuilt as bytes.

It uses geventhttpclient's connection pool and response parser, as Locust's
FastHttpUser does, and skips cookies, redirects and header building: what is left
between the clock readings is the socket and the parser.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import gevent
from geventhttpclient.connectionpool import ConnectionPool, SSLConnectionPool
from geventhttpclient.response import HTTPConnectionClosed, HTTPParseError, HTTPSocketPoolResponse

from loadtests.client import Exchange
from loadtests.profile import SIDES, TOOLS_CALL, Server
from loadtests.sample import ErrorKind

if TYPE_CHECKING:
    from loadtests.plan import LoadPlan
    from loadtests.schedule import Slot

_CONNECT_TIMEOUT_S = 2.0
_CHUNK = 64 * 1024
_MOST_BYTES = 4 * 1024 * 1024


class _NoDelay:
    """Mixed into a pool: a request leaves at once, and new connections are counted."""

    opened = 0

    def after_connect(self, sock: Any) -> None:
        self.opened += 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _PlainPool(_NoDelay, ConnectionPool):
    pass


class _TlsPool(_NoDelay, SSLConnectionPool):
    pass


@dataclass(frozen=True, slots=True)
class _Endpoint:
    pool: _PlainPool | _TlsPool
    get: bytes
    post_head: bytes
    post_body: bytes


class KeepAliveClient:
    """Sends to all servers of one side."""

    def __init__(self, plan: LoadPlan, side: int) -> None:
        self._timeout_s = plan.profile.timeout_s
        self._is_call = [name == TOOLS_CALL for name, _ in plan.profile.workloads]
        size = plan.profile.senders_per_side
        self._endpoints = [_endpoint(server, SIDES[side], size, self._timeout_s) for server in plan.servers]

    def send(self, slot: Slot) -> Exchange:
        """Send one request and wait for its last byte, at most the profile's timeout."""
        endpoint = self._endpoints[slot.server]
        is_call = self._is_call[slot.workload]
        request = _call(endpoint, slot.call_id) if is_call else endpoint.get
        opened = endpoint.pool.opened
        retried = False
        sent_ns = time.monotonic_ns()
        try:
            with gevent.Timeout(self._timeout_s):
                try:
                    response, body = _exchange(endpoint.pool, request, is_call=is_call)
                except HTTPConnectionClosed:
                    # The server may close an idle connection as we write to it: what
                    # every HTTP client repeats. On a new connection it is an error.
                    if endpoint.pool.opened != opened:
                        raise
                    retried = True
                    response, body = _exchange(endpoint.pool, request, is_call=is_call)
        except gevent.Timeout:
            error, detail = ErrorKind.TIMEOUT, f"no answer in {self._timeout_s:g} s"
        except (OSError, HTTPParseError, ValueError) as caught:
            error, detail = _kind(caught), str(caught) or type(caught).__name__
        else:
            done_ns = time.monotonic_ns()
            error = ErrorKind.TOO_LARGE if len(body) > _MOST_BYTES else ErrorKind.NONE
            content_type = str(response.get("content-type", ""))
            return Exchange(
                sent_ns, done_ns, response.status_code, content_type, body, error=error, retried=retried
            )
        return Exchange(sent_ns, time.monotonic_ns(), error=error, detail=detail, retried=retried)

    def close(self) -> None:
        """Close all connections."""
        for endpoint in self._endpoints:
            endpoint.pool.close()


def _endpoint(server: Server, side: str, size: int, timeout_s: float) -> _Endpoint:
    parts = urlsplit(server.url(side))
    host = parts.hostname or ""
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    make = _TlsPool if tls else _PlainPool
    pool = make(
        host, port, host, port, size=size, connection_timeout=_CONNECT_TIMEOUT_S, network_timeout=timeout_s
    )
    base = parts.path.rstrip("/")
    common = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: gonogo\r\n"
    get = f"GET {base}{server.health_path}{common}Accept: */*\r\n\r\n"
    head = (
        f"POST {base}{server.mcp_path}{common}Accept: application/json, text/event-stream\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    )
    params = json.dumps({"name": server.tool, "arguments": dict(server.arguments)})
    body = '{"jsonrpc": "2.0", "method": "tools/call", "params": ' + params + ', "id": '
    return _Endpoint(pool, get.encode(), head.encode(), body.encode())


def _call(endpoint: _Endpoint, call_id: int) -> bytes:
    body = b"%s%d}" % (endpoint.post_body, call_id)
    return b"%s%d\r\n\r\n%s" % (endpoint.post_head, len(body), body)


def _exchange(pool: ConnectionPool, request: bytes, *, is_call: bool) -> tuple[HTTPSocketPoolResponse, bytes]:
    sock = pool.get_socket()
    try:
        sock.sendall(request)
    except (ConnectionResetError, BrokenPipeError) as error:
        pool.release_socket(sock)
        raise HTTPConnectionClosed("connection closed while sending") from error
    except BaseException:  # a timeout is no Exception, and the socket must not be kept
        pool.release_socket(sock)
        raise
    response = HTTPSocketPoolResponse(sock, pool, method="POST" if is_call else "GET")
    try:
        body = chunk = response.read(_CHUNK)
        while len(chunk) == _CHUNK and len(body) <= _MOST_BYTES:
            chunk = response.read(_CHUNK)
            body += chunk
        if not response.message_complete and len(body) <= _MOST_BYTES:
            raise HTTPParseError("connection closed inside the body")
        return response, body
    finally:
        response.release()


def _kind(error: Exception) -> ErrorKind:
    kinds: tuple[tuple[type[Exception], ErrorKind], ...] = (
        (TimeoutError, ErrorKind.TIMEOUT),
        (ConnectionRefusedError, ErrorKind.REFUSED),
        (HTTPConnectionClosed, ErrorKind.CLOSED),
        (HTTPParseError, ErrorKind.GARBAGE),
        (ConnectionError, ErrorKind.CLOSED),
        (socket.gaierror, ErrorKind.DNS),
        (ssl.SSLError, ErrorKind.TLS),
        (OSError, ErrorKind.CONNECT),
    )
    return next((kind for type_, kind in kinds if isinstance(error, type_)), ErrorKind.OTHER)
