"""The Ingress controller: Traefik, which K3s packs, with its chart's arguments and a certificate of the lab.

It is entered by the node ports of its Service: nothing here takes 80 and 443 of hosts that a Swarm uses too.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from provisioners.errors import ProvisionError
from provisioners.kube import KubeError
from provisioners.kube_apply import apply_object
from provisioners.lab.paths import lab_dir
from provisioners.lab.state import add_facts
from provisioners.parts.base import BinaryImage, DebianImage, Part, apply_manifest, await_rollout
from provisioners.upstream.build import TRAEFIK, binary
from provisioners.upstream.pki import CLUSTER_CA, Leaf, Pki
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.kube import Kube, Object
    from provisioners.parts.base import PartContext

NAMESPACE = "kube-system"
NAME = "traefik"
DOMAIN = "apps.gonogo.test"  # a name that nobody can own (RFC 6761)
REDIRECT = "https-only@file"
CERTIFICATE = "traefik-default-certificate"
AUTHORITY_FACT = "part.ingress.authority"
_MONITORING = "monitoring.coreos.com/v1"
_DOOR_BOUND_S = 60.0


def images() -> Sequence[BinaryImage | DebianImage]:
    """Return the part's one image."""
    return (BinaryImage(NAME, {NAME: binary(TRAEFIK, NAME)}),)


def apply(context: PartContext, say: Callable[[str], None]) -> None:
    """Make it, and wait until its Service has node ports and a pod behind them.

    Raises:
        NotReady: something was not there within its bound; the message names it.
    """
    pki = default_pki()
    secret = certificate_secret(pki)
    apply_object(context.kube, secret)
    apply_manifest(context, "ingress.yaml", values(context.images, pki))
    if is_monitored(context.kube):
        apply_manifest(context, "ingress-monitor.yaml", {})
    else:
        say("no ServiceMonitors here: the controller's metrics are not scraped")
    await_rollout(context, NAMESPACE, [f"deployments/{NAME}"], say)
    wait_until(
        "the controller can be entered",
        lambda: door_lacks(context.kube),
        say,
        bound_s=_DOOR_BOUND_S,
        where=f"{NAMESPACE}/{NAME}",
        next_step=f"kubectl -n {NAMESPACE} get service,endpointslices -l app.kubernetes.io/name={NAME}",
    )
    add_facts({AUTHORITY_FACT: str(pki.folder / f"{CLUSTER_CA}.crt")})


def default_pki() -> Pki:
    """Return the lab's authority for Ingresses, made once, and its certificate of DOMAIN and all below."""
    pki = Pki(lab_dir() / "ingress-pki")
    pki.ensure([Leaf(NAME, DOMAIN, names=(DOMAIN, f"*.{DOMAIN}"))])
    return pki


def certificate_secret(pki: Pki) -> Object:
    """Return the Secret that holds the certificate and its key."""
    data = {"tls.crt": pki.certificate(NAME), "tls.key": pki.key(NAME)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": CERTIFICATE, "namespace": NAMESPACE, "labels": {"gonogo.dev/part": "ingress"}},
        "type": "kubernetes.io/tls",
        "data": {name: base64.b64encode(value).decode("ascii") for name, value in data.items()},
    }


def values(images: Mapping[str, str], pki: Pki) -> Mapping[str, str]:
    """Return the words of the manifest; a new certificate makes new pods, which read it."""
    return {
        "traefik": images[NAME],
        "redirect": REDIRECT,
        "certificate_hash": hashlib.sha256(pki.certificate(NAME)).hexdigest()[:12],
    }


def is_monitored(kube: Kube) -> bool:
    """Return whether the cluster knows ServiceMonitors."""
    try:
        kube.resource(_MONITORING, "ServiceMonitor")
    except KubeError:
        return False
    return True


def door_lacks(kube: Kube) -> str:
    """Return why nobody can enter by the Service; empty when one can."""
    try:
        service = kube.get(f"/api/v1/namespaces/{NAMESPACE}/services/{NAME}")
        slices = kube.list_all(
            f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices",
            labels=f"kubernetes.io/service-name={NAME}",
        ).items
    except ProvisionError as error:
        return str(error).partition("\n")[0]
    if service is None:
        return "no Service"
    without = [port["name"] for port in service["spec"]["ports"] if not port.get("nodePort")]
    if without:
        return f"no node port for {', '.join(without)}"
    ready = [
        endpoint
        for row in slices
        for endpoint in row.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready")
    ]
    return "" if ready else "no pod behind its Service"


PART = Part(
    name="ingress",
    what="Traefik, K3s's Ingress controller, entered by node ports, with a certificate of the lab",
    apply=apply,
    modules=(TRAEFIK,),
    images=images,
    facts={
        "part.ingress.service": f"{NAMESPACE}/{NAME}",
        "part.ingress.domain": DOMAIN,
        "part.ingress.redirect": REDIRECT,
    },
)
