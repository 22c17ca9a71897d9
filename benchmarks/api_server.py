"""A real API server on loopback, kine on SQLite behind it: what lists and watches are measured against.

The programs are those that the lab's Kubernetes is made of, built once by `gonogo lab up` and
cached. Nothing schedules and no kubelet runs: objects are as they were written.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.tools import ToolFailed, free_port
from provisioners.base import Node
from provisioners.errors import ProvisionError
from provisioners.kube import Kube
from provisioners.shell import Ssh
from provisioners.upstream.pki import CLUSTER_CA, FRONT_CA, Pki, cluster_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LOOPBACK = "127.0.0.1"
_READY_S = 90.0
_STOP_S = 15.0


def program(name: str) -> Path | None:
    """Return the newest cached build of one of the lab's programs, or None where there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gonogo" / "bin"
    found = sorted(cache.glob(f"*/{name}"), key=lambda path: path.stat().st_mtime_ns)
    return found[-1] if found else None


@contextlib.contextmanager
def api_server() -> Iterator[Path]:
    """Run one while the block lasts and yield the kubeconfig of its administrator.

    Raises:
        ToolFailed: its programs were not built here, or it did not get ready.
    """
    kine, kubenode = program("kine"), program("kubenode")
    if kine is None or kubenode is None:
        raise ToolFailed("no API server is built here: `gonogo lab up` builds and caches one")
    with tempfile.TemporaryDirectory(prefix="gonogo-api-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        port = free_port()
        pki = Pki(folder / "pki")
        pki.ensure(cluster_leaves([Node("node1", Ssh("node1", _LOOPBACK))], _LOOPBACK, "10.43.0.1"))
        kubeconfig = folder / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_bytes(pki.kubeconfig("admin", f"https://{_LOOPBACK}:{port}", "benchmark"))
        _started(stack, _kine(kine, folder), folder / "kine.log")
        server = _started(stack, _server(kubenode, folder, port), folder / "kube-apiserver.log")
        _await_ready(Kube(kubeconfig), server, folder / "kube-apiserver.log")
        yield kubeconfig


def _kine(binary: Path, folder: Path) -> list[str]:
    options = "_journal=WAL&cache=shared&_busy_timeout=30000&_synchronous=OFF"
    return [
        str(binary),
        f"--endpoint=sqlite://{folder}/state.db?{options}",
        f"--listen-address=unix://{folder}/kine.sock",
        "--metrics-bind-address=0",
    ]


def _server(binary: Path, folder: Path, port: int) -> list[str]:
    pki = folder / "pki"
    return [
        str(binary),
        "kube-apiserver",
        f"--bind-address={_LOOPBACK}",
        f"--advertise-address={_LOOPBACK}",
        f"--secure-port={port}",
        "--service-cluster-ip-range=10.43.0.0/16",
        f"--etcd-servers=unix://{folder}/kine.sock",
        "--anonymous-auth=false",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",  # no controller makes service accounts here
        f"--client-ca-file={pki}/{CLUSTER_CA}.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        f"--requestheader-client-ca-file={pki}/{FRONT_CA}.crt",
        "--endpoint-reconciler-type=none",
        "--max-requests-inflight=0",
        "--max-mutating-requests-inflight=0",
        "--enable-priority-and-fairness=false",
        "--v=0",
    ]


def _started(stack: contextlib.ExitStack, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await_ready(kube: Kube, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    why = "it did not answer"
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(ProvisionError):
            why = kube.text("/readyz")
            if why == "ok":
                return
        time.sleep(0.2)
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    raise ToolFailed(f"the API server did not get ready within {_READY_S:.0f} s: {why}", *tail)
