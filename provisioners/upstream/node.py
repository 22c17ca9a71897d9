"""What every node runs: pod network and routes, kubelet, kube-proxy.

Written as files and units on the host, enabled, so that a host that was restarted comes
back by itself, routes and firewall rules included.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from provisioners.errors import ProvisionError
from provisioners.steps import for_each
from provisioners.upstream.layout import CLUSTER_DOMAIN, CONFIG, PKI, UNITS, Layout
from provisioners.upstream.pki import CLUSTER_CA, Pki
from provisioners.upstream.remote import RemoteFile, settle, unit_file
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioners.base import Node
    from provisioners.kube import Kube

UNIT_NAMES = ("gonogo-pod-network", "kubelet", "kube-proxy")

_READY_BOUND_S = 90.0
_CONTAINERD = "unix:///run/containerd/containerd.sock"


def node_files(layout: Layout, node: Node, pki: Pki) -> dict[str, RemoteFile]:
    """Return every file of a node by its path."""
    name = f"kubelet-{node.name}"
    kubelet_unit = unit_file(
        "kubelet",
        _kubelet(layout, node),
        after="containerd.service gonogo-pod-network.service",
        Delegate="yes",
    )
    return {
        f"{PKI}/{CLUSTER_CA}.crt": RemoteFile(pki.certificate(CLUSTER_CA)),
        f"{PKI}/kubelet.crt": RemoteFile(pki.certificate(name)),
        f"{PKI}/kubelet.key": RemoteFile.secret(pki.key(name)),
        f"{CONFIG}/kubelet.kubeconfig": RemoteFile.secret(pki.kubeconfig(name, layout.server, "gonogo")),
        f"{CONFIG}/kube-proxy.kubeconfig": RemoteFile.secret(
            pki.kubeconfig("kube-proxy", layout.server, "gonogo")
        ),
        f"{CONFIG}/kubelet.json": _json(_kubelet_config(layout)),
        f"{CONFIG}/kube-proxy.json": _json(_proxy_config(layout)),
        f"{CONFIG}/resolv.conf": RemoteFile.text("".join(f"nameserver {a}\n" for a in layout.nameservers)),
        f"{CONFIG}/pod-network.sh": RemoteFile.text(_network_script(layout, node), 0o755),
        "/etc/cni/net.d/10-gonogo.conflist": _json(_cni_config(layout, node)),
        f"{UNITS}/gonogo-pod-network.service": RemoteFile.text(_NETWORK_UNIT),
        f"{UNITS}/kubelet.service": kubelet_unit,
        f"{UNITS}/kube-proxy.service": unit_file(
            "kube-proxy", _proxy(layout, node), after="network.target gonogo-pod-network.service"
        ),
    }


def start_nodes(layout: Layout, pki: Pki, say: Callable[[str], None]) -> None:
    """Start the parts of every node, all nodes at once."""
    for_each(layout.nodes, lambda node: settle(node, node_files(layout, node, pki), UNIT_NAMES, say))


def await_nodes(layout: Layout, kube: Kube, say: Callable[[str], None]) -> None:
    """Wait until every node is Ready, then give each its labels."""
    wait_until(
        "nodes are Ready",
        lambda: _unready(layout, kube),
        say,
        bound_s=_READY_BOUND_S,
        every_s=0.3,
        where=layout.server,
        next_step="on the node: journalctl -u kubelet -u containerd",
    )
    for node in layout.nodes:
        labels = dict(node.labels)
        if node.name == layout.control_plane.name:
            labels["node-role.kubernetes.io/control-plane"] = "true"
        kube.patch(f"/api/v1/nodes/{node.name}", {"metadata": {"labels": labels}})


def node_states(kube: Kube) -> dict[str, str]:
    """Return each registered node's state: `ready`, or why it is not."""
    return {node["metadata"]["name"]: _state(node) for node in kube.list_all("/api/v1/nodes").items}


def _unready(layout: Layout, kube: Kube) -> str:
    try:
        states = node_states(kube)
    except ProvisionError as error:
        return error.what
    found = {node.name: states.get(node.name, "is not registered") for node in layout.nodes}
    return ", ".join(f"{name} {state}" for name, state in found.items() if state != "ready")


def _state(node: Mapping[str, Any]) -> str:
    for condition in node.get("status", {}).get("conditions", ()):
        if condition["type"] == "Ready":
            return (
                "ready" if condition["status"] == "True" else f"is not ready: {condition.get('message', '')}"
            )
    return "has no condition yet"


def _kubelet(layout: Layout, node: Node) -> list[str]:
    return [
        layout.binary("kubenode"),
        "kubelet",
        f"--config={CONFIG}/kubelet.json",
        f"--kubeconfig={CONFIG}/kubelet.kubeconfig",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
    ]


def _proxy(layout: Layout, node: Node) -> list[str]:
    return [
        layout.binary("kubenode"),
        "kube-proxy",
        f"--config={CONFIG}/kube-proxy.json",
        f"--hostname-override={node.name}",
    ]


def _kubelet_config(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": _CONTAINERD,
        "cgroupDriver": "systemd",
        "failSwapOn": False,
        "failCgroupV1": False,
        # A host that is itself a container may not write every kernel setting.
        "featureGates": {"KubeletInUserNamespace": True},
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{PKI}/{CLUSTER_CA}.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{PKI}/kubelet.crt",
        "tlsPrivateKeyFile": f"{PKI}/kubelet.key",
        "clusterDNS": [layout.dns_address],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": f"{CONFIG}/resolv.conf",
        # Nodes share this machine's disk and memory: only what is really scarce evicts.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def _proxy_config(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{CONFIG}/kube-proxy.kubeconfig"},
        "mode": "iptables",
        "clusterCIDR": layout.pod_network,
        # The conntrack table belongs to the machine, not to a host on it.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }


def _cni_config(layout: Layout, node: Node) -> dict[str, object]:
    return {
        "cniVersion": "1.0.0",
        "name": "gonogo",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "hairpinMode": True,
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-ipam",  # gone after a restart, as the pods are
                    "ranges": [[{"subnet": layout.pod_subnet(node)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


_NETWORK_UNIT = f"""[Unit]
Description=Routes and firewall rules of the pod network
After=network.target docker.service
Before=kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={CONFIG}/pod-network.sh

[Install]
WantedBy=multi-user.target
"""


def _network_script(layout: Layout, node: Node) -> str:
    """Return what K3s's host-gw backend does: a route to each peer's pods, and leave to forward."""
    pods = layout.pod_network
    routes = "".join(
        f"ip route replace {layout.pod_subnet(peer)} via {peer.address}\n" for peer in layout.peers(node)
    )
    return f"""#!/bin/sh
set -e
rule() {{ iptables -w 10 -t "$1" -C "$2" $3 2>/dev/null || iptables -w 10 -t "$1" -A "$2" $3; }}
{routes}[ -e /proc/sys/net/bridge ] || modprobe br_netfilter
sysctl -q -w net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
rule filter FORWARD "-s {pods} -j ACCEPT"
rule filter FORWARD "-d {pods} -j ACCEPT"
rule nat POSTROUTING "-s {layout.pod_subnet(node)} ! -d {pods} ! -o cni0 -j MASQUERADE"
"""


def _json(data: dict[str, object]) -> RemoteFile:
    return RemoteFile.text(json.dumps(data, indent=1) + "\n")
