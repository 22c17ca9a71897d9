"""What becomes, on Kubernetes, of service keys that the typed model has no field for.

Most are simple: one field of the container or the pod. What has none stands in `no_counterpart` with
the reason; a key that neither table has is refused, so nothing is lost in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose import hosts, units
from provisioners.compose.entry_pairs import leaves_of, pairs_of, text_of, texts_of
from provisioners.compose.naming import legal_domain
from provisioners.compose.no_counterpart import DROPPED, REFUSED
from provisioners.compose.nodes import Table
from provisioners.compose.records import dataclass
from provisioners.compose.scalars import as_bool
from provisioners.compose.validate_names import MAX_ID, id_number, sysctl_name
from provisioners.compose.volumes import path_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import Service
    from provisioners.compose.nodes import Node

_SHM = "/dev/shm"  # noqa: S108  the path that the key is about
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
NO_NAMES = "names exist only inside the image"
_SHARING = ("service:", "container:")
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
        if key == "x-gonogo" and isinstance(node, Table):
            for inner, value in node.entries.items():
                if inner != "autoscale":  # that one is accounted for where it is read
                    ledger.dropped(value, "x-gonogo knows autoscale alone")
        elif key.startswith("x-"):
            ledger.dropped(node, "an extension: nothing reads it")
        elif key in DROPPED:
            ledger.dropped(node, DROPPED[key])
        elif key in REFUSED:
            ledger.refused(node, REFUSED[key])
        elif key in _WRITERS:
            _WRITERS[key](node, parts, ledger)
        else:
            ledger.refused(
                node, f"there is no rule for `{key}`; take it out, or adapt the manifest by a patch"
            )
    _settle(service, parts, ledger)


def _settle(service: Service, parts: PodParts, ledger: Ledger) -> None:
    """Take out what Kubernetes refuses beside another key."""
    if parts.security.get("privileged") is True and "allowPrivilegeEscalation" in parts.security:
        del parts.security["allowPrivilegeEscalation"]
        node = service.others["security_opt"]
        ledger.approximated(node, "Kubernetes does not keep a privileged container from new privileges")
    if parts.pod.get("hostPID") is True and "shareProcessNamespace" in parts.pod:
        del parts.pod["shareProcessNamespace"]
        node = service.others["init"]
        ledger.approximated(node, "the node's own first process reaps: the pod has no other with `pid: host`")
    kept = parts.pod_security.get("sysctls")
    if parts.pod.get("hostIPC") is True and isinstance(kept, list):
        own = [one for one in kept if not str(one["name"]).replace("/", ".").startswith(_IPC_SYSCTLS)]
        if len(own) < len(kept):
            parts.pod_security["sysctls"] = own
            ledger.refused(
                service.others["sysctls"], "with `ipc: host` those of IPC are the node's: set them there"
            )


def _flag(field: str, where: str) -> Callable[[Node, PodParts, Ledger], None]:
    def write(node: Node, parts: PodParts, ledger: Ledger) -> None:
        value = as_bool(text_of(node))
        if value is None:
            ledger.refused(node, "it is neither true nor false")
            return
        getattr(parts, where)[field] = value
        ledger.converted(node, f"{where.replace('_', ' ')}.{field}")

    return write


def _capabilities(field: str) -> Callable[[Node, PodParts, Ledger], None]:
    def write(node: Node, parts: PodParts, ledger: Ledger) -> None:
        held = dict(_dict(parts.security.get("capabilities")))
        held[field] = [name.upper().removeprefix("CAP_") for name in texts_of(node)]
        parts.security["capabilities"] = held
        ledger.converted(node, f"securityContext.capabilities.{field}")

    return write


def _tmpfs(node: Node, parts: PodParts, ledger: Ledger) -> None:
    for index, (leaf, text) in enumerate(leaves_of(node)):
        path, _, options = text.partition(":")
        if wrong := path_problem(path, parts.mounts):
            ledger.refused(leaf, wrong)
            continue
        size = next((word.partition("=")[2] for word in options.split(",") if word.startswith("size=")), "")
        _memory(parts, f"tmpfs-{index}", path, size)
        ledger.converted(leaf, "emptyDir of medium Memory")


def _shm(node: Node, parts: PodParts, ledger: Ledger) -> None:
    if path_problem(_SHM, parts.mounts):
        ledger.dropped(node, "what the file mounts at /dev/shm counts, with its own size")
        return
    _memory(parts, "shm", _SHM, text_of(node))
    ledger.converted(node, "emptyDir of medium Memory at /dev/shm")


def _memory(parts: PodParts, name: str, path: str, size: str) -> None:
    body: dict[str, object] = {"medium": "Memory"}
    if size:
        body["sizeLimit"] = units.memory_quantity(units.parse_bytes(size))
    while any(one["name"] == name for one in (*parts.volumes, *parts.mounts)):
        name += "-own"  # the file has a volume of that name
    parts.volumes.append({"name": name, "emptyDir": body})
    parts.mounts.append({"name": name, "mountPath": path})


def _pull_policy(node: Node, parts: PodParts, ledger: Ledger) -> None:
    policies = {
        "always": "Always",
        "never": "Never",
        "missing": "IfNotPresent",
        "if_not_present": "IfNotPresent",
    }
    policy = policies.get(text_of(node))
    if policy is None:
        ledger.approximated(node, "pulled when it is not on the node", "imagePullPolicy")
        return
    parts.container["imagePullPolicy"] = policy
    ledger.converted(node, "imagePullPolicy")


def _sysctls(node: Node, parts: PodParts, ledger: Ledger) -> None:
    found: dict[str, str] = {}
    for leaf, name, value in pairs_of(node):
        if wrong := sysctl_name(name):
            ledger.refused(leaf, f"{wrong}: correct its name")
            continue
        found[name] = value
        detail = "ones that the kubelet calls unsafe need --allowed-unsafe-sysctls"
        ledger.approximated(leaf, detail, "securityContext.sysctls")
    if found:
        parts.pod_security["sysctls"] = [{"name": name, "value": value} for name, value in found.items()]


def _groups(node: Node, parts: PodParts, ledger: Ledger) -> None:
    ids = [id_number(name) for name in texts_of(node)]
    if None in ids:
        ledger.refused(node, f"groups have to be numbers up to {MAX_ID}: {NO_NAMES}")
        return
    parts.pod_security["supplementalGroups"] = ids
    ledger.converted(node, "securityContext.supplementalGroups")


def _network_mode(node: Node, _parts: PodParts, ledger: Ledger) -> None:
    text = text_of(node)
    if text.startswith(_SHARING):
        ledger.refused(node, "what leaves by another container's network has to be in one pod with it")
    elif text == "none":
        ledger.approximated(node, "a pod always has a network; a policy can close it")
    else:
        ledger.dropped(node, "Swarm ignores it; pods share one network")


def _host(field: str) -> Callable[[Node, PodParts, Ledger], None]:
    def write(node: Node, parts: PodParts, ledger: Ledger) -> None:
        if text_of(node) == "host":
            parts.pod[field] = True
            ledger.converted(node, field)
        elif text_of(node).startswith(_SHARING):
            ledger.refused(node, "what shares another container's namespace has to be in one pod with it")
        else:
            ledger.dropped(node, "the default of pods: namespaces of their own")

    return write


def _runtime(node: Node, parts: PodParts, ledger: Ledger) -> None:
    text = text_of(node)
    name = legal_domain(text)
    if not name:
        ledger.refused(node, "a RuntimeClass is named by small letters, digits, - and .")
        return
    parts.pod["runtimeClassName"] = name
    detail = (
        "a RuntimeClass of that name has to exist"
        if name == text
        else f"a RuntimeClass {name} has to exist, with the handler of {text}"
    )
    ledger.approximated(node, detail, "runtimeClassName")


def _init(node: Node, parts: PodParts, ledger: Ledger) -> None:
    if as_bool(text_of(node)) is not True:
        ledger.dropped(node, "the default of pods")
        return
    parts.pod["shareProcessNamespace"] = True
    ledger.approximated(
        node, "the pod's pause process is its first one, and reaps what others leave", "shareProcessNamespace"
    )


def _stop_signal(node: Node, _parts: PodParts, ledger: Ledger) -> None:
    if text_of(node).upper() in _SIGTERM:
        ledger.converted(node, "the default signal")
    else:
        ledger.approximated(node, "Kubernetes sends the STOPSIGNAL of the image; set it there")


def _ulimits(node: Node, _parts: PodParts, ledger: Ledger) -> None:
    ledger.dropped(node, "pods have the container runtime's limits, which are set on the nodes")


def _security_opt(node: Node, parts: PodParts, ledger: Ledger) -> None:
    for text in texts_of(node):
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
            text = text_of(node)
            if field == "cpu":
                quantity = units.cpu_quantity(units.parse_cpus(text))
            else:
                quantity = units.memory_quantity(units.parse_bytes(text))
        except units.UnitError as error:
            ledger.refused(node, str(error))
            return
        resources = dict(_dict(parts.container.get("resources")))
        held = dict(_dict(resources.get(kind)))
        target = f"resources.{kind}.{field}"
        if held.setdefault(field, quantity) != quantity:  # Swarm reads deploy.resources alone
            ledger.approximated(node, f"{held[field]} is taken: `deploy` or the fit says so", target)
            return
        resources[kind] = held
        parts.container["resources"] = resources
        ledger.converted(node, target)

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
    "dns": hosts.name_servers,
    "dns_search": hosts.search_domains,
    "dns_opt": hosts.resolver_options,
    "extra_hosts": hosts.extra_hosts,
    "sysctls": _sysctls,
    "group_add": _groups,
    "network_mode": _network_mode,
    "pid": _host("hostPID"),
    "ipc": _host("hostIPC"),
    "userns_mode": _host("hostUsers"),
    "init": _init,
    "stop_signal": _stop_signal,
    "runtime": _runtime,
    "ulimits": _ulimits,
    "security_opt": _security_opt,
    "cpus": _amount("limits", "cpu"),
    "mem_limit": _amount("limits", "memory"),
    "mem_reservation": _amount("requests", "memory"),
}
