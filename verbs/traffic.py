"""The comparison of a run: pinned hosts, Locust in its own process, windows, a judgement."""

from __future__ import annotations

import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from provisioners.base import Side
from provisioners.errors import ProvisionError
from reports.model import Evidence, Status, Undo
from verbs.resources import every_s, record_resources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loadtests.profile import LoadProfile, LoadTargets
    from loadtests.run import LoadRun
    from loadtests.summary import LoadSummary
    from provisioners.base import Cluster, Node, Service, ServiceSpec, Target
    from provisioners.usage import Meter
    from reports.comparison import Conditions, Generator, Rules
    from reports.store import Store
    from verbs.config import Config

CHECK = "load::paired"
_CRITERION = "performance.response"
_SETTLE_S = 20.0
_QUIET_SHARE = 0.5
_CLOCK_STEP_S = 0.5
_ASKED_AT_ONCE = 4
_EQUAL_FIELDS = ("desired", "ready", "image_id", "cpu_limit", "memory_limit_bytes")


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
    from reports.efficiency import CHECK as RESOURCES_CHECK
    from reports.efficiency import RESOURCES

    servers = [service for service in services if service.mcp]
    store.expect(RESOURCES, RESOURCES_CHECK)
    try:
        load_targets = _load_targets(cluster, targets, servers)
        unequal = inequalities(
            {side: target.services() for side, target in targets.items()}, {server.name for server in servers}
        )
        unequal += unequal_hops(targets, cluster.nodes, [server.name for server in servers])
    except ProvisionError as error:
        why = f"not measured, a server cannot be entered: {error.what}" + (
            f" ({error.why})" if error.why else ""
        )
        store.evidence(Evidence(_CRITERION, CHECK, Status.INVALID, why=why))
        store.evidence(Evidence(RESOURCES, RESOURCES_CHECK, Status.INVALID, why=why))
        return
    profile = profile_of(config, store)
    cpus = _pin(provisioner, store)
    try:
        _settle(say)
        run, meter, clock = _measure(profile, load_targets, store, cluster, cpus, say)
    finally:
        _unpin(provisioner, store)
    say(f"{run.requests} requests; judging")
    _judge(config, store, profile, run, unequal, clock)
    record_resources(store, meter, run.folder, every_s(profile.duration_s))


def _measure(
    profile: LoadProfile,
    load_targets: LoadTargets,
    store: Store,
    cluster: Cluster,
    cpus: str | None,
    say: Callable[[str], None],
) -> tuple[LoadRun, Meter | None, tuple[str, ...]]:
    """Send the load while the nodes are read; also returns what happened to the clock meanwhile."""
    from loadtests.run import run_load

    before = time.time() - time.monotonic()
    meter = _meter(cluster, every_s(profile.duration_s), say)
    with meter or nullcontext():
        run = run_load(profile, load_targets, store.samples_dir, cpus=cpus, say=say)
    step_s = time.time() - time.monotonic() - before
    clock = (f"set by {step_s:+.1f} s while load ran",) if abs(step_s) > _CLOCK_STEP_S else ()
    return run, meter, clock


def _meter(cluster: Cluster, interval_s: float, say: Callable[[str], None]) -> Meter | None:
    """Return the meter of the nodes; load is measured without it where a node cannot be asked."""
    from provisioners.usage import meter_of

    try:
        return meter_of(cluster, interval_s)
    except ProvisionError as error:
        say(f"resources are not measured: {error.what}")
        return None


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


def unequal_hops(
    targets: Mapping[Side, Target], nodes: Sequence[Node], names: Sequence[str]
) -> tuple[str, ...]:
    """Return the servers that one side enters on a node that runs them, and the other does not."""
    node_at = {node.address: node.name for node in nodes}

    def local(side: Side, name: str) -> bool | None:
        entered = node_at.get(urlsplit(targets[side].url(name)).hostname or "")
        if entered is None:  # no node's own address, such as a load balancer's: nothing to tell hops by
            return None
        return any(replica.node == entered for replica in targets[side].replicas(name))

    pairs = [(side, name) for side in Side for name in names]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        found = dict(zip(pairs, pool.map(lambda pair: local(*pair), pairs), strict=True))
    said = {True: "a node that runs it", False: "another node", None: "no node's address"}
    return tuple(
        f"{name}: hops, {' and '.join(f'{side} is entered on {said[found[side, name]]}' for side in Side)}"
        for name in names
        if len({found[side, name] for side in Side}) > 1
    )


def profile_of(config: Config, store: Store) -> LoadProfile:
    """Return the load of the run's profile, with what the config says instead."""
    from loadtests.profile import profile_named

    usual = profile_named(str(store.run().get("profile", "smoke")))
    return replace(
        usual,
        rate_per_s=config.load.rate_per_s or usual.rate_per_s,
        duration_s=config.load.duration_s or usual.duration_s,
        warmup_s=config.load.warmup_s if config.load.warmup_s is not None else usual.warmup_s,
    )


def _load_targets(cluster: Cluster, targets: Mapping[Side, Target], servers: Sequence[ServiceSpec]) -> Any:
    from fixtures.load import reference_server
    from loadtests.profile import LoadTargets

    return LoadTargets(
        servers=tuple(
            reference_server(
                server.name, targets[Side.SWARM].url(server.name), targets[Side.KUBERNETES].url(server.name)
            )
            for server in servers
        ),
        allowed=tuple(node.address for node in cluster.nodes),
    )


def _judge(
    config: Config,
    store: Store,
    profile: LoadProfile,
    run: LoadRun,
    unequal: tuple[str, ...],
    clock: tuple[str, ...],
) -> None:
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
        store.read_windows(),
        summary.counts(),
        rules_of(config, profile, summary.servers),
        _conditions(summary, unequal, clock, broken),
    )
    store.write_json("load/comparison.json", comparison.to_json())
    store.evidence(comparison_evidence(comparison))


def rules_of(config: Config, profile: LoadProfile, servers: Sequence[str]) -> Rules:
    """Return what this profile judges: its quantiles over all servers, and those of each server."""
    from reports.comparison import Rules
    from verbs.config import margin_of

    margin = margin_of(config.load)
    return Rules(
        margin_ratio=margin.share,
        margin_floor_ms=margin.floor_ms,
        workloads=tuple(name for name, _ in profile.workloads if name not in profile.advisory),
        blocking_quantiles=profile.quantiles,
        server_quantiles=profile.server_quantiles,
        servers=tuple(servers) if profile.server_quantiles else (),
    )


def _conditions(
    summary: LoadSummary, unequal: tuple[str, ...], clock: tuple[str, ...], broken: tuple[str, ...]
) -> Conditions:
    from reports.comparison import Conditions

    return Conditions(
        rate_total=summary.rate_per_s,
        duration_s=summary.measured_s,
        generator=generator_of(summary),
        unequal=unequal,
        clock=clock,
        broken=broken,
    )


def generator_of(summary: LoadSummary) -> Generator:
    """Return how the generator did; lateness is that of the side whose sends were later."""
    from reports.comparison import Generator

    made = summary.generator
    late = [made.late_p99_ms, *made.late_p99_ms_by_side.values()]
    return Generator(
        cpu=made.cpu,
        late_p99_ms=max((value for value in late if value is not None), default=math.nan),
        dropped=made.dropped,
        sent=made.requests,
        steal=made.steal,
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
