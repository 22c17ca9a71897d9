"""Locustfile: one MCP tool of one server, at planned times (open loop).

    locust -f loadtests/tools_call.py --host http://127.0.0.1:9000 --load-rate 50 --load-duration 30

`--tool github_search --arguments '{"query": "x"}'` calls another one than describe.

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
from loadtests.profile import TOOLS_CALL  # noqa: E402

by_hand.offer(((TOOLS_CALL, 1),))
