"""Every node is joined and ready, its units run, its ports listen, its keys are closed, its clock is right.

What a host is made of is looked at on the host itself, over SSH with testinfra; what the
orchestrators think of it comes from them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from provisioners.base import Labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testinfra.host import Host

    from fixtures.record import Record
    from provisioners.base import Cluster, Node, Target

SSH, SWARM, KUBE_API, KUBELET = 22, 2377, 6443, 10250
# Whichever way Kubernetes was installed: one of these units is the node's agent.
KUBELET_UNITS = ("kubelet", "k3s", "k3s-agent")
ABSENT_UNIT = "gonogo-no-such-unit"
# Where keys lie, by whichever way Kubernetes was installed; what is not there is passed over.
SECRET_FOLDERS = (
    "/etc/gonogo",
    "/etc/kubernetes",
    "/etc/rancher",
    "/var/lib/rancher",
    "/var/lib/kubelet/pki",
)
NOT_OURS = ("*/containerd", "*/storage", "*/data")  # what images and volumes hold is theirs
SECRET_NAMES = ("*.key", "*kubeconfig*", "k3s.yaml", "admin.conf", "*token*")
CLOCK_LIMIT_S = 2.0
CLOCK_TRIES = 3


@pytest.mark.criterion("phase1.verify", "phase2.nodes")
def test_every_node_is_ready(target: Target, record: Record) -> None:
    expected = {node.name for node in target.nodes}
    states = dict(target.node_states())
    ready = sorted(name for name, state in states.items() if state == "ready")
    down = {name: state for name, state in states.items() if state != "ready"}
    record(observed=_percent(len(ready), len(expected)), unit="%", samples=len(states), states=states)
    assert expected, f"{target.side}: the inventory holds no node"
    assert set(states) == expected, f"{target.side}: nodes {sorted(states)}, inventory {sorted(expected)}"
    assert not down, f"{target.side}: not ready: {_listed(down)}"


@pytest.mark.criterion("phase2.labels")
def test_nodes_carry_their_role(target: Target, record: Record) -> None:
    expected = {node.name: node.labels.get("instance-role", "") for node in target.nodes}
    if not isinstance(target, Labels):
        pytest.skip(f"{target.side}: this target cannot read node labels")
    seen = {name: labels.get("instance-role", "") for name, labels in target.node_labels().items()}
    right = [name for name, role in expected.items() if role and seen.get(name) == role]
    record(observed=_percent(len(right), len(expected)), unit="%", samples=len(seen), roles=seen)
    without = sorted(name for name, role in expected.items() if not role)
    assert not without, f"the inventory gives no instance-role to {', '.join(without)}"
    wrong = {
        name: f"{seen.get(name) or 'none'} instead of {role}"
        for name, role in expected.items()
        if seen.get(name) != role
    }
    assert not wrong, f"{target.side}: instance-role of {_listed(wrong)}"


@pytest.mark.criterion("phase1.verify")
def test_units_run(node: Node, node_host: Host, record: Record) -> None:
    docker, containerd = (node_host.service(name).is_running for name in ("docker", "containerd"))
    agents = [name for name in KUBELET_UNITS if node_host.service(name).is_running]
    swarm = node_host.check_output("docker info --format '{{.Swarm.LocalNodeState}}'")
    record(observed=swarm, samples=4, docker=docker, containerd=containerd, kubernetes=agents)
    assert docker, f"{node.name}: docker.service does not run"
    assert containerd or "kubelet" not in agents, f"{node.name}: containerd.service does not run"
    assert agents, f"{node.name}: none of {', '.join(KUBELET_UNITS)} runs"
    assert swarm == "active", f"{node.name}: Docker's Swarm mode is {swarm!r}, not active"
    # Control: a unit that nobody installed must not be seen running.
    assert not node_host.service(ABSENT_UNIT).is_running, f"{node.name}: {ABSENT_UNIT} is said to run"


@pytest.mark.criterion("phase1.verify")
def test_ports_listen(node: Node, node_host: Host, record: Record) -> None:
    manager = node_host.check_output("docker info --format '{{.Swarm.ControlAvailable}}'") == "true"
    wanted = {SSH: True, SWARM: manager, KUBE_API: node.control_plane, KUBELET: True}
    listening = _listening(node_host)
    seen = {port: port in listening for port in wanted}
    record(observed=_ports(seen), samples=len(seen), manager=manager, control_plane=node.control_plane)
    # The ports that a worker must not have are the control: they have to be seen closed.
    for port, expected in wanted.items():
        state = "listens" if seen[port] else "does not listen"
        assert seen[port] == expected, f"{node.name}: port {port} {state}"


@pytest.mark.criterion("phase1.verify")
def test_keys_are_closed(node: Node, node_host: Host, record: Record) -> None:
    found = node_host.run(_find_secrets()).stdout.splitlines()
    modes = {path: int(mode, 8) for mode, _, path in (line.partition(" ") for line in found)}
    open_ones = sorted(f"{path} is {mode:04o}" for path, mode in modes.items() if mode & 0o077)
    record(observed=len(open_ones), unit="files open to others", samples=len(modes), files=sorted(modes))
    assert not open_ones, f"{node.name}: {'; '.join(open_ones)}; it must be 0600"


@pytest.mark.criterion("phase1.verify")
def test_clock_is_right(node: Node, node_host: Host, record: Record) -> None:
    offset_s, error_s = min((_offset(node_host) for _ in range(CLOCK_TRIES)), key=lambda pair: pair[1])
    record(observed=round(offset_s, 4), unit="s", samples=CLOCK_TRIES, error_s=round(error_s, 4))
    if error_s > CLOCK_LIMIT_S / 2:
        record.inconclusive(f"{node.name}: its clock could be read to {error_s:.1f} s only")
        return
    assert abs(offset_s) < CLOCK_LIMIT_S, f"{node.name}: its clock is {offset_s:+.2f} s off this machine's"


@pytest.mark.criterion("phase1.verify")
def test_own_key_is_closed(cluster: Cluster, record: Record) -> None:
    if cluster.kind == "noop":
        pytest.skip("the no-op twin has no keys")
    files = sorted({node.ssh.key_file for node in cluster.nodes if node.ssh.key_file})
    modes = {str(path): f"{path.stat().st_mode & 0o7777:04o}" for path in files}
    record(observed=", ".join(sorted(set(modes.values()))), samples=len(modes), files=modes)
    open_ones = [f"{path} is {mode}" for path, mode in modes.items() if int(mode, 8) & 0o077]
    assert not open_ones, f"{'; '.join(open_ones)}; it must be 0600"


def _listening(host: Host) -> set[int]:
    """Return the TCP ports that others can reach: what listens on loopback alone does not count."""
    sockets = (one.rpartition(":") for one in host.socket.get_listening_sockets())
    return {
        int(port) for address, _, port in sockets if address.startswith("tcp://") and "//127." not in address
    }


def _offset(host: Host) -> tuple[float, float]:
    """Return how far the node's clock is ahead of ours, and how well that is known."""
    before = time.time()
    remote = float(host.check_output("date +%s.%N"))
    after = time.time()
    return remote - (before + after) / 2, (after - before) / 2


def _find_secrets() -> str:
    names = " -o ".join(f"-name '{name}'" for name in SECRET_NAMES)
    others = " -o ".join(f"-path '{path}'" for path in NOT_OURS)
    return (
        f"find {' '.join(SECRET_FOLDERS)} -xdev \\( {others} \\) -prune"
        f" -o -type f \\( {names} \\) -printf '%m %p\\n'"
    )


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


def _listed(states: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {state}" for name, state in sorted(states.items()))


def _ports(seen: dict[int, bool]) -> str:
    return ", ".join(str(port) for port, listens in seen.items() if listens)
