"""How many requests of each workload and side failed, of which kind and on which server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.profile import SIDES
from loadtests.sample import ErrorKind
from loadtests.summary import ErrorCount

if TYPE_CHECKING:
    from loadtests.columns import Columns
    from loadtests.plan import LoadPlan


def error_counts(plan: LoadPlan, rows: Columns) -> list[ErrorCount]:
    """Return a row for each workload and side; kinds and servers that failed nothing are left out."""
    import numpy as np

    counts = []
    for workload, (name, _) in enumerate(plan.profile.workloads):
        for side, side_name in enumerate(SIDES):
            chosen = (rows.workload == workload) & (rows.side == side)
            failed = chosen & (rows.error != ErrorKind.NONE)
            kinds = np.bincount(rows.error[failed], minlength=len(ErrorKind))
            servers = np.bincount(rows.server[failed], minlength=len(plan.servers))
            counts.append(
                ErrorCount(
                    name=name,
                    side=side_name,
                    requests=int(chosen.sum()),
                    errors=int(failed.sum()),
                    kinds={kind.name.lower(): int(kinds[kind]) for kind in ErrorKind if kinds[kind]},
                    servers={
                        server.name: int(servers[index])
                        for index, server in enumerate(plan.servers)
                        if servers[index]
                    },
                )
            )
    return counts
