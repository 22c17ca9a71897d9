"""One service as a workload of Kubernetes: Deployment, StatefulSet, DaemonSet or Job, as its nature asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.autoscale import autoscale_of
from provisioners.compose.commands import Commands
from provisioners.compose.controller import controller_of
from provisioners.compose.environment import environment_of
from provisioners.compose.naming import host_label, port_names
from provisioners.compose.placement import placement_of
from provisioners.compose.policy import network_labels
from provisioners.compose.probes import check_of, kinds, probes_of
from provisioners.compose.records import dataclass
from provisioners.compose.resources import bounded, resources_of, with_requests
from provisioners.compose.rest import NO_NAMES, PodParts, apply_rest
from provisioners.compose.stopping import grace_s, is_drained, lifecycle_of
from provisioners.compose.validate_names import MAX_ID, id_number
from provisioners.compose.waiting import waiting_containers
from provisioners.tiers import PRIMARY, SECONDARY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioners.compose.context import Context
    from provisioners.compose.fit import Shape
    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import HealthCheck, Service
    from provisioners.tiers import Autoscale

Object = dict[str, object]

NAME_LABEL = "app.kubernetes.io/name"


@dataclass(frozen=True, slots=True)
class Workload:
    """What one service needs in Kubernetes, beside its Service object."""

    controller: Object
    objects: tuple[Object, ...]
    secrets: Mapping[str, bytes]
    scale: Autoscale | None


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
    environment = environment_of(service, name, shape.environment, context.renamed, ledger, context.secrets)
    http = http_port(service.healthcheck)
    commands = Commands.of(name, environment, context)
    container = _container(service, name, shape, commands, ledger)
    ports = _ports(service, http)
    probes = _probes(service, ports, commands, context)
    entries = [*environment.entries, *commands.entries()]
    container |= ({"env": entries} if entries else {}) | ({"ports": ports} if ports else {}) | probes
    drained = is_drained(service, ports)
    if drained:
        container["lifecycle"] = lifecycle_of()
    resources = resources_of(service, shape, ledger)
    if resources:
        container["resources"] = resources
    pod = _pod(service, name, shape, selector, context, drained=drained)
    parts = PodParts(
        pod, container, {"seccompProfile": {"type": "RuntimeDefault"}}, {}, volumes.volumes, volumes.mounts
    )
    _user(service, parts, ledger)
    apply_rest(service, parts, ledger)
    bounded(service, container, ledger)
    scale = autoscale_of(service, service.name, context, stateful=bool(volumes.claims))
    if with_requests(service, container, ledger) and scale is not None:
        ledger.remark(service.at, "it scales by the share it uses of a small default; reserve what it needs")
    _finish(pod, parts, waiting_containers(service, context))
    joined = network_labels(context.peers.networks[service.name]) | context.aliases.labels(service.name)
    controller = controller_of(
        service, name, shape, labels, selector, pod, volumes, context, joined=joined, scale=scale
    )
    secrets = {**volumes.secrets, **environment.secrets, **commands.secrets()}
    return Workload(controller, tuple(volumes.objects), secrets, scale)


def http_port(health: HealthCheck | None) -> int | None:
    """Return the port that the health check shows to speak HTTP."""
    if health is None or not health.active:
        return None
    check = check_of(health)
    return check.port if check.is_http else None


# -- the container -------------------------------------------------------------------------


def _container(service: Service, name: str, shape: Shape, commands: Commands, ledger: Ledger) -> Object:
    container: Object = {"name": name, "image": shape.image, "imagePullPolicy": "IfNotPresent"}
    _note_image(service, shape, ledger)
    if service.entrypoint:
        container["command"] = commands.words(service.entrypoint.value)
        ledger.converted(service.entrypoint.at, "command")
        commands.note(service.entrypoint, ledger)
    command = (
        shape.command if shape.command is not None else service.command.value if service.command else None
    )
    if command is not None:
        container["args"] = commands.words(command)
    if service.command:
        if shape.command is None:
            ledger.converted(service.command.at, "args")
            commands.note(service.command, ledger)
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


def _note_image(service: Service, shape: Shape, ledger: Ledger) -> None:
    given = service.image
    if given is None:
        return
    if shape.image != given.value:
        ledger.approximated(given.at, f"{shape.image} runs in its place, on both sides", "image")
    elif given.at is service.at.get("build"):
        ledger.approximated(given.at, f"build and push it as {given.value}, as compose calls it", "image")
    else:
        ledger.converted(given.at, "image")


def _ports(service: Service, http: int | None) -> list[Object]:
    names = port_names((*service.ports, *service.expose), http)
    return [
        {"name": name, "containerPort": number, "protocol": protocol.upper()}
        for (number, protocol), name in names.items()
    ]


def _probes(service: Service, ports: list[Object], commands: Commands, context: Context) -> Object:
    ledger = context.ledger
    health = service.healthcheck
    if health is None:
        return {}
    if not health.active:
        ledger.approximated(health.at, "no health check, so no probes: ready as soon as it runs")
        return {}
    named = {port["containerPort"]: str(port["name"]) for port in ports if port["protocol"] == "TCP"}
    check = commands.check(check_of(health), health, ledger)
    probes = probes_of(health, named, context.fit.health_interval_s, check)
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
    return probes


# -- the pod -------------------------------------------------------------------------------


def _pod(
    service: Service, name: str, shape: Shape, selector: Object, context: Context, *, drained: bool
) -> Object:
    pod: Object = {
        "enableServiceLinks": False,
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": grace_s(service, context.ledger, drained=drained),
        **placement_of(service, shape, selector, context.ledger),
    }
    _host_name(service, pod, context.ledger)
    gpus = service.deploy.reservations.gpu_count
    if gpus:
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


def _host_name(service: Service, pod: Object, ledger: Ledger) -> None:
    given = service.hostname
    if given is None:
        return
    if "{{" in given.value:
        ledger.dropped(given.at, "a template; pods are named by their workload")
        return
    label = host_label(given.value)
    if not label:
        ledger.refused(given.at, "a pod's host name is made of small letters, digits and -")
        return
    pod["hostname"] = label
    if label == given.value:
        ledger.converted(given.at, "hostname")
    else:
        ledger.approximated(
            given.at,
            f"{label}: a pod's host name has no domain, and at most 63 small letters, digits and -",
            "hostname",
        )


def _user(service: Service, parts: PodParts, ledger: Ledger) -> None:
    if service.user is None:
        return
    user, _, group = service.user.value.partition(":")
    ids = [id_number("0" if part == "root" else part) for part in (user, group) if part]
    if not user or None in ids:
        ledger.refused(service.user.at, f"the user has to be a number up to {MAX_ID}: {NO_NAMES}")
        return
    for key, value in zip(("runAsUser", "runAsGroup"), ids, strict=False):
        parts.pod_security[key] = value
    ledger.converted(service.user.at, "securityContext.runAsUser")


def _finish(pod: Object, parts: PodParts, waiting: list[Object]) -> None:
    if parts.security:
        parts.container["securityContext"] = parts.security
    if parts.mounts:
        parts.container["volumeMounts"] = parts.mounts
    pod["securityContext"] = parts.pod_security
    if waiting:
        pod["initContainers"] = waiting
    pod["containers"] = [parts.container]
    if parts.volumes:
        pod["volumes"] = parts.volumes
