"""NVIDIA's parts of a K3s host: the container toolkit, the RuntimeClass, the device plugin.

The order is the whole point. K3s looks for `nvidia-container-runtime` once, when it starts, and writes it
into containerd's configuration: so the toolkit is installed before K3s, and a K3s that is older is restarted.
A driver is never installed here: that needs a reboot, and a person who knows the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.errors import TargetRefused
from provisioners.kube_apply import apply_object
from provisioners.nvidia_facts import RESOURCE, RUNTIME_CLASS, parse_smi
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioners.base import Node
    from provisioners.kube import Kube, Object

RUNTIME = "/usr/bin/nvidia-container-runtime"
PLUGIN_IMAGE = "nvcr.io/nvidia/k8s-device-plugin:v0.17.4"
NAMESPACE = "nvidia-device-plugin"
PRESENT = f"{RESOURCE}.present"
CONTAINERD_CONFIG = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"
_REPOSITORY = "https://nvidia.github.io/libnvidia-container"
_KEYRING = "/usr/share/keyrings/nvidia-container-toolkit-keyring.asc"
_LIST = "/etc/apt/sources.list.d/nvidia-container-toolkit.list"
_SOURCE = f"deb [signed-by={_KEYRING}] {_REPOSITORY}/stable/deb/$(ARCH) /\n"
_APT_BOUND_S = 600.0
_OFFERED_BOUND_S = 300.0  # the plugin's image has to be pulled
_CONFIGURED_BOUND_S = 60.0


def gpu_nodes(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return the hosts that have GPUs by the inventory."""
    return tuple(node for node in nodes if node.gpus)


def require_driver(node: Node) -> None:
    """Let pass a host whose driver sees at least as many GPUs as the inventory says.

    Raises:
        TargetRefused: it does not; names what nvidia-smi said.
    """
    result = node.ssh.run(
        [
            "nvidia-smi",
            "--query-gpu=index,uuid,name,memory.total,memory.used,utilization.gpu,driver_version",
            "--format=csv,noheader,nounits",
        ],
        timeout_s=60,
    )
    gpus = parse_smi(result.stdout)[1] if result.ok else ()
    if len(gpus) < node.gpus:
        raise TargetRefused(
            f"the driver sees {len(gpus)} of {node.gpus} GPUs",
            where=node.name,
            why=(result.stderr.strip() or result.stdout.strip() or "nvidia-smi printed nothing")[-300:],
            next_step="install or mend NVIDIA's driver and reboot, or set the inventory's `gpus`",
        )


def install_toolkit(node: Node, say: Callable[[str], None]) -> None:
    """Install NVIDIA's container toolkit from its own Debian repository, where it is not there yet.

    Raises:
        TargetRefused: the host has no apt.
        CommandError: a command failed.
    """
    from provisioners.k3s_host import put

    run = node.ssh.run
    if run(["test", "-x", RUNTIME]).ok:
        say(f"{node.name}: the toolkit is there")
        return
    if not run(["sh", "-c", "command -v apt-get"]).ok:
        raise TargetRefused(
            "the toolkit is installed by apt, and this host has none",
            where=node.name,
            next_step="install nvidia-container-toolkit by hand, then run this again",
        )
    arch = run(["dpkg", "--print-architecture"]).check().stdout.strip()
    say(f"{node.name}: installing nvidia-container-toolkit")
    run(["apt-get", "install", "-y", "ca-certificates", "curl"], timeout_s=_APT_BOUND_S).check()
    run(["curl", "-fsSL", "--max-time", "60", "-o", _KEYRING, f"{_REPOSITORY}/gpgkey"], timeout_s=90).check(
        "the host must reach nvidia.github.io, or install the toolkit by hand"
    )
    run(["chmod", "0644", _KEYRING]).check()
    put(node, _LIST, _SOURCE.replace("$(ARCH)", arch), mode="0644")
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], timeout_s=_APT_BOUND_S, env=environment).check()
    install = ["apt-get", "install", "-y", "nvidia-container-toolkit"]
    run(install, timeout_s=_APT_BOUND_S, env=environment).check()


