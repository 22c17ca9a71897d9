"""Usage of nodes: recorded cgroup trees of both versions, the parts, readings over time, and the meter."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from provisioners.base import Cluster, Node, Side
from provisioners.errors import ProvisionError
from provisioners.shell import CommandResult, Ssh
from provisioners.usage import (
    Members,
    Meter,
    Reading,
    Usage,
    at,
    by_part,
    command,
    meter_of,
    parse_cgroups,
    read_members,
    read_node,
    read_processes,
    span,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TASK = "4745ab220a05441f105a53eb3763c3eb03c20443d41e88bd25e2bca323e79f23"
OTHER = "31d41b7320e3d586e98536a3d25d17d3b5ec8f3b549eb2dd8a7b0a05916b98ed"
POD = "0f3b1c52_9a44_4c6e_8a1d_2f6b7e1c9d10"
SYSTEM_POD = "9e107d9d372bb6826bd81d3542a419d6"  # a static pod: no separators
MEMBERS = Members(frozenset({TASK}), frozenset({POD.replace("_", "")}))

# Recorded with `command()`: systemd driver, cgroup v1 with one folder a controller.
_POD_V1 = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD}.slice"
_SYSTEM_V1 = f"kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SYSTEM_POD}.slice"
_C = "/sys/fs/cgroup/cpuacct"
_M = "/sys/fs/cgroup/memory"
V1 = f"""\
{_C}/cpuacct.usage:900000000000
{_C}/system.slice/docker-{TASK}.scope/cpuacct.usage:12500000000
{_C}/system.slice/docker-{OTHER}.scope/cpuacct.usage:99000000000
{_C}/{_POD_V1}/cpuacct.usage:13000000000
{_C}/{_POD_V1}/cri-containerd-{OTHER}.scope/cpuacct.usage:12900000000
{_C}/kubepods.slice/cpuacct.usage:20000000000
{_C}/{_SYSTEM_V1}/cpuacct.usage:700000000
{_C}/system.slice/docker.service/cpuacct.usage:3000000000
{_C}/system.slice/containerd.service/cpuacct.usage:2000000000
{_C}/system.slice/kubelet.service/cpuacct.usage:5000000000
{_C}/system.slice/kube-apiserver.service/cpuacct.usage:9000000000
{_C}/system.slice/ssh.service/cpuacct.usage:100000000
{_M}/system.slice/docker-{TASK}.scope/memory.usage_in_bytes:80000000
{_M}/system.slice/docker-{TASK}.scope/memory.stat:total_inactive_file 10000000
{_M}/{_POD_V1}/memory.usage_in_bytes:81000000
{_M}/{_POD_V1}/memory.stat:total_inactive_file 9000000
{_M}/system.slice/kubelet.service/memory.usage_in_bytes:60000000
grep: {_M}/gone/memory.stat: No such file or directory
"""

# The same of cgroup v2, with the cgroupfs driver: plain folders, CPU in microseconds.
_POD_V2 = f"kubepods/burstable/pod{POD.replace('_', '-')}"
_R = "/sys/fs/cgroup"
V2 = f"""\
{_R}/cpu.stat:usage_usec 900000000
{_R}/docker/{TASK}/cpu.stat:usage_usec 12500000
{_R}/docker/{TASK}/memory.current:80000000
{_R}/docker/{TASK}/memory.stat:inactive_file 10000000
{_R}/docker/{OTHER}/cpu.stat:usage_usec 99000000
{_R}/{_POD_V2}/cpu.stat:usage_usec 13000000
{_R}/{_POD_V2}/memory.current:81000000
{_R}/{_POD_V2}/memory.stat:inactive_file 9000000
{_R}/{_POD_V2}/{OTHER}/cpu.stat:usage_usec 12900000
{_R}/kubepods/besteffort/pod{SYSTEM_POD}/cpu.stat:usage_usec 700000
{_R}/system.slice/docker.service/cpu.stat:usage_usec 3000000
{_R}/system.slice/containerd.service/cpu.stat:usage_usec 2000000
{_R}/system.slice/kubelet.service/cpu.stat:usage_usec 5000000
{_R}/system.slice/kubelet.service/memory.current:60000000
{_R}/system.slice/kube-apiserver.service/cpu.stat:usage_usec 9000000
"""


@pytest.mark.parametrize("tree", [V1, V2], ids=["v1", "v2"])
def test_both_versions_of_cgroups_give_the_same_parts(tree):
    parts, counts = by_part(parse_cgroups(tree), MEMBERS)
    assert {name: pytest.approx(usage.cpu_s) for name, usage in parts.items()} == {
        "swarm": 12.5,
        "kubernetes": 13.0,
        "swarm overhead": 3.0,
        "kubernetes overhead": 0.7 + 5.0 + 9.0,
        "shared overhead": 2.0,
    }
    assert parts["swarm"].memory_bytes == 70_000_000, "without file cache that is not used"
    assert parts["kubernetes"].memory_bytes == 72_000_000
    assert parts["kubernetes overhead"].memory_bytes == 60_000_000
    assert counts == {"swarm": 1, "kubernetes": 1}


def test_a_hybrid_tree_is_counted_once():
    text = f"/sys/fs/cgroup/unified/system.slice/docker-{TASK}.scope/cpu.stat:usage_usec 1\n" + V1
    assert by_part(parse_cgroups(text), MEMBERS)[0]["swarm"].cpu_s == pytest.approx(12.5)


def test_nobody_s_container_is_nobody_s():
    parts, counts = by_part(parse_cgroups(V1), Members(frozenset(), frozenset()))
    assert counts == {"swarm": 0, "kubernetes": 0}
    assert "swarm" not in parts
    assert parts["kubernetes overhead"].cpu_s == pytest.approx(13.0 + 0.7 + 5.0 + 9.0)


def test_the_command_reads_this_machine():
    done = subprocess.run(command(), capture_output=True, text=True, check=False)
    found = parse_cgroups(done.stdout)
    assert found, done.stderr
    assert any(usage.cpu_s > 0 for usage in found.values())


# -- nodes and the twin ------------------------------------------------------------------


def node(answers: dict[str, CommandResult], name: str = "node1") -> Node:
    class Shell(Ssh):
        def run(self, argv: Sequence[str], **_: object) -> CommandResult:
            return answers[argv[0] + (" pods" if "/var/log/pods" in argv else "")]

    return Node(name, Shell(name, "127.0.0.1"))


def result(text: str, code: int = 0, error: str = "") -> CommandResult:
    return CommandResult(("x",), "node1", code, text, error, 0.1)


def test_a_node_is_asked_for_its_members_and_read_in_one_command():
    uid = POD.replace("_", "-")
    answers = {
        "docker": result(f"{TASK}\n"),
        "find pods": result(f"/var/log/pods/sophia-mcp_redis-0_{uid}\n"),
        "find": result(V1, 1),  # a cgroup that went away meanwhile makes grep fail
    }
    one = node(answers)
    members = read_members(one, Cluster("lab", "lab-upstream"))
    assert members == MEMBERS
    before = time.monotonic()
    reading = read_node(one, members)
    assert before <= reading.at_s <= time.monotonic()
    assert reading.members == {"swarm": 1, "kubernetes": 1}


def test_a_node_without_docker_has_no_tasks_and_one_without_cgroups_is_an_error():
    one = node(
        {"docker": result("", 127), "find pods": result("", 1), "find": result("", 1, "permission denied")}
    )
    members = read_members(one, Cluster("existing", "existing"))
    assert members == Members(frozenset(), frozenset())
    with pytest.raises(ProvisionError, match="no cgroup"):
        read_node(one, members)


def test_the_twin_is_read_from_proc(tmp_path: Path):
    spin = (
        "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\ntime.sleep(30)"
    )
    process = subprocess.Popen([sys.executable, "-c", spin, "--all", str(tmp_path / "b.sock")])
    try:
        cluster = Cluster(
            "noop", "stub", extra={"swarm": str(tmp_path / "a.sock"), "kubernetes": str(tmp_path / "b.sock")}
        )
        until = time.monotonic() + 10
        while True:
            found = read_processes(cluster)
            usage = found.parts.get("kubernetes", Usage())
            if usage.cpu_s >= 0.2 or time.monotonic() > until:
                break
            time.sleep(0.05)
        assert usage.cpu_s >= 0.2
        assert usage.memory_bytes > 1_000_000
        assert found.members == {"swarm": 0, "kubernetes": 1}
        assert meter_of(cluster)._readers.keys() == {"localhost"}
    finally:
        process.kill()
        process.wait()


# -- over time ---------------------------------------------------------------------------


def test_counters_are_read_between_readings_of_nodes_that_were_not_read_at_once():
    readings = [
        Reading("n1", 10.0, {"swarm": Usage(1.0, 100.0)}),
        Reading("n2", 12.0, {"swarm": Usage(5.0, 10.0)}),
        Reading("n1", 20.0, {"swarm": Usage(3.0, 200.0)}),
        Reading("n2", 22.0, {"swarm": Usage(6.0, 10.0)}),
    ]
    assert span(readings) == (12.0, 20.0)
    assert at(readings, "swarm", 15.0) == Usage(2.0 + 5.3, 150.0 + 10.0)
    assert at(readings, "swarm", 20.0).cpu_s == pytest.approx(3.0 + 5.8)
    assert at(readings, "kubernetes", 15.0) == Usage()
    assert span([]) == (0.0, 0.0)


def test_the_meter_reads_before_during_and_after():
    made = iter(range(1_000))

    def read() -> Reading:
        return Reading("n", time.monotonic(), {"swarm": Usage(float(next(made)), 1.0)})

    with Meter({"n": read}, every_s=0.02) as meter:
        time.sleep(0.2)
    assert len(meter.readings) >= 4
    assert meter.problems == []
    assert [one.at_s for one in meter.readings] == sorted(one.at_s for one in meter.readings)


def test_a_node_that_is_lost_is_told_and_the_others_go_on():
    def good() -> Reading:
        return Reading("good", time.monotonic(), {})

    def bad() -> Reading:
        raise ProvisionError("no cgroup could be read", where="bad")

    with Meter({"good": good, "bad": bad}, every_s=0.02) as meter:
        time.sleep(0.3)
    assert set(meter.lost) == {"bad"}
    assert len([one for one in meter.readings if one.node == "good"]) > 5
    assert len(meter.problems) <= 5, "a lost node is not asked for ever"


def test_the_parts_have_the_names_of_the_sides():
    assert {str(side) for side in Side} == {"swarm", "kubernetes"}
