"""What the schemas do not hold: one function for each kind, which yields what the API server would refuse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from provisioners.compose import validate_data
from provisioners.compose.validate_data import claim_spec_problems, pods_amount
from provisioners.compose.validate_names import (
    Problem,
    Steps,
    at,
    label_name,
    labels_problems,
    metadata_problems,
    network,
    port_name,
    port_number,
    rows,
    service_name,
    subdomain,
    table,
    twice,
)
from provisioners.compose.validate_pod import pod_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Object = dict[str, Any]

POD_TEMPLATES = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}
_SELECTING = frozenset(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"))
_LABEL_NAMES = frozenset(("Namespace", "StatefulSet"))
_PATH_NAMES = re.compile(r"(?:Cluster)?Role(?:Binding)?\Z")
_NOT_NEGATIVE = (
    "replicas",
    "minReadySeconds",
    "revisionHistoryLimit",
    "completions",
    "parallelism",
    "backoffLimit",
)
_MAX_CRON_NAME = 52
_CRON = re.compile(
    r"@(?:annually|yearly|monthly|weekly|daily|midnight|hourly|every \S+)\Z|(?:\S+\s+){4}\S+\Z"
)


def object_rules(body: Object, *, typed: bool = True) -> Iterator[Problem]:
    """Yield what is wrong with an object beside its schema.

    Without `typed` its values may be of any type, and names and labels alone are looked at.
    """
    kind = str(body.get("kind"))
    yield from _metadata(body, kind)
    if not typed:
        return
    if kind in POD_TEMPLATES:
        yield from _workload(body, kind)
    if kind in _RULES:
        yield from _RULES[kind](body)


def _metadata(body: Object, kind: str) -> Iterator[Problem]:
    metadata = table(body, "metadata")
    name = metadata.get("name")
    if not name:
        if not metadata.get("generateName") and kind != "List":
            yield Problem("name", ("metadata",) if metadata else (), "the object has no name")
    elif wrong := _name(kind, name):
        yield Problem("name", ("metadata", "name"), wrong)
    if metadata.get("namespace") and (wrong := label_name(metadata["namespace"])):
        yield Problem("name", ("metadata", "namespace"), wrong)
    yield from metadata_problems(metadata, ("metadata",))


def _name(kind: str, name: object) -> str:
    if kind == "Service":
        return service_name(name)
    if kind in _LABEL_NAMES:
        return label_name(name)
    if _PATH_NAMES.match(kind):
        legal = isinstance(name, str) and name not in {".", ".."} and not {"/", "%"} & set(name)
        return "" if legal else f"{name!r} is no name: / and % are not allowed"
    wrong = subdomain(name)
    if not wrong and kind == "CronJob" and len(str(name)) > _MAX_CRON_NAME:
        return f"{name!r} has {len(str(name))} characters; {_MAX_CRON_NAME} are allowed for a CronJob"
    return wrong


# -- workloads -----------------------------------------------------------------------------------


def _workload(body: Object, kind: str) -> Iterator[Problem]:
    steps: Steps = POD_TEMPLATES[kind]
    template = table(body, *POD_TEMPLATES[kind])
    spec = table(template, "spec")
    if kind != "Pod":
        yield from metadata_problems(table(template, "metadata"), (*steps, "metadata"))
    claims = frozenset(
        str(at(claim, "metadata", "name")) for _, claim in rows(body, "spec", "volumeClaimTemplates")
    )
    yield from pod_problems(spec, (*steps, "spec"), claims)
    restart = spec.get("restartPolicy")
    if kind in _SELECTING and restart not in {None, "", "Always"}:
        yield Problem("restart", (*steps, "spec", "restartPolicy"), f"a {kind} takes Always alone")
    if kind in {"Job", "CronJob"} and restart not in {"OnFailure", "Never"}:
        yield Problem("restart", (*steps, "spec"), f"a {kind} needs restartPolicy OnFailure or Never")
    if kind in _SELECTING:
        yield from _selector(body, template)
    for key in _NOT_NEGATIVE:
        value = at(body, "spec", key)
        if isinstance(value, int) and value < 0:
            yield Problem("amount", ("spec", key), f"{value} is less than 0")


def _selector(body: Object, template: Object) -> Iterator[Problem]:
    wanted = table(body, "spec", "selector", "matchLabels")
    yield from labels_problems(wanted, ("spec", "selector", "matchLabels"))
    if not wanted and not at(body, "spec", "selector", "matchExpressions"):
        yield Problem("selector", ("spec",), "the selector is empty: it would select every pod")
    labels = table(template, "metadata", "labels")
    for key, value in wanted.items():
        if labels.get(key) != value:
            has = f"{labels[key]!r}" if key in labels else "none"
            yield Problem(
                "selector",
                ("spec", "selector", "matchLabels", key),
                f"it wants {value!r}, the pods' label is {has}",
            )


def _deployment(body: Object) -> Iterator[Problem]:
    strategy, steps = table(body, "spec", "strategy"), ("spec", "strategy")
    if strategy.get("type") == "Recreate" and strategy.get("rollingUpdate"):
        yield Problem("strategy", (*steps, "rollingUpdate"), "Recreate takes no rollingUpdate")
    yield from _rolling(table(strategy, "rollingUpdate"), (*steps, "rollingUpdate"), surge_default="25%")


def _daemon_set(body: Object) -> Iterator[Problem]:
    rolling = table(body, "spec", "updateStrategy", "rollingUpdate")
    steps = ("spec", "updateStrategy", "rollingUpdate")
    yield from _rolling(rolling, steps, surge_default=0)
    both = [key for key in ("maxSurge", "maxUnavailable") if rolling.get(key) not in {None, 0, "0%"}]
    if len(both) > 1:
        yield Problem("strategy", steps, "one of maxSurge and maxUnavailable has to be 0")


def _rolling(rolling: Object, steps: Steps, *, surge_default: object) -> Iterator[Problem]:
    for key in ("maxSurge", "maxUnavailable"):
        if wrong := pods_amount(rolling.get(key)):
            yield Problem("strategy", (*steps, key), wrong)
    surge = rolling.get("maxSurge", surge_default)
    if rolling and surge in {0, "0%"} and rolling.get("maxUnavailable", 1) in {0, "0%"}:
        yield Problem("strategy", steps, "maxSurge and maxUnavailable are both 0: no pod could be replaced")


def _stateful_set(body: Object) -> Iterator[Problem]:
    governing = at(body, "spec", "serviceName")
    if governing and (wrong := label_name(governing)):
        yield Problem("name", ("spec", "serviceName"), wrong)
    claims = [at(claim, "metadata", "name") for _, claim in rows(body, "spec", "volumeClaimTemplates")]
    for name in twice(claims):
        yield Problem("volume", ("spec", "volumeClaimTemplates"), f"two claims are called {name!r}")
    for index, claim in rows(body, "spec", "volumeClaimTemplates"):
        steps: Steps = ("spec", "volumeClaimTemplates", index)
        if wrong := subdomain(at(claim, "metadata", "name")):
            yield Problem("name", (*steps, "metadata"), wrong)
        yield from claim_spec_problems(table(claim, "spec"), (*steps, "spec"))


def _cron_job(body: Object) -> Iterator[Problem]:
    schedule = at(body, "spec", "schedule")
    if not isinstance(schedule, str) or not _CRON.match(schedule.strip()):
        yield Problem("schedule", ("spec", "schedule"), f"{schedule!r} is no schedule: write '0 3 * * *'")


# -- networking ----------------------------------------------------------------------------------


def _service(body: Object) -> Iterator[Problem]:
    spec = table(body, "spec")
    kind = spec.get("type") or "ClusterIP"
    yield from labels_problems(spec.get("selector"), ("spec", "selector"))
    ports = rows(spec, "ports")
    if not ports and kind != "ExternalName" and spec.get("clusterIP") != "None":
        yield Problem("port", ("spec",), "the Service has no ports")
    if kind == "ExternalName" and (wrong := subdomain(str(spec.get("externalName", "")).rstrip("."))):
        yield Problem("name", ("spec",), wrong)
    if kind in {"NodePort", "LoadBalancer"} and spec.get("clusterIP") == "None":
        yield Problem("port", ("spec", "clusterIP"), f"None does not go with the type {kind}")
    if kind not in {"NodePort", "LoadBalancer"} and spec.get("externalTrafficPolicy"):
        yield Problem("port", ("spec", "externalTrafficPolicy"), f"it does not go with the type {kind}")
    for index, port in ports:
        steps: Steps = ("spec", "ports", index)
        yield from _service_port(port, steps, named=len(ports) > 1)
        if port.get("nodePort") and kind not in {"NodePort", "LoadBalancer"}:
            yield Problem("port", (*steps, "nodePort"), f"it does not go with the type {kind}")
    names = [str(port["name"]) for _, port in ports if port.get("name")]
    pairs = [f"{port.get('protocol') or 'TCP'} port {port.get('port')}" for _, port in ports]
    for both in twice([*names, *pairs]):
        yield Problem("port", ("spec", "ports"), f"{both} is there twice")


def _service_port(port: Object, steps: Steps, *, named: bool) -> Iterator[Problem]:
    if "port" in port and (wrong := port_number(port["port"])):
        yield Problem("port", (*steps, "port"), wrong)
    name, target = port.get("name"), port.get("targetPort")
    if name and (wrong := label_name(name)):
        yield Problem("port", (*steps, "name"), wrong)
    if not name and named:
        yield Problem("port", steps, "each of several ports needs a name")
    if isinstance(target, str) and (wrong := port_name(target)):
        yield Problem("port", (*steps, "targetPort"), wrong)
    if isinstance(target, int) and (wrong := port_number(target)):
        yield Problem("port", (*steps, "targetPort"), wrong)


def _ingress(body: Object) -> Iterator[Problem]:
    for number, rule in rows(body, "spec", "rules"):
        steps: Steps = ("spec", "rules", number)
        host = rule.get("host")
        if host and (wrong := subdomain(str(host).removeprefix("*."))):
            yield Problem("name", (*steps, "host"), wrong)
        for index, path in rows(rule, "http", "paths"):
            place: Steps = (*steps, "http", "paths", index)
            given = path.get("path")
            if path.get("pathType") in {"Exact", "Prefix"} and not str(given or "").startswith("/"):
                yield Problem("path", place, f"{given!r} has to begin with /")
            yield from _backend(path.get("backend"), (*place, "backend"))


def _backend(backend: object, steps: Steps) -> Iterator[Problem]:
    service, port = at(backend, "service"), table(backend, "service", "port")
    if bool(service) == bool(at(backend, "resource")):
        yield Problem("path", steps, "it leads to a service or a resource, one of them")
    if service and (wrong := service_name(at(service, "name"))):
        yield Problem("name", (*steps, "service", "name"), wrong)
    if service and bool(port.get("name")) == bool(port.get("number")):
        yield Problem("port", steps, "give the port's name or its number, one of them")


def _network_policy(body: Object) -> Iterator[Problem]:
    yield from labels_problems(
        at(body, "spec", "podSelector", "matchLabels"), ("spec", "podSelector", "matchLabels")
    )
    for section, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in rows(body, "spec", section):
            steps: Steps = ("spec", section, index)
            for number, peer in rows(rule, peers):
                block = table(peer, "ipBlock")
                if block and (wrong := network(block.get("cidr"))):
                    yield Problem("address", (*steps, peers, number, "ipBlock", "cidr"), wrong)
                if block and len(peer) > 1:
                    yield Problem("address", (*steps, peers, number), "an ipBlock stands alone")
            for number, port in rows(rule, "ports"):
                value = port.get("port")
                wrong = port_number(value) if isinstance(value, int) else ""
                wrong = port_name(value) if isinstance(value, str) else wrong
                if wrong:
                    yield Problem("port", (*steps, "ports", number, "port"), wrong)


_RULES: dict[str, Callable[[Object], Iterator[Problem]]] = {
    "Deployment": _deployment,
    "DaemonSet": _daemon_set,
    "StatefulSet": _stateful_set,
    "CronJob": _cron_job,
    "Service": _service,
    "Ingress": _ingress,
    "NetworkPolicy": _network_policy,
    "ConfigMap": validate_data.data,
    "Secret": validate_data.data,
    "PersistentVolumeClaim": validate_data.claim,
    "HorizontalPodAutoscaler": validate_data.autoscaler,
    "PodDisruptionBudget": validate_data.budget,
}
