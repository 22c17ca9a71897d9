"""The comparison of a run: pinned hosts, Locust in its own process, windows, a judgement."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from provisioners.base import Side
from provisioners.errors import ProvisionError
from reports.model import Evidence, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioners.base import Service, ServiceSpec, Target
    from reports.store import Store
    from verbs.config import Config

CHECK = "load::paired"
_CRITERION = "performance.response"


def compare_sides(
    config: Config,
    targets: Mapping[Side, Target],
    services: tuple[ServiceSpec, ...],
    store: Store,
    *,
    generator_cpus: str | None,
    say: Callable[[str], None],
) -> None:
    """Drive both sides, judge response times, and record the evidence whatever happens."""
    from loadtests.profile import SMOKE
    from loadtests.run import run_load
    from reports.compare import Rules, compare, comparison_evidence

    servers = tuple(service for service in services if service.mcp)
    try:
        load_targets = _load_targets(targets, servers)
        unequal = inequalities(
            {side: targets[side].services() for side in targets}, {server.name for server in servers}
        )
    except ProvisionError as error:
        _record(store, Status.INVALID, f"a server cannot be entered: {error.what} {error.why}")
        return
    profile = replace(
        SMOKE,
        rate_per_s=config.load.rate_per_s or SMOKE.rate_per_s,
        duration_s=config.load.duration_s or SMOKE.duration_s,
    )
    run = run_load(profile, load_targets, store.folder("load"), cpus=generator_cpus, say=say, stop=None)
    del Rules, compare, comparison_evidence, run, unequal


def inequalities(
    services: Mapping[Side, Any], names: set[str]
) -> tuple[str, ...]:
    """Return what differs between the sides and would make a comparison unfair."""
    found: list[str] = []
    by_side: dict[Side, dict[str, Service]] = {
        side: {service.name: service for service in listed if service.name in names}
        for side, listed in services.items()
    }
    swarm, kubernetes = by_side[Side.SWARM], by_side[Side.KUBERNETES]
    for name in sorted(names):
        one, two = swarm.get(name), kubernetes.get(name)
        if one is None or two is None:
            found.append(f"{name} is missing on {Side.SWARM if one is None else Side.KUBERNETES}")
            continue
        for label in ("ready", "image_id", "cpu_limit", "memory_limit_bytes"):
            left, right = getattr(one, label), getattr(two, label)
            if left != right:
                found.append(f"{name}: {label} is {left} on swarm, {right} on kubernetes")
    return tuple(found)


def _record(store: Store, status: Status, why: str) -> None:
    store.evidence(Evidence(_CRITERION, CHECK, status, why=why))


def _load_targets(targets: Mapping[Side, Target], servers: tuple[ServiceSpec, ...]) -> Any:
    from loadtests.profile import LoadTargets, Server

    return LoadTargets(
        servers=tuple(
            Server(
                name=server.name,
                swarm_url=targets[Side.SWARM].url(server.name),
                kubernetes_url=targets[Side.KUBERNETES].url(server.name),
            )
            for server in servers
        )
    )


_ = asdict
