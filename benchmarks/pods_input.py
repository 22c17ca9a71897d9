"""Pods of a big cluster with planted faults, written once to a real API server, and what is wrong with each.

Specs and statuses are as a converted service's pods have them; the server adds its own fields
(managedFields, defaults, UIDs), so that an answer's bytes are real ones.
"""

from __future__ import annotations

import concurrent.futures
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioners.kube import Kube, Object

NAMESPACE = "sophia-mcp"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
IMAGE = "gonogo/mcp-server:1"
FAULTS = (
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "not ready",
    "wrong image",
    "unschedulable",
    "Evicted",
    "no container yet",
    "deleting",
)
_SHARE = 0.04  # of all pods; the others are sound
_WRITERS = 6
_STARTED = "2026-11-24T10:00:00Z"
_FINALIZER = "gonogo.dev/benchmark"


def plan(count: int, seed: int = 5) -> dict[str, str]:
    """Return the fault of each pod by its name; empty for a sound one. Every fault is planted."""
    draw = random.Random(seed)
    names = [f"server-{number % 100:02d}-7d9f8c6b5-{number:05d}" for number in range(count)]
    broken = draw.sample(names, max(len(FAULTS), round(count * _SHARE)))
    faults = {name: FAULTS[index % len(FAULTS)] for index, name in enumerate(broken)}
    return {name: faults.get(name, "") for name in names}


def write_pods(kube: Kube, planned: Mapping[str, str]) -> None:
    """Create the namespace and every pod with its status; returns when all are written."""
    kube.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})

    def write(number: int, name: str, fault: str) -> None:
        kube.create(PODS, _pod(number, name, fault))
        kube.patch(f"{PODS}/{name}/status", {"status": _status(number, name, fault)})
        if fault == "deleting":
            kube.delete(f"{PODS}/{name}", grace_s=0)

    with concurrent.futures.ThreadPoolExecutor(_WRITERS) as pool:
        jobs = [
            pool.submit(write, number, name, fault) for number, (name, fault) in enumerate(planned.items())
        ]
        for job in jobs:
            job.result()


def _pod(number: int, name: str, fault: str) -> Object:
    service = name.split("-7d9", 1)[0]
    body: dict[str, Any] = {
        "metadata": {
            "name": name,
            "labels": {
                "app": service, "app.kubernetes.io/managed-by": "gonogo", "gonogo.dev/run": "benchmark",
                "mcp-tier": "secondary", "pod-template-hash": "7d9f8c6b5",
            },
            "annotations": {"gonogo.dev/content": f"{number:064x}"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{service}-7d9f8c6b5",
                "uid": f"00000000-0000-4000-8000-{number % 100:012d}", "controller": True,
                "blockOwnerDeletion": True,
            }],
        },
        "spec": {
            "containers": [_container(service, fault)],
            "automountServiceAccountToken": False,
            "serviceAccountName": "default",
            "tolerations": [
                {"key": f"node.kubernetes.io/{word}", "operator": "Exists", "effect": "NoExecute",
                 "tolerationSeconds": 30}
                for word in ("not-ready", "unreachable")
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }  # fmt: skip
    if fault == "deleting":
        body["metadata"]["finalizers"] = [_FINALIZER]
    if fault != "unschedulable":
        body["spec"]["nodeName"] = f"node{number % 50:02d}"
    return body


def _container(service: str, fault: str) -> Object:
    probe = {"httpGet": {"path": "/ready", "port": 9000}, "periodSeconds": 5, "timeoutSeconds": 3}
    return {
        "name": service,
        "image": "gonogo/mcp-server:0" if fault == "wrong image" else IMAGE,
        "env": [{"name": f"SETTING_{index}", "value": f"value-{index}"} for index in range(8)],
        "ports": [{"name": "mcp", "containerPort": 9000}],
        "resources": {
            "limits": {"cpu": "500m", "memory": "256Mi"},
            "requests": {"cpu": "100m", "memory": "64Mi"},
        },
        "readinessProbe": probe,
        "livenessProbe": {**probe, "periodSeconds": 600},
        "startupProbe": {**probe, "failureThreshold": 60},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  a path in the container
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _status(number: int, name: str, fault: str) -> Object:
    if fault == "Evicted":
        return {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "The node was low on resource: memory.",
            "startTime": _STARTED,
        }
    if fault == "unschedulable":
        message = "0/50 nodes are available: 50 Insufficient nvidia.com/gpu."
        return {
            "phase": "Pending",
            "conditions": [_condition("PodScheduled", holds=False, reason="Unschedulable", message=message)],
        }
    if fault == "no container yet":
        return {"phase": "Pending", "conditions": _conditions(ready=False), "startTime": _STARTED}
    ready = fault in {"", "wrong image", "deleting"}
    address = f"10.42.{number // 250}.{number % 250 + 1}"
    return {
        "phase": "Running",
        "conditions": _conditions(ready=ready),
        "hostIP": "192.0.2.1",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": _STARTED,
        "qosClass": "Burstable",
        "containerStatuses": [_container_status(name, fault, ready=ready)],
    }


def _container_status(name: str, fault: str, *, ready: bool) -> Object:
    service = name.split("-7d9", 1)[0]
    status: dict[str, Any] = {
        "name": service,
        "containerID": f"containerd://{abs(hash(name)):064x}"[:77],
        "image": "gonogo/mcp-server:0" if fault == "wrong image" else IMAGE,
        "imageID": "sha256:" + "ab" * 32,
        "ready": ready,
        "started": ready or fault == "not ready",
        "restartCount": 7 if fault == "CrashLoopBackOff" else 0,
        "state": {"running": {"startedAt": _STARTED}},
    }
    if fault in {"CrashLoopBackOff", "ImagePullBackOff", "CreateContainerConfigError"}:
        status["state"] = {"waiting": {"reason": fault, "message": f"{fault} of {service}"}}
    if fault == "CrashLoopBackOff":
        ended = {"exitCode": 1, "reason": "Error", "startedAt": _STARTED, "finishedAt": _STARTED}
        status["lastState"] = {"terminated": ended}
    return status


def _conditions(*, ready: bool) -> Sequence[Object]:
    return [
        _condition("PodReadyToStartContainers", holds=True),
        _condition("Initialized", holds=True),
        _condition("Ready", holds=ready, reason="" if ready else "ContainersNotReady"),
        _condition("ContainersReady", holds=ready, reason="" if ready else "ContainersNotReady"),
        _condition("PodScheduled", holds=True),
    ]


def _condition(kind: str, *, holds: bool, reason: str = "", message: str = "") -> Object:
    row = {"type": kind, "status": "True" if holds else "False", "lastTransitionTime": _STARTED}
    return row | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})
