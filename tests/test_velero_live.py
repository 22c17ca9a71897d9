"""Velero itself on loopback: its server, our plugin, a real API server and a real S3 gateway.

Objects are backed up and restored under another name; locations with a wrong key or an absent bucket are
told so; and a backup of a running pod's volume without a node agent is what the drill calls none.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.backup_velero_rules import backup_object, backup_problems, restore_object
from provisioners.kube import open_kube
from provisioners.parts import velero
from provisioners.parts.storage_s3 import BUCKET, REGION
from provisioners.upstream import build
from provisioners.upstream.build import KINE, KUBERNETES, VELERO, VERSITYGW, binary
from provisioners.upstream.control_plane import api_lacks
from provisioners.upstream.pki import Pki, cluster_leaves
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioners.kube import Kube

# It needs what the lab builds, so it belongs to the lab's tests; the lab itself it does not touch.
pytestmark = pytest.mark.lab

KEYS = {"access": "gonogotest", "secret": "sesamesesame"}
ROOT = "/apis/velero.io/v1/namespaces/velero"
BOUND_S = 90.0
SOURCE = "source"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@dataclass(frozen=True)
class Site:
    """Where the processes of a test live."""

    folder: Path
    stack: contextlib.ExitStack

    def start(self, name: str, argv: list[str], **env: str) -> None:
        log = self.stack.enter_context((self.folder / f"{name}.log").open("wb"))
        child = subprocess.Popen(
            argv, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **env}, cwd=self.folder
        )
        self.stack.callback(child.wait, 20)
        self.stack.callback(child.terminate)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-3_000:]


def told(what: str, missing: Callable[[], str], site: Site, log: str) -> None:
    try:
        wait_until(what, missing, lambda _: None, bound_s=BOUND_S, every_s=0.2)
    except Exception as error:
        raise AssertionError(f"{error}\n{site.log(log)}") from error


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    for module in (KUBERNETES, KINE, VERSITYGW, VELERO):
        if not build.is_built(module):
            build.build(module, lambda _: None)
    with contextlib.ExitStack() as stack:
        yield Site(tmp_path_factory.mktemp("velero"), stack)


@pytest.fixture(scope="module")
def gateway(site: Site) -> str:
    """An S3 gateway that holds nothing yet."""
    port, folder = free_port(), site.folder / "objects"
    folder.mkdir()
    argv = [str(binary(VERSITYGW, "versitygw")), "--port", f"127.0.0.1:{port}", "--region", REGION]
    keys = {"ROOT_ACCESS_KEY": KEYS["access"], "ROOT_SECRET_KEY": KEYS["secret"]}
    site.start("gateway", [*argv, "posix", str(folder)], **keys)

    def silent() -> str:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return ""
        return "no answer"

    told("the gateway listens", silent, site, "gateway")
    (folder / BUCKET).mkdir(exist_ok=True)  # a folder is a bucket of this gateway
    return f"http://127.0.0.1:{port}"


def test_the_plugins_own_tests_pass_against_the_gateway(site: Site, gateway: str) -> None:
    go = build.find_go()
    assert go, "no Go toolchain"
    env = {
        "S3_URL": gateway, "S3_ACCESS": KEYS["access"], "S3_SECRET": KEYS["secret"],
        "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly",
    }  # fmt: skip
    argv = [go, "test", "-count=1", "-v", "./s3plugin/store"]
    seen = subprocess.run(
        argv,
        cwd=VELERO.folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert seen.returncode == 0, seen.stdout + seen.stderr
    for name in ("TestAnObjectComesBack", "TestWrongKeysGetNothing", "TestAnAbsentBucketIsAnError"):
        assert f"--- PASS: {name}" in seen.stdout


@pytest.fixture(scope="module")
def kube(site: Site) -> Kube:
    """A real API server that holds Velero's kinds and nothing else; no controller and no node."""
    port, pki = free_port(), Pki(site.folder / "pki")
    pki.ensure(cluster_leaves((), "127.0.0.1", "10.43.0.1"))
    store, folder = f"unix://{site.folder}/kine.sock", pki.folder
    database = f"sqlite://{site.folder}/state.db?_journal=WAL&cache=shared&_busy_timeout=30000"
    site.start(
        "kine",
        [
            str(binary(KINE, "kine")),
            f"--endpoint={database}",
            f"--listen-address={store}",
            "--metrics-bind-address=0",
        ],
    )
    told("kine listens", lambda: "" if (site.folder / "kine.sock").exists() else "no socket", site, "kine")
    site.start(
        "apiserver",
        [
            str(binary(KUBERNETES, "kubenode")), "kube-apiserver",
            "--bind-address=127.0.0.1", f"--secure-port={port}", "--endpoint-reconciler-type=none",
            f"--etcd-servers={store}", "--service-cluster-ip-range=10.43.0.0/16",
            "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
            f"--client-ca-file={folder}/ca.crt",
            f"--tls-cert-file={folder}/apiserver.crt", f"--tls-private-key-file={folder}/apiserver.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={folder}/sa.pub",
            f"--service-account-signing-key-file={folder}/sa.key",
        ],
    )  # fmt: skip
    path = site.folder / "kubeconfig"
    path.write_bytes(pki.kubeconfig("admin", f"https://127.0.0.1:{port}", "velero"))
    found = open_kube(path)
    told("the API server is ready", lambda: api_lacks(found), site, "apiserver")
    velero.apply_definitions(found, lambda _: None)
    return found


