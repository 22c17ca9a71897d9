"""What becomes, on Kubernetes, of service keys that the typed model has no field for.

Most are simple: one field of the container or the pod, or nothing with a reason. The table is
the documentation; a key that it does not have is refused, so nothing is lost in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.nodes import Leaf, Listing, Node, Table
from provisioners.compose.scalars import as_bool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import Service

_DROPPED = {
    "container_name": "Swarm ignores it too; pods have names of their own",
    "links": "every service is reached by its name",
    "external_links": "other stacks are reached by their full DNS name",
    "logging": "the kubelet keeps and rotates container logs",
    "log_driver": "the kubelet keeps and rotates container logs",
    "log_opt": "the kubelet keeps and rotates container logs",
    "restart": "Swarm ignores it for services; pods of a workload are always started again",
    "build": "images are built before they are deployed; Swarm ignores it too",
    "develop": "it is for work on one machine",
    "attach": "it is for work on one machine",
    "profiles": "one of its profiles is active",
    "mac_address": "pods get theirs from the cluster network",
    "network_mode": "Swarm ignores it; pods share one network",
    "init": "the pause process of the pod reaps what is left over when the main process does not",
    "blkio_config": "there is no such limit; the storage class decides",
    "cpu_shares": "requests decide the share",
    "cpuset": "the kubelet's CPU manager decides",
    "memswap_limit": "nodes of Kubernetes have no swap by default",
    "mem_swappiness": "nodes of Kubernetes have no swap by default",
    "oom_kill_disable": "memory limits are always kept",
    "pids_limit": "the kubelet bounds processes for all pods (podPidsLimit)",
    "scale": "deploy.replicas says how many",
    "oom_score_adj": "the kubelet sets it from requests and limits",
    "platform": "the image decides; give placement constraints on the architecture to choose nodes",
    "pull_refresh_after": "it is for work on one machine",
    "domainname": "the cluster's DNS decides",
    "isolation": "it is for Windows",
    "annotations": "they are for the container runtime, which here gets its own",
}
_REFUSED = {
    "devices": "ask for a device plugin's resource under deploy.resources.reservations.devices",
    "device_cgroup_rules": "ask for a device plugin's resource instead",
    "cgroup_parent": "the kubelet places pods in cgroups",
    "cgroup": "the kubelet places pods in cgroups",
    "volumes_from": "name the volume in both services",
    "gpus": "ask for them under deploy.resources.reservations.devices, by count",
    "label_file": "write the labels into the service",
    "post_start": "write it as lifecycle.postStart by a patch; it runs beside the main process there",
    "pre_stop": "write it as lifecycle.preStop by a patch",
    "cpu_quota": "write it as deploy.resources.limits.cpus",
    "cpu_period": "write it as deploy.resources.limits.cpus",
    "cpu_count": "write it as deploy.resources.limits.cpus",
    "cpu_percent": "write it as deploy.resources.limits.cpus",
    "cpu_rt_period": "realtime scheduling is not offered",
    "cpu_rt_runtime": "realtime scheduling is not offered",
    "provider": "deploy what it provides on its own and name it by an ExternalName service",
    "models": "deploy the model server as a service",
    "credential_spec": "it is for Windows accounts",
    "storage_opt": "give the service a volume with a size",
    "uts": "sharing the node's host name is not offered",
    "net": "this is a version 1 key; use networks",
    "volume_driver": "this is a version 1 key; name the driver under volumes",
    "use_api_socket": "there is no Docker API on the nodes; use a service account with a Role",
}
_SHM = "/dev/shm"  # noqa: S108  the path that the key is about
_SIGTERM = frozenset(("SIGTERM", "TERM", "15"))


@dataclass(frozen=True, slots=True)
class PodParts:
    """The parts of a pod that single keys write into."""

    pod: dict[str, object]
    container: dict[str, object]
    pod_security: dict[str, object]
    security: dict[str, object]
    volumes: list[dict[str, object]]
    mounts: list[dict[str, object]]


def apply_rest(service: Service, parts: PodParts, ledger: Ledger) -> None:
    """Write every remaining key of a service into its pod, or say why not."""
    for key, node in service.others.items():
        if key.startswith("x-"):
            ledger.dropped(node, "an extension: nothing reads it")
        elif key in _DROPPED:
            ledger.dropped(node, _DROPPED[key])
        elif key in _REFUSED:
            ledger.refused(node, _REFUSED[key])
        elif key in _WRITERS:
            _WRITERS[key](node, parts, ledger)
        else:
            ledger.refused(
                node, f"there is no rule for `{key}`; take it out, or adapt the manifest by a patch"
            )


def _text(node: Node) -> str:
    return node.text if isinstance(node, Leaf) else ""


def _texts(node: Node) -> list[str]:
    if isinstance(node, Listing):
        return [_text(item) for item in node.items]
    return [_text(node)] if isinstance(node, Leaf) and not node.is_null else []


def _flag(field: str, where: str) -> Callable[[Node, PodParts, Ledger], None]:
    def write(node: Node, parts: PodParts, ledger: Ledger) -> None:
        value = as_bool(_text(node))
        if value is None:
            ledger.refused(node, "it is neither true nor false")
            return
        getattr(parts, where)[field] = value
        ledger.converted(node, f"{where.replace('_', ' ')}.{field}")

    return write


def _capabilities(field: str) -> Callable[[Node, PodParts, Ledger], None]:
    def write(node: Node, parts: PodParts, ledger: Ledger) -> None:
        held = dict(_dict(parts.security.get("capabilities")))
        held[field] = [name.upper().removeprefix("CAP_") for name in _texts(node)]
        parts.security["capabilities"] = held
        ledger.converted(node, f"securityContext.capabilities.{field}")

    return write


def _tmpfs(node: Node, parts: PodParts, ledger: Ledger) -> None:
    for index, text in enumerate(_texts(node)):
        path, _, options = text.partition(":")
        size = next((word.partition("=")[2] for word in options.split(",") if word.startswith("size=")), "")
        _memory(parts, f"tmpfs-{index}", path, size)
    ledger.converted(node, "emptyDir of medium Memory")


def _shm(node: Node, parts: PodParts, ledger: Ledger) -> None:
    _memory(parts, "shm", _SHM, _text(node))
    ledger.converted(node, "emptyDir of medium Memory at /dev/shm")


def _memory(parts: PodParts, name: str, path: str, size: str) -> None:
    body: dict[str, object] = {"medium": "Memory"}
    if size:
        body["sizeLimit"] = units.memory_quantity(units.parse_bytes(size))
    parts.volumes.append({"name": name, "emptyDir": body})
    parts.mounts.append({"name": name, "mountPath": path})


def _pull_policy(node: Node, parts: PodParts, ledger: Ledger) -> None:
    policies = {
        "always": "Always",
        "never": "Never",
        "missing": "IfNotPresent",
        "if_not_present": "IfNotPresent",
    }
    policy = policies.get(_text(node))
    if policy is None:
        ledger.approximated(node, "pulled when it is not on the node", "imagePullPolicy")
        return
    parts.container["imagePullPolicy"] = policy
    ledger.converted(node, "imagePullPolicy")


def _dns(field: str) -> Callable[[Node, PodParts, Ledger], None]:
    def write(node: Node, parts: PodParts, ledger: Ledger) -> None:
        config = dict(_dict(parts.pod.get("dnsConfig")))
        values: list[object] = list(_texts(node))
        if field == "options":
            values = [_option(str(value)) for value in values]
        config[field] = values
        parts.pod["dnsConfig"] = config
        ledger.approximated(node, "added to what the cluster's DNS offers", f"dnsConfig.{field}")

    return write


def _option(text: str) -> dict[str, str]:
    name, given, value = text.partition(":")
    return {"name": name, "value": value} if given else {"name": name}


def _extra_hosts(node: Node, parts: PodParts, ledger: Ledger) -> None:
    pairs = []
    if isinstance(node, Table):
        pairs = [(name, _text(value)) for name, value in node.entries.items()]
    else:
        for text in _texts(node):
            separator = "=" if "=" in text else ":"
            name, _, address = text.partition(separator)
            pairs.append((name, address))
    if any(address == "host-gateway" for _, address in pairs):
        ledger.refused(
            node, "host-gateway has no counterpart: name the address, or use the downward API's host IP"
        )
        return
    parts.pod["hostAliases"] = [{"ip": address.strip("[]"), "hostnames": [name]} for name, address in pairs]
    ledger.converted(node, "hostAliases")


def _sysctls(node: Node, parts: PodParts, ledger: Ledger) -> None:
    pairs = []
    if isinstance(node, Table):
        pairs = [(name, _text(value)) for name, value in node.entries.items()]
    else:
        pairs = [(name, value) for name, _, value in (text.partition("=") for text in _texts(node))]
    parts.pod_security["sysctls"] = [{"name": name, "value": value} for name, value in pairs]
    ledger.approximated(
        node, "ones that the kubelet calls unsafe need --allowed-unsafe-sysctls", "securityContext.sysctls"
    )


def _groups(node: Node, parts: PodParts, ledger: Ledger) -> None:
    names = _texts(node)
    if not all(name.isdigit() for name in names):
        ledger.refused(node, "groups have to be numbers: names exist only inside the image")
        return
    parts.pod_security["supplementalGroups"] = [int(name) for name in names]
    ledger.converted(node, "securityContext.supplementalGroups")


def _host(field: str) -> Callable[[Node, PodParts, Ledger], None]:
    def write(node: Node, parts: PodParts, ledger: Ledger) -> None:
        if _text(node) == "host":
            parts.pod[field] = True
            ledger.converted(node, field)
        else:
            ledger.dropped(node, "the default of pods: namespaces of their own")

    return write


def _runtime(node: Node, parts: PodParts, ledger: Ledger) -> None:
    parts.pod["runtimeClassName"] = _text(node)
    ledger.approximated(node, "a RuntimeClass of that name has to exist", "runtimeClassName")


def _stop_signal(node: Node, _parts: PodParts, ledger: Ledger) -> None:
    if _text(node).upper() in _SIGTERM:
        ledger.converted(node, "the default signal")
    else:
        ledger.approximated(node, "Kubernetes sends the STOPSIGNAL of the image; set it there")


def _ulimits(node: Node, _parts: PodParts, ledger: Ledger) -> None:
    ledger.dropped(node, "pods have the container runtime's limits, which are set on the nodes")


def _security_opt(node: Node, parts: PodParts, ledger: Ledger) -> None:
    for text in _texts(node):
        if text.replace("=", ":") in {"no-new-privileges", "no-new-privileges:true"}:
            parts.security["allowPrivilegeEscalation"] = False
        elif text.replace("=", ":") == "seccomp:unconfined":
            parts.pod_security["seccompProfile"] = {"type": "Unconfined"}
        else:
            ledger.refused(
                node, f"{text.partition(':')[0].partition('=')[0]} has to be set as a profile on the nodes"
            )
            return
    ledger.converted(node, "securityContext")


def _amount(kind: str, field: str) -> Callable[[Node, PodParts, Ledger], None]:
    def write(node: Node, parts: PodParts, ledger: Ledger) -> None:
        try:
            text = _text(node)
            if field == "cpu":
                quantity = units.cpu_quantity(units.parse_cpus(text))
            else:
                quantity = units.memory_quantity(units.parse_bytes(text))
        except units.UnitError as error:
            ledger.refused(node, str(error))
            return
        resources = dict(_dict(parts.container.get("resources")))
        held = dict(_dict(resources.get(kind)))
        held.setdefault(field, quantity)  # deploy.resources wins: Swarm reads only that
        resources[kind] = held
        parts.container["resources"] = resources
        ledger.converted(node, f"resources.{kind}.{field}")

    return write


def _dict(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


_WRITERS: dict[str, Callable[[Node, PodParts, Ledger], None]] = {
    "read_only": _flag("readOnlyRootFilesystem", "security"),
    "privileged": _flag("privileged", "security"),
    "tty": _flag("tty", "container"),
    "stdin_open": _flag("stdin", "container"),
    "cap_add": _capabilities("add"),
    "cap_drop": _capabilities("drop"),
    "tmpfs": _tmpfs,
    "shm_size": _shm,
    "pull_policy": _pull_policy,
    "dns": _dns("nameservers"),
    "dns_search": _dns("searches"),
    "dns_opt": _dns("options"),
    "extra_hosts": _extra_hosts,
    "sysctls": _sysctls,
    "group_add": _groups,
    "pid": _host("hostPID"),
    "ipc": _host("hostIPC"),
    "userns_mode": _host("hostUsers"),
    "stop_signal": _stop_signal,
    "runtime": _runtime,
    "ulimits": _ulimits,
    "security_opt": _security_opt,
    "cpus": _amount("limits", "cpu"),
    "mem_limit": _amount("limits", "memory"),
    "mem_reservation": _amount("requests", "memory"),
}
