"""GPUs: a real device plugin that offers simulated `nvidia.com/gpu`, and series in DCGM's form.

A stand-in: it shows that pods are placed, that devices are counted, shared and lost, and how utilisation is
read, not that a GPU computes. How many a host has is its inventory's `gpus`; where no host of the lab has
any, the table below. The protocols are the kubelet's own, so its scheduler cannot tell the difference.

What the series mean here: utilisation = GPU time of ai_memory's calls over time, from its own counter
`mcp_tool_calls_total`, read every 2 s over 15 s. An embedding counts 500 ms of a GPU (a batch on a real
one), any other tool call 50 ms: these two are chosen, the calls are measured. Memory: 512 MiB for a pod that
holds a device, and half of the device's memory more when it is busy all the time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.errors import InputError
from provisioners.kube_apply import apply_object
from provisioners.lab.state import add_facts
from provisioners.parts.base import BinaryImage, Part, apply_manifest, await_rollout
from provisioners.upstream.build import Module, binary
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.base import Node
    from provisioners.kube import Kube, Object
    from provisioners.parts.base import PartContext

RESOURCE = "nvidia.com/gpu"
NAMESPACE = "gpu"
MONITORING = "monitoring"
RUNTIME_CLASS = "nvidia"
PRESENT = f"{RESOURCE}.present"
SIMULATED = "SIMULATED"
SIMULATED_LABEL = "gonogo.dev/simulated-gpu"

# Which host runs what, in the guide; in the lab one host has two and one has none, so that a pod on a wrong
# host is seen. MiB as nvidia-smi tells them.
_BY_ROLE: Mapping[str, tuple[str, int, int]] = {
    "production": ("NVIDIA RTX 6000 Ada Generation", 49_140, 1),
    "ai-core": ("NVIDIA GH200 480GB", 97_871, 2),
    "mcp-hub": ("NVIDIA RTX A6000", 49_140, 0),
    "data-pipeline": ("NVIDIA A100-SXM4-40GB", 40_960, 1),
    "development": ("NVIDIA A10", 23_028, 1),
}
_OTHER = ("NVIDIA A10", 23_028, 1)
_ROLE = "instance-role"
_LOADED_ROLE = "ai-core"  # where the guide runs ai_memory
_RUNC = "runc"
_OFFERED_BOUND_S = 60.0
_LABEL_MOST = 63


@dataclass(frozen=True, slots=True)
class _OwnModule(Module):
    """The Go module of this part: code that only the lab runs, beside the other fixtures."""

    @property
    def folder(self) -> Path:
        return Path(__file__).resolve().parents[2] / "fixtures" / self.name


GPU_MODULE = _OwnModule("gpu", {"gonogo-gpu": "."})


@dataclass(frozen=True, slots=True)
class GpuHost:
    """What one host pretends to have; `replicas` pods share one device."""

    model: str
    memory_mib: int
    count: int
    replicas: int = 1

    @property
    def offered(self) -> int:
        """How many `nvidia.com/gpu` the kubelet counts."""
        return self.count * self.replicas

    @property
    def product(self) -> str:
        """The label's value: NVIDIA's form of the name, marked as simulated, and as shared where it is."""
        name = self.model.removeprefix("Simulated ").replace(" ", "-")
        return f"{SIMULATED}-{name}"[: _LABEL_MOST - 7] + ("-SHARED" if self.replicas > 1 else "")


def images() -> Sequence[BinaryImage]:
    """Return the one image of plugin, exporter and holder."""
    return (BinaryImage("gpu", {"gonogo-gpu": binary(GPU_MODULE, "gonogo-gpu")}),)


def hosts_of(nodes: Sequence[Node]) -> Mapping[str, GpuHost]:
    """Return what each host with GPUs has, by its name: by `gpus` of the inventory, else by its role.

    A host's inventory labels `nvidia.com/gpu.product` and `nvidia.com/gpu.replicas` say which GPU it is and
    how many pods share one.

    Raises:
        InputError: a number of replicas is none.
    """
    named = any(node.gpus for node in nodes)
    found: dict[str, GpuHost] = {}
    for node in nodes:
        model, memory_mib, count = _BY_ROLE.get(node.labels.get(_ROLE, ""), _OTHER)
        model = node.labels.get(f"{RESOURCE}.product", model)
        count = node.gpus if named else count
        if count:
            found[node.name] = GpuHost(f"Simulated {model}", memory_mib, count, _replicas(node))
    return found


def labels_of(host: GpuHost | None) -> Mapping[str, str | None]:
    """Return a node's labels as NVIDIA's feature discovery sets them; None takes one away."""
    names = ("present", "count", "product", "memory", "replicas", "sharing-strategy")
    if host is None:
        return {**{f"{RESOURCE}.{name}": None for name in names}, SIMULATED_LABEL: None}
    values = (
        "true",
        str(host.count),
        host.product,
        str(host.memory_mib),
        str(host.replicas),
        "time-slicing" if host.replicas > 1 else "none",
    )
    return {
        **{f"{RESOURCE}.{name}": value for name, value in zip(names, values, strict=True)},
        SIMULATED_LABEL: "true",
    }


def apply(context: PartContext, say: Callable[[str], None]) -> None:
    """Label the hosts, start plugin and exporter, and wait until each host offers what it should.

    Raises:
        InputError: no host has a GPU.
        NotReady: something was not there within its bound; the message names it.
    """
    hosts = hosts_of(context.nodes)
    if not hosts:
        raise InputError(
            "no host has a GPU to simulate",
            next_step="set `gpus` of a host of the inventory, or leave the part `gpu` out",
        )
    say("simulated: " + ", ".join(f"{name} {host.count} x {host.model}" for name, host in hosts.items()))
    for node in context.nodes:
        labels = dict(labels_of(hosts.get(node.name)))
        context.kube.patch(f"/api/v1/nodes/{node.name}", {"metadata": {"labels": labels}})
    runtime_class = _ensure_runtime_class(context.kube, say)
    values = values_of(context.images["gpu"], context.cluster.namespace, context.nodes, hosts, runtime_class)
    apply_manifest(context, "gpu.yaml", values)
    wait_until(
        "hosts offer their GPUs",
        lambda: _lacking(context.kube, hosts),
        say,
        bound_s=_OFFERED_BOUND_S,
        where=NAMESPACE,
        next_step=f"kubectl -n {NAMESPACE} logs daemonset/nvidia-device-plugin",
    )
    apply_manifest(context, "gpu-exporter.yaml", values)
    await_rollout(context, NAMESPACE, ["daemonsets/nvidia-device-plugin", "deployments/ai-memory-gpu"], say)
    await_rollout(context, MONITORING, ["daemonsets/dcgm-exporter"], say)
    add_facts({"part.gpu.image": context.images["gpu"]})


def values_of(
    image: str,
    workload: str,
    nodes: Sequence[Node],
    hosts: Mapping[str, GpuHost],
    runtime_class: str = RUNTIME_CLASS,
) -> Mapping[str, str]:
    """Return the words of the manifests."""
    text = json.dumps({name: asdict(host) for name, host in sorted(hosts.items())}, sort_keys=True)
    loaded = [node.name for node in nodes if node.labels.get(_ROLE) == _LOADED_ROLE and node.name in hosts]
    return {
        "image": image,
        "hosts": text.replace("'", "''"),
        "hosts_hash": hashlib.sha256(text.encode()).hexdigest()[:12],
        "holder_node": (loaded or sorted(hosts))[0],
        "runtime_class": runtime_class,
        "load_url": f"http://ai-memory.{workload}.svc:9000/metrics",
    }


def runtime_class(handler: str) -> Object:
    """Return the RuntimeClass `nvidia`; real hosts have a handler of that name, the lab only runc."""
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": RUNTIME_CLASS, "labels": {"gonogo.dev/part": "gpu"}},
        "handler": handler,
    }


def _ensure_runtime_class(kube: Kube, say: Callable[[str], None]) -> str:
    """Return the RuntimeClass that pods of the part ask for; one that K3s made is left as it is."""
    found = kube.get(f"/apis/node.k8s.io/v1/runtimeclasses/{RUNTIME_CLASS}")
    if found is None:
        apply_object(kube, runtime_class(_RUNC))
        return RUNTIME_CLASS
    if found.get("handler") == _RUNC:
        return RUNTIME_CLASS
    # A handler cannot be changed, and there is no such runtime on these hosts.
    say(f"RuntimeClass {RUNTIME_CLASS} has the handler {found.get('handler')}: a class of our own is used")
    own = runtime_class(_RUNC)
    own["metadata"]["name"] = f"{RUNTIME_CLASS}-simulated"
    apply_object(kube, own)
    return f"{RUNTIME_CLASS}-simulated"


def _lacking(kube: Kube, hosts: Mapping[str, GpuHost]) -> str:
    problems = []
    for name, host in hosts.items():
        node = kube.get(f"/api/v1/nodes/{name}") or {}
        offered = ((node.get("status") or {}).get("allocatable") or {}).get(RESOURCE, "0")
        if offered != str(host.offered):
            problems.append(f"{name} {offered} of {host.offered}")
    return ", ".join(problems)


def _replicas(node: Node) -> int:
    text = node.labels.get(f"{RESOURCE}.replicas", "1")
    if not text.isdecimal() or not 1 <= int(text) <= 64:  # noqa: PLR2004  the plugin's own bound
        raise InputError(
            f"{RESOURCE}.replicas is {text!r}",
            where=f"host {node.name} of the inventory",
            next_step="say how many pods share a GPU, from 1 to 64",
        )
    return int(text)


PART = Part(
    name="gpu",
    what="simulated GPUs: a real device plugin, feature labels, and an exporter in DCGM's form",
    apply=apply,
    modules=(GPU_MODULE,),
    images=images,
    needs=("monitoring",),
    stand_in="simulated GPUs in place of NVIDIA's driver, device plugin and DCGM exporter",
    facts={
        "part.gpu.simulated": "yes",
        "part.gpu.plugin": f"{NAMESPACE}/app.kubernetes.io/name=nvidia-device-plugin:plugin",
        "part.gpu.exporter": f"{MONITORING}/dcgm-exporter:metrics",
    },
)