def location(name: str, url: str, bucket: str = BUCKET, secret: str = velero.SECRET) -> dict[str, Any]:
    return {
        "apiVersion": "velero.io/v1",
        "kind": "BackupStorageLocation",
        "metadata": {"name": name, "namespace": "velero"},
        "spec": {
            "default": name == "default",
            "provider": "gonogo.dev/s3",
            "credential": {"name": secret, "key": "cloud"},
            "objectStorage": {"bucket": bucket, "prefix": name},
            "config": {"s3Url": url, "region": REGION, "s3ForcePathStyle": "true"},
        },
    }


@pytest.fixture(scope="module")
def server(site: Site, kube: Kube, gateway: str) -> Kube:
    """Velero's server as a process, with three locations: a good one, a wrong key, an absent bucket."""
    kube.apply("/api/v1/namespaces/velero", velero.namespace_object())
    wrong = velero.credentials_object({**KEYS, "secret": "not-the-secret"})
    wrong["metadata"]["name"] = "wrong"
    for secret in (velero.credentials_object(KEYS), wrong):
        kube.apply(f"/api/v1/namespaces/velero/secrets/{secret['metadata']['name']}", secret)
    template = {
        "metadata": {"labels": {"deploy": "velero"}},
        "spec": {"containers": [{"name": "velero", "image": "gonogo/velero:test"}]},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "velero", "namespace": "velero"},
        "spec": {"selector": {"matchLabels": {"deploy": "velero"}}, "template": template},
    }
    kube.apply("/apis/apps/v1/namespaces/velero/deployments/velero", deployment)
    for one in (
        location("default", gateway),
        location("wrong-key", gateway, secret="wrong"),
        location("no-bucket", gateway, bucket="no-such-bucket"),
    ):
        kube.apply(f"{ROOT}/backupstoragelocations/{one['metadata']['name']}", one)
    plugins, home = site.folder / "plugins", site.folder / "home"
    plugins.mkdir()
    home.mkdir()
    (plugins / "velero-plugin-s3").symlink_to(binary(VELERO, "velero-plugin-s3"))
    (site.folder / "tmp").mkdir()
    argv = [str(binary(VELERO, "velero")), "server", f"--kubeconfig={site.folder}/kubeconfig"]
    argv += ["--namespace=velero", f"--plugin-dir={plugins}", "--log-format=json"]
    argv += [f"--metrics-address=127.0.0.1:{free_port()}", f"--profiler-address=127.0.0.1:{free_port()}"]
    site.start("server", argv, HOME=str(home), TMPDIR=str(site.folder / "tmp"), VELERO_NAMESPACE="velero")
    return kube


def status(kube: Kube, path: str) -> dict[str, Any]:
    return dict((kube.get(f"{ROOT}/{path}") or {}).get("status") or {})


