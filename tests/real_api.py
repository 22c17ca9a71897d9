"""A real API server, scheduler and ServiceAccount controller on loopback, for nodes that are only objects.

Built by the lab and taken from its cache. No kubelet: a pod gets its node, and then a test plays its host.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

from provisioners.base import Node
from provisioners.kube import Kube
from provisioners.shell import Ssh
from provisioners.upstream.build import KINE, KUBERNETES, binary, is_built
from provisioners.upstream.control_plane import api_lacks
from provisioners.upstream.pki import CLUSTER_CA, FRONT_CA, Pki, cluster_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_READY_S = 120.0
_SERVICES = "10.43.0.0/16"


def can_run() -> bool:
    """Return whether the cache holds what this needs."""
    return is_built(KUBERNETES) and is_built(KINE)


@contextlib.contextmanager
def real_api(folder: Path) -> Iterator[Kube]:
    """Run the three of them in a folder; yields the door to the API server."""
    port = _free_port()
    pki = Pki(folder / "pki")
    pki.ensure(cluster_leaves((Node("n", Ssh("n", "127.0.0.1")),), "127.0.0.1", "10.43.0.1"))
    server = f"https://127.0.0.1:{port}"
    config = folder / "kubeconfig"
    with contextlib.ExitStack() as stack:
        store = f"unix://{folder}/kine.sock"
        _start(
            stack,
            folder,
            "kine",
            str(binary(KINE, "kine")),
            f"--endpoint=sqlite://{folder}/state.db?_journal=WAL&cache=shared&_busy_timeout=30000",
            f"--listen-address={store}",
            "--metrics-bind-address=0",
        )
        node = str(binary(KUBERNETES, "kubenode"))
        _start(stack, folder, "apiserver", node, "kube-apiserver", *_flags(pki.folder, port, store))
        for name in ("scheduler", "controller-manager"):
            written = folder / f"{name}.kubeconfig"
            written.write_bytes(pki.kubeconfig(name, server, "test"))
        config.write_bytes(pki.kubeconfig("admin", server, "test"))
        config.chmod(0o600)
        kube = Kube(config)
        _await_ready(kube, folder)
        key = f"--service-account-private-key-file={pki.folder}/sa.key"
        controllers = "--controllers=serviceaccount-controller,namespace-controller"
        common = ["--leader-elect=false", "--secure-port=0"]
        for name, more in (
            ("scheduler", []),
            ("controller-manager", [key, controllers, "--use-service-account-credentials=true"]),
        ):
            words = [f"--kubeconfig={folder}/{name}.kubeconfig", *common, *more]
            _start(stack, folder, name, node, f"kube-{name}", *words)
        yield kube


def add_node(kube: Kube, name: str, *, role: str = "", gpus: str = "", **labels: str) -> None:
    """Make a node that takes pods, with so many GPUs that its kubelet would offer."""
    words = {f"nvidia.com/gpu.{key.replace('_', '-')}": value for key, value in labels.items()}
    words |= {"kubernetes.io/hostname": name, **({"instance-role": role} if role else {})}
    kube.apply(
        f"/api/v1/nodes/{name}",
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": words}},
    )
    offer(kube, name, gpus)
    row = kube.get(f"/api/v1/nodes/{name}") or {}
    left = [taint for taint in row["spec"].get("taints") or [] if "not-ready" not in taint["key"]]
    kube.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": left}})


def offer(kube: Kube, name: str, gpus: str, *, capacity: str = "") -> None:
    """Say of a node what its kubelet would."""
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "100"}
    allocatable = amounts | ({"nvidia.com/gpu": gpus} if gpus else {})
    status: dict[str, Any] = {
        "allocatable": allocatable,
        "capacity": amounts | ({"nvidia.com/gpu": capacity or gpus} if gpus else {}),
        "conditions": [{"type": "Ready", "status": "True", "reason": "Played", "message": "by a test"}],
    }
    kube.patch(f"/api/v1/nodes/{name}/status", {"status": status})


def _flags(pki: Path, port: int, store: str) -> list[str]:
    return [
        f"--etcd-servers={store}",
        "--advertise-address=127.0.0.1",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--service-cluster-ip-range={_SERVICES}",
        "--endpoint-reconciler-type=none",
        "--authorization-mode=Node,RBAC",
        f"--client-ca-file={pki}/{CLUSTER_CA}.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--requestheader-client-ca-file={pki}/{FRONT_CA}.crt",
        "--requestheader-allowed-names=front-proxy-client",
    ]


def _start(stack: contextlib.ExitStack, folder: Path, name: str, *argv: str) -> None:
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    process = subprocess.Popen(
        argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder, start_new_session=True
    )
    stack.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
            return


def _await_ready(kube: Kube, folder: Path) -> None:
    ends = time.monotonic() + _READY_S
    while lacking := api_lacks(kube):
        assert time.monotonic() < ends, f"{lacking}; {(folder / 'apiserver.log').read_text()[-2000:]}"
        time.sleep(0.2)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
