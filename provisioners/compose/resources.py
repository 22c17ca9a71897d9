"""CPUs, memory and GPUs of a service as requests and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.model import ALL_GPUS
from provisioners.compose.validate_names import amount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioners.compose.fit import Shape
    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import Service

Object = dict[str, object]

GPU = "nvidia.com/gpu"
# Swarm reserves nothing where the file does not; Kubernetes would reserve whole limits.
_CPU_SHARE, _MEMORY_SHARE = 0.2, 0.25
# Where the file says nothing at all: little, but more than nothing. Without it the scheduler would put
# any number of such pods on one node, the first to be evicted there, and no autoscaler could measure them.
_DEFAULT_REQUESTS = {"cpu": "50m", "memory": "64Mi"}
# The keys outside `deploy` that can set a request and a limit which do not go together.
_SHORT_KEYS = {"cpu": ("cpus",), "memory": ("mem_reservation", "mem_limit")}


def resources_of(service: Service, shape: Shape, ledger: Ledger) -> Object:
    """Return the resources of a container; empty when nothing is limited or reserved."""
    limits: Object = {}
    requests: Object = {}
    if shape.cpus is not None:
        limits["cpu"] = units.cpu_quantity(shape.cpus)
        reserved = shape.cpus_reserved
        requests["cpu"] = units.cpu_quantity(shape.cpus * _CPU_SHARE if reserved is None else reserved)
    elif shape.cpus_reserved is not None:
        requests["cpu"] = units.cpu_quantity(shape.cpus_reserved)
    if shape.memory_bytes is not None:
        limits["memory"] = units.memory_quantity(shape.memory_bytes)
        kept = shape.memory_reserved_bytes
        requests["memory"] = units.memory_quantity(
            int(shape.memory_bytes * _MEMORY_SHARE) if kept is None else kept
        )
    elif shape.memory_reserved_bytes is not None:
        requests["memory"] = units.memory_quantity(shape.memory_reserved_bytes)
    gpus = service.deploy.reservations.gpu_count
    if gpus:
        limits[GPU] = requests[GPU] = gpus
    _note_resources(service, shape, ledger)
    return {key: value for key, value in (("requests", requests), ("limits", limits)) if value}


def with_requests(service: Service, container: Object, ledger: Ledger) -> bool:
    """Give a finished container the requests that it lacks; returns whether CPU was one of them.

    A limit alone needs none: Kubernetes takes it for the request too.
    """
    resources = container.get("resources")
    held: Object = dict(resources) if isinstance(resources, dict) else {}
    limits, requests = (_table(held.get(key)) for key in ("limits", "requests"))
    lacking = {
        key: value for key, value in _DEFAULT_REQUESTS.items() if key not in limits and key not in requests
    }
    if not lacking:
        return False
    container["resources"] = {**held, "requests": {**requests, **lacking}}
    if service.image:
        words = " and ".join(f"{value} of {key}" for key, value in lacking.items())
        ledger.converted(
            service.image.at, "resources.requests", f"the file reserves none: {words} is requested"
        )
    return "cpu" in lacking


def bounded(service: Service, container: Object, ledger: Ledger) -> None:
    """Lower requests of a finished container that are over its limits, which Kubernetes refuses."""
    resources = container.get("resources")
    held: Object = dict(resources) if isinstance(resources, dict) else {}
    limits, requests = (_table(held.get(key)) for key in ("limits", "requests"))
    for name, keys in _SHORT_KEYS.items():
        limit, request = amount(limits.get(name)), amount(requests.get(name))
        if limit is None or request is None or request <= limit:
            continue
        requests = {**requests, name: limits[name]}
        said = f"{limits[name]} is requested: a request is no more than the limit"
        for node in (service.others.get(key) for key in keys):
            if node is not None:
                ledger.approximated(node, said, f"resources.requests.{name}")
                break
        container["resources"] = {**held, "requests": requests}


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _note_resources(service: Service, shape: Shape, ledger: Ledger) -> None:
    limits, kept = service.deploy.limits, service.deploy.reservations
    for given, fitted, reserved, name in (
        (limits.cpus, shape.cpus, kept.cpus, "cpu"),
        (limits.memory_bytes, shape.memory_bytes, kept.memory_bytes, "memory"),
    ):
        if given is None:
            continue
        share = "" if reserved else f"; the file reserves none, so a part of it is requested ({_share(name)})"
        if fitted == given.value:
            ledger.converted(given.at, f"resources.limits.{name}", share.removeprefix("; "))
        else:
            ledger.approximated(
                given.at, f"fitted to the target, on both sides{share}", f"resources.limits.{name}"
            )
    for reserved_amount, fitted_amount, name in (
        (kept.cpus, shape.cpus_reserved, "cpu"),
        (kept.memory_bytes, shape.memory_reserved_bytes, "memory"),
    ):
        if reserved_amount is None:
            continue
        if fitted_amount == reserved_amount.value:
            ledger.converted(reserved_amount.at, f"resources.requests.{name}")
        else:
            ledger.approximated(
                reserved_amount.at,
                "no more than the fitted limit, on both sides",
                f"resources.requests.{name}",
            )
    if limits.pids:
        ledger.dropped(limits.pids.at, "the kubelet bounds processes for all pods (podPidsLimit)")
    _note_gpus(service, ledger)


def _note_gpus(service: Service, ledger: Ledger) -> None:
    kept = service.deploy.reservations
    for node in kept.other_devices:
        ledger.refused(
            node, "ask for the resource that the device's plugin offers, such as vendor.example/device"
        )
    target = f"resources.limits[{GPU}], equal to the request; runtimeClassName nvidia"
    for node in kept.gpu_nodes:
        if kept.gpus is not None and kept.gpus.value == ALL_GPUS:
            detail = (
                "1 GPU: Kubernetes asks for a number, all of a node cannot be said; where it has several, "
                "give their count"
            )
            ledger.approximated(node, detail, target)
        elif kept.gpus is not None and kept.gpus.value == 0:
            ledger.converted(node, "no GPU")
        else:
            ledger.converted(node, target)


def _share(name: str) -> str:
    return f"{(_CPU_SHARE if name == 'cpu' else _MEMORY_SHARE) * 100:.0f} %"
