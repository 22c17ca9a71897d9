"""The node checks over SSH, with a stand-in for `ssh` and for what a host would answer."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING


from provisioners.base import Cluster, Node
from provisioners.shell import Ssh
from provisioners.targets import save_cluster, save_workload
from reports.catalogue import catalogue
from reports.model import Evidence, Profile, Status
from reports.store import create, open_run
from tests.noop_run import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# The stand-in runs the remote command here, with these programs in front: each answers from
# a file in $HOST that a test may change.
PROGRAMS = {
    "ssh": """#!/bin/sh
echo "$*" >> "$HOST/ssh.log"
[ -e "$HOST/unreachable" ] && { echo "ssh: connect to host: Connection timed out" >&2; exit 255; }
for last; do :; done
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
offset=$(cat "$HOST/clock")
exec python3 -c "import time; print(time.time() + $offset)"
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
# What is broken, and the one check that must see it, by what it must say.
BROKEN = [
    ("units", "docker\ncontainerd\n", "test_units_run", "none of kubelet, k3s, k3s-agent runs"),
    ("units", "containerd\nkubelet\n", "test_units_run", "docker.service does not run"),
    ("units", "docker\nkubelet\n", "test_units_run", "containerd.service does not run"),
    ("units", "docker\ncontainerd\nkubelet\ngonogo-no-such-unit\n", "test_units_run", "is said to run"),
    ("swarm", "pending", "test_units_run", "Swarm mode is 'pending'"),
    (
        "listening",
        "0.0.0.0:22\n*:2377\n127.0.0.1:6443\n*:10250\n",
        "test_ports_listen",
        "6443 does not listen",
    ),
    ("manager", "false", "test_ports_listen", "2377 listens"),
    ("secrets", "644 /etc/gonogo/pki/ca.key\n", "test_keys_are_closed", "ca.key is 0644"),
    ("secrets", "", "test_keys_are_closed", "saw nothing"),
    ("clock", "-5", "test_clock_is_right", "s off this machine's"),
]


class Host:
    """A node of one's own: files that say what it answers, and a run folder that names it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "host"
        self.bin = folder / "bin"
        for made in (self.folder, self.bin):
            made.mkdir()
        for name, text in PROGRAMS.items():
            (self.bin / name).write_text(text, encoding="utf-8")
            (self.bin / name).chmod(0o755)
        self.key = folder / "key"
        self.key.touch(0o600)
        node = Node("node1", Ssh("node1", "192.0.2.1", key_file=self.key), control_plane=True)
        self.store = create(folder, "fake", Profile.SMOKE)
        self.store.criteria(catalogue())
        self.store.write_text("cluster.json", save_cluster(Cluster("lab", "stub", (node,))))
        self.store.write_text("workload.json", save_workload(()))
        for name, text in HEALTHY.items():
            self.answer(name, text)

    def answer(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def check(self, name: str) -> dict[str, Evidence]:
        """Run the node checks of that name; return the newest evidence by the check's own name."""
        before = len(self.store.read_evidence())
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "verbs.recorder"]
        subprocess.run(
            [*command, "suites/platform/test_nodes.py", "-k", name, "--gonogo-run", str(self.store.path)],
            cwd=ROOT,
            env={**os.environ, "PATH": path, "HOST": str(self.folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            timeout=60,
            check=False,
        )
        rows = open_run(self.store.path).read_evidence()[before:]
        return {row.check.partition("::")[2].partition("[")[0]: row for row in rows}


OVER_SSH = "units or ports or keys or clock or own_key"


def test_healthy_node(tmp_path: Path) -> None:
    host = Host(tmp_path)
    seen = host.check(OVER_SSH)
    assert {name: (row.status, row.why) for name, row in seen.items()} == dict.fromkeys(
        [
            "test_units_run",
            "test_ports_listen",
            "test_keys_are_closed",
            "test_clock_is_right",
            "test_own_key_is_closed",
        ],
        (Status.PASS, ""),
    )
    asked = (host.folder / "ssh.log").read_text(encoding="utf-8")
    assert "StrictHostKeyChecking=yes" in asked
    assert f"-i {host.key}" in asked


def test_unreachable_node_is_one_reason_and_no_hang(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.answer("unreachable", "")
    seen = host.check("units or ports or keys_are_closed or clock")
    assert len(seen) == 4
    assert {row.status for row in seen.values()} == {Status.NOT_RUN}
    assert all("node1 cannot be reached over SSH" in row.why for row in seen.values())
    assert len((host.folder / "ssh.log").read_text(encoding="utf-8").splitlines()) == 1


def test_open_key_here(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.key.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP)
    row = host.check("own_key")["test_own_key_is_closed"]
    assert (row.status, "is 0640" in row.why) == (Status.FAIL, True)


def test_each_broken_answer_is_seen_by_its_check(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for name, text, check, why in BROKEN:
        host.answer(name, text)
        row = host.check(check)[check]
        assert row.status is not Status.PASS, f"{name} = {text!r} was not seen"
        assert why in row.why, row.why
        host.answer(name, HEALTHY[name])
    assert host.check("units")["test_units_run"].status is Status.PASS
