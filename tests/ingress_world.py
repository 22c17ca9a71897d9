"""A small world with a real front door: an API server, Traefik from the part's own manifest, and MCP servers.

All on loopback. Traefik has the arguments and the rights that the manifest gives it; only its addresses are
others. Pods have no loopback addresses, so the drill's Services name the servers' addresses instead.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml

from benchmarks.api_server import api_server, program
from benchmarks.tools import ToolFailed
from fixtures import ingress_objects
from fixtures.ingress_door import find_door
from fixtures.target import RunInput
from provisioners.base import Bundle, Cluster, Node, ServiceSpec, Side
from provisioners.kube import Kube
from provisioners.kube_apply import apply_object
from provisioners.noop import NoopProvisioner
from provisioners.parts import ingress as part
from provisioners.parts.base import PartContext, apply_manifest
from provisioners.shell import Ssh
from provisioners.steps import QuietProgress, run_steps
from provisioners.targets import open_targets, save_cluster, save_workload
from provisioners.upstream.build import TRAEFIK, binary
from provisioners.upstream.pki import CLUSTER_CA, Leaf, Pki

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from fixtures.ingress_client import Door
    from fixtures.ingress_objects import Backend
    from provisioners.base import Target
    from provisioners.kube import Object

LOOPBACK = "127.0.0.1"
NAMES = ("ai-memory", "github-v2")
SPECS = (
    ServiceSpec("ai-memory", "primary", 1, (9000,), mcp=True),
    ServiceSpec("github-v2", "primary", 1, (9006,), calls=("ai-memory",), mcp=True),
)
_UNIX_USER = "system:serviceaccount:kube-system:traefik"


@dataclass
class World:
    kube: Kube
    cluster: Cluster
    run_input: RunInput
    targets: dict[Side, Target]
    traefik: subprocess.Popen[bytes]
    restart: Callable[[], subprocess.Popen[bytes]]
    pki: Pki
    log: Path

    @property
    def door(self) -> Door:
        return find_door(self.kube, self.cluster)

    @property
    def target(self) -> Target:
        return self.targets[Side.KUBERNETES]


def by_name(one: Backend) -> list[Object]:
    """The Service of a backend here: by address as a name, for no endpoint may be on loopback."""
    ports = [{"name": "http", "port": one.port or 80, "protocol": "TCP"}]
    spec: Object = {"ports": ports}
    if one.addresses:
        spec |= {"type": "ExternalName", "externalName": one.addresses[0]}
    return [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": one.name}, "spec": spec}]


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """Start it, and end all of it; skips where its programs are not built here."""
    if not os.access(binary(TRAEFIK, "traefik"), os.X_OK):
        pytest.skip("Traefik is not built here: `gonogo lab up` of profile nightly builds it")
    with contextlib.ExitStack() as stack:
        try:
            kubeconfig = stack.enter_context(api_server())
        except ToolFailed as error:
            pytest.skip(str(error))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(part, "lab_dir", lambda: folder)
        patch.setattr(ingress_objects, "backend_objects", by_name)
        kube = Kube(kubeconfig)
        pki = part.default_pki()
        _make_part(kube, pki)
        cluster = Cluster(
            "existing",
            "existing",
            (Node("node1", Ssh("node1", LOOPBACK), control_plane=True),),
            kubeconfig=kubeconfig,
            run_id="r1",
            extra={**part.PART.facts, part.AUTHORITY_FACT: str(pki.folder / f"{CLUSTER_CA}.crt")},
        )
        (folder / "cluster.json").write_text(save_cluster(cluster), encoding="utf-8")
        (folder / "workload.json").write_text(save_workload(SPECS), encoding="utf-8")
        targets = stack.enter_context(_servers())
        log = folder / "traefik.log"

        def start() -> subprocess.Popen[bytes]:
            process = _traefik(kube, kubeconfig, folder, log)
            stack.callback(_stop, process)
            return process

        _controllers(stack, kubeconfig, folder)
        process = start()
        yield World(kube, cluster, RunInput(folder, cluster, SPECS), targets, process, start, pki, log)


def _make_part(kube: Kube, pki: Pki) -> None:
    apply_object(kube, part.certificate_secret(pki))
    context = PartContext(Cluster("existing", "existing"), kube, {"traefik": "gonogo/traefik:1"})
    apply_manifest(context, "ingress.yaml", part.values(context.images, pki))
    assert part.door_lacks(kube) == "no pod behind its Service"
    apply_object(kube, pods_of_the_door(ready=True))
    assert part.door_lacks(kube) == ""


def pods_of_the_door(*, ready: bool) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "traefik-1",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "traefik"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.42.0.9"], "conditions": {"ready": ready}}],
        "ports": [{"name": "web", "port": 8000, "protocol": "TCP"}],
    }


@contextlib.contextmanager
def _servers() -> Iterator[dict[Side, Target]]:
    provisioner = NoopProvisioner()
    run_steps(provisioner.steps(), progress=QuietProgress())
    try:
        targets = open_targets(provisioner.cluster(), SPECS)
        for side, target in targets.items():
            target.apply(Bundle(side, "sophia-mcp", {}, SPECS))
        yield targets
    finally:
        provisioner.down(lambda _: None)


def _traefik(kube: Kube, kubeconfig: Path, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the controller as the Deployment says, by its own account's rights, at the node ports."""
    deployment = kube.get("/apis/apps/v1/namespaces/kube-system/deployments/traefik")
    service = kube.get("/api/v1/namespaces/kube-system/services/traefik")
    assert deployment
    assert service
    ports = {one["name"]: one["nodePort"] for one in service["spec"]["ports"]}
    own = Pki(kubeconfig.parent / "pki")
    own.ensure([Leaf("traefik", _UNIX_USER)])
    account = folder / "traefik.kubeconfig"
    account.touch(mode=0o600)
    account.write_bytes(own.kubeconfig("traefik", kube.server, "test"))
    words = {
        ":9100/tcp": f"{LOOPBACK}:0/tcp",
        ":8080/tcp": f"{LOOPBACK}:0/tcp",
        ":8000/tcp": f"{LOOPBACK}:{ports['web']}/tcp",
        ":8443/tcp": f"{LOOPBACK}:{ports['websecure']}/tcp",
        "/dynamic": str(folder / "dynamic"),
    }
    argv = [str(binary(TRAEFIK, "traefik"))]
    for arg in deployment["spec"]["template"]["spec"]["containers"][0]["args"]:
        name, _, value = arg.partition("=")
        argv.append(f"{name}={words.get(value, value)}")
    argv += [
        "--providers.kubernetesingress.allowexternalnameservices=true",
        "--providers.providersthrottleduration=200ms",
    ]
    _dynamic(kube, folder)
    with log.open("ab") as file:
        return subprocess.Popen(
            ["nice", "-n", "15", *argv],
            env={"KUBECONFIG": str(account), "GOMAXPROCS": "1", "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=folder,
        )  # fmt: skip


def _dynamic(kube: Kube, folder: Path) -> None:
    """Lay down what the pod would have mounted."""
    config = kube.get("/api/v1/namespaces/kube-system/configmaps/traefik-dynamic")
    assert config
    certificate = folder / "certificate"
    certificate.mkdir(exist_ok=True)
    pki = Pki(folder / "ingress-pki")
    (certificate / "tls.crt").write_bytes(pki.certificate("traefik"))
    (certificate / "tls.key").write_bytes(pki.key("traefik"))
    text = config["data"]["dynamic.yaml"]
    assert set(yaml.safe_load(text)) == {"tls", "http"}
    (folder / "dynamic").mkdir(exist_ok=True)
    (folder / "dynamic" / "dynamic.yaml").write_text(text.replace("/certificate", str(certificate)))


def _controllers(stack: contextlib.ExitStack, kubeconfig: Path, folder: Path) -> None:
    """Start the controller that ends namespaces: without it none is ever gone."""
    kubenode = program("kubenode")
    assert kubenode
    argv = [
        "nice", "-n", "15", str(kubenode), "kube-controller-manager", f"--kubeconfig={kubeconfig}",
        "--controllers=namespace-controller", "--leader-elect=false", "--secure-port=0",
        f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}",
    ]  # fmt: skip
    with (folder / "controllers.log").open("wb") as file:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until(holds: Callable[[], object], bound_s: float = 20.0) -> bool:
    ends = time.monotonic() + bound_s
    while not holds():
        if time.monotonic() > ends:
            return False
        time.sleep(0.2)
    return True


def wrongs(seen: Sequence[object]) -> str:
    return "; ".join(f"{one.what}: {one.wrong}" for one in seen if one.wrong)  # type: ignore[attr-defined]
