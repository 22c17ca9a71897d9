"""One client lists and judges every pod once, in a process of its own, and says what that took.

    python -m benchmarks.pods_client CLIENT KUBECONFIG

Imports, the reading of the kubeconfig and a first request, which opens the connection, come
before the clock of every client alike. The rule is one; each client applies it to its own objects.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.pods_input import IMAGE, NAMESPACE, PODS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioners.kube import Kube
    from provisioners.kube_objects import Pod

Judged = dict[str, str]  # what is wrong, by pod; sound ones are left out, under "" stands how many


def word(
    *,
    deleting: bool,
    failed: str,
    node: str,
    message: str,
    waiting: str,
    containers: int,
    ready: bool,
    image: str,
) -> str:
    """Return what is wrong with a pod, the first that fits; empty for a sound one."""
    if deleting:
        return "deleting"
    if failed:
        return failed
    if not node:
        return "unschedulable" if message else "no node yet"
    if waiting or not containers:
        return waiting or "no container yet"
    if not ready:
        return "not ready"
    return "" if image == IMAGE else "wrong image"


def gonogo(kubeconfig: Path) -> Callable[[], Judged]:
    """The product's own path: `list_pods`, as KubernetesTarget asks for replicas and pods."""
    from provisioners.kube_pods import list_pods

    kube = _opened(kubeconfig)
    return lambda: _judged(map(_of_pod, list_pods(kube, PODS)))


def whole(kubeconfig: Path) -> Callable[[], Judged]:
    """The same client, every object decoded whole: what the product did before."""
    from provisioners.kube_objects import parse_pod

    kube = _opened(kubeconfig)
    return lambda: _judged(_of_pod(parse_pod(row)) for row in kube.list_all(PODS).items)


def official(kubeconfig: Path) -> Callable[[], Judged]:
    """The official client's typed call."""
    from kubernetes import client, config

    load: Any = config.new_client_from_config  # the client has no types
    api = load(str(kubeconfig))
    client.VersionApi(api).get_code()
    core: Any = client.CoreV1Api(api)
    return lambda: _judged(map(_of_official, core.list_namespaced_pod(NAMESPACE).items))


def lightkube(kubeconfig: Path) -> Callable[[], Judged]:
    """Lightkube's typed call, in its own pages."""
    import lightkube as light
    from lightkube.resources.core_v1 import Namespace
    from lightkube.resources.core_v1 import Pod as LightPod

    client: Any = light.Client(config=light.KubeConfig.from_file(str(kubeconfig)))
    client.get(Namespace, NAMESPACE)
    # what it decodes of an object it decodes when that is read: the same objects, the same rule
    return lambda: _judged(map(_of_lightkube, client.list(LightPod, namespace=NAMESPACE)))


CLIENTS: dict[str, Callable[[Path], Callable[[], Judged]]] = {
    "gonogo": gonogo,
    "whole objects": whole,
    "kubernetes": official,
    "lightkube": lightkube,
}


def main() -> int:
    """Measure one client and print the numbers as JSON on the last line."""
    work = CLIENTS[sys.argv[1]](Path(sys.argv[2]))
    gc.collect()
    before = _resident_bytes()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    judged = work()
    wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - begin_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    row = {"wall_s": wall_s, "cpu_s": cpu_s, "gained_bytes": peak - before, "peak_bytes": peak}
    print(json.dumps({**row, "judged": judged}))
    return 0


def _opened(kubeconfig: Path) -> Kube:
    from provisioners.kube import Kube

    kube = Kube(kubeconfig)
    kube.get("/version")
    return kube


def _judged(found: Iterator[tuple[str, str]]) -> Judged:
    kept: Judged = {}
    sound = 0
    for name, said in found:
        if said:
            kept[name] = said
        else:
            sound += 1
    return {**kept, "": str(sound)}


def _of_pod(pod: Pod) -> tuple[str, str]:
    first = pod.containers[0] if pod.containers else None
    return pod.name, word(
        deleting=pod.deleting,
        failed=pod.reason,
        node=pod.node,
        message=pod.unschedulable,
        waiting=first.waiting if first else "",
        containers=len(pod.containers),
        ready=pod.ready,
        image=first.image if first else "",
    )


def _of_official(pod: Any) -> tuple[str, str]:
    status, first = pod.status, (pod.status.container_statuses or [None])[0]
    conditions = {one.type: one for one in status.conditions or []}
    waiting = first.state.waiting if first else None
    return pod.metadata.name, word(
        deleting=bool(pod.metadata.deletion_timestamp),
        failed=(status.reason or "") if status.phase == "Failed" else "",
        node=pod.spec.node_name or "",
        message=(conditions["PodScheduled"].message or "") if "PodScheduled" in conditions else "",
        waiting=(waiting.reason or "") if waiting else "",
        containers=len(status.container_statuses or []),
        ready="Ready" in conditions and conditions["Ready"].status == "True",
        image=first.image if first else "",
    )


def _of_lightkube(pod: Any) -> tuple[str, str]:
    status, statuses = pod.status, pod.status.containerStatuses or []
    conditions = {one.type: one for one in status.conditions or []}
    waiting = statuses[0].state.waiting if statuses else None
    return pod.metadata.name, word(
        deleting=bool(pod.metadata.deletionTimestamp),
        failed=(status.reason or "") if status.phase == "Failed" else "",
        node=pod.spec.nodeName or "",
        message=(conditions["PodScheduled"].message or "") if "PodScheduled" in conditions else "",
        waiting=(waiting.reason or "") if waiting else "",
        containers=len(statuses),
        ready="Ready" in conditions and conditions["Ready"].status == "True",
        image=statuses[0].image if statuses else "",
    )


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


if __name__ == "__main__":
    sys.exit(main())
