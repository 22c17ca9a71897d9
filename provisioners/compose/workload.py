"""One service as a workload of Kubernetes: Deployment, StatefulSet, DaemonSet or Job, as its nature asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.compose.controller import controller_of
from provisioners.compose.environment import environment_of, escaped
from provisioners.compose.naming import port_name
from provisioners.compose.placement import placement_of
from provisioners.compose.probes import check_of, kinds, probes_of
from provisioners.compose.resources import resources_of
from provisioners.compose.rest import PodParts, apply_rest
from provisioners.tiers import PRIMARY, SECONDARY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioners.compose.context import Context
    from provisioners.compose.fit import Shape
    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import HealthCheck, Service

Object = dict[str, object]

NAME_LABEL = "app.kubernetes.io/name"
_GRACE_S = 10  # Docker's, where Kubernetes would wait 30


@dataclass(frozen=True, slots=True)
class Workload:
    """What one service needs in Kubernetes, beside its Service object."""

    controller: Object
    objects: tuple[Object, ...]
    secrets: Mapping[str, bytes]
    http_port: int | None


def labels_of(name: str, tier: str, project: str) -> Object:
    """Return the labels of a service's objects; ServiceMonitors select `tier: mcp`."""
    mcp: Object = {"tier": "mcp", "mcp-tier": tier} if tier in {PRIMARY, SECONDARY} else {"tier": tier}
    return {NAME_LABEL: name, "app.kubernetes.io/part-of": project, **mcp}


def workload_of(service: Service, name: str, tier: str, shape: Shape, context: Context) -> Workload:
    """Return the workload of a service whose objects are called `name`."""
    ledger = context.ledger
    labels = labels_of(name, tier, context.project)
    selector: Object = {NAME_LABEL: name}
    volumes = context.storage.of(service, name)
    environment = environment_of(service, name, shape.environment, context.renamed, ledger)
    http = http_port(service.healthcheck)
    container = _container(service, name, shape, ledger)
    if environment.entries:
        container["env"] = environment.entries
    ports = _ports(service, http)
    if ports:
        container["ports"] = ports
    _add_health(service, container, ports, context)
    resources = resources_of(service, shape, ledger)
    if resources:
        container["resources"] = resources
    pod = _pod(service, shape, selector, context)
    parts = PodParts(
        pod, container, {"seccompProfile": {"type": "RuntimeDefault"}}, {}, volumes.volumes, volumes.mounts
    )
    _user(service, parts, ledger)
    apply_rest(service, parts, ledger)
    _finish(pod, parts)
    controller = controller_of(service, name, shape, labels, selector, pod, volumes, context)
    secrets = {**volumes.secrets, **environment.secrets}
    return Workload(controller, tuple(volumes.objects), secrets, http)


def http_port(health: HealthCheck | None) -> int | None:
    """Return the port that the health check shows to speak HTTP."""
    if health is None or not health.active:
        return None
    check = check_of(health)
    return check.port if check.is_http else None


# -- the container -------------------------------------------------------------------------


def _container(service: Service, name: str, shape: Shape, ledger: Ledger) -> Object:
    container: Object = {"name": name, "image": shape.image, "imagePullPolicy": "IfNotPresent"}
    if service.image:
        own = service.image.value
        if shape.image == own:
            ledger.converted(service.image.at, "image")
        else:
            ledger.approximated(service.image.at, f"{shape.image} runs in its place, on both sides", "image")
    if service.entrypoint:
        container["command"] = [escaped(word) for word in service.entrypoint.value]
        ledger.converted(service.entrypoint.at, "command")
    command = (
        shape.command if shape.command is not None else service.command.value if service.command else None
    )
    if command is not None:
        container["args"] = [escaped(word) for word in command]
    if service.command:
        if shape.command is None:
            ledger.converted(service.command.at, "args")
        else:
            ledger.approximated(service.command.at, "the substitute has a command of its own", "args")
    for key in ("command", "entrypoint"):
        node = service.at.get(key)
        if node is not None and getattr(service, key) is None:
            ledger.dropped(node, "it is empty: the image's own runs")
    if service.working_dir:
        container["workingDir"] = service.working_dir.value
        ledger.converted(service.working_dir.at, "workingDir")
    return container


