"""The comparison of a run: pinned hosts, Locust in its own process, windows, a judgement."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioners.base import Side
from provisioners.errors import ProvisionError
from reports.model import Evidence, Status, Undo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loadtests.run import LoadRun
    from loadtests.summary import LoadSummary
    from provisioners.base import Cluster, Service, ServiceSpec, Target
    from reports.comparison import Conditions, Rules
    from reports.store import Store
    from verbs.config import Config

CHECK = "load::paired"
_CRITERION = "performance.response"
_SETTLE_S = 20.0
_QUIET_SHARE = 0.5
_EQUAL_FIELDS = ("ready", "image_id", "cpu_limit", "memory_limit_bytes")


def compare_sides(
    config: Config,
    cluster: Cluster,
    targets: Mapping[Side, Target],
    services: Sequence[ServiceSpec],
    store: Store,
    provisioner: Any,
    say: Callable[[str], None],
) -> None:
    """Drive both sides, judge response times, and record evidence whatever happens."""
    from loadtests.run import run_load

    servers = [service for service in services if service.mcp]
    try:
        load_targets = _load_targets(cluster, targets, servers)
        unequal = inequalities(
            {side: target.services() for side, target in targets.items()}, {server.name for server in servers}
        )
    except ProvisionError as error:
        why = f"not measured, a server cannot be entered: {error.what}" + (
            f" ({error.why})" if error.why else ""
        )
        store.evidence(Evidence(_CRITERION, CHECK, Status.INVALID, why=why))
        return
    cpus = _pin(provisioner, store)
    try:
        _settle(say)
        run = run_load(_profile(config), load_targets, store.samples_dir, cpus=cpus, say=say)
    finally:
        _unpin(provisioner, store)
    say(f"{run.requests} requests; judging")
    _judge(config, store, run, unequal)


def inequalities(services: Mapping[Side, Sequence[Service]], names: set[str]) -> tuple[str, ...]:
    """Return what differs between the sides and would make a comparison unfair."""
    found: list[str] = []
    by_side = {
        side: {service.name: service for service in listed if service.name in names}
        for side, listed in services.items()
    }
    for name in sorted(names):
        rows = {side: by_side[side].get(name) for side in Side}
        missing = [str(side) for side, row in rows.items() if row is None]
        if missing:
            found.append(f"{name} is missing on {' and '.join(missing)}")
            continue
        for label in _EQUAL_FIELDS:
            values = {side: getattr(row, label) for side, row in rows.items()}
            if len(set(values.values())) > 1:
                found.append(
                    f"{name}: {label} " + ", ".join(f"{side} {value}" for side, value in values.items())
                )
    return tuple(found)


def _profile(config: Config) -> Any:
    from loadtests.profile import SMOKE

    return replace(
        SMOKE,
        rate_per_s=config.load.rate_per_s or SMOKE.rate_per_s,
        duration_s=config.load.duration_s or SMOKE.duration_s,
        warmup_s=config.load.warmup_s if config.load.warmup_s is not None else SMOKE.warmup_s,
    )


def _load_targets(cluster: Cluster, targets: Mapping[Side, Target], servers: Sequence[ServiceSpec]) -> Any:
    from loadtests.profile import LoadTargets, Server

    return LoadTargets(
        servers=tuple(
            Server(
                name=server.name,
                swarm_url=targets[Side.SWARM].url(server.name),
                kubernetes_url=targets[Side.KUBERNETES].url(server.name),
            )
            for server in servers
        ),
        allowed=tuple(node.address for node in cluster.nodes),
    )


def _judge(config: Config, store: Store, run: LoadRun, unequal: tuple[str, ...]) -> None:
    from loadtests.summarize import summarize
    from reports.compare import compare, comparison_evidence

    broken = () if run.complete else (run.reason.split("\n", 1)[0],)
    if not run.requests:
        store.evidence(Evidence(_CRITERION, CHECK, Status.INVALID, why=run.reason))
        return
    summary = summarize(run.folder)
    store.write_text("load/windows.jsonl", "".join(json.dumps(row) + "\n" for row in summary.window_rows()))
    store.write_json("load/quantiles.json", summary.quantiles_json())
    store.write_json("load/summary.json", summary.summary_json())
    comparison = compare(
        store.read_windows(), summary.counts(), _rules(config), _conditions(summary, unequal, broken)
    )
    store.write_json("load/comparison.json", comparison.to_json())
    store.evidence(comparison_evidence(comparison))


def _rules(config: Config) -> Rules:
    from reports.comparison import Rules
    from verbs.config import margin_of

    margin = margin_of(config.load)
    return Rules(margin_ratio=margin.share, margin_floor_ms=margin.floor_ms)


def _conditions(summary: LoadSummary, unequal: tuple[str, ...], broken: tuple[str, ...]) -> Conditions:
    from reports.comparison import Conditions, Generator

    made = summary.generator
    return Conditions(
        rate_total=summary.rate_per_s,
        duration_s=summary.measured_s,
        generator=Generator(
            cpu=made.cpu,
            late_p99_ms=made.late_p99_ms or 0.0,
            dropped=made.dropped,
            sent=made.requests,
            steal=made.steal,
        ),
        unequal=unequal,
        broken=broken,
    )


def _pin(provisioner: Any, store: Store) -> str | None:
    """Give the node hosts one core and the generator the other, where that can be done."""
    cores = sorted(os.sched_getaffinity(0))
    if not hasattr(provisioner, "pin") or len(cores) < 2:  # noqa: PLR2004  one for each
        return None
    store.undo(Undo("pin", "node hosts pinned to a core", "gonogo", ("unpin",)))
    try:
        provisioner.pin(",".join(str(core) for core in cores[:-1]))
    except ProvisionError as error:  # less exact, not wrong: both sides share what is left
        store.update_run(not_pinned=str(error))
        return None
    return str(cores[-1])


def _unpin(provisioner: Any, store: Store) -> None:
    for undo in store.read_undo():
        if undo.id == "pin":
            provisioner.pin(None)
            store.undo(replace(undo, done=True))


def _settle(say: Callable[[str], None]) -> None:
    """Wait until the machine is less than half busy, at most 20 s: a start-up is not steady state."""
    deadline = time.monotonic() + _SETTLE_S
    before = _cpu_times()
    while time.monotonic() < deadline:
        time.sleep(2.0)
        now = _cpu_times()
        busy = 1 - (now[1] - before[1]) / max(1, now[0] - before[0])
        if busy < _QUIET_SHARE:
            return
        say(f"waiting until the machine is quiet: {busy:.0%} busy")
        before = now


def _cpu_times() -> tuple[int, int]:
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return sum(fields), fields[3] + fields[4]
