"""Docker Swarm on given hosts: one manager, the others workers, over SSH.

A host that already belongs to another swarm is never taken out of it: that is refused.
The join token goes to the engine's API on stdin, so it is in no process list.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.base import Cluster, Step
from provisioners.errors import CleanupIncomplete, InputError, NotReady, TargetRefused
from provisioners.shell import CommandError
from provisioners.steps import for_each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioners.base import Node

_READY_BOUND_S = 60.0
_PORT = 2377


@dataclass(frozen=True, slots=True)
class SwarmState:
    """What a host's engine says of the swarm it is in."""

    state: str  # inactive | pending | active | error | locked
    node_id: str
    cluster_id: str  # known to managers only
    managers: tuple[str, ...]
    error: str = ""


class SwarmProvisioner:
    """Makes one swarm of the nodes; the first control-plane node is its manager."""

    name = "swarm"

    def __init__(self, nodes: Sequence[Node], *, address_pool: str | None = None) -> None:
        if not nodes:
            raise InputError("a swarm needs at least one node")
        self.nodes = tuple(nodes)
        self.manager = next((n for n in self.nodes if n.control_plane), self.nodes[0])
        self.workers = tuple(n for n in self.nodes if n is not self.manager)
        self._address_pool = address_pool

    def steps(self) -> Sequence[Step]:
        """Return the steps: init, join, labels."""
        return (
            Step("swarm init", self._init, done=self._has_manager),
            Step("swarm join", self._join, needs=("swarm init",)),
            Step("swarm labels", self._label, needs=("swarm join",)),
        )

    def cluster(self) -> Cluster:
        """Return the nodes; there is no Kubernetes here."""
        return Cluster(kind="existing", level="hosts", nodes=self.nodes)

    def down(self, say: Callable[[str], None]) -> None:
        """Take every node out of this swarm, the manager last; foreign swarms are left alone."""
        for node in (*self.workers, self.manager):
            if self._is_member(node):
                say(f"{node.name}: leaving")
                node.ssh.run(["docker", "swarm", "leave", "--force"], timeout_s=60)
        left = [node.name for node in self.nodes if self._is_member(node)]
        if left:
            raise CleanupIncomplete("still in the swarm", where=", ".join(left))

    def node_states(self) -> dict[str, str]:
        """Return each member's state by host name, as the manager sees it (`ready`, `down`, ...)."""
        rows = self._docker("node", "ls", "--format", "{{json .}}").splitlines()
        return {row["Hostname"]: row["Status"].lower() for row in map(json.loads, rows)}

    def _has_manager(self) -> bool:
        return swarm_state(self.manager).state == "active"

    def _init(self, say: Callable[[str], None]) -> None:
        say(f"on {self.manager.name}")
        pool = ["--default-addr-pool", self._address_pool] if self._address_pool else []
        argv = ["docker", "swarm", "init", "--advertise-addr", self.manager.address, *pool]
        result = self.manager.ssh.run(argv, timeout_s=60)
        if not result.ok and not self._has_manager():  # a killed `up` may have got this far
            raise CommandError(result, next_step="docker must run on the node, with port 2377 free")

    def _join(self, say: Callable[[str], None]) -> None:
        token = self._docker("swarm", "join-token", "--quiet", "worker").strip()
        for_each(self.workers, lambda node: self._join_one(node, token))
        self._await_ready(say)

    def _join_one(self, node: Node, token: str) -> None:
        state = swarm_state(node)
        if state.state == "active":
            if not self._is_ours(state):
                raise TargetRefused(
                    f"the host is in another swarm, managed by {', '.join(state.managers)}",
                    where=node.name,
                    next_step="if nothing needs that swarm: docker swarm leave, on that host",
                )
            return
        manager = f"{self.manager.address}:{_PORT}"
        order = {
            "ListenAddr": f"0.0.0.0:{_PORT}",
            "AdvertiseAddr": node.address,
            "RemoteAddrs": [manager],
            "JoinToken": token,
        }
        argv = ["curl", "--silent", "--show-error", "--fail-with-body", "--unix-socket", "/run/docker.sock"]
        argv += ["--header", "Content-Type: application/json", "--data", "@-", "http://docker/swarm/join"]
        result = node.ssh.run(argv, timeout_s=60, stdin=json.dumps(order))
        if not result.ok and not self._is_ours(swarm_state(node)):
            raise CommandError(result, next_step=f"the node must reach {manager}")

    def _await_ready(self, say: Callable[[str], None]) -> None:
        until = time.monotonic() + _READY_BOUND_S
        wanted = {node.name for node in self.nodes}
        missing = wanted
        while time.monotonic() < until:
            missing = wanted - {name for name, state in self.node_states().items() if state == "ready"}
            if not missing:
                return
            say(f"waiting for {', '.join(sorted(missing))}")
            time.sleep(0.5)
        raise NotReady(
            f"not ready in the swarm after {_READY_BOUND_S:.0f} s: {', '.join(sorted(missing))}",
            where=self.manager.name,
            next_step="on the node: journalctl -u docker (host names must be the inventory's names)",
        )

    def _label(self, _say: Callable[[str], None]) -> None:
        for node in self.nodes:
            present = json.loads(
                self._docker("node", "inspect", "--format", "{{json .Spec.Labels}}", node.name)
            )
            flags = [f"--label-add={k}={v}" for k, v in node.labels.items() if (present or {}).get(k) != v]
            if flags:
                self._docker("node", "update", *flags, node.name)

    def _is_member(self, node: Node) -> bool:
        state = swarm_state(node)
        return state.state != "inactive" and self._is_ours(state)

    def _is_ours(self, state: SwarmState) -> bool:
        return f"{self.manager.address}:{_PORT}" in state.managers

    def _docker(self, *argv: str) -> str:
        return self.manager.ssh.run(["docker", *argv], timeout_s=30).check().stdout


def swarm_state(node: Node) -> SwarmState:
    """Ask a host's engine for its swarm state; raises CommandError when there is no engine."""
    argv = ["docker", "info", "--format", "{{json .Swarm}}"]
    data = json.loads(node.ssh.run(argv, timeout_s=30).check(next_step="docker must run on the node").stdout)
    return SwarmState(
        state=data.get("LocalNodeState", "inactive"),
        node_id=data.get("NodeID", ""),
        cluster_id=(data.get("Cluster") or {}).get("ID", ""),
        managers=tuple(m["Addr"] for m in data.get("RemoteManagers") or ()),
        error=data.get("Error", ""),
    )


def has_ipvs(node: Node) -> bool:
    """Return whether the host's kernel has IPVS, which Swarm's VIPs and ingress mesh need."""
    if node.ssh.run(["test", "-e", "/proc/net/ip_vs"]).ok:
        return True
    return node.ssh.run(["modprobe", "--quiet", "ip_vs"]).ok
