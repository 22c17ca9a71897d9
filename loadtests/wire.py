"""The connections of a run on one epoll: sends requests, reads answers, writes a row for each.

Most answers are one head that was seen before, with one counted body, in one read: those
are done with no more than a look-up. All others go through `http1.AnswerReader`.
Subclasses say what is sent next (`freed`): at planned times, or as soon as there is room.
"""

from __future__ import annotations

import select
import ssl
from collections import deque
from time import monotonic_ns
from typing import TYPE_CHECKING

from loadtests.answer import judge
from loadtests.connection import CONNECTING, READY, Connection, kind_of
from loadtests.http1 import AnswerReader, Cut, Garbage, Head, HeadCache, TooLarge
from loadtests.links import Links
from loadtests.mcp_session import Renewals, usable
from loadtests.profile import HEALTH, SIDES
from loadtests.record import LATE_NS
from loadtests.rows import Key, Rows
from loadtests.sample import RETRIED, ErrorKind
from loadtests.workloads import is_rpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.endpoint import Endpoint
    from loadtests.record import RunLog
    from loadtests.schedule import Slot
    from loadtests.watch import Watch

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_CLOSING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_MOST_EVENTS = 64
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_FIRST_FINAL = 200
_OK = 200
_LOST_SESSION = 404
_MOST_CHUNK = 1 << 20
_SUCCESS = range(200, 300)
_PLACE_BITS = 32


