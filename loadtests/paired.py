"""Locustfile: the same requests to both sides, paired, at planned times (open loop).

    gonogo runs it in its own process. By hand:
    locust -f loadtests/paired.py --swarm-url http://127.0.0.1:8001 --kubernetes-url http://127.0.0.1:8002
    locust -f loadtests/paired.py --host http://127.0.0.1:8001        (one server against itself)

Add `--load-profile ramp` for another profile, `--processes 2` for two senders, or `--master`
and `--worker` for other machines: the schedule is the same, and so is the log. The plan
says how much is sent and for how long, so -u, -r and -t are not asked. Locust's table
and web page show latency from the planned time, by side.
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

by_hand.offer()