def _ports(service: Service, http: int | None) -> list[Object]:
    found: dict[tuple[int, str], Object] = {}
    for port in (*service.ports, *service.expose):
        name = port_name(port.protocol, port.target, http=port.target == http, own=port.name)
        found.setdefault(
            (port.target, port.protocol),
            {"name": name, "containerPort": port.target, "protocol": port.protocol.upper()},
        )
    return list(found.values())


def _add_health(service: Service, container: Object, ports: list[Object], context: Context) -> None:
    ledger = context.ledger
    health = service.healthcheck
    if health is None:
        return
    if not health.active:
        ledger.approximated(health.at, "no health check, so no probes: ready as soon as it runs")
        return
    named = {port["containerPort"]: str(port["name"]) for port in ports if port["protocol"] == "TCP"}
    container.update(probes_of(health, named, context.fit.health_interval_s))
    check = check_of(health)
    if health.test:
        said = kinds(check)
        if check.is_http and service.container_ports and check.port not in named:
            said += f"; it asks port {check.port}, which is none of the service's"
        ledger.approximated(health.test.at, said, "startupProbe, readinessProbe, livenessProbe")
    for given, target in (
        (health.interval_s, "periodSeconds"),
        (health.timeout_s, "timeoutSeconds"),
        (health.retries, "failureThreshold"),
        (health.start_period_s, "startupProbe.failureThreshold"),
        (health.start_interval_s, "startupProbe.periodSeconds"),
        (health.disabled, "probes"),
    ):
        if given is not None:
            ledger.converted(given.at, target)


# -- the pod -------------------------------------------------------------------------------


def _pod(service: Service, shape: Shape, selector: Object, context: Context) -> Object:
    grace = service.stop_grace_s
    if grace:
        context.ledger.converted(grace.at, "terminationGracePeriodSeconds")
    pod: Object = {
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": max(1, round(grace.value)) if grace else _GRACE_S,
        **placement_of(service, shape, selector, context.ledger),
    }
    if service.hostname:
        if "{{" in service.hostname.value:
            context.ledger.dropped(service.hostname.at, "a template; pods are named by their workload")
        else:
            pod["hostname"] = service.hostname.value
            context.ledger.converted(service.hostname.at, "hostname")
    gpus = service.deploy.reservations.gpus
    if gpus is not None and gpus.value > 0:
        pod["runtimeClassName"] = "nvidia"
    seconds = context.fit.eviction_toleration_s
    if seconds is not None and not service.is_global:
        held = pod.get("tolerations")
        pod["tolerations"] = [
            *(held if isinstance(held, list) else []),
            *(
                {
                    "key": f"node.kubernetes.io/{key}",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": seconds,
                }
                for key in ("not-ready", "unreachable")
            ),
        ]
    return pod


def _user(service: Service, parts: PodParts, ledger: Ledger) -> None:
    if service.user is None:
        return
    user, _, group = service.user.value.partition(":")
    if user == "root":
        user = "0"
    if not user.isdigit() or (group and not group.isdigit()):
        ledger.refused(service.user.at, "the user has to be a number: names exist only inside the image")
        return
    parts.pod_security["runAsUser"] = int(user)
    if group:
        parts.pod_security["runAsGroup"] = int(group)
    ledger.converted(service.user.at, "securityContext.runAsUser")


def _finish(pod: Object, parts: PodParts) -> None:
    if parts.security:
        parts.container["securityContext"] = parts.security
    if parts.mounts:
        parts.container["volumeMounts"] = parts.mounts
    pod["securityContext"] = parts.pod_security
    pod["containers"] = [parts.container]
    if parts.volumes:
        pod["volumes"] = parts.volumes
