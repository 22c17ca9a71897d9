"""Break the lab's node hosts and mend them again: stop, pause, cut off, from outside or on the host.

A host of the lab is a container of the outer engine, so stopping it is a loss of power and pausing
it a hang. What cuts a host off are two firewall chains on the host itself, which let nothing but
SSH through; a timer of the host takes them out again should nobody come back to do it.
Every way back may be walked twice, and from any state.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.errors import NotReady, TargetRefused
from provisioners.lab.engine import Engine, container_states, own_engine
from provisioners.shell import run

if TYPE_CHECKING:
    from provisioners.base import Cluster, Node

_BOOT_BOUND_S = 60.0
_TIMER = "gonogo-heal"
_IN, _OUT = "GONOGO-CUT-IN", "GONOGO-CUT-OUT"
# The interface with the host's address is cut. The mangle table sees what is for the host and what it
# forwards to its containers alike.
_CUT = f"""set -e
link=$(ip -o -4 address show | grep -w "inet $1" | head -n 1 | tr -s ' ' | cut -d ' ' -f 2)
[ -n "$link" ] || {{ echo "no interface has $1" >&2; exit 1; }}
table() {{ iptables -w 10 -t mangle "$@"; }}
table -N {_IN} 2>/dev/null || table -F {_IN}
table -N {_OUT} 2>/dev/null || table -F {_OUT}
table -A {_IN} -p tcp --dport 22 -j RETURN
table -A {_IN} -j DROP
table -A {_OUT} -p tcp --sport 22 -j RETURN
table -A {_OUT} -j DROP
table -C PREROUTING -i "$link" -j {_IN} 2>/dev/null || table -I PREROUTING -i "$link" -j {_IN}
table -C POSTROUTING -o "$link" -j {_OUT} 2>/dev/null || table -I POSTROUTING -o "$link" -j {_OUT}
"""
_HEAL = f"""table() {{ iptables -w 10 -t mangle "$@"; }}
out() {{
  table -S "$1" 2>/dev/null | grep -- "-j $2$" | sed 's/^-A/-D/' | while read -r rule; do table $rule; done
}}
out PREROUTING {_IN}
out POSTROUTING {_OUT}
for chain in {_IN} {_OUT}; do table -F $chain 2>/dev/null; table -X $chain 2>/dev/null; done
! table -S | grep -q GONOGO-CUT
"""


@dataclass(frozen=True, slots=True)
class NodesControl:
    """The hosts of the lab behind a cluster; `Pause` and `Partition`, and stopping besides."""

    engine: Engine
    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, cluster: Cluster) -> NodesControl | None:
        """Return the control of the cluster's hosts; None where they are not the lab's."""
        host = cluster.extra.get("docker_host")
        if cluster.kind != "lab" or not host:
            return None
        return cls(Engine(host, own_engine().client), cluster.nodes)

    def stop(self, node: str) -> None:
        """End the host as a loss of power would."""
        self.engine.run(["kill", self._container(node)]).check()

    def start(self, node: str) -> None:
        """Start the host, unless it runs, and wait until it can be reached again."""
        name = self._container(node)
        if container_states(self.engine).get(name) != "running":
            self.engine.run(["start", name]).check()
        self._forget_connection(node)
        self._await_reached(node)

    def pause(self, node: str) -> None:
        """Freeze every process of the host; its kernel still answers for the network."""
        self.engine.run(["pause", self._container(node)]).check()

    def resume(self, node: str) -> None:
        """Let a frozen host go on, unless it does."""
        name = self._container(node)
        if container_states(self.engine).get(name) == "paused":
            self.engine.run(["unpause", name]).check()
        self._await_reached(node)

    def partition(self, node: str, *, expires_s: float = 600.0) -> None:
        """Cut the host off from everybody, but for SSH; it heals itself after `expires_s` seconds."""
        host = self._node(node)
        timer = ["systemd-run", "--quiet", "--collect", f"--unit={_TIMER}", f"--on-active={expires_s:.0f}"]
        host.ssh.run(["systemctl", "stop", f"{_TIMER}.timer"])  # of an earlier cut
        host.ssh.run([*timer, "sh", "-c", _HEAL]).check(
            "the way back must be on the host before it is cut off"
        )
        host.ssh.run(["sh", "-c", _CUT, "cut", host.address]).check()

    def heal(self, node: str) -> None:
        """Join the host again; does nothing where it is not cut off."""
        host = self._node(node)
        host.ssh.run(["sh", "-c", _HEAL], timeout_s=30).check("on the host: iptables -t mangle -S")
        host.ssh.run(["systemctl", "stop", f"{_TIMER}.timer"])

    def _container(self, node: str) -> str:
        self._node(node)
        for name in self.engine.labelled("container"):
            if name.endswith(f"-{node}"):
                return name
        raise TargetRefused(f"the lab has no host {node}", where=self.engine.host, next_step="gonogo lab up")

    def _node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise TargetRefused(f"node {name} is not in the inventory", where=self.engine.host)

    def _await_reached(self, node: str) -> None:
        host = self._node(node)
        until = time.monotonic() + _BOOT_BOUND_S
        while True:
            result = host.ssh.run(["true"], timeout_s=5)
            if result.ok:
                return
            if time.monotonic() > until:
                raise NotReady(
                    f"not reached by SSH within {_BOOT_BOUND_S:.0f} s",
                    where=node,
                    why=result.stderr.strip() or "no answer",
                    next_step=f"docker -H {self.engine.host} logs {self._container(node)}",
                )
            self._forget_connection(node)
            time.sleep(0.3)

    def _forget_connection(self, node: str) -> None:
        """End the shared connection to the host as it was: over it nothing is heard any more."""
        argv = self._node(node).ssh.argv()
        run([*argv[:1], "-O", "exit", *argv[1:]], timeout_s=5)
