"""The goals G1 to G15, one line each: what has to be true beside the peers, in one run on two cores."""

from __future__ import annotations

GOALS = {
    "G1": "requests per generator CPU-second, full parse and exact log: >= 0.65x wrk, >= 1.5x hey, "
    ">= 8x FastHttpUser, >= 35x HttpUser",
    "G2": "error of p50 at 1,000 req/s, server under 0.2 ms: <= 1/5 of wrk2's, <= 1/10 of FastHttpUser's",
    "G3": "server stopped for 1 s: error of p99 and p99.9 <= 1 % and <= wrk2's",
    "G4": "injected latency: error of p50, p99, p99.9 against the server's log, median <= max(0.5 %, 60 us), "
    "worst cell <= 2 %",
    "G5": "send lag at 1,000 and 10,000 req/s: p99 <= 120 us at <= 15 % and <= 70 % of a core",
    "G6": "two equal sides: false NO-GO < 1 %, its 95 % upper bound <= 2 %, over 1,000 decisions or more",
    "G7": "smallest slowdown found with 95 % power in 60 s at 1,000 req/s: p50 <= 2 %, p95 <= 3 %, "
    "p99 <= 5.5 %",
    "G8": "a slowdown as large as the margin: GO in <= 1 %",
    "G9": "list and check 5,000 pods: <= 1/30 of the official client's time, <= 1/10 of lightkube's, "
    "<= 1/8 of the memory",
    "G10": "an acceptance check costs <= 1.0 ms more than an empty pytest test; a run <= 1.2x bare pytest",
    "G11": "command to verdict with 16 stubs: <= 1.0 s; <= 0.2 s before the first probe",
    "G12": "report with intervals from 10 million samples: <= 0.7x polars without, <= 0.3x pandas, "
    "memory <= 0.5x pandas; <= 50 ms from stored histograms",
    "G13": "a change of state is seen in p99 <= 20 ms, >= 25x sooner than by asking once a second",
    "G14": "compose to manifests, 300 services: <= 0.5x kompose, <= 0.25x safe_load and safe_dump",
    "G15": "a saturated generator is flagged within 1 s, and never gives a verdict",
}


def number(goal: str) -> int:
    """Return the place of a goal in the list; a row without one comes last."""
    return int(goal[1:]) if goal in GOALS else len(GOALS) + 1
