"""What the schemas do not hold of pods: names that have to match, ports, probes, mounts, resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioners.compose.validate_names import (
    MAX_ID,
    Problem,
    Steps,
    address,
    amount,
    at,
    label_name,
    label_value,
    labels_problems,
    port_name,
    port_number,
    qualified,
    rows,
    search_domain,
    subdomain,
    sysctl_name,
    table,
    twice,
    variable_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTAINERS = ("initContainers", "containers")
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_PROJECTED = ("secret", "configMap")
_MAX_SERVERS = 3
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_WITH_VALUES = frozenset(("In", "NotIn"))
_WITHOUT_VALUES = frozenset(("Exists", "DoesNotExist"))


def pod_problems(spec: dict[str, Any], steps: Steps, claims: frozenset[str]) -> Iterator[Problem]:
    """Yield what is wrong with a pod's spec at `steps`; `claims` are volumes that its set brings."""
    volumes = [volume.get("name") for _, volume in rows(spec, "volumes")]
    containers = [
        (container, (*steps, section, index))
        for section in _CONTAINERS
        for index, container in rows(spec, section)
    ]
    if not at(spec, "containers"):
        yield Problem("container", steps, "a pod has one container at least")
    yield from _volumes(spec, steps)
    known = frozenset(name for name in volumes if isinstance(name, str)) | claims
    for container, place in containers:
        yield from _container(container, place, known)
    for name in twice([container.get("name") for container, _ in containers]):
        yield Problem("container", (*steps, "containers"), f"two containers are called {name!r}")
    yield from _network(spec, steps)
    yield from _scheduling(spec, steps)
    yield from _security(table(spec, "securityContext"), (*steps, "securityContext"))


