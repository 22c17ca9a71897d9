"""Object storage by S3: Versity's gateway over a volume, a bucket, and a client that drills put backups with.

Its keys are made once, live in a Secret and in a file of the lab that only its owner reads, and go to
nothing else. The client is Debian's curl, which signs requests itself (`--aws-sigv4`).
"""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING

from provisioners.errors import ProvisionError
from provisioners.kube_apply import apply_object
from provisioners.lab.paths import lab_dir
from provisioners.lab.state import write_secret
from provisioners.parts.base import (
    BinaryImage,
    DebianImage,
    Part,
    apply_manifest,
    await_rollout,
)
from provisioners.upstream.build import VERSITYGW, binary
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.kube import Kube, Object
    from provisioners.parts.base import PartContext

NAMESPACE = "backup"
BUCKET = "backups"
REGION = "us-east-1"
URL = f"http://s3.{NAMESPACE}.svc:7070"
SECRET = "s3-root"  # noqa: S105 - the name of the object, not what it holds
_ANSWER_BOUND_S = 60.0
_EXEC_S = 20.0
_MADE, _THERE = "200", "409"  # made now, or there already and ours

# The keys come by standard input: on a command line others on the node would read them.
_MAKE_BUCKET = """
printf 'user = "%s:%s"\\n' "$S3_ACCESS" "$S3_SECRET" |
  curl -sS -K - --max-time 10 --aws-sigv4 "aws:amz:$S3_REGION:s3" -o /dev/null -w '%{http_code}' \\
    -X PUT "$S3_URL/$S3_BUCKET"
"""


def images() -> Sequence[BinaryImage | DebianImage]:
    """Return the gateway's image, and a name of the shared Debian file system that only sleeps."""
    return (
        BinaryImage("versitygw", {"versitygw": binary(VERSITYGW, "versitygw")}),
        DebianImage("s3-client", ("/usr/bin/sleep", "infinity")),
    )


def apply(context: PartContext, say: Callable[[str], None]) -> None:
    """Make it, and wait until the bucket is there.

    Raises:
        NotReady: something was not there within its bound; the message names it.
    """
    apply_object(context.kube, {"apiVersion": "v1", "kind": "Namespace", "metadata": _namespace()})
    keys = keep_keys(context.kube)
    write_secret(lab_dir() / "storage-s3.json", json.dumps({"url": URL, "bucket": BUCKET, **keys}).encode())
    values = {
        "gateway": context.images["versitygw"],
        "client": context.images["s3-client"],
        "region": REGION,
        "bucket": BUCKET,
    }
    apply_manifest(context, "s3.yaml", values)
    await_rollout(context, NAMESPACE, ["deployments/s3", "deployments/s3-client"], say)
    wait_until(
        "the bucket is there",
        lambda: bucket_lacking(context.kube),
        say,
        bound_s=_ANSWER_BOUND_S,
        where=f"{NAMESPACE}/s3",
        next_step=f"kubectl -n {NAMESPACE} logs deployment/s3",
    )


def keep_keys(kube: Kube) -> Mapping[str, str]:
    """Return the keys of the Secret; where there is none, make some and keep them."""
    path = f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}"
    data = (kube.get(path) or {}).get("data") or {}
    if {"access", "secret"} <= data.keys():
        return {name: base64.b64decode(data[name]).decode() for name in ("access", "secret")}
    keys = {"access": f"gonogo{secrets.token_hex(6)}", "secret": secrets.token_hex(20)}
    kube.apply(path, secret_object(keys))
    return keys


def secret_object(keys: Mapping[str, str]) -> Object:
    """Return the Secret that holds the keys."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE, "labels": {"gonogo.dev/part": "storage-s3"}},
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in keys.items()},
    }


def bucket_lacking(kube: Kube) -> str:
    """Make the bucket by the client, and return why it is not there; empty when it is."""
    rows = kube.list_all(
        f"/api/v1/namespaces/{NAMESPACE}/pods", labels="app.kubernetes.io/name=s3-client"
    ).items
    running = [
        row["metadata"]["name"]
        for row in rows
        if (row.get("status") or {}).get("phase") == "Running" and "deletionTimestamp" not in row["metadata"]
    ]
    if not running:
        return "no client runs"
    try:
        seen = kube.exec(NAMESPACE, running[0], "client", ["sh", "-c", _MAKE_BUCKET], _EXEC_S)
    except ProvisionError as error:
        return str(error).partition("\n")[0]
    status = seen.stdout.strip()
    return "" if status in {_MADE, _THERE} else f"status {status or 'none'}: {seen.stderr.strip()[-200:]}"


def _namespace() -> Object:
    return {"name": NAMESPACE, "labels": {"gonogo.dev/part": "storage-s3"}}


PART = Part(
    name="storage-s3",
    what="object storage by S3 (Versity's gateway over a volume) with a bucket for backups",
    apply=apply,
    modules=(VERSITYGW,),
    images=images,
    debian=("curl",),
    facts={
        "part.storage-s3.url": URL,
        "part.storage-s3.bucket": BUCKET,
        "part.storage-s3.secret": f"{NAMESPACE}/{SECRET}",
        "part.storage-s3.client": f"{NAMESPACE}/app.kubernetes.io/name=s3-client:client",
    },
)
