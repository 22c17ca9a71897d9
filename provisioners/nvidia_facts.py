"""What a host and its cluster say of a GPU: read over SSH and from the API server, changing nothing.

The host's own numbers come from nvidia-smi's CSV, which reads them from NVML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioners.base import Node
    from provisioners.kube import Kube, Object
    from provisioners.shell import CommandResult

RESOURCE = "nvidia.com/gpu"
RUNTIME_CLASS = "nvidia"
UTIL, FB_USED = "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED"
_FIELDS = ("index", "uuid", "name", "memory.total", "memory.used", "utilization.gpu", "driver_version")
_RUNTIME = "/usr/bin/nvidia-container-runtime"
_CONFIGS = ("/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "/etc/containerd/config.toml")
_UNITS = ("k3s", "k3s-agent", "containerd")
_NOT_FOUND = 127
_EXPORTER_PORT = "9400"
_SERIES = re.compile(r"^(DCGM_FI_\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as its driver tells it; None where the driver does not (`[N/A]`)."""

    index: int
    uuid: str
    name: str
    memory_mib: int | None
    used_mib: int | None
    busy_percent: float | None


@dataclass(frozen=True, slots=True)
class HostFacts:
    """One host. Times are seconds since 1970, 0 if unknown; `smi` is what nvidia-smi said when it failed."""

    name: str
    card: bool | None = None  # a PCI device of NVIDIA's; None where the kernel does not tell
    smi_installed: bool = False
    smi: str = ""
    driver: str = ""
    gpus: tuple[Gpu, ...] = ()
    toolkit: str = ""
    toolkit_at_s: int = 0
    unit: str = ""
    started_s: int = 0
    configured: bool = False  # containerd's configuration names NVIDIA's runtime


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod of the node; `why` says what keeps it from being ready."""

    namespace: str
    name: str
    ready: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """One sample of the exporter."""

    metric: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the cluster says of the host. `cuda` is what a pod that holds a GPU printed, None if none does."""

    there: bool = True
    handler: str = ""
    plugins: tuple[PodFacts, ...] = ()
    allocatable: str = "0"
    replicas: int = 1
    simulated: bool = False
    cuda_pod: str = ""
    cuda: CommandResult | None = None
    holders: int = 0
    exporters: tuple[PodFacts, ...] = ()
    series: tuple[Series, ...] = ()
    series_error: str = ""


def read_host(node: Node) -> HostFacts:
    """Read one host over SSH.

    Raises:
        ProvisionError: it does not answer.
    """
    run = node.ssh.run
    run(["true"], timeout_s=20).check("check the host's SSH by hand")
    smi = run(["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"])
    driver, gpus = parse_smi(smi.stdout) if smi.ok else ("", ())
    toolkit = run(["nvidia-container-runtime", "--version"])
    written = run(["stat", "-c", "%Y", _RUNTIME]).stdout.strip() if toolkit.ok else ""
    unit, started_s = _unit(node)
    vendors = run(["sh", "-c", "cat /sys/bus/pci/devices/*/vendor"])
    return HostFacts(
        name=node.name,
        card="0x10de" in vendors.stdout.lower() if vendors.ok else None,
        smi_installed=smi.returncode != _NOT_FOUND,
        smi="" if smi.ok else (smi.stdout.strip() or smi.stderr.strip())[-300:],
        driver=driver,
        gpus=gpus,
        toolkit=_version(toolkit.stdout) if toolkit.ok else "",
        toolkit_at_s=int(written) if written.isdigit() else 0,
        unit=unit,
        started_s=started_s,
        configured=any(run(["grep", "-q", "nvidia", path]).ok for path in _CONFIGS),
    )


def parse_smi(text: str) -> tuple[str, tuple[Gpu, ...]]:
    """Return the driver's version and the GPUs of nvidia-smi's CSV, asked for in the order of `_FIELDS`."""
    gpus: list[Gpu] = []
    driver = ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(_FIELDS) or not cells[0].isdigit():
            continue
        numbers = [float(cell) if re.fullmatch(r"[0-9.]+", cell) else None for cell in cells[3:6]]
        total, used = (None if number is None else int(number) for number in numbers[:2])
        gpus.append(Gpu(int(cells[0]), cells[1], cells[2], total, used, numbers[2]))
        driver = cells[6]
    return driver, tuple(gpus)


