"""Velero: its server, a node agent on each node for the data of volumes, and a location in the S3 store.

The published plugin for S3 cannot be had here; a plugin of ours takes its place (upstream/velero/s3plugin).
Volumes are read through the kubelet's folder, which a `hostPath` volume is not in: K3s's local-path makes
those unless a claim carries `volumeType: local`, and Velero passes them over with a warning.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from provisioners.kube_apply import CONTENT_ANNOTATION, apply_object
from provisioners.parts.base import BinaryImage, Part, apply_manifest, await_rollout
from provisioners.parts.storage_s3 import BUCKET, REGION, URL, keep_keys
from provisioners.upstream.build import VELERO, asset, binary
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.kube import Kube, Object
    from provisioners.parts.base import PartContext

NAMESPACE = "velero"
LOCATION = "default"
SECRET = "cloud-credentials"  # noqa: S105 - the name of the object, not what it holds
GROUP = "velero.io"
PLUGIN = "plugins/velero-plugin-s3"
_FOLDERS = {"crds": "v1", "crds-v2alpha1": "v2alpha1"}
_CRD_BOUND_S = 60.0
_LOCATION_BOUND_S = 150.0  # it is looked at once a minute


def images() -> Sequence[BinaryImage]:
    """Return the one image: server and node agent, what restored pods wait with, the plugin."""
    files = {
        "velero": binary(VELERO, "velero"),
        "velero-restore-helper": binary(VELERO, "velero-restore-helper"),
        PLUGIN: binary(VELERO, "velero-plugin-s3"),
    }
    return (BinaryImage("velero", files),)


def apply(context: PartContext, say: Callable[[str], None]) -> None:
    """Make it, and wait until each node has its agent and Velero has reached its bucket.

    Raises:
        NotReady: something was not there within its bound; the message names it.
    """
    apply_definitions(context.kube, say)
    apply_object(context.kube, namespace_object())
    apply_object(context.kube, credentials_object(keep_keys(context.kube)))
    values = {"velero": context.images["velero"], "bucket": BUCKET, "region": REGION, "url": URL}
    apply_manifest(context, "velero.yaml", values)
    await_rollout(context, NAMESPACE, ["deployments/velero", "daemonsets/node-agent"], say)
    wait_until(
        "Velero reaches its bucket",
        lambda: location_lacking(context.kube),
        say,
        bound_s=_LOCATION_BOUND_S,
        where=f"{NAMESPACE}/{LOCATION}",
        next_step=f"kubectl -n {NAMESPACE} logs deployment/velero",
    )


def namespace_object() -> Object:
    """Return the namespace; the node agents, and the pods they start, read other pods' volumes on hosts."""
    labels = {"gonogo.dev/part": "velero", "pod-security.kubernetes.io/enforce": "privileged"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def credentials_object(keys: Mapping[str, str]) -> Object:
    """Return the Secret with the store's keys as a file, in the form of AWS's own tools."""
    text = f"[default]\naws_access_key_id={keys['access']}\naws_secret_access_key={keys['secret']}\n"
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE, "labels": {"gonogo.dev/part": "velero"}},
        "data": {"cloud": base64.b64encode(text.encode()).decode()},
    }


def location_lacking(kube: Kube) -> str:
    """Return why the location is not Available, in Velero's words; empty when it is."""
    found = kube.get(f"/apis/{GROUP}/v1/namespaces/{NAMESPACE}/backupstoragelocations/{LOCATION}")
    if found is None:
        return "the location is absent"
    status = found.get("status") or {}
    if status.get("phase") == "Available":
        return ""
    return f"{status.get('phase', 'not looked at')}: {status.get('message', 'no reason given')}"


def apply_definitions(kube: Kube, say: Callable[[str], None]) -> None:
    """Apply Velero's kinds, those not there as this version has them, and wait until they are served.

    Raises:
        NotReady: they were not within the bound.
    """
    root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    wanted: dict[str, set[str]] = {}
    for body in definitions():
        wanted.setdefault(body["spec"]["versions"][0]["name"], set()).add(body["spec"]["names"]["plural"])
        path = f"{root}/{body['metadata']['name']}"
        mark = body["metadata"]["annotations"][CONTENT_ANNOTATION]
        there = ((kube.get(path) or {}).get("metadata") or {}).get("annotations") or {}
        if there.get(CONTENT_ANNOTATION) != mark:
            say(f"definition of {body['spec']['names']['kind']}")
            kube.apply(path, body)
    wait_until(
        "Velero's kinds are served",
        lambda: ", ".join(sorted(_unserved(kube, wanted))),
        say,
        bound_s=_CRD_BOUND_S,
        where=GROUP,
        next_step=f"kubectl get crd | grep {GROUP}",
    )


def definitions() -> list[Object]:
    """Return the definitions of Velero's kinds as its module has them, each marked with what it holds."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = []
    for folder in _FOLDERS:
        for path in sorted(asset(VELERO, folder).glob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            body: Object = yaml.load(text, Loader=loader)  # noqa: S506  a safe one
            meta = body["metadata"]
            meta["annotations"] = {
                **(meta.get("annotations") or {}),
                CONTENT_ANNOTATION: hashlib.sha256(text.encode()).hexdigest()[:12],
            }
            found.append(body)
    return found


def _unserved(kube: Kube, wanted: Mapping[str, set[str]]) -> set[str]:
    lacking = set()
    for version, names in wanted.items():
        rows = (kube.get(f"/apis/{GROUP}/{version}") or {}).get("resources") or []
        lacking |= names - {row["name"] for row in rows}
    return lacking


PART = Part(
    name="velero",
    what="Velero with a node agent on each node, which keeps objects and volumes in the S3 store",
    apply=apply,
    modules=(VELERO,),
    images=images,
    needs=("storage-s3",),
    stand_in="a plugin of gonogo's own in place of velero-plugin-for-aws",
    facts={"part.velero.namespace": NAMESPACE, "part.velero.location": f"{NAMESPACE}/{LOCATION}"},
)
