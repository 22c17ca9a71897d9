"""The ladder from a GPU's driver to its series: each rung needs those below; the first broken one is named.

    driver  toolkit  restart order  RuntimeClass  device plugin  allocatable  CUDA pod  DCGM labels

Pure. What stands above a broken rung is not judged: it cannot be well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.nvidia_facts import FB_USED, RESOURCE, RUNTIME_CLASS, UTIL

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioners.nvidia_facts import HostFacts, NodeFacts

OK, BROKEN, NOT_TRIED, NOT_REACHED, SIMULATED = "ok", "broken", "not tried", "not reached", "simulated"
_MEMORY_SHARE, _MEMORY_MIB = 0.1, 512  # by which two readings at two moments may differ
_NOT_EXECUTABLE = (126, 127)
_RUNC = "runc"


@dataclass(frozen=True, slots=True)
class Rung:
    """One link: whether it holds, what was seen, and what to do where it does not."""

    name: str
    state: str
    detail: str
    fix: str = ""


def judge(host: HostFacts, node: NodeFacts, promised: int = 0) -> tuple[Rung, ...]:
    """Return all rungs, the lowest first; `promised` is how many GPUs the inventory gives the host."""
    rungs: list[Rung] = []
    broken = ""
    for name, look in _RUNGS.items():
        if broken:
            rungs.append(Rung(name, NOT_REACHED, f"{broken} comes first"))
            continue
        rung = look(host, node, promised)
        rungs.append(rung)
        broken = name if rung.state == BROKEN else ""
    return tuple(rungs)


def first_broken(rungs: tuple[Rung, ...]) -> Rung | None:
    """Return the lowest rung that does not hold."""
    return next((rung for rung in rungs if rung.state == BROKEN), None)


def _driver(host: HostFacts, node: NodeFacts, promised: int) -> Rung:  # noqa: PLR0911  one per cause
    name = "driver"
    if node.simulated:
        return Rung(name, SIMULATED, "a stand-in offers GPUs here: there is no driver to look at")
    if host.gpus:
        if len(host.gpus) < promised:
            return Rung(
                name,
                BROKEN,
                f"the driver sees {len(host.gpus)} GPUs, the inventory says {promised}",
                "dmesg | grep -iE 'xid|fallen off'; reseat or reset the GPU that is missing, or mend `gpus`",
            )
        return Rung(name, OK, f"{host.driver}: " + ", ".join(f"{one.index} {one.name}" for one in host.gpus))
    if "version mismatch" in host.smi.lower():
        return Rung(
            name, BROKEN, f"library and kernel module differ: {host.smi}",
            "reboot the host: the driver was upgraded under a running one",
        )  # fmt: skip
    if host.smi_installed:
        return Rung(
            name, BROKEN, f"nvidia-smi fails: {host.smi or 'it names no GPU'}",
            "modprobe nvidia; dkms status; if Secure Boot is on, sign the module",
        )  # fmt: skip
    if host.card is False:
        return Rung(
            name, BROKEN, "no PCI device of NVIDIA's", "check the slot or the host's type, or set `gpus: 0`"
        )
    return Rung(
        name, BROKEN, "nvidia-smi is not installed", "install the driver: apt-get install -y nvidia-driver"
    )


def _toolkit(host: HostFacts, node: NodeFacts, _: int) -> Rung:
    if node.simulated:
        return Rung("toolkit", SIMULATED, "not needed by a stand-in")
    if not host.toolkit:
        return Rung(
            "toolkit", BROKEN, "nvidia-container-runtime is not installed",
            "apt-get install -y nvidia-container-toolkit (gonogo provision k3s does it)",
        )  # fmt: skip
    return Rung("toolkit", OK, f"nvidia-container-runtime {host.toolkit}")


def _order(host: HostFacts, node: NodeFacts, _: int) -> Rung:
    """K3s looks for NVIDIA's runtime once, when it starts."""
    name = "restart order"
    if node.simulated:
        return Rung(name, SIMULATED, "containerd needs no runtime of NVIDIA's for a stand-in")
    if not host.unit:
        return Rung(
            name, BROKEN, "neither k3s, k3s-agent nor containerd runs", "systemctl status k3s k3s-agent"
        )
    if host.configured:
        return Rung(name, OK, f"containerd of {host.unit} knows NVIDIA's runtime")
    early = host.toolkit_at_s and host.started_s < host.toolkit_at_s
    why = f"{host.unit} was started before the toolkit was installed" if early else "it names no such runtime"
    fix = f"systemctl restart {host.unit}"
    if host.unit == "containerd":
        fix = "nvidia-ctk runtime configure --runtime=containerd && systemctl restart containerd"
    return Rung(name, BROKEN, f"containerd's configuration does not name NVIDIA's runtime: {why}", fix)


