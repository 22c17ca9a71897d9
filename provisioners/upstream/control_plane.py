"""The control plane on its node: kine on SQLite, API server, controller manager, scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.errors import ProvisionError
from provisioners.upstream.layout import CONFIG, PKI, UNITS, Layout
from provisioners.upstream.pki import CLUSTER_CA, FRONT_CA, Pki
from provisioners.upstream.remote import RemoteFile, settle, unit_file
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioners.kube import Kube

UNIT_NAMES = ("kine", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

_SOCKET = "unix:///run/kine.sock"
_DATABASE = "/var/lib/rancher/gonogo/state.db"
_READY_BOUND_S = 90.0


def control_plane_files(layout: Layout, pki: Pki) -> dict[str, RemoteFile]:
    """Return every file of the control plane by its path on the node."""
    files = {
        f"{PKI}/{name}.crt": RemoteFile(pki.certificate(name))
        for name in (CLUSTER_CA, FRONT_CA, "apiserver", "apiserver-kubelet-client", "front-proxy-client")
    }
    files |= {
        f"{PKI}/{name}.key": RemoteFile.secret(pki.key(name))
        for name in (CLUSTER_CA, "apiserver", "apiserver-kubelet-client", "front-proxy-client", "sa")
    }
    files[f"{PKI}/sa.pub"] = RemoteFile(pki.account_public_key())
    for name in ("controller-manager", "scheduler"):
        files[f"{CONFIG}/{name}.kubeconfig"] = RemoteFile.secret(
            pki.kubeconfig(name, layout.server, "gonogo")
        )
    units = {
        "kine": unit_file("kine: the API server's store on SQLite", _kine(layout), after="network.target"),
        "kube-apiserver": unit_file("Kubernetes API server", _apiserver(layout), after="kine.service"),
        "kube-controller-manager": unit_file(
            "Kubernetes controller manager", _controller_manager(layout), after="kube-apiserver.service"
        ),
        "kube-scheduler": unit_file(
            "Kubernetes scheduler", _scheduler(layout), after="kube-apiserver.service"
        ),
    }
    return files | {f"{UNITS}/{name}.service": unit for name, unit in units.items()}


def start_control_plane(layout: Layout, pki: Pki, kube: Kube, say: Callable[[str], None]) -> None:
    """Start the control plane and wait until the API server says that it is ready."""
    node = layout.control_plane
    node.ssh.run(["mkdir", "-p", _DATABASE.rsplit("/", 1)[0]]).check()
    settle(node, control_plane_files(layout, pki), UNIT_NAMES, say)
    wait_until(
        "the API server is ready",
        lambda: api_lacks(kube),
        say,
        bound_s=_READY_BOUND_S,
        every_s=0.3,
        where=node.name,
        next_step="on the node: journalctl -u kube-apiserver -u kine",
    )


def api_lacks(kube: Kube) -> str:
    """Return why the API server is not ready; empty when it is."""
    try:
        answer = kube.text("/readyz")
    except ProvisionError as error:
        return (error.why or error.what).splitlines()[0]
    return "" if answer == "ok" else answer


def _kine(layout: Layout) -> list[str]:
    options = "_journal=WAL&cache=shared&_busy_timeout=30000"
    return [
        layout.binary("kine"),
        f"--endpoint=sqlite://{_DATABASE}?{options}",
        f"--listen-address={_SOCKET}",
        "--metrics-bind-address=0",
    ]


def _apiserver(layout: Layout) -> list[str]:
    return [
        layout.binary("kubenode"),
        "kube-apiserver",
        f"--advertise-address={layout.control_plane.address}",
        f"--service-cluster-ip-range={layout.service_network}",
        f"--etcd-servers={_SOCKET}",
        "--allow-privileged=true",
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={PKI}/{CLUSTER_CA}.crt",
        f"--tls-cert-file={PKI}/apiserver.crt",
        f"--tls-private-key-file={PKI}/apiserver.key",
        f"--kubelet-certificate-authority={PKI}/{CLUSTER_CA}.crt",
        f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={PKI}/sa.pub",
        f"--service-account-signing-key-file={PKI}/sa.key",
        f"--requestheader-client-ca-file={PKI}/{FRONT_CA}.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={PKI}/front-proxy-client.crt",
        f"--proxy-client-key-file={PKI}/front-proxy-client.key",
        "--enable-aggregator-routing=true",
    ]


def _controller_manager(layout: Layout) -> list[str]:
    kubeconfig = f"{CONFIG}/controller-manager.kubeconfig"
    return [
        layout.binary("kubenode"),
        "kube-controller-manager",
        "--bind-address=127.0.0.1",  # as K3s has it: nobody outside the host reads its metrics
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--allocate-node-cidrs=false",
        f"--cluster-cidr={layout.pod_network}",
        f"--cluster-signing-cert-file={PKI}/{CLUSTER_CA}.crt",
        f"--cluster-signing-key-file={PKI}/{CLUSTER_CA}.key",
        f"--root-ca-file={PKI}/{CLUSTER_CA}.crt",
        f"--service-account-private-key-file={PKI}/sa.key",
        "--use-service-account-credentials=true",
        "--leader-elect=false",  # there is one of it
    ]


def _scheduler(layout: Layout) -> list[str]:
    kubeconfig = f"{CONFIG}/scheduler.kubeconfig"
    return [
        layout.binary("kubenode"),
        "kube-scheduler",
        "--bind-address=127.0.0.1",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
    ]