def await_runtime(node: Node, unit: str, say: Callable[[str], None]) -> None:
    """Wait until K3s's containerd knows NVIDIA's runtime; restart a K3s that started before the toolkit came.

    Raises:
        NotReady: it does not within its bound after a restart.
    """

    def lacking() -> str:
        known = node.ssh.run(["grep", "-q", "nvidia", CONTAINERD_CONFIG]).ok
        return "" if known else f"{CONTAINERD_CONFIG} does not name nvidia"

    if not lacking():
        return
    say(f"{node.name}: restarting {unit}, which started before the toolkit was there")
    node.ssh.run(["systemctl", "restart", unit], timeout_s=180).check(f"journalctl -u {unit} on the host")
    wait_until(
        f"{unit} on {node.name} knows NVIDIA's runtime",
        lacking,
        say,
        bound_s=_CONFIGURED_BOUND_S,
        where=node.name,
        next_step=f"is {RUNTIME} executable? journalctl -u {unit}",
    )


def apply_plugin(kube: Kube, nodes: Sequence[Node], say: Callable[[str], None]) -> None:
    """Label the GPU hosts, make RuntimeClass and device plugin, and wait until every GPU is offered.

    Raises:
        NotReady: a host did not offer its GPUs within the bound; the message names it.
    """
    for node in nodes:
        kube.patch(f"/api/v1/nodes/{node.name}", {"metadata": {"labels": {PRESENT: "true"}}})
    for body in plugin_objects():
        if body["kind"] != "RuntimeClass" or kube.get(_class_path()) is None:  # K3s makes its own, too
            apply_object(kube, body)
    wait_until(
        "hosts offer their GPUs",
        lambda: ", ".join(filter(None, (_lacking(kube, node) for node in nodes))),
        say,
        bound_s=_OFFERED_BOUND_S,
        every_s=1.0,
        where=NAMESPACE,
        next_step="gonogo doctor names the first broken link",
    )


def plugin_objects() -> tuple[Object, ...]:
    """Return namespace, RuntimeClass and the DaemonSet of NVIDIA's device plugin, in the order to apply."""
    labels = {"app.kubernetes.io/name": "nvidia-device-plugin"}
    folder = "/var/lib/kubelet/device-plugins"
    spec: Object = {
        "runtimeClassName": RUNTIME_CLASS,  # without it the plugin finds no driver, and offers nothing
        "priorityClassName": "system-node-critical",
        "nodeSelector": {PRESENT: "true"},
        "tolerations": [{"key": RESOURCE, "operator": "Exists", "effect": "NoSchedule"}],
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "plugin",
                "image": PLUGIN_IMAGE,
                "env": [
                    {"name": "FAIL_ON_INIT_ERROR", "value": "true"},
                    {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
                    {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "utility"},
                ],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                "volumeMounts": [{"name": "plugins", "mountPath": folder}],
            }
        ],
        "volumes": [{"name": "plugins", "hostPath": {"path": folder, "type": "Directory"}}],
    }
    meta: Object = {"name": "nvidia-device-plugin", "namespace": NAMESPACE, "labels": labels}
    return (
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
        },
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": RUNTIME_CLASS},
            "handler": RUNTIME_CLASS,
        },
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": meta,
            "spec": {
                "selector": {"matchLabels": labels},
                "updateStrategy": {"type": "RollingUpdate"},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        },
    )


def _class_path() -> str:
    return f"/apis/node.k8s.io/v1/runtimeclasses/{RUNTIME_CLASS}"


def _lacking(kube: Kube, node: Node) -> str:
    row = kube.get(f"/api/v1/nodes/{node.name}") or {}
    offered = str(((row.get("status") or {}).get("allocatable") or {}).get(RESOURCE, "0"))
    enough = offered.isdecimal() and int(offered) >= node.gpus
    return "" if enough else f"{node.name} {offered} of {node.gpus}"
