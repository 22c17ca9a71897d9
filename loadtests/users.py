"""Locustfile: ordinary Locust users, who wait for their answers (closed loop).

    locust -f loadtests/users.py --host http://127.0.0.1:9000 -u 20 -r 20 -t 30s

An example to copy. Its exact samples are kept, and labelled closed-loop: a server that
stands still is asked less, so its worst moments are missing and no verdict hangs on them.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
# Locust puts this folder first, where profile.py would shadow the standard library's.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
sys.path[:0] = [str(_HERE.parent)] * 2  # Locust takes one entry away again after the import

from locust import FastHttpUser, HttpUser, constant_pacing, task  # noqa: E402

import loadtests.exact  # noqa: E402, F401  keeps every request exactly

_CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "describe", "arguments": {}}}
_ACCEPT = {"Accept": "application/json, text/event-stream"}


class Caller(FastHttpUser):
    """Calls a tool twice a second, if the server lets it."""

    weight = 3
    wait_time = constant_pacing(0.5)

    @task
    def call(self) -> None:
        """Call describe; a JSON-RPC error inside a 200 is a failure."""
        with self.client.post(
            "/mcp", json=_CALL, headers=_ACCEPT, name="tools/call", catch_response=True
        ) as answer:
            if answer.status_code == 200 and "result" not in (answer.json() or {}):  # noqa: PLR2004
                answer.failure("no result")


class Prober(HttpUser):
    """Asks for /health once a second, by the requests library."""

    wait_time = constant_pacing(1.0)

    @task
    def health(self) -> None:
        """Ask for /health."""
        self.client.get("/health")