def _runtime_class(_: HostFacts, node: NodeFacts, __: int) -> Rung:
    name = "RuntimeClass"
    if not node.there:
        return Rung(name, BROKEN, "the host is no node of the cluster", "journalctl -u k3s-agent on the host")
    if not node.handler:
        return Rung(
            name, BROKEN, f"there is no RuntimeClass {RUNTIME_CLASS}",
            "gonogo provision k3s makes it (handler: nvidia)",
        )  # fmt: skip
    wanted = {RUNTIME_CLASS, _RUNC} if node.simulated else {RUNTIME_CLASS}
    if node.handler not in wanted:
        return Rung(
            name, BROKEN, f"RuntimeClass {RUNTIME_CLASS} has the handler {node.handler}",
            f"delete it and make it with the handler {RUNTIME_CLASS}: a handler cannot be changed",
        )  # fmt: skip
    return Rung(name, OK, f"{RUNTIME_CLASS} -> {node.handler}")


def _plugin(_: HostFacts, node: NodeFacts, __: int) -> Rung:
    name = "device plugin"
    if not node.plugins:
        return Rung(
            name, BROKEN, "no pod of a device plugin is on the node",
            "gonogo provision k3s; does the node have the label nvidia.com/gpu.present=true?",
        )  # fmt: skip
    ill = [one for one in node.plugins if not one.ready]
    if ill:
        return Rung(
            name, BROKEN, f"{ill[0].name}: {ill[0].why}",
            f"kubectl -n {ill[0].namespace} logs {ill[0].name}; it needs runtimeClassName {RUNTIME_CLASS}",
        )  # fmt: skip
    return Rung(name, OK, node.plugins[0].name)


def _allocatable(host: HostFacts, node: NodeFacts, promised: int) -> Rung:
    name = "allocatable"
    logs = f"kubectl -n {node.plugins[0].namespace} logs {node.plugins[0].name}"
    if not node.allocatable.isdecimal():
        return Rung(name, BROKEN, f"{RESOURCE} is {node.allocatable}, which is no whole number", logs)
    wanted = (promised if node.simulated else len(host.gpus)) * node.replicas
    offered = int(node.allocatable)
    if offered < max(wanted, 1):
        return Rung(
            name, BROKEN, f"{offered} of {max(wanted, 1)} {RESOURCE} (labels are no GPUs)",
            f"{logs}; a GPU that reported an Xid stays away until the plugin restarts",
        )  # fmt: skip
    return Rung(
        name,
        OK,
        f"{offered} {RESOURCE}" + (f" of {offered // node.replicas} GPUs" if node.replicas > 1 else ""),
    )


