"""Locustfile: an MCP answer that comes as a stream of events, at planned times (open loop).

    locust -f loadtests/stream.py --host http://127.0.0.1:9000 --load-rate 50 --load-duration 30

The latency ends with the last event, which holds the answer.

See `paired.py` for two sides, several processes and machines.
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
# Locust puts this folder first, where profile.py would shadow the standard library's.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
sys.path[:0] = [str(_HERE.parent)] * 2  # Locust takes one entry away again after the import

from loadtests import by_hand  # noqa: E402
from loadtests.front import PlannedShape, PlannedUser  # noqa: E402, F401  Locust finds them here
from loadtests.profile import STREAM, ToolCall  # noqa: E402

by_hand.offer(((STREAM, 1),), {STREAM: ToolCall("count", {"steps": 5})})
