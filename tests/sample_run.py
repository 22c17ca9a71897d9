"""A small run folder for the tests of reports: made by the store's own door, no target."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reports.compare import CHECK, Conditions, Generator, Rules, compare, comparison_evidence
from reports.model import (
    Criterion,
    Evidence,
    Level,
    Limit,
    Profile,
    Status,
    StepTime,
    Undo,
    Waiver,
    Window,
)
from reports.render import render_all
from reports.store import Store, create

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
AT = "2026-11-24T09:31:00.000Z"
SMOKE = frozenset((Profile.SMOKE, level) for level in Level)
HOSTILE = (
    '<script>alert(1)</script> \x1b[31mred\x1b[0m ]]> | `x` "q" \'s & <img src=x onerror=alert(1)>\u202e\x00'
)


def sample_run(
    root: Path,
    *,
    ratio: float = 1.0,
    level: Level = Level.LAB_UPSTREAM,
    failing: int = 0,
    text: str = "",
    seal: bool = True,
) -> Store:
    """Return a rendered run of 20 suite criteria, a comparison, and everything else a report shows."""
    store = create(root, "lab", Profile.SMOKE, now=NOW)
    store.update_run(
        level=level,
        gonogo="0.1.0",
        git_commit="abc123",
        versions={"swarm": {"engine": f"28.2.2{text}"}, "kubernetes": {"server": "v1.34.2"}},
        identities={"swarm": "swarm-id", "kubernetes": "uid"},
        machine={"cores": 2},
        extra={"network_policy_engine": "none"},
    )
    _criteria(store, failing, text)
    _load(store, ratio, text)
    store.write_json(
        "steps.json", [StepTime(f"step {text}", 0.0, 1.5), StepTime("deploy", 1.0, 60.0, "cached")]
    )
    store.write_json("waivers.json", [Waiver("suite.c00", f"Ana {text}", f"later {text}", "2026-12-31")])
    loss = {
        "file": "compose.yml",
        "line": 3,
        "path": f"services.a{text}",
        "outcome": "dropped",
        "detail": text or "no place for it",
        "target": "kubernetes",
    }
    store.write_json("losses.json", [loss])
    store.write_json(
        "fit.json", {"scale": {"replicas": 1}, "images": {"*": f"gonogo/mcp{text}"}, "patches": []}
    )
    store.write_json("cluster.json", {"nodes": [{"name": "node1"}, {"name": "node2"}]})
    store.write_json(
        "workload.json", [{"name": f"github-v2{text}", "tier": "primary", "replicas": 1, "ports": [9006]}]
    )
    store.undo(Undo("u1", f"killed {text}", "node1", ("true",)))
    render_all(store)
    if seal:
        store.seal()
    return store


def _criteria(store: Store, failing: int, text: str) -> None:
    criteria = [
        Criterion(f"suite.c{n:02d}", f"Suite {n} {text}", "suite", Limit("==", 16, "servers"), SMOKE)
        for n in range(20)
    ]
    criteria += [
        Criterion("performance.response", "Not slower", "load", blocking=SMOKE),
        Criterion("operational.training", "Trained", "person"),
        Criterion("cutover.gpu", "GPU", "uncovered"),
    ]
    store.criteria(criteria)
    for number, criterion in enumerate(criteria[:20]):
        for side in ("swarm", "kubernetes"):
            check = f"suites/test_x.py::test_{number}[{side}]"
            store.expect(criterion.id, check)
            failed = number < failing and side == "kubernetes"
            store.evidence(
                Evidence(
                    criterion.id,
                    check,
                    Status.FAIL if failed else Status.PASS,
                    side,
                    15 if failed else 16,
                    "servers",
                    16,
                    text or ("github-v2 refused" if failed else ""),
                    AT,
                )
            )
    store.expect("performance.response", CHECK)


def sample_windows(ratio: float = 1.0) -> list[Window]:
    """Return paired windows of two workloads, p50 and p95, 40 each."""
    return [
        Window(
            name,
            quantile,
            float(index),
            1.0,
            base * (1 + 0.1 * math.sin(index / 6)),
            base * (1 + 0.1 * math.sin(index / 6)) * ratio * math.exp(0.02 * math.cos(2.4 * index)),
            220,
            220,
        )
        for name, base in (("health", 12.0), ("tools/call", 25.0))
        for quantile in (0.5, 0.95)
        for index in range(40)
    ]


def _load(store: Store, ratio: float, text: str) -> None:
    rows = "".join(json.dumps(asdict(window)) + "\n" for window in sample_windows(ratio))
    store.write_text("load/windows.jsonl", rows)
    counts = {side: {"sent": 9_000, "failed": 0} for side in ("swarm", "kubernetes")}
    unequal = (text,) if text else ()
    conditions = Conditions(240.0, 75.0, Generator(0.4, 0.05, 0, 18_000, 0.001), unequal=unequal)
    found = compare(store.read_windows(), counts, Rules(), conditions)
    store.write_json("load/comparison.json", found.to_json())
    curves = {
        side: {"n": 9_000, "points": [[q / 100, 12.0 * factor * (1 + q / 50)] for q in range(1, 100)]}
        for side, factor in (("swarm", 1.0), ("kubernetes", ratio))
    }
    store.write_json("load/quantiles.json", {f"health{text}": curves})
    evidence = comparison_evidence(found)
    store.evidence(Evidence(**{**{name: getattr(evidence, name) for name in evidence.__slots__}, "at": AT}))
