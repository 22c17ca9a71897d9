"""Addresses, names and folders of the upstream cluster: said once, used by all its parts."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioners.base import Node

CONFIG = "/etc/gonogo"
PKI = f"{CONFIG}/pki"
UNITS = "/etc/systemd/system"
CLUSTER_DOMAIN = "cluster.local"
_RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
PAUSE_IMAGE = "gonogo/pause:1"

# K3s's own defaults, so that a cluster here looks like the one to come.
_POD_NETWORK = "10.42.0.0/16"
_SERVICE_NETWORK = "10.43.0.0/16"
_STORAGE = "/var/lib/rancher/k3s/storage"


@dataclass(frozen=True, slots=True)
class Layout:
    """One cluster on given nodes; the first control-plane node runs the API server.

    `bin_dirs` say where each binary's folder is on the nodes, by binary name.
    `nameservers` answer names outside the cluster; with none, only the cluster's own resolve.
    """

    nodes: tuple[Node, ...]
    bin_dirs: dict[str, Path]
    nameservers: tuple[str, ...] = ()
    pod_network: str = _POD_NETWORK
    service_network: str = _SERVICE_NETWORK
    storage: str = _STORAGE

    @property
    def control_plane(self) -> Node:
        """The node that runs the API server."""
        return next((node for node in self.nodes if node.control_plane), self.nodes[0])

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{self.control_plane.address}:6443"

    @property
    def service_address(self) -> str:
        """The address of the API server's own Service."""
        return str(ipaddress.ip_network(self.service_network)[1])

    @property
    def dns_address(self) -> str:
        """The address of the cluster's DNS Service."""
        return str(ipaddress.ip_network(self.service_network)[10])

    def pod_subnet(self, node: Node) -> str:
        """Return the /24 that a node's pods take their addresses from."""
        subnets = ipaddress.ip_network(self.pod_network).subnets(new_prefix=24)
        for index, subnet in enumerate(subnets):
            if index == node.index + 1:
                return str(subnet)
        raise IndexError(node.index)

    def peers(self, node: Node) -> Sequence[Node]:
        """Return the other nodes."""
        return [other for other in self.nodes if other.name != node.name]

    def binary(self, name: str) -> str:
        """Return the path of a binary on the nodes."""
        return str(self.bin_dirs[name] / name)


def host_nameservers() -> tuple[str, ...]:
    """Return the machine's nameservers that pods can reach: those not on its loopback."""
    for path in _RESOLV_CONFS:
        if path.exists():
            lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
            found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
            usable = tuple(a for a in found if not a.startswith("127.") and a != "::1")
            if usable:
                return usable
    return ()