def unseen(kube: Kube, path: str) -> str:
    return "" if status(kube, path) else "not looked at"


def ended(kube: Kube, path: str, site: Site) -> dict[str, Any]:
    def missing() -> str:
        phase = status(kube, path).get("phase", "")
        return (
            "" if phase in {"Completed", "PartiallyFailed", "Failed", "FailedValidation"} else phase or "new"
        )

    told(f"{path} ends", missing, site, "server")
    return kube.get(f"{ROOT}/{path}") or {}


def test_the_location_is_available_and_bad_ones_say_why(server: Kube, site: Site) -> None:
    told("the bucket is reached", lambda: velero.location_lacking(server), site, "server")
    for name, why in (("wrong-key", "signature"), ("no-bucket", "bucket")):
        path = f"backupstoragelocations/{name}"
        told(f"{name} is looked at", functools.partial(unseen, server, path), site, "server")
        seen = status(server, path)
        assert seen["phase"] == "Unavailable"
        assert why in seen["message"]


def test_objects_come_back_under_another_name(server: Kube, site: Site) -> None:
    told("the bucket is reached", lambda: velero.location_lacking(server), site, "server")
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SOURCE}}
    server.apply(f"/api/v1/namespaces/{SOURCE}", space)
    data = {"sentinel": base64.b64encode(os.urandom(3000)).decode()}
    meta = {"name": "sentinel", "namespace": SOURCE}
    server.apply(
        f"/api/v1/namespaces/{SOURCE}/configmaps/sentinel",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data},
    )
    server.create(f"{ROOT}/backups", backup_object("velero", SOURCE, "test"))
    backup = ended(server, f"backups/{SOURCE}", site)
    assert backup["status"]["phase"] == "Completed", backup["status"]
    # What Velero calls complete is no backup of a volume.
    assert "0 volumes, 1 were to be saved" in "; ".join(backup_problems(backup, [], 1))
    kept = {path.name for path in (site.folder / "objects" / BUCKET / "default/backups" / SOURCE).iterdir()}
    assert {f"{SOURCE}.tar.gz", f"{SOURCE}-logs.gz", "velero-backup.json"} <= kept
    server.create(f"{ROOT}/restores", restore_object("velero", SOURCE, "other", "test"))
    restore = ended(server, f"restores/{SOURCE}", site)
    assert restore["status"]["phase"] == "Completed", restore["status"]
    found = server.get("/api/v1/namespaces/other/configmaps/sentinel")
    assert found is not None
    assert found["data"] == data


def test_a_volume_without_a_node_agent_is_not_saved_and_red(server: Kube, site: Site) -> None:
    told("the bucket is reached", lambda: velero.location_lacking(server), site, "server")
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "volumes"}}
    server.apply("/api/v1/namespaces/volumes", space)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}}
    server.apply("/api/v1/nodes/node1", node)
    container = {"name": "c", "image": "none", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "volumes"},
        "spec": {
            "nodeName": "node1",
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }
    server.apply("/api/v1/namespaces/volumes/pods/p", pod)
    server.patch("/api/v1/namespaces/volumes/pods/p/status", {"status": {"phase": "Running"}})
    server.create(f"{ROOT}/backups", backup_object("velero", "volumes", "test"))
    backup = ended(server, "backups/volumes", site)
    volumes = server.list_all(f"{ROOT}/podvolumebackups", labels="velero.io/backup-name=volumes").items
    problems = "; ".join(backup_problems(backup, volumes, 1))
    assert "PartiallyFailed" in problems
    assert "0 volumes, 1 were to be saved" in problems


def test_idle_it_is_quiet(server: Kube, site: Site) -> None:
    """Between two looks at its locations it does next to nothing."""
    del server
    pids = [
        int(path.name)
        for path in os.scandir("/proc")
        if path.name.isdecimal() and f"--kubeconfig={site.folder}/kubeconfig" in _words(path.name)
    ]
    assert pids
    before = sum(_cpu_s(pid) for pid in pids)
    time.sleep(5)
    assert sum(_cpu_s(pid) for pid in pids) - before < 1.0


def _words(pid: str) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
        return file.read().decode(errors="replace")
    return ""


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
