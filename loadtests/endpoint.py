"""One server on one side, ready to be sent to: its address, and requests that are bytes already."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loadtests.errors import LoadInputError
from loadtests.profile import SIDES, Server
from loadtests.workloads import PROTOCOL, Step, steps_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from loadtests.connection import Connection

_ACCEPT = "application/json, text/event-stream"
_RESOLVE_S = 3.0
_NOT_IN_A_REQUEST_LINE = frozenset("\r\n\0 ")


class Endpoint:
    """Where requests of one side to one server go.

    `address` is None, and `unresolved` says why, when its name could not be resolved: each
    request to it is then an error of its own, as it is for a user. `idle` are connections that
    wait for their next request, the last used first. `chunk` is how many bytes are read at once.
    """

    def __init__(self, server: Server, index: int, side: int, context: ssl.SSLContext | None) -> None:
        url = server.url(SIDES[side])
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise LoadInputError(f"load: {url!r} is not a URL: {error}") from error
        if not host:
            raise LoadInputError(f"load: {url!r} is not a URL of the form http://address:port")
        self.server = server
        self.index = index
        self.side = side
        self.host = host
        self.port = port or (443 if parts.scheme == "https" else 80)
        self.context = context if parts.scheme == "https" else None
        self.family = socket.AF_INET
        self.address: tuple[Any, ...] | None = None
        self.unresolved = ""
        self.session_id = ""
        self.introduced = False
        self.idle: list[Connection] = []
        self.chunk = 16 * 1024
        self._base = parts.path.rstrip("/")
        self._common = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: gonogo\r\n"
        self._steps: dict[str, tuple[Step, ...]] = {}
        self._heads: dict[str, tuple[bytes, ...]] = {}

    @property
    def label(self) -> str:
        """The server's name and side, for messages."""
        return f"{self.server.name} on {SIDES[self.side]}"

    def prepare(self, workloads: Sequence[str]) -> None:
        """Build the requests of every workload that this server is visited by."""
        for workload in workloads:
            if self.server.weight(workload, 1):
                self._steps[workload] = steps_of(self.server, workload)
        self.keep_session(session_id="", introduced=False)

    def keep_session(self, *, session_id: str, introduced: bool) -> None:
        """Send calls in this session from now on; an empty id is none."""
        self.session_id, self.introduced = session_id, introduced
        # A visit of several requests begins its own session, so it has none at its start.
        self._heads = {
            workload: tuple(self._head(step, session_id if len(steps) == 1 else "") for step in steps)
            for workload, steps in self._steps.items()
        }

    def last(self, workload: str) -> int:
        """Return the place of the last request of a visit; the first is 0."""
        return len(self._steps[workload]) - 1

    def is_call(self, workload: str, place: int) -> bool:
        """Return whether a request of a visit is a JSON-RPC call; a notification is none."""
        return self._steps[workload][place].has_id

    def request(self, workload: str, call_id: int, place: int = 0, session_id: str = "") -> bytes:
        """Return the bytes of one request of a visit; `call_id` is the JSON-RPC id of a call.

        `session_id` is of the session that the visit itself began.
        """
        head = self._heads[workload][place]
        step = self._steps[workload][place]
        if not step.body:
            return head
        if session_id:
            head = self._head(step, session_id)
        body = step.payload(call_id)
        return b"%s%d\r\n\r\n%s" % (head, len(body), body)

    def post(self, message: dict[str, Any]) -> bytes:
        """Return the bytes of a POST of any JSON-RPC message in the endpoint's session."""
        body = json.dumps(message).encode()
        head = self._head(Step("POST", self.server.mcp_path, accept=_ACCEPT, body=body), self.session_id)
        return b"%s%d\r\n\r\n%s" % (head, len(body), body)

    def resolve(self) -> None:
        """Look the name up, once; a failure is kept in `unresolved`."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            self.family, _, _, _, self.address = found[0]
        except (OSError, UnicodeError) as error:
            self.unresolved = f"{self.host} could not be resolved: {error}"

    def _head(self, step: Step, session_id: str) -> bytes:
        """Return the head of a request: whole for a GET, up to the number of Content-Length for a POST."""
        target = f"{self._base}{step.path}"
        if _NOT_IN_A_REQUEST_LINE & set(target) or not target.isascii():
            raise LoadInputError(f"load: {self.label}: {target!r} is not a path that can be asked for")
        lines = f"{step.method} {target}{self._common}Accept: {step.accept}\r\n"
        if not step.body:
            return f"{lines}\r\n".encode("latin-1")
        lines += f"MCP-Protocol-Version: {PROTOCOL}\r\n" if self.introduced or session_id else ""
        lines += f"Mcp-Session-Id: {session_id}\r\n" if session_id else ""
        return f"{lines}Content-Type: application/json\r\nContent-Length: ".encode("latin-1")


def make_endpoints(
    servers: Sequence[Server], workloads: Sequence[str], ca_file: Path | None = None
) -> list[Endpoint]:
    """Return the endpoints of every server, side by side: index is side x servers + server."""
    secure = any(server.url(side).startswith("https:") for server in servers for side in SIDES)
    context = tls_context(ca_file) if secure else None
    endpoints = [
        Endpoint(server, index, side, context)
        for side in range(len(SIDES))
        for index, server in enumerate(servers)
    ]
    for endpoint in endpoints:
        endpoint.prepare(workloads)
    return endpoints


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that checks the certificate and the name; never one that does not."""
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise LoadInputError(f"load: {ca_file} holds no CA certificates that can be used: {error}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def resolve_all(endpoints: Sequence[Endpoint]) -> None:
    """Resolve every name side by side, bounded; one that takes longer is unresolved."""
    pool = concurrent.futures.ThreadPoolExecutor(8, thread_name_prefix="resolve")
    futures = {pool.submit(endpoint.resolve): endpoint for endpoint in endpoints}
    _, late = concurrent.futures.wait(futures, timeout=_RESOLVE_S)
    for future in late:
        endpoint = futures[future]
        endpoint.unresolved = endpoint.unresolved or f"{endpoint.host} was not resolved in {_RESOLVE_S:g} s"
    pool.shutdown(wait=False, cancel_futures=True)
