"""`gonogo doctor`: what this machine and the target lack, each with its fix; of each GPU host a ladder."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from verbs.targets import provisioner_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioners.base import Cluster, Node
    from provisioners.kube import Kube
    from provisioners.lab.preflight import Check
    from provisioners.nvidia_ladder import Rung


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rungs of one host, or why it could not be looked at."""

    host: str
    rungs: tuple[Rung, ...] = ()
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether no rung is broken; one that was not tried says nothing."""
        from provisioners.nvidia_ladder import first_broken

        return not self.error and first_broken(self.rungs) is None


def doctor_command(target: str, *, json_output: bool) -> int:
    """Print every preflight check and GPU rung; returns 0, or 4 when one is not well.

    With JSON: a list of checks, a rung as `gpu HOST: RUNG`.
    """
    from verbs.config import load_config

    provisioner = provisioner_of(load_config(target))
    checks = provisioner.preflight()
    ladders = ladders_of(provisioner) if all(check.ok for check in checks) else ()
    if json_output:
        rows = [asdict(check) for check in checks] + [row for ladder in ladders for row in _rows(ladder)]
        json.dump(rows, sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        for check in checks:
            sys.stdout.write(_line(check))
        for ladder in ladders:
            sys.stdout.write(_text(ladder))
    return 0 if all(check.ok for check in checks) and all(ladder.ok for ladder in ladders) else 4


def ladders_of(provisioner: Any) -> tuple[Ladder, ...]:
    """Return a ladder of each host that has GPUs, by inventory or by label; none where nothing is up."""
    if provisioner.name == "noop" or not provisioner.is_up():
        return ()
    cluster = provisioner.cluster()
    if cluster.kubeconfig is None:
        return ()
    from provisioners.errors import ProvisionError
    from provisioners.kube import open_kube

    kube = open_kube(cluster.kubeconfig, cluster.kube_context)
    try:
        hosts = _gpu_hosts(cluster, kube)
    except ProvisionError as error:
        return (Ladder("cluster", error=str(error)),)
    return tuple(_ladder(node, kube) for node in hosts)


def _gpu_hosts(cluster: Cluster, kube: Kube) -> Sequence[Node]:
    rows = kube.list_all("/api/v1/nodes", labels="nvidia.com/gpu.present=true").items
    labelled = {row["metadata"]["name"] for row in rows}
    return [node for node in cluster.nodes if node.gpus or node.name in labelled]


def _ladder(node: Node, kube: Kube) -> Ladder:
    from provisioners.errors import ProvisionError
    from provisioners.nvidia_facts import HostFacts, read_host, read_node
    from provisioners.nvidia_ladder import judge

    try:
        seen = read_node(kube, node.name)
        host = HostFacts(node.name) if seen.simulated else read_host(node)
    except ProvisionError as error:
        return Ladder(node.name, error=str(error))
    return Ladder(node.name, judge(host, seen, node.gpus))


def _rows(ladder: Ladder) -> list[dict[str, object]]:
    if ladder.error:
        return [{"name": f"gpu {ladder.host}", "ok": False, "detail": ladder.error, "fix": ""}]
    return [
        {
            "name": f"gpu {ladder.host}: {rung.name}",
            "ok": rung.state != "broken",
            "state": rung.state,
            "detail": rung.detail,
            "fix": rung.fix,
        }
        for rung in ladder.rungs
    ]


def _text(ladder: Ladder) -> str:
    from provisioners.nvidia_ladder import BROKEN, OK, first_broken

    if ladder.error:
        return f"FAIL gpu {ladder.host}: {ladder.error}\n"
    marks = {OK: "ok  ", BROKEN: "FAIL"}
    lines = [
        f"{marks.get(rung.state, '-   ')} gpu {ladder.host}: {rung.name}: "
        + ("" if rung.state in marks else f"{rung.state}, ")
        + rung.detail
        for rung in ladder.rungs
    ]
    if broken := first_broken(ladder.rungs):
        lines.append(f"     first broken link: {broken.name}\n     fix: {broken.fix}")
    return "\n".join(lines) + "\n"


def _line(check: Check) -> str:
    head = f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}\n"
    return head if check.ok or not check.fix else f"{head}     fix: {check.fix}\n"
