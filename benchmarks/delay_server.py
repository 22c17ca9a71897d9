"""An HTTP and MCP server that answers after drawn delays and logs when it really did.

    python -m benchmarks.delay_server --port 0 --median-ms 5 --sigma 0.4 --shape lognormal \
        --seed 1 --factor 1.0 --error-rate 0 --log delays.bin --cpu 0

It listens on loopback, prints `listening on PORT` and serves until SIGTERM or its bound.
Delays are drawn in order of arrival from `--seed`, so two servers with one seed give the
same delays; twins of an A/A test want two seeds. `--drift` lets the factor walk as a sine of
the machine's clock, the same for every server on it. The draws repeat after 1,048,576 requests.

The log is the truth that a load client is measured against: one row of LOG_FIELDS a
request, CLOCK_MONOTONIC nanoseconds. `arrival_ns` is when the kernel received the request
(SO_TIMESTAMPNS), so a late wake-up of this process is inside the time; `reply_ns` is taken
just before the answer is handed to the kernel. A GET is answered with `ok`, a POST with the
JSON-RPC result to its id; an `initialize` or a notification is answered at once and not logged.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import heapq
import json
import math
import os
import select
import signal
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from loadtests.timer import TimerFd

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

LOG_FIELDS = (
    ("arrival_ns", "<u8"),
    ("reply_ns", "<u8"),
    ("delay_ns", "<u8"),
    ("connection", "<u4"),
    ("status", "<u2"),
    ("pad", "<u2"),
)
SHAPES = ("const", "lognormal", "bimodal", "heavy")
_ROW = struct.Struct("<QQQIHH")
_DRAWS = 1 << 20
_SLOW_SHARE, _SLOW_TIMES, _MODE_SIGMA = 0.1, 10.0, 0.05
_TAIL_INDEX, _TAIL_CAP = 2.0, 20.0
_FLUSH_S = 0.5
_SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("qq")
_CHUNK = 65536
_MOST_REQUEST = 1 << 20
_EDGE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_OK, _FAILED = 200, 500


def draw_delays(
    shape: str, median_ms: float, sigma: float, seed: int, count: int = _DRAWS
) -> npt.NDArray[np.int64]:
    """Return `count` delays in ns; the median of const, lognormal and heavy is `median_ms`.

    bimodal: 90 % about the median, 10 % about ten times it. heavy: Pareto of index 2 (p99 is
    7 medians, p99.9 is 20, where it is cut).
    """
    import numpy as np

    draw = np.random.default_rng(seed)
    normal = draw.standard_normal(count)
    match shape:
        case "const":
            times = np.ones(count)
        case "lognormal":
            times = np.exp(sigma * normal)
        case "bimodal":
            slow = draw.random(count) < _SLOW_SHARE
            times = np.where(slow, _SLOW_TIMES, 1.0) * np.exp(_MODE_SIGMA * normal)
        case "heavy":
            times = np.minimum((2 * (1 - draw.random(count))) ** (-1 / _TAIL_INDEX), _TAIL_CAP)
        case _:
            raise ValueError(f"no shape is called {shape!r}; there are {', '.join(SHAPES)}")
    return np.rint(times * median_ms * 1e6).astype(np.int64)


def read_delay_log(path: Path) -> npt.NDArray[Any]:
    """Return the rows of a server's log as a numpy structured array."""
    import numpy as np

    dtype: Any = np.dtype(list(LOG_FIELDS))
    return np.fromfile(path, dtype, path.stat().st_size // _ROW.size)


class _Connection:
    __slots__ = ("buffer", "number", "sock")

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.buffer = b""


class DelayServer:
    """One thread, one epoll; answers leave in order of their due times."""

    def __init__(self, options: argparse.Namespace) -> None:
        import numpy as np

        delays = draw_delays(options.shape, options.median_ms, options.sigma, options.seed)
        self._delays: list[int] = (delays * options.factor).astype(np.int64).tolist()
        failing = np.random.default_rng([options.seed, 1]).random(_DRAWS) < options.error_rate
        self._fails = failing.tobytes()
        self._drift, self._period_ns = options.drift, options.drift_period_s * 1e9
        self._served = 0
        self._due: list[tuple[int, int, int, int, _Connection, bytes, int]] = []
        self._timer = TimerFd()
        self._armed_ns = 0
        self._rows = bytearray()
        self._log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if options.log else -1
        self._listener = socket.create_server(("127.0.0.1", options.port), backlog=4096)
        self._listener.settimeout(0)
        self.port = int(self._listener.getsockname()[1])
        self._epoll = select.epoll()
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._epoll.register(self._timer.fd, select.EPOLLIN | select.EPOLLET)
        self._connections: dict[int, _Connection] = {}
        self.stopped = False

    def serve(self, bound_s: float) -> None:
        """Serve until `stopped` or for `bound_s` seconds."""
        end = time.monotonic() + bound_s
        flushed = 0.0
        while not self.stopped and (now := time.monotonic()) < end:
            if now - flushed > _FLUSH_S:
                flushed = now
                self._flush()
            for fd, _ in self._epoll.poll(_FLUSH_S):
                connection = self._connections.get(fd)
                if connection is not None:
                    self._read(connection)
                elif fd == self._listener.fileno():
                    self._accept()
                self._answer_due()
            self._answer_due()
        self._flush()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.settimeout(0)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                fd = sock.fileno()
                self._connections[fd] = _Connection(sock, fd)
                self._epoll.register(fd, _EDGE)

    def _read(self, connection: _Connection) -> None:
        """Take what has arrived and plan the answer of each whole request in it."""
        stamp_ns = 0
        while True:
            try:
                data, notes, _, _ = connection.sock.recvmsg(_CHUNK, 64)
            except BlockingIOError:
                return
            except OSError:
                data, notes = b"", []
            if not data or len(connection.buffer) > _MOST_REQUEST:
                self._drop(connection)
                return
            stamp_ns = _monotonic(notes) or stamp_ns
            connection.buffer += data
            while (length := _whole(connection.buffer)) > 0:
                request, connection.buffer = connection.buffer[:length], connection.buffer[length:]
                self._plan(connection, request, stamp_ns)
            if len(data) < _CHUNK:
                return

    def _plan(self, connection: _Connection, request: bytes, arrival_ns: int) -> None:
        """Draw the delay of one request, or answer a handshake at once."""
        if request.startswith(b"POST"):
            answer, at_once = _rpc_answer(request)
            if at_once:
                self._send(connection, answer)
                return
        else:
            answer = _http(b"ok", b"text/plain")
        place = self._served % _DRAWS
        self._served += 1
        status = _OK
        if self._fails[place]:
            answer, status = _http(b"failed on purpose", b"text/plain", b"500 Internal Server Error"), _FAILED
        delay_ns = self._delays[place]
        if self._drift:
            turn = 2 * math.pi * (arrival_ns % self._period_ns) / self._period_ns
            delay_ns = int(delay_ns * (1 + self._drift * math.sin(turn)))
        entry = (arrival_ns + delay_ns, self._served, arrival_ns, delay_ns, connection, answer, status)
        heapq.heappush(self._due, entry)

    def _answer_due(self) -> None:
        """Send every answer whose time has come, and set the timer to the next."""
        due = self._due
        while due and due[0][0] <= time.monotonic_ns():
            _, _, arrival_ns, delay_ns, connection, answer, status = heapq.heappop(due)
            reply_ns = time.monotonic_ns()
            if self._send(connection, answer):
                self._rows += _ROW.pack(arrival_ns, reply_ns, delay_ns, connection.number, status, 0)
        if due and due[0][0] != self._armed_ns:
            self._armed_ns = due[0][0]
            self._timer.arm(self._armed_ns)

    def _send(self, connection: _Connection, answer: bytes) -> bool:
        try:
            return connection.sock.send(answer) == len(answer)
        except OSError:
            self._drop(connection)
            return False

    def _drop(self, connection: _Connection) -> None:
        if connection.sock.fileno() >= 0:
            self._connections.pop(connection.sock.fileno(), None)
            connection.sock.close()

    def _flush(self) -> None:
        rows, self._rows = self._rows, bytearray()
        while self._log >= 0 and rows:
            rows = rows[os.write(self._log, rows) :]


def _monotonic(notes: list[tuple[int, int, bytes]]) -> int:
    """Return the kernel's receive stamp as CLOCK_MONOTONIC ns, or now when there is none."""
    now_ns = time.monotonic_ns()
    for level, kind, data in notes:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, ns = _STAMP.unpack(data[: _STAMP.size])
            stamp_ns: int = seconds * 10**9 + ns
            age_ns = time.clock_gettime_ns(time.CLOCK_REALTIME) - stamp_ns
            return now_ns - max(0, age_ns)
    return now_ns


def _whole(buffer: bytes) -> int:
    """Return the length of the first whole request, 0 while it is not all there."""
    end = buffer.find(b"\r\n\r\n") + 4
    if end < 4:  # noqa: PLR2004  not found
        return 0
    if not buffer.startswith(b"POST"):
        return end
    head = buffer[:end].lower()
    at = head.find(b"content-length:")
    length = int(head[at + 15 : head.find(b"\r", at)]) if at > 0 else 0
    return end + length if len(buffer) >= end + length else 0


def _http(body: bytes, kind: bytes, status: bytes = b"200 OK", extra: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n"
    return head % (status, kind, len(body), extra) + body


def _rpc_answer(request: bytes) -> tuple[bytes, bool]:
    """Return the answer to a JSON-RPC request and whether it is a handshake's."""
    try:
        message = json.loads(request[request.find(b"\r\n\r\n") + 4 :])
        method, call_id = message["method"], message.get("id")
    except (ValueError, TypeError, KeyError):
        return _http(b"not JSON-RPC", b"text/plain", b"400 Bad Request"), True
    if call_id is None:
        return _http(b"", b"application/json", b"202 Accepted"), True
    session = b""
    result: dict[str, Any] = {"content": [{"type": "text", "text": "ok"}], "isError": False}
    if method == "initialize":
        session = b"Mcp-Session-Id: delay-%d\r\n" % os.getpid()
        info = {"name": "delay", "version": "1"}
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
    elif method == "tools/list":
        result = {"tools": [{"name": "describe", "inputSchema": {"type": "object"}}]}
    body = json.dumps({"jsonrpc": "2.0", "id": call_id, "result": result}).encode()
    return _http(body, b"application/json", extra=session), method == "initialize"


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options; a bad one ends with argparse's exit code 2."""
    parser = argparse.ArgumentParser(prog="delay_server", description="Answers after drawn delays.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--median-ms", type=float, default=5.0)
    parser.add_argument("--sigma", type=float, default=0.4)
    parser.add_argument("--shape", choices=SHAPES, default="lognormal")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--factor", type=float, default=1.0, help="multiplies every delay")
    parser.add_argument("--drift", type=float, default=0.0, help="how far the factor walks, 0.1 is 10 %%")
    parser.add_argument("--drift-period-s", type=float, default=60.0)
    parser.add_argument("--error-rate", type=float, default=0.0, help="share of requests answered with 500")
    parser.add_argument("--log", default="", help="file of LOG_FIELDS rows")
    parser.add_argument("--cpu", type=int, default=None)
    parser.add_argument("--bound-s", type=float, default=3600.0, help="ends by itself after this long")
    options = parser.parse_args(argv)
    for name in ("median_ms", "factor", "drift_period_s", "bound_s"):
        value = getattr(options, name)
        if not (math.isfinite(value) and value > 0):
            parser.error(f"--{name.replace('_', '-')} is {value}, it must be above 0")
    if not (0 <= options.error_rate <= 1 and 0 <= options.drift < 1 and 0 <= options.sigma <= 3):  # noqa: PLR2004
        parser.error("--error-rate lies in 0..1, --drift in 0..1, --sigma in 0..3")
    return options


def main(argv: list[str]) -> int:
    """Serve until SIGTERM, SIGINT or the bound."""
    options = parse(argv)
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    with contextlib.suppress(OSError):  # only root may; the log says what was done either way
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    server = DelayServer(options)

    def stop(*_: object) -> None:
        server.stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    gc.collect()
    gc.freeze()
    gc.disable()
    print(f"listening on {server.port}", flush=True)
    server.serve(options.bound_s)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