def read_node(kube: Kube, name: str) -> NodeFacts:
    """Read what the cluster says of a host.

    Raises:
        ProvisionError: the API server does not answer.
    """
    row = kube.get(f"/api/v1/nodes/{name}")
    if row is None:
        return NodeFacts(there=False)
    labels = row["metadata"].get("labels") or {}
    runtime = kube.get(f"/apis/node.k8s.io/v1/runtimeclasses/{RUNTIME_CLASS}") or {}
    pods = [
        pod for pod in kube.list_all("/api/v1/pods", fields=f"spec.nodeName={name}").items
        if pod["spec"].get("nodeName") == name
    ]  # fmt: skip
    exporters = _named(pods, "dcgm-exporter")
    holders = [pod for pod in pods if _asks(pod) and _ready(pod)]
    series, error = _read_series(kube, exporters)
    cuda = _read_cuda(kube, holders[0]) if holders else None
    return NodeFacts(
        handler=str(runtime.get("handler", "")),
        plugins=tuple(map(_pod, _named(pods, "device-plugin"))),
        allocatable=str((row["status"].get("allocatable") or {}).get(RESOURCE, "0")),
        replicas=_whole(labels.get(f"{RESOURCE}.replicas", "1")),
        simulated="SIMULATED" in labels.get(f"{RESOURCE}.product", ""),
        cuda_pod=_title(holders[0]) if holders else "",
        cuda=cuda,
        holders=len(holders),
        exporters=tuple(map(_pod, exporters)),
        series=series,
        series_error=error,
    )


def parse_series(text: str) -> tuple[Series, ...]:
    """Return the DCGM samples of an exposition."""
    found = []
    for line in text.splitlines():
        if match := _SERIES.match(line):
            labels = dict(_LABEL.findall(match[2]))
            found.append(Series(match[1], labels, float(match[3])))
    return tuple(found)


def _read_series(kube: Kube, exporters: Sequence[Object]) -> tuple[tuple[Series, ...], str]:
    if not exporters:
        return (), ""
    meta = exporters[0]["metadata"]
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}:{_EXPORTER_PORT}/proxy/metrics"
    try:
        return parse_series(kube.text(path)), ""
    except (ProvisionError, ValueError) as error:
        return (), str(error).partition("\n")[0]


def _read_cuda(kube: Kube, pod: Object) -> CommandResult:
    meta = pod["metadata"]
    container = next(one for one in pod["spec"]["containers"] if _amount(one))
    argv = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    return kube.exec(meta["namespace"], meta["name"], container["name"], argv, 20.0)


def _unit(node: Node) -> tuple[str, int]:
    """Return the unit whose containerd runs the pods, and when it was started."""
    for unit in _UNITS:
        shown = node.ssh.run(
            ["systemctl", "show", "--timestamp=unix", "-p", "ExecMainStartTimestamp", "--value", unit]
        )
        word = shown.stdout.strip().removeprefix("@")
        if shown.ok and word.isdigit() and int(word):
            return unit, int(word)
    return "", 0


def _named(pods: Sequence[Object], word: str) -> list[Object]:
    return [pod for pod in pods if word in pod["metadata"]["name"] and _of_daemon_set(pod)]


def _of_daemon_set(pod: Object) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(owner.get("kind") == "DaemonSet" for owner in owners)


def _asks(pod: Object) -> bool:
    return any(_amount(container) for container in pod["spec"].get("containers") or [])


def _amount(container: Object) -> int:
    text = ((container.get("resources") or {}).get("limits") or {}).get(RESOURCE, "0")
    return _whole(str(text), 0)


def _pod(pod: Object) -> PodFacts:
    meta, status = pod["metadata"], pod.get("status") or {}
    waiting = [
        state["waiting"].get("reason", "")
        for one in status.get("containerStatuses") or []
        if "waiting" in (state := one.get("state") or {})
    ]
    why = ", ".join(filter(None, waiting)) or status.get("message") or status.get("phase", "unknown")
    return PodFacts(meta["namespace"], meta["name"], _ready(pod), "" if _ready(pod) else why)


def _ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _title(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _version(text: str) -> str:
    found = re.search(r"version ([0-9][\w.~+-]*)", text)
    return found[1] if found else "unknown version"


def _whole(text: str, default: int = 1) -> int:
    return int(text) if text.isdecimal() else default