def _security(context: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        value = context.get(key)
        if isinstance(value, int) and not 0 <= value <= MAX_ID:
            yield Problem("security", (*steps, key), f"{value} is no id of a user or group")
    for index, sysctl in rows(context, "sysctls"):
        if wrong := sysctl_name(sysctl.get("name")):
            yield Problem("security", (*steps, "sysctls", index), wrong)
    for name in twice([sysctl.get("name") for _, sysctl in rows(context, "sysctls")]):
        yield Problem("security", (*steps, "sysctls"), f"{name} is set twice")
    groups = context.get("supplementalGroups")
    for index, value in enumerate(groups if isinstance(groups, list) else ()):
        if isinstance(value, int) and not 0 <= value <= MAX_ID:
            yield Problem("security", (*steps, "supplementalGroups", index), f"{value} is no id of a group")


def _volumes(spec: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    names = []
    for index, volume in rows(spec, "volumes"):
        place = (*steps, "volumes", index)
        names.append(volume.get("name"))
        if wrong := label_name(volume.get("name")):
            yield Problem("volume", (*place, "name"), wrong)
        sources = [key for key, value in volume.items() if key != "name" and value is not None]
        if len(sources) > 1:
            yield Problem("volume", place, f"one source is allowed, not {' and '.join(sources)}")
        parts = [table(part, kind) for _, part in rows(volume, "projected", "sources") for kind in _PROJECTED]
        for part in parts:
            if part and (wrong := subdomain(part.get("name", ""))):
                yield Problem("volume", (*place, "projected"), wrong)
        paths = [item.get("path") for part in parts for _, item in rows(part, "items")]
        for path in twice(paths):
            yield Problem("volume", (*place, "projected"), f"two of its files are {path!r}")
    for name in twice(names):
        yield Problem("volume", (*steps, "volumes"), f"two volumes are called {name!r}")


def _container(container: dict[str, Any], steps: Steps, volumes: frozenset[str]) -> Iterator[Problem]:
    if wrong := label_name(container.get("name")):
        yield Problem("container", (*steps, "name"), wrong)
    image = container.get("image")
    if not isinstance(image, str) or not image or image != image.strip():
        yield Problem("container", (*steps, "image") if image else steps, "the container has no image")
    yield from _env(container, steps)
    yield from _ports(container, steps)
    for probe in _PROBES:
        if isinstance(container.get(probe), dict):
            yield from _probe(container, probe, steps)
    yield from _mounts(container, steps, volumes)
    yield from _resources(container, steps)
    security = table(container, "securityContext")
    if security.get("privileged") is True and security.get("allowPrivilegeEscalation") is False:
        place = (*steps, "securityContext", "allowPrivilegeEscalation")
        yield Problem("security", place, "a privileged container cannot be denied escalation")


def _env(container: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    first: dict[object, int] = {}
    for index, entry in rows(container, "env"):
        place = (*steps, "env", index)
        name = entry.get("name")
        if wrong := variable_name(name):
            yield Problem("env", place, wrong)
        if name in first:
            yield Problem("duplicate-env", place, f"{name} is already entry {first[name]} of this list")
        first.setdefault(name, index)
        if entry.get("value") and entry.get("valueFrom"):
            yield Problem("env", place, f"{name} has a value and a valueFrom")
        sources = [key for key, value in table(entry, "valueFrom").items() if value is not None]
        if "valueFrom" in entry and entry["valueFrom"] is not None and len(sources) != 1:
            yield Problem("env", (*place, "valueFrom"), "one source of the value is needed")
        for source in ("configMapKeyRef", "secretKeyRef"):
            reference = table(entry, "valueFrom", source)
            if source in sources and (wrong := subdomain(reference.get("name", ""))):
                yield Problem("env", (*place, "valueFrom", source), wrong)


def _ports(container: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    names: list[object] = []
    pairs: list[object] = []
    for index, port in rows(container, "ports"):
        place = (*steps, "ports", index)
        if "containerPort" in port and (wrong := port_number(port["containerPort"])):
            yield Problem("port", (*place, "containerPort"), wrong)
        if port.get("hostPort") and (wrong := port_number(port["hostPort"])):
            yield Problem("port", (*place, "hostPort"), wrong)
        if name := port.get("name"):
            names.append(name)
            if wrong := port_name(name):
                yield Problem("port", (*place, "name"), wrong)
        pairs.append((port.get("containerPort"), port.get("protocol") or "TCP"))
    for name in twice(names):
        yield Problem("port", (*steps, "ports"), f"two ports are called {name!r}")
    for number, protocol in twice(pairs):
        yield Problem("port", (*steps, "ports"), f"{protocol} port {number} is there twice")


def _probe(container: dict[str, Any], key: str, steps: Steps) -> Iterator[Problem]:
    probe, place = container[key], (*steps, key)
    handlers = [name for name in _HANDLERS if probe.get(name) is not None]
    if len(handlers) != 1:
        yield Problem("probe", place, f"one way to ask is needed, not {len(handlers)}")
    names = {port.get("name") for _, port in rows(container, "ports")}
    for handler in ("httpGet", "tcpSocket"):
        port = at(probe, handler, "port")
        where = (*place, handler, "port")
        if isinstance(port, str) and port not in names:
            yield Problem("probe", where, f"no port of the container is called {port!r}")
        elif isinstance(port, int) and (wrong := port_number(port)):
            yield Problem("probe", where, wrong)
    if at(probe, "exec") is not None and not at(probe, "exec", "command"):
        yield Problem("probe", (*place, "exec"), "there is no command to run")
    success = probe.get("successThreshold")
    if key != "readinessProbe" and isinstance(success, int) and success != 1:
        yield Problem("probe", (*place, "successThreshold"), f"it has to be 1 in a {key}")
    for name, value in probe.items():
        if isinstance(value, int) and value < 0:
            yield Problem("probe", (*place, name), f"{value} is less than 0")


def _mounts(container: dict[str, Any], steps: Steps, volumes: frozenset[str]) -> Iterator[Problem]:
    paths = []
    for index, mount in rows(container, "volumeMounts"):
        place = (*steps, "volumeMounts", index)
        paths.append(mount.get("mountPath"))
        if mount.get("name") not in volumes:
            yield Problem("mount", (*place, "name"), f"no volume of the pod is called {mount.get('name')!r}")
        path = mount.get("mountPath")
        if not path or ":" in str(path):
            yield Problem("mount", place, f"{path!r} is no path to mount at")
        subpath = str(mount.get("subPath") or "")
        if subpath.startswith("/") or ".." in subpath.split("/"):
            yield Problem("mount", (*place, "subPath"), f"{subpath!r} leaves the volume")
    for path in twice(paths):
        yield Problem("mount", (*steps, "volumeMounts"), f"{path!r} is mounted at twice")


def _resources(container: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    limits = table(container, "resources", "limits")
    for section in ("limits", "requests"):
        for name, value in table(container, "resources", section).items():
            place = (*steps, "resources", section, name)
            if wrong := _resource(name):
                yield Problem("resources", place, wrong)
            size = amount(value)
            if size is None:
                continue  # the schema says so
            if size < 0:
                yield Problem("resources", place, f"{value} is less than 0")
            limit = amount(limits.get(name))
            if section == "requests" and limit is not None and size > limit:
                yield Problem("resources", place, f"the request {value} is over the limit {limits[name]}")


def _resource(name: str) -> str:
    """Return what is wrong with the name of a resource, or nothing."""
    if name in _RESOURCES or name.startswith("hugepages-"):
        return ""
    if "/" not in name:
        return f"{name!r} is no resource: {', '.join(_RESOURCES)}, or one such as nvidia.com/gpu"
    return qualified(name)


def _network(spec: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    for key in ("hostname", "subdomain"):
        if spec.get(key) and (wrong := label_name(spec[key])):
            yield Problem("name", (*steps, key), wrong)
    for key in ("serviceAccountName", "runtimeClassName", "priorityClassName"):
        if spec.get(key) and (wrong := subdomain(spec[key])):
            yield Problem("name", (*steps, key), wrong)
    yield from _aliases(spec, steps)
    yield from _resolver(spec, steps)
    if spec.get("hostPID") is True and spec.get("shareProcessNamespace") is True:
        yield Problem("security", (*steps, "shareProcessNamespace"), "it does not go with hostPID")


def _resolver(spec: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    servers = at(spec, "dnsConfig", "nameservers") or []
    place = (*steps, "dnsConfig", "nameservers")
    if len(servers) > _MAX_SERVERS:
        yield Problem("address", place, f"{len(servers)} name servers; {_MAX_SERVERS} are allowed")
    for index, server in enumerate(servers):
        if wrong := address(server):
            yield Problem("address", (*place, index), wrong)
    for index, domain in enumerate(at(spec, "dnsConfig", "searches") or []):
        if wrong := search_domain(domain):
            yield Problem("address", (*steps, "dnsConfig", "searches", index), wrong)


def _aliases(spec: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    for ip in twice([alias.get("ip") for _, alias in rows(spec, "hostAliases")]):
        yield Problem("address", (*steps, "hostAliases"), f"{ip} is there twice: list its names together")
    for index, alias in rows(spec, "hostAliases"):
        if wrong := address(alias.get("ip")):
            yield Problem("address", (*steps, "hostAliases", index, "ip"), wrong)
        for number, name in enumerate(alias.get("hostnames") or ()):
            if wrong := subdomain(name):
                yield Problem("name", (*steps, "hostAliases", index, "hostnames", number), wrong)


def _scheduling(spec: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    yield from labels_problems(spec.get("nodeSelector"), (*steps, "nodeSelector"))
    for index, one in rows(spec, "tolerations"):
        place = (*steps, "tolerations", index)
        if one.get("operator") == "Exists" and one.get("value"):
            yield Problem("toleration", (*place, "value"), "Exists takes no value")
        if not one.get("key") and one.get("operator") != "Exists":
            yield Problem("toleration", place, "without a key the operator has to be Exists")
        if one.get("key") and (wrong := qualified(one["key"])):
            yield Problem("toleration", (*place, "key"), wrong)
        if one.get("tolerationSeconds") is not None and one.get("effect") != "NoExecute":
            yield Problem("toleration", place, "tolerationSeconds go with the effect NoExecute")
    spreads = rows(spec, "topologySpreadConstraints")
    keys = [(one.get("topologyKey"), one.get("whenUnsatisfiable")) for _, one in spreads]
    for key, _ in twice(keys):
        yield Problem("label", (*steps, "topologySpreadConstraints"), f"pods are spread over {key} twice")
    for index, one in spreads:
        if wrong := qualified(one.get("topologyKey")):
            yield Problem("label", (*steps, "topologySpreadConstraints", index, "topologyKey"), wrong)
    yield from _requirements(spec.get("affinity"), (*steps, "affinity"))


def _requirements(value: object, steps: Steps) -> Iterator[Problem]:
    """Find every matchExpressions below a value: operators with and without values."""
    if isinstance(value, dict):
        yield from _expressions(value, steps)
        for key, inner in value.items():
            if key == "matchLabels":
                yield from labels_problems(inner, (*steps, key))
            elif key != "matchExpressions":
                yield from _requirements(inner, (*steps, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _requirements(inner, (*steps, index))


def _expressions(value: dict[str, Any], steps: Steps) -> Iterator[Problem]:
    for index, row in rows(value, "matchExpressions"):
        place = (*steps, "matchExpressions", index)
        operator, values = row.get("operator"), row.get("values")
        if wrong := qualified(row.get("key")):
            yield Problem("label", (*place, "key"), wrong)
        if operator in _WITH_VALUES and not values:
            yield Problem("label", place, f"{operator} needs values")
        if operator in _WITHOUT_VALUES and values:
            yield Problem("label", place, f"{operator} takes no values")
        for number, one in enumerate(values if isinstance(values, list) else ()):
            if wrong := label_value(one):
                yield Problem("label", (*place, "values", number), wrong)
