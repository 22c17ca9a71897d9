"""The node checks over SSH, with stand-ins for `ssh` and for what each host would answer.

One run of the checks over many nodes: a healthy one, one that cannot be reached, and others
of which each is broken in its own way.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from provisioners.base import Cluster, Node
from provisioners.shell import Ssh
from provisioners.targets import save_cluster, save_workload
from reports.catalogue import catalogue
from reports.model import Evidence, Profile, Status
from reports.store import create, open_run
from tests.noop_run import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# `ssh` runs the remote command here, with these programs in front: each answers from a file
# of the host's own folder.
PROGRAMS = {
    "ssh": """#!/bin/sh
for last; do before=$destination; destination=$last; done
HOST=$HOSTS/${before#root@}; export HOST
echo "$*" >> "$HOST/ssh.log"
[ -e "$HOST/unreachable" ] && { echo "ssh: connect to host: Connection timed out" >&2; exit 255; }
exec sh -c "$last"
""",
    "systemctl": """#!/bin/sh
grep -qx "$2" "$HOST/units" && exit 0
exit 3
""",
    "docker": """#!/bin/sh
case "$*" in
*LocalNodeState*) cat "$HOST/swarm" ;;
*ControlAvailable*) cat "$HOST/manager" ;;
esac
""",
    "ss": """#!/bin/sh
echo "Netid State Recv-Q Send-Q Local Peer"
while read -r local; do echo "tcp LISTEN 0 128 $local 0.0.0.0:*"; done < "$HOST/listening"
""",
    "find": """#!/bin/sh
cat "$HOST/secrets"
""",
    "date": """#!/bin/sh
exec "$PYTHON" -IS -c "import time; print(time.time() + $(cat "$HOST/clock"))"
""",
    "readlink": "#!/bin/sh\necho /lib/systemd/systemd\n",
    "uname": "#!/bin/sh\necho Linux\n",
}
HEALTHY = {
    "units": "docker\ncontainerd\nkubelet\nssh\n",
    "swarm": "active",
    "manager": "true",
    "listening": "0.0.0.0:22\n*:2377\n172.30.0.11:6443\n*:10250\n127.0.0.1:9999\n",
    "secrets": "600 /etc/gonogo/pki/ca.key\n600 /etc/gonogo/kubelet.kubeconfig\n",
    "clock": "0.2",
}
UNITS, PORTS, KEYS, CLOCK = (
    "test_units_run",
    "test_ports_listen",
    "test_keys_are_closed",
    "test_clock_is_right",
)
# By node: what is broken there, and each check that must see it, by what it must say.
NO_API = "0.0.0.0:22\n*:2377\n127.0.0.1:6443\n*:10250\n"
BROKEN = {
    "bad1": [
        ("units", "docker\ncontainerd\n", UNITS, "none of kubelet, k3s, k3s-agent runs"),
        ("listening", NO_API, PORTS, "6443 does not listen"),
        ("secrets", "644 /etc/gonogo/pki/ca.key\n", KEYS, "ca.key is 0644"),
        ("clock", "-5", CLOCK, "s off this machine's"),
    ],
    "bad2": [
        ("units", "containerd\nkubelet\n", UNITS, "docker.service does not run"),
        ("manager", "false", PORTS, "2377 listens"),
        ("secrets", "", KEYS, "saw nothing"),
    ],
    "bad3": [("units", "docker\nkubelet\n", UNITS, "containerd.service does not run")],
    "bad4": [("units", HEALTHY["units"] + "gonogo-no-such-unit\n", UNITS, "is said to run")],
    "bad5": [("swarm", "pending", UNITS, "Swarm mode is 'pending'")],
}
OVER_SSH = "units or ports or keys or clock or own_key"


class Hosts:
    """The nodes, their answers, and the evidence of one run of the checks by check and node."""

    def __init__(self, folder: Path) -> None:
        self.hosts, programs = folder / "hosts", folder / "bin"
        programs.mkdir()
        for name, text in PROGRAMS.items():
            (programs / name).write_text(text, encoding="utf-8")
            (programs / name).chmod(0o755)
        self.key = folder / "key"
        self.key.touch(0o644)
        names = ["healthy", "unreachable", *BROKEN]
        for name in names:
            self._host(name)
        nodes = [Node(name, Ssh(name, name, key_file=self.key), control_plane=True) for name in names]
        store = create(folder, "fake", Profile.SMOKE)
        store.criteria(catalogue())
        store.write_text("cluster.json", save_cluster(Cluster("lab", "stub", tuple(nodes))))
        store.write_text("workload.json", save_workload(()))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "verbs.recorder"]
        own = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOSTS": str(self.hosts),
            "PYTHON": sys.executable,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        done = subprocess.run(
            [*command, "suites/platform/test_nodes.py", "--gonogo-run", str(store.path), "-k", OVER_SSH],
            cwd=ROOT,
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.output = done.stdout
        self.rows = {row.check.partition("::")[2]: row for row in open_run(store.path).read_evidence()}

    def _host(self, name: str) -> None:
        folder = self.hosts / name
        folder.mkdir(parents=True)
        broken = {what: text for what, text, _, _ in BROKEN.get(name, [])}
        for file, answer in {**HEALTHY, **broken}.items():
            (folder / file).write_text(answer, encoding="utf-8")
        if name == "unreachable":
            (folder / name).touch()

    def red(self, node: str) -> dict[str, Evidence]:
        """The checks of a node that did not pass."""
        ours = {
            check.partition("[")[0]: row for check, row in self.rows.items() if check.endswith(f"[{node}]")
        }
        assert len(ours) == 4, self.output
        return {check: row for check, row in ours.items() if row.status is not Status.PASS}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    return Hosts(tmp_path_factory.mktemp("nodes"))


def test_healthy_node(hosts: Hosts) -> None:
    assert hosts.red("healthy") == {}
    asked = (hosts.hosts / "healthy" / "ssh.log").read_text(encoding="utf-8")
    assert "StrictHostKeyChecking=yes" in asked
    assert f"-i {hosts.key}" in asked


def test_unreachable_node_is_one_reason_and_no_hang(hosts: Hosts) -> None:
    seen = hosts.red("unreachable")
    assert {row.status for row in seen.values()} == {Status.NOT_RUN}
    assert all("unreachable cannot be reached over SSH" in row.why for row in seen.values())
    assert len((hosts.hosts / "unreachable" / "ssh.log").read_text(encoding="utf-8").splitlines()) == 1


@pytest.mark.parametrize("node", BROKEN)
def test_broken_node_is_seen_by_its_checks_alone(node: str, hosts: Hosts) -> None:
    seen = hosts.red(node)
    assert set(seen) == {check for _, _, check, _ in BROKEN[node]}
    for _, _, check, why in BROKEN[node]:
        assert why in seen[check].why


def test_open_key_here(hosts: Hosts) -> None:
    row = hosts.rows["test_own_key_is_closed"]
    assert row.status is Status.FAIL
    assert "is 0644" in row.why
