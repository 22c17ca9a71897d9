"""One keep-alive connection: opened without waiting, TLS where asked for, and what it carries now."""

from __future__ import annotations

import os
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from loadtests.http1 import Cut, Garbage, TooLarge
from loadtests.sample import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.endpoint import Endpoint
    from loadtests.http1 import AnswerReader
    from loadtests.rows import Key
    from loadtests.schedule import Slot

READY, CONNECTING, SHAKING = 0, 1, 2
_MOST_MICROSECONDS = 0xFFFFFFFF


class Connection:
    """A socket of one endpoint and the request that it carries, one at a time.

    `served` counts whole answers: on a connection that has served, a close before the next
    answer is the server's right. `slot` says what is asked, `place` which request of its visit
    this is, `session_id` which MCP session the visit began; the other fields are of the visit too.
    """

    __slots__ = (
        "busy",
        "closing",
        "connect_us",
        "endpoint",
        "fd",
        "first_ns",
        "flags",
        "opened_ns",
        "out",
        "pair",
        "place",
        "planned_ns",
        "reader",
        "recv",
        "send",
        "sent_ns",
        "served",
        "session_id",
        "slot",
        "sock",
        "state",
        "tls_us",
    )

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.opened_ns = time.monotonic_ns()
        self.sock: socket.socket = socket.socket(endpoint.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.fd = self.sock.fileno()
        self.state = CONNECTING
        self.connect_us = 0
        self.tls_us = 0
        self.served = 0
        self.busy = False
        self.closing = False
        self.out = b""
        self.reader: AnswerReader | None = None
        self.flags = 0
        self.first_ns = 0
        self.planned_ns = 0
        self.sent_ns = 0
        self.pair = 0
        self.place = 0
        self.session_id = ""
        self.slot: Slot | None = None
        self.recv: Callable[[int], bytes] = self.sock.recv
        self.send: Callable[[bytes], int] = self.sock.send
        self.sock.settimeout(0)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def carry(self, slot: Slot, planned_ns: int, sent_ns: int, pair: int, flags: int) -> None:
        """Take a visit over, from its first request on."""
        self.busy = True
        self.slot = slot
        self.planned_ns = planned_ns
        self.sent_ns = sent_ns
        self.pair = pair
        self.flags = flags
        self.first_ns = 0
        self.place = 0
        self.session_id = ""

    def key(self, slot: Slot, done_ns: int) -> Key:
        """Return what a row says of the visit and its times, when it is done at `done_ns`."""
        return (
            self.planned_ns,
            self.sent_ns,
            done_ns,
            self.first_ns,
            self.pair,
            slot,
            self.flags,
            self.connect_us,
            self.tls_us,
        )

    def hand_over(self, new: Connection) -> None:
        """Let a new connection go on with the visit of this one."""
        if self.slot is not None:
            new.carry(self.slot, self.planned_ns, self.sent_ns, self.pair, self.flags)
        new.place, new.session_id, new.first_ns = self.place, self.session_id, self.first_ns
        self.busy = False

    def connect(self, address: tuple[Any, ...]) -> None:
        """Begin to connect; raises OSError when that is refused at once."""
        try:
            self.sock.connect(address)
        except BlockingIOError:
            return

    def advance(self) -> bool:
        """Go on with connecting and with TLS; return whether requests can be sent now.

        Raises OSError (ssl.SSLError is one) when the connection came to nothing.
        """
        if self.state == CONNECTING:
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            try:
                self.sock.getpeername()
            except OSError:  # still on its way
                return False
            self.connect_us = self._microseconds(0)
            self.state = READY
            if self.endpoint.context is not None:
                self._begin_tls(self.endpoint.context)
        if self.state == SHAKING and isinstance(self.sock, ssl.SSLSocket):
            try:
                self.sock.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            self.tls_us = self._microseconds(self.connect_us)
            self.state = READY
        return self.state == READY

    def close(self) -> None:
        """Close without waiting for anybody; epoll forgets a closed descriptor by itself."""
        self.sock.close()

    def waits_for(self) -> str:
        """Say what a request that gets no answer is waiting for."""
        if self.state == CONNECTING:
            return "no connection"
        if self.state == SHAKING:
            return "no TLS handshake"
        if self.reader is None or not self.reader.started:
            return "no byte of an answer"
        if self.reader.head is None:
            return "no whole headers"
        if self.reader.head.event_stream:
            return f"no end of the event stream, after {len(self.reader.body)} bytes"
        return f"no end of the body, after {len(self.reader.body)} bytes"

    def _begin_tls(self, context: ssl.SSLContext) -> None:
        self.sock = context.wrap_socket(
            self.sock,
            do_handshake_on_connect=False,
            server_hostname=self.endpoint.host,
            suppress_ragged_eofs=False,
        )
        self.recv = self.sock.recv
        self.send = self.sock.send
        self.state = SHAKING

    def _microseconds(self, before_us: int) -> int:
        return min((time.monotonic_ns() - self.opened_ns) // 1000 - before_us, _MOST_MICROSECONDS)


def kind_of(error: Exception, state: int) -> ErrorKind:
    """Return what to call a failure of a connection in `state`."""
    kinds: tuple[tuple[type[Exception], ErrorKind], ...] = (
        (Garbage, ErrorKind.GARBAGE),
        (TooLarge, ErrorKind.TOO_LARGE),
        (Cut, ErrorKind.CLOSED),
        (ConnectionRefusedError, ErrorKind.REFUSED),
        (ssl.SSLError, ErrorKind.TLS),
        (TimeoutError, ErrorKind.TIMEOUT),
    )
    found = next((kind for type_, kind in kinds if isinstance(error, type_)), None)
    if found is not None:
        return found
    if state == SHAKING:
        return ErrorKind.TLS
    return ErrorKind.CLOSED if isinstance(error, ConnectionError) else ErrorKind.CONNECT
