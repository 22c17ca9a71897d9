import io
import json
import string
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioners.base import Node
from provisioners.errors import ProvisionError
from provisioners.kube import Kube, Listing
from provisioners.shell import Ssh
from provisioners.upstream import addons
from provisioners.upstream.build import MODULES
from provisioners.upstream.control_plane import UNIT_NAMES as CONTROL_PLANE_UNITS
from provisioners.upstream.control_plane import api_lacks, control_plane_files
from provisioners.upstream.layout import PAUSE_IMAGE, Layout
from provisioners.upstream.node import UNIT_NAMES as NODE_UNITS
from provisioners.upstream.node import node_files
from provisioners.upstream.pki import Pki, cluster_leaves
from provisioners.upstream.remote import RemoteFile, _archive, unit_file

NODES = tuple(
    Node(
        name=f"node{i}", ssh=Ssh(host=f"node{i}", address=f"192.0.2.1{i}"), control_plane=i == 1, index=i - 1
    )
    for i in (1, 2, 3)
)
BINARIES = {name: Path("/opt/bin") / module.name for module in MODULES for name in module.packages}
LAYOUT = Layout(NODES, BINARIES, nameservers=("192.0.2.53",))


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    made = Pki(tmp_path_factory.mktemp("pki"))
    made.ensure(cluster_leaves(NODES, LAYOUT.control_plane.address, LAYOUT.service_address))
    return made


def test_layout_gives_k3s_own_addresses():
    assert LAYOUT.server == "https://192.0.2.11:6443"
    assert LAYOUT.service_address == "10.43.0.1"
    assert LAYOUT.dns_address == "10.43.0.10"
    assert [LAYOUT.pod_subnet(node) for node in NODES] == ["10.42.1.0/24", "10.42.2.0/24", "10.42.3.0/24"]


def test_a_unit_is_kept_running_enabled_and_literal():
    text = unit_file(
        "a tool", ["/bin/tool", "--at=100%", "--env=$HOME", "two words"], after="x.service"
    ).content
    assert b"After=x.service" in text
    assert b"Restart=always" in text
    assert b"WantedBy=multi-user.target" in text
    assert b"--at=100%%" in text
    assert b"--env=$$HOME" in text
    assert b'"two words"' in text


def test_control_plane_has_its_units_and_secret_keys(pki):
    files = control_plane_files(LAYOUT, pki)
    for unit in CONTROL_PLANE_UNITS:
        assert f"/etc/systemd/system/{unit}.service" in files
    for path, file in files.items():
        assert file.mode == (0o600 if path.endswith((".key", ".kubeconfig")) else 0o644), path
    apiserver = files["/etc/systemd/system/kube-apiserver.service"].content.decode()
    assert "--etcd-servers=unix:///run/kine.sock" in apiserver
    assert "--authorization-mode=Node,RBAC" in apiserver
    assert "--anonymous-auth=false" in apiserver
    assert "/opt/bin/kubernetes/kubenode" in apiserver
    assert "/opt/bin/kine/kine" in files["/etc/systemd/system/kine.service"].content.decode()


def test_a_node_agrees_with_its_container_runtime(pki):
    from provisioners.lab.node_image import _CONTAINERD

    files = node_files(LAYOUT, NODES[1], pki)
    for unit in NODE_UNITS:
        assert f"/etc/systemd/system/{unit}.service" in files
    kubelet = json.loads(files["/etc/gonogo/kubelet.json"].content)
    assert kubelet["cgroupDriver"] == "systemd"
    assert "SystemdCgroup = true" in _CONTAINERD
    assert f'sandbox_image = "{PAUSE_IMAGE}"' in _CONTAINERD
    assert kubelet["clusterDNS"] == [LAYOUT.dns_address]
    cni = json.loads(files["/etc/cni/net.d/10-gonogo.conflist"].content)
    assert cni["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.42.2.0/24"}]]
    assert files["/etc/gonogo/resolv.conf"].content == b"nameserver 192.0.2.53\n"
    # A node holds no authority's key and no administrator's certificate.
    assert not [path for path in files if "ca.key" in path or "admin" in path]


def test_routes_lead_to_every_other_node_and_only_there(pki):
    script = node_files(LAYOUT, NODES[1], pki)["/etc/gonogo/pod-network.sh"]
    assert script.mode == 0o755
    lines = [line for line in script.content.decode().splitlines() if line.startswith("ip route")]
    assert lines == [
        "ip route replace 10.42.1.0/24 via 192.0.2.11",
        "ip route replace 10.42.3.0/24 via 192.0.2.13",
    ]