class Wire(Links):
    """All connections, and the rows of what they carried."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        workloads: Sequence[str],
        log: RunLog,
        watch: Watch,
        timeout_s: float,
    ) -> None:
        super().__init__(endpoints)
        self.log = log
        self.watch = watch
        self.unjudged: deque[tuple[Key, int, str, bytes, int]] = deque()
        self.renewals = Renewals()
        self.idle_closed = 0
        self.retried = 0
        self._workloads = list(workloads)
        self._rpc = [is_rpc(name) for name in workloads]
        self._lag_ns = watch.limits.lag_ns
        self._timeout_ns = round(timeout_s * 1e9)
        self._heads = HeadCache()
        self.rows = Rows(log, [endpoint.server.name for endpoint in endpoints])

    def freed(self, endpoint: Endpoint) -> None:
        """Take note that a request to `endpoint` is over: the place to send the next one."""
        raise NotImplementedError

    def start(self, endpoint: Endpoint, slot: Slot, planned_ns: int, pair: int, flags: int) -> None:
        """Send one request now, on an idle connection or a new one; what fails is recorded."""
        sent_ns = monotonic_ns()
        late_ns = sent_ns - planned_ns
        watch = self.watch
        watch.sends += 1
        if late_ns > self._lag_ns:
            watch.over += 1
        if late_ns > LATE_NS:
            self.log.totals.late += 1
        idle = endpoint.idle
        if idle:
            connection = idle.pop()
        else:
            try:
                connection = self._open(endpoint)
            except OSError as error:
                kind = kind_of(error, CONNECTING) if endpoint.address else ErrorKind.DNS
                key = (planned_ns, sent_ns, monotonic_ns(), 0, pair, slot, flags, 0, 0)
                self.rows.failed(key, 0, 0, kind, str(error))
                self.freed(endpoint)
                return
        connection.carry(slot, planned_ns, sent_ns, pair, flags)
        self.busy[connection.fd] = connection
        self._write(connection, endpoint.request(self._workloads[slot.workload], pair + 1))

    def drop(self, slot: Slot, planned_ns: int, flags: int) -> None:
        """Record a send that came too late to be made."""
        self.log.totals.dropped += 1
        self.watch.drop()
        key = (planned_ns, 0, monotonic_ns(), 0, slot.pair, slot, flags, 0, 0)
        self.rows.failed(key, 0, 0, ErrorKind.DROPPED, "all connections were busy, or the generator was")

    def pump(self, timeout_s: float) -> bool:
        """Deal with what has happened on the connections, or wait for it; return whether anything had."""
        happened = self._epoll.poll(timeout_s, _MOST_EVENTS)
        connections = self._connections
        for fd, events in happened:
            connection = connections.get(fd)
            if connection is None:
                continue
            if connection.state or events & _CLOSING or connection.out:
                self._event(connection, events)
            elif events & _IN:
                self._readable(connection)
        return bool(happened)

    def time_out(self, now_ns: int) -> None:
        """End the requests that have waited for too long; the oldest are first in `busy`."""
        late = []
        for connection in self.busy.values():
            if now_ns - connection.sent_ns < self._timeout_ns:
                break
            late.append(connection)
        for connection in late:
            waited = f"{connection.waits_for()} in {self._timeout_ns / 1e9:g} s"
            self._failed(connection, ErrorKind.TIMEOUT, waited)

    def judge_one(self) -> None:
        """Judge the oldest answer that came whole, and write its row."""
        key, status, kind, body, call_id = self.unjudged.popleft()
        slot = key[5]
        error, detail = judge(status, kind, body, self._workloads[slot.workload], call_id)
        if error is ErrorKind.NONE:
            self.rows.served(key, status, len(body))
            return
        endpoint = self.endpoints[slot.side * (len(self.endpoints) // len(SIDES)) + slot.server]
        if status == _LOST_SESSION and endpoint.session_id:
            self.renewals.renew(endpoint)
            detail = f"the session was lost; {detail}"
        self.rows.failed(key, status, len(body), error, detail)

    def _event(self, connection: Connection, events: int) -> None:
        """Deal with an event that is more than bytes to read."""
        if connection.state != READY:
            try:
                if not connection.advance():
                    return
            except OSError as error:
                self._lost(connection, error)
                return
            if connection.busy:
                self._write(connection, connection.out)
            else:
                connection.connect_us = connection.tls_us = 0
                connection.endpoint.idle.append(connection)
        elif connection.out and events & _OUT:
            self._write(connection, connection.out)
        connection.closing = bool(events & _CLOSING)
        if events & (_IN | _CLOSING) and connection.fd in self._connections:
            self._readable(connection)

    def _write(self, connection: Connection, data: bytes) -> None:
        """Send; what does not fit waits for room, and all of it for a connection that is not ready."""
        if connection.state != READY:
            connection.out = data
            return
        try:
            count = connection.send(data)
        except _WOULD_BLOCK:
            connection.out = data
        except OSError as error:
            self._lost(connection, error)
        else:
            connection.out = data[count:] if count != len(data) else b""

    def _readable(self, connection: Connection) -> None:
        """Read what has come, to the end where more cannot announce itself (TLS, a close)."""
        chunk = connection.endpoint.chunk
        while True:
            try:
                data = connection.recv(chunk)
            except _WOULD_BLOCK:
                return
            except OSError as error:
                self._lost(connection, error)
                return
            now_ns = monotonic_ns()
            if not data:
                self._ended(connection)
                return
            if connection.busy and connection.reader is None:
                at = data.find(b"\r\n\r\n") + 4
                head = self._heads.get(data[:at])
                if head is not None and head.length == len(data) - at and head.status >= _FIRST_FINAL:
                    connection.first_ns = now_ns
                    self._whole(connection, head, data[at:], now_ns)
                else:
                    self._feed(connection, data, now_ns)
            else:
                self._feed(connection, data, now_ns)
            if len(data) < chunk and not connection.closing and connection.endpoint.context is None:
                return
            if connection.fd not in self._connections:
                return

    def _feed(self, connection: Connection, data: bytes, now_ns: int) -> None:
        """Let the whole parser have what came."""
        if not connection.busy:
            self._lost(connection, Garbage(f"bytes that nobody asked for: {data[:80]!r}"))
            return
        reader = connection.reader
        if reader is None:
            reader = connection.reader = AnswerReader(self._heads)
            connection.first_ns = now_ns
        try:
            done = reader.feed(data)
        except (Garbage, TooLarge) as error:
            self._lost(connection, error)
            return
        head = reader.head
        if head is not None and done:
            if len(reader.body) >= connection.endpoint.chunk:
                connection.endpoint.chunk = min(2 * len(reader.body), _MOST_CHUNK)
            self._whole(connection, head, bytes(reader.body), now_ns)

    def _ended(self, connection: Connection) -> None:
        """The server closed: the end of the answer, or of the connection only."""
        reader = connection.reader
        now_ns = monotonic_ns()
        connection.closing = True
        if connection.busy and connection.state == READY and reader is not None and reader.head is not None:
            try:
                reader.end()
            except Cut as error:
                self._lost(connection, error)
            else:
                self._whole(connection, reader.head, bytes(reader.body), now_ns)
            return
        where = "inside the headers" if reader is not None else "before a byte of the answer"
        self._lost(connection, Cut(f"connection closed {where}"))

    def _whole(self, connection: Connection, head: Head, body: bytes, now_ns: int) -> None:
        """An answer is there: write its row, or leave it to be judged in a quieter moment."""
        slot = connection.slot
        if slot is None:
            return
        endpoint = connection.endpoint
        connection.served += 1
        connection.reader = None
        rpc = self._rpc[slot.workload]
        if rpc and self._goes_on(connection, slot, head, body):
            return
        key = connection.key(slot, now_ns)
        if rpc:
            call_id = (connection.place << _PLACE_BITS) + connection.pair + 1
            self.unjudged.append((key, head.status, head.content_type, body, call_id))
        elif head.status == _OK:
            self.rows.served(key, _OK, len(body))
        else:
            error, detail = judge(head.status, head.content_type, body, HEALTH, 0)
            self.rows.failed(key, head.status, len(body), error, detail)
        connection.connect_us = connection.tls_us = 0
        connection.busy = False
        del self.busy[connection.fd]
        if head.keep_alive and not connection.closing and not connection.out:
            endpoint.idle.append(connection)
        else:
            self._close(connection)
        self.freed(endpoint)

    def _goes_on(self, connection: Connection, slot: Slot, head: Head, body: bytes) -> bool:
        """Send the next request of a visit that has one, if this answer was as it should be."""
        endpoint, workload, place = connection.endpoint, self._workloads[slot.workload], connection.place
        if place >= endpoint.last(workload):
            return False
        if endpoint.is_call(workload, place):
            call_id = (place << _PLACE_BITS) + connection.pair + 1
            kind, _ = judge(head.status, head.content_type, body, workload, call_id)
            well = kind is ErrorKind.NONE
        else:
            well = head.status in _SUCCESS
        if not well:
            return False
        if head.session_id and usable(head.session_id):
            connection.session_id = head.session_id
        connection.place += 1
        if head.keep_alive and not connection.closing:
            self._ask(connection)
        else:
            self._move(connection)
        return True

    def _ask(self, connection: Connection) -> None:
        """Send the request that a connection's visit has come to."""
        if connection.slot is None:
            return
        workload, place = self._workloads[connection.slot.workload], connection.place
        call_id = (place << _PLACE_BITS) + connection.pair + 1
        request = connection.endpoint.request(workload, call_id, place, connection.session_id)
        self._write(connection, request)

    def _lost(self, connection: Connection, error: Exception) -> None:
        """A connection ended: nobody's loss when idle, repeated once when it had served before."""
        if not connection.busy:
            idle = connection.endpoint.idle
            if connection in idle:
                idle.remove(connection)
                self.idle_closed += 1
            self._close(connection)
            return
        closed = isinstance(error, (Cut, ConnectionError, ssl.SSLEOFError))
        if closed and connection.served and connection.reader is None and not connection.flags & RETRIED:
            # The server closed an idle connection as we wrote to it: what every client repeats.
            connection.flags |= RETRIED
            self.retried += 1
            self._move(connection)
            return
        self._failed(connection, kind_of(error, connection.state), str(error) or repr(error))

    def _move(self, old: Connection) -> None:
        """Go on with a visit on a new connection."""
        try:
            new = self._open(old.endpoint)
        except OSError as error:
            self._failed(old, kind_of(error, CONNECTING), str(error))
            return
        old.hand_over(new)
        del self.busy[old.fd]
        self._close(old)
        self.busy[new.fd] = new
        self._ask(new)

    def _failed(self, connection: Connection, kind: ErrorKind, detail: str) -> None:
        """Record that a request got no whole answer, and give up its connection."""
        slot, reader = connection.slot, connection.reader
        del self.busy[connection.fd]
        self._close(connection)
        connection.busy = False
        if slot is None:
            return
        status = reader.head.status if reader is not None and reader.head is not None else 0
        size = len(reader.body) if reader is not None else 0
        key = connection.key(slot, monotonic_ns())
        self.rows.failed(key, status, size, kind, detail)
        self.freed(connection.endpoint)
