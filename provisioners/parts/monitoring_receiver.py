"""A webhook receiver that keeps the alerts it is sent, the newest last, for somebody to read.

Standard library alone: it runs from a ConfigMap in an image that holds nothing but Python.

    POST /alerts          a notification of Alertmanager
    GET  /alerts?after=N  {"now": seconds, "last": number, "alerts": [...]} with numbers above N
    GET  /health          {"status": "ok"}
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PORT = 8080
MOST_KEPT = 1_000
MOST_BYTES = 1_000_000
_READ_S = 10.0
_MOST_DRAINED = 8 * MOST_BYTES


class Alerts:
    """The alerts received, at most `MOST_KEPT` of them; numbers go on when old ones are dropped."""

    def __init__(self) -> None:
        self._rows: deque[dict[str, Any]] = deque(maxlen=MOST_KEPT)
        self._number = 0
        self._lock = threading.Lock()

    def add(self, notification: object, at_s: float) -> int:
        """Keep every alert of a notification and return how many there were.

        Raises:
            ValueError: it is no notification of Alertmanager.
        """
        alerts = notification.get("alerts") if isinstance(notification, dict) else None
        if not isinstance(alerts, list) or not all(isinstance(one, dict) for one in alerts):
            raise ValueError("no list of alerts")
        with self._lock:
            for one in alerts:
                self._number += 1
                kept = {key: one.get(key) for key in ("status", "labels", "startsAt", "endsAt")}
                self._rows.append({"number": self._number, "at_s": at_s, **kept})
        return len(alerts)

    def after(self, number: int) -> dict[str, Any]:
        """Return the kept alerts with a higher number, and this clock's time."""
        with self._lock:
            rows = [row for row in self._rows if row["number"] > number]
            return {"now": time.time(), "last": self._number, "alerts": rows}


class Handler(BaseHTTPRequestHandler):
    """One connection; the server carries the alerts."""

    timeout = _READ_S
    server: Receiver

    def do_GET(self) -> None:
        """Answer what was received."""
        parts = urlsplit(self.path)
        if parts.path == "/health":
            self._answer(200, {"status": "ok"})
            return
        after = parse_qs(parts.query).get("after", ["0"])[0]
        if parts.path != "/alerts":
            self._answer(404, {"error": "not found"})
        elif not after.isdecimal():
            self._answer(400, {"error": "after is not a number"})
        else:
            self._answer(200, self.server.alerts.after(int(after)))

    def do_POST(self) -> None:
        """Keep a notification."""
        length = self.headers.get("content-length", "")
        if self.path != "/alerts":
            self._answer(404, {"error": "not found"})
        elif not length.isdecimal() or int(length) > MOST_BYTES:
            self._drain(int(length) if length.isdecimal() else 0)
            self._answer(413, {"error": f"a body of at most {MOST_BYTES} bytes is taken"})
        else:
            try:
                kept = self.server.alerts.add(json.loads(self.rfile.read(int(length))), time.time())
            except ValueError as error:
                self._answer(400, {"error": str(error)})
            else:
                self._answer(200, {"kept": kept})

    def _drain(self, length: int) -> None:
        """Read what is refused, within bounds: who is cut off while sending never sees the answer."""
        left = min(length, _MOST_DRAINED)
        while left > 0 and (chunk := self.rfile.read(min(left, 65_536))):
            left -= len(chunk)

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def log_message(self, pattern: str, *args: object) -> None:
        """Log to stderr without a look-up of the client's name."""
        sys.stderr.write(f"{pattern % args}\n")


class Receiver(ThreadingHTTPServer):
    """The server and what it keeps; `port` 0 takes a free one."""

    daemon_threads = True

    def __init__(self, port: int = PORT, host: str = "0.0.0.0") -> None:  # noqa: S104  a pod's own addresses
        self.alerts = Alerts()
        super().__init__((host, port), Handler)


if __name__ == "__main__":
    Receiver().serve_forever()