def test_files_travel_with_their_modes():
    files = {"/etc/a": RemoteFile.text("x"), "/etc/b.key": RemoteFile.secret(b"y")}
    with tarfile.open(fileobj=io.BytesIO(_archive(files))) as archive:
        found = {entry.name: (entry.mode, entry.uid) for entry in archive}
    assert found == {"etc/a": (0o644, 0), "etc/b.key": (0o600, 0)}


@pytest.mark.parametrize("nameservers", [(), ("192.0.2.53",)])
def test_manifests_are_whole(nameservers):
    values = addons._values(Layout(NODES, BINARIES, nameservers=nameservers))
    bodies = [
        body
        for path in addons._MANIFESTS.glob("*.yaml")
        for body in yaml.safe_load_all(string.Template(path.read_text()).substitute(values))
    ]
    kinds = {(body["kind"], body["metadata"]["name"]): body for body in bodies}
    assert len(kinds) == len(bodies)
    for name in addons._DEPLOYMENTS:
        deployment = kinds["Deployment", name]
        assert deployment["metadata"]["namespace"] == "kube-system"
        images = [c["image"] for c in deployment["spec"]["template"]["spec"]["containers"]]
        assert set(images) <= set(addons.addon_images())
    assert kinds["Service", "kube-dns"]["spec"]["clusterIP"] == "10.43.0.10"
    default = kinds["StorageClass", "local-path"]["metadata"]["annotations"]
    assert default == {"storageclass.kubernetes.io/is-default-class": "true"}
    corefile = kinds["ConfigMap", "coredns"]["data"]["Corefile"]
    assert ("forward . /etc/resolv.conf" in corefile) == bool(nameservers)
    json.loads(kinds["ConfigMap", "local-path-config"]["data"]["config.json"])


class FakeKube(Kube):
    """Answers as an API server would: a text or an error for /readyz, objects by path."""

    def __init__(
        self,
        ready: str | Exception = "ok",
        deployments: dict[str, Any] | None = None,
        pods: Sequence[Any] = (),
    ) -> None:
        self.ready = ready
        self.deployments = deployments or {}
        self.pods = pods

    def text(self, path: str, query: object = None) -> str:
        del query
        assert path == "/readyz"
        if isinstance(self.ready, Exception):
            raise self.ready
        return self.ready

    def get(self, path: str, query: object = None) -> dict[str, Any] | None:
        del query
        return self.deployments.get(path.rsplit("/", 1)[1])

    def list_all(self, path: str, **_: str) -> Listing:
        assert path.endswith("/pods")
        return Listing(tuple(self.pods), "1")

    def log(self, namespace: str, pod: str, **_: object) -> str:
        del namespace
        return f"{pod} says: no such flag"


def test_api_server_lacks_what_it_says():
    assert api_lacks(FakeKube()) == ""
    assert api_lacks(FakeKube("[-]etcd failed")) == "[-]etcd failed"
    assert "refused" in api_lacks(FakeKube(ProvisionError("no answer", why="connection refused\nmore")))


def available(count: int = 1, seen: int = 1, unavailable: int = 0) -> dict[str, Any]:
    status = {"observedGeneration": seen, "availableReplicas": count, "unavailableReplicas": unavailable}
    return {"metadata": {"generation": 1}, "status": status}


def test_addons_lack_until_each_is_available():
    ready = {name: available() for name in addons._DEPLOYMENTS}
    assert addons._lacking(FakeKube(deployments=ready)) == ""
    for state in (available(count=0), available(seen=0), available(unavailable=1)):
        assert addons._lacking(FakeKube(deployments={**ready, "coredns": state})) == "coredns"
    del ready["coredns"]
    assert addons._lacking(FakeKube(deployments=ready)) == "coredns is absent"


def test_an_addon_that_keeps_ending_fails_early_with_its_log():
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = {"containerStatuses": [{"name": "coredns", "state": state, "restartCount": 3}]}
    kube = FakeKube(pods=[{"metadata": {"name": "coredns-1"}, "status": status}])
    with pytest.raises(ProvisionError, match="coredns has ended 3 times") as caught:
        addons._lacking(kube)
    assert "no such flag" in str(caught.value)
