"""What a loop says of itself, while it runs and at its end."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtests.host import cpu_share, steal_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from loadtests.watch import Reading
    from loadtests.wire import Wire


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: requests by side, and what the generator last saw of itself."""

    elapsed_s: float
    planned_s: float
    sent: dict[str, int]
    errors: dict[str, int]
    late: int
    dropped: int
    reading: Reading


@dataclass(frozen=True, slots=True)
class LoopEnd:
    """How a run ended. `flags` counts the readings at which each flag was up.

    `complete` is whether the schedule was run to its end. `notes` are what went wrong before it
    began (a name that did not resolve, a server that knows no handshake).
    """

    complete: bool
    requests: int
    late: int
    dropped: int
    retried: int
    idle_closed: int
    sessions_renewed: int
    cpu: float
    steal: float
    flags: dict[str, int]
    notes: tuple[str, ...]


def loop_end(loop: Wire, *, complete: bool, flags: Mapping[str, int], notes: Sequence[str]) -> LoopEnd:
    """Return how a loop ended; `cpu` and `steal` are shares of its whole time."""
    ticks, totals = loop.log.ticks, loop.log.totals
    span = (ticks[0].at_ns, ticks[-1].at_ns) if ticks else (0, 0)
    return LoopEnd(
        complete=complete,
        requests=sum(totals.sent.values()),
        late=totals.late,
        dropped=totals.dropped,
        retried=loop.retried,
        idle_closed=loop.idle_closed,
        sessions_renewed=loop.renewals.count,
        cpu=cpu_share(ticks, *span),
        steal=steal_share(ticks, *span),
        flags=dict(flags),
        notes=tuple(notes),
    )


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector out: a full collection in mid-run delays sends by milliseconds.

    The loop makes no reference cycles per request, so nothing piles up meanwhile.
    """
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