def _cuda(host: HostFacts, node: NodeFacts, _: int) -> Rung:
    name = "CUDA pod"
    if node.cuda is None:
        return Rung(
            name, NOT_TRIED, "no pod on the node holds a GPU, and doctor makes none",
            "gonogo run --profile nightly -k gpu puts one there",
        )  # fmt: skip
    if node.simulated:
        return Rung(name, SIMULATED, f"{node.cuda_pod} holds a simulated GPU: it has no CUDA")
    if node.cuda.returncode is None or node.cuda.returncode in _NOT_EXECUTABLE:
        detail = f"{node.cuda_pod} has no nvidia-smi: {node.cuda.stderr.strip()[-200:]}"
        return Rung(
            name, BROKEN, detail,
            f"the pod needs runtimeClassName: {RUNTIME_CLASS} and NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )  # fmt: skip
    seen = {line.strip() for line in node.cuda.stdout.splitlines() if line.startswith(("GPU-", "MIG-"))}
    if not node.cuda.ok or not seen:
        said = (node.cuda.stdout.strip() or node.cuda.stderr.strip())[-200:]
        return Rung(
            name, BROKEN, f"{node.cuda_pod} lost its GPU: {said or 'nothing is seen'}",
            "delete the pod; if it comes again: containers lose devices on `systemctl daemon-reload`, "
            "use the toolkit's CDI",
        )  # fmt: skip
    if strangers := {one for one in seen if one.startswith("GPU-")} - {one.uuid for one in host.gpus}:
        return Rung(name, BROKEN, f"{node.cuda_pod} sees {min(strangers)}, which the host does not have",
                    "the inventory's host is not this node: compare names and addresses")  # fmt: skip
    return Rung(name, OK, f"{node.cuda_pod} sees {len(seen)}")


def _dcgm(host: HostFacts, node: NodeFacts, _: int) -> Rung:  # noqa: PLR0911  one per cause
    name = "DCGM labels"
    if not node.exporters:
        return Rung(name, BROKEN, "no DCGM exporter is on the node",
                    "install dcgm-exporter as a DaemonSet and a ServiceMonitor")  # fmt: skip
    exporter = node.exporters[0]
    logs = f"kubectl -n {exporter.namespace} logs {exporter.name}"
    if not exporter.ready or node.series_error:
        return Rung(name, BROKEN, f"{exporter.name}: {exporter.why or node.series_error}", logs)
    if not any(one.metric == UTIL for one in node.series):
        return Rung(name, BROKEN, f"the exporter has no {UTIL}",
                    f"{logs}; its counters file has to name it")  # fmt: skip
    known = {one.labels.get("UUID", "") for one in node.series}
    if "" in known:
        return Rung(name, BROKEN, "series have no label UUID", "upgrade the exporter: UUID tells GPUs apart")
    if lacking := [one.uuid for one in host.gpus if one.uuid not in known]:
        return Rung(name, BROKEN, f"no series of {', '.join(lacking)}, which nvidia-smi sees", logs)
    if node.holders and not any(one.labels.get("pod") for one in node.series):
        return Rung(name, BROKEN, "a pod holds a GPU, and no series names a pod",
                    "set DCGM_EXPORTER_KUBERNETES=true and mount /var/lib/kubelet/pod-resources")  # fmt: skip
    if wrong := _against_driver(host, node):
        return Rung(name, BROKEN, wrong, f"{logs}; compare with nvidia-smi on the host")
    checked = " and agree with the driver" if host.gpus else ""
    return Rung(name, OK, f"{len(known)} GPUs, {len(node.series)} series{checked}")


def _against_driver(host: HostFacts, node: NodeFacts) -> str:
    """Return where the exporter's numbers are not NVML's."""
    said = {(one.metric, one.labels.get("UUID")): one.value for one in node.series}
    for gpu in host.gpus:
        used = said.get((FB_USED, gpu.uuid))
        if used is not None and gpu.used_mib is not None:
            allowed = max(_MEMORY_MIB, _MEMORY_SHARE * (gpu.memory_mib or 0))
            if abs(used - gpu.used_mib) > allowed:
                return f"GPU {gpu.index}: {FB_USED} is {used:g} MiB, the driver says {gpu.used_mib} MiB"
        busy = said.get((UTIL, gpu.uuid))
        if busy is not None and (busy > 100 or (0 < busy <= 1 and (gpu.busy_percent or 0) > 10)):  # noqa: PLR2004
            return (
                f"GPU {gpu.index}: {UTIL} is {busy:g}, the driver says {gpu.busy_percent:g} %: another unit"
            )
    return ""


_RUNGS: dict[str, Callable[[HostFacts, NodeFacts, int], Rung]] = {
    "driver": _driver,
    "toolkit": _toolkit,
    "restart order": _order,
    "RuntimeClass": _runtime_class,
    "device plugin": _plugin,
    "allocatable": _allocatable,
    "CUDA pod": _cuda,
    "DCGM labels": _dcgm,
}
