"""The GPU checks: of nodes and pods as objects, and against a real API server with a real scheduler."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.gpu_cluster import SIMULATED_WHY, Gpus
from fixtures.gpu_drill import GpuDrill
from fixtures.gpu_nodes import GpuNode, gpu_request, lacking_nodes, parse_nodes
from fixtures.gpu_pods import Seen, parse_placement, parse_seen, pod
from fixtures.record import Record
from fixtures.security import CannotTell
from fixtures.target import RunInput
from provisioners.base import Cluster
from provisioners.kube import Kube, KubeError
from suites.gpu import test_affinity as affinity
from suites.gpu import test_gpu_nodes as nodes_suite
from suites.gpu import test_gpu_scheduling as scheduling
from suites.gpu import test_gpu_sharing as sharing
from tests.real_api import add_node, can_run, offer, real_api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioners.shell import CommandResult

LABELS = {
    "present": "true",
    "count": "1",
    "product": "NVIDIA-A10",
    "replicas": "1",
    "sharing-strategy": "none",
}
NODE = GpuNode("node1", "production", 1, 1, LABELS, promised=1)


def test_a_sound_node_has_no_problem_and_one_without_gpus_neither():
    assert NODE.problems() == []
    assert GpuNode("node3", "mcp-hub", 0, 0, {}).problems() == []


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (replace(NODE, capacity=0, allocatable=0), "allocatable nvidia.com/gpu is 0, though its labels say"),
        (replace(NODE, capacity=0, allocatable=0, labels={}), "is 0, though it should have"),
        (replace(NODE, capacity=2, labels={}), "1 of 2 nvidia.com/gpu are healthy"),
        (replace(NODE, labels={**LABELS, "count": "2"}), "labels say 2 GPUs x 1, the node offers 1"),
        (replace(NODE, promised=2), "the inventory says 2 GPUs, it offers 1"),
        (replace(NODE, odd="500m"), "500m, which is no whole number"),
        (
            replace(NODE, capacity=2, allocatable=2, labels={**LABELS, "replicas": "2"}),
            "sharing-strategy is none",
        ),
        (
            replace(
                NODE,
                capacity=2,
                allocatable=2,
                labels={**LABELS, "replicas": "2", "sharing-strategy": "time-slicing"},
            ),
            "shared by 2, but its product is NVIDIA-A10",
        ),
        (replace(NODE, labels={**LABELS, "product": "NVIDIA-A10-SHARED"}), "says shared, replicas says 1"),
        (replace(NODE, labels={**LABELS, "replicas": "many"}), "replicas is 'many'"),
    ],
)
def test_what_does_not_agree_is_said(node: GpuNode, text: str):
    record = Record()
    assert any(text in one for one in node.problems()), node.problems()
    with pytest.raises(AssertionError):
        nodes_suite.test_hosts_offer_the_gpus_that_they_have(Gpus((node,)), record)
    assert record.observations[0].observed == 0.0


def test_no_gpu_anywhere_is_no_verdict_and_a_stand_in_no_proof():
    with pytest.raises(CannotTell, match="no GPU: none of 1 nodes"):
        Gpus((GpuNode("node3", "", 0, 0, {}),)).require()
    record = Record()
    played = replace(NODE, labels={**LABELS, "product": "SIMULATED-NVIDIA-A10"})
    nodes_suite.test_hosts_offer_the_gpus_that_they_have(Gpus((played,)), record)
    assert record.doubt == SIMULATED_WHY
    assert lacking_nodes((NODE,), {"node9": 2}) == ["node9: 2 GPUs, but no node"]


def test_devices_that_pods_hold_are_taken():
    holder = pod("a", "x", gpus=1)
    holder["spec"]["nodeName"] = "node1"
    done = {**holder, "status": {"phase": "Succeeded"}}
    row = {
        "metadata": {"name": "node1"},
        "status": {"capacity": {"nvidia.com/gpu": "2"}, "allocatable": {"nvidia.com/gpu": "2"}},
    }
    (node,) = parse_nodes([row], [holder, done])
    assert (node.taken, node.free) == (1, 1)
    assert gpu_request({"spec": {"containers": [], "initContainers": holder["spec"]["containers"]}}) == 1


LAB_LOG = "visible=GPU-a\ndevice=/dev/nvidia0\nseen=all\n"
HOST_LOG = "visible=GPU-a\ndevice=/dev/nvidia0\nsmi=GPU-a\nseen=all\n"


@pytest.mark.parametrize(
    ("log", "wanted", "why"),
    [
        (LAB_LOG, 1, ""),
        (HOST_LOG, 1, ""),
        ("visible=\nseen=all\n", 0, ""),
        ("visible=void\nsmi=sh: nvidia-smi: not found\nseen=all\n", 0, ""),
        ("visible=\nseen=all\n", 1, "it sees 0 devices"),
        (LAB_LOG, 0, "it sees 1 devices"),
        ("visible=GPU-a\nseen=all\n", 1, "it has no /dev/nvidia"),
        ("visible=GPU-a\nerror=open /dev/nvidia0: operation not permitted\nseen=all\n", 1, "cannot use"),
        (
            "visible=GPU-a\ndevice=/dev/nvidia0\nsmi=Failed to initialize NVML: Unknown Error\nseen=all\n",
            1,
            "NVML",
        ),
    ],
)
def test_what_a_pod_sees_is_read_from_what_it_says(log: str, wanted: int, why: str):
    seen = parse_seen(log)
    assert seen is not None
    assert (why in seen.lacking(wanted)) if why else not seen.lacking(wanted)
    assert parse_seen(log.replace("seen=all\n", "")) is None


def test_only_the_missing_gpu_is_the_reason_that_counts():
    def row(message: str, reason: str = "Unschedulable") -> dict[str, Any]:
        condition = {"type": "PodScheduled", "reason": reason, "message": message}
        return {"metadata": {"name": "a"}, "status": {"conditions": [condition]}}

    assert parse_placement(row("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")).waits_for_gpu()
    assert not parse_placement(row("0/3 nodes are available: 3 Insufficient memory.")).waits_for_gpu()
    assert not parse_placement(row("Insufficient nvidia.com/gpu", "SchedulingGated")).waits_for_gpu()


# -- a real API server and scheduler; nodes are objects, and the test plays their hosts ---------

pytestmark_api = [
    pytest.mark.live,
    pytest.mark.skipif(not can_run(), reason="Kubernetes is not built here: gonogo lab up does it"),
]


class PlayedHosts(Kube):
    """Answers what kubelets would: logs and exec, by what each test says that a pod sees."""

    uuids: dict[str, str]
    blind = False

    def log(
        self, namespace: str, pod: str, *, lines: int, container: str = "", previous: bool = False
    ) -> str:
        row = self.get(f"/api/v1/namespaces/{namespace}/pods/{pod}") or {}
        asks = gpu_request(row) and not self.blind
        uuid = self.uuids.get(pod, f"GPU-{pod}")
        return f"visible={uuid}\ndevice=/dev/nvidia0\nseen=all\n" if asks else "visible=\nseen=all\n"

    def get(self, path: str, query: Any = None) -> Any:
        row = super().get(path, query)
        if "/pods/" in path and row and row["spec"].get("nodeName"):
            row["status"]["phase"] = "Running"
        return row

    def exec(self, namespace: str, pod: str, container: str, argv: Any, timeout_s: float) -> CommandResult:
        raise AssertionError(argv)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedHosts]:
    with real_api(tmp_path_factory.mktemp("api")) as kube:
        played = PlayedHosts(kube.kubeconfig)
        played.uuids = {}
        add_node(played, "node1", role="production", gpus="1", **_words(1))
        add_node(played, "node2", role="ai-core", gpus="2", **_words(2))
        add_node(played, "node3", role="mcp-hub")
        yield played


def _words(count: int) -> dict[str, str]:
    return {"present": "true", "count": str(count), "product": "NVIDIA-A10", "replicas": "1"}


@pytest.fixture
def drill(api: PlayedHosts, tmp_path: Path) -> Iterator[GpuDrill]:
    from provisioners.targets import save_cluster

    cluster = Cluster(kind="existing", level="existing", kubeconfig=api.kubeconfig)
    (tmp_path / "cluster.json").write_text(save_cluster(cluster), encoding="utf-8")
    api.blind = False
    one = GpuDrill(RunInput(tmp_path, cluster, ()), None, api)
    yield one
    assert one.close() == []


def _marked(function: Any) -> Any:
    for mark in pytestmark_api:
        function = mark(function)
    return function


@_marked
def test_the_api_server_refuses_fractions_and_unequal_requests(drill: GpuDrill):
    record = Record()
    scheduling.test_a_fraction_of_a_gpu_and_a_request_beside_the_limit_are_refused(drill, record)
    assert (record.observations[0].observed, record.observations[0].samples) == (100.0, 3)
    drill.refusal = lambda **_: ""  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="not refused: 500m"):
        scheduling.test_a_fraction_of_a_gpu_and_a_request_beside_the_limit_are_refused(drill, Record())


@_marked
def test_the_scheduler_places_and_refuses_by_gpu_and_role(drill: GpuDrill, api: PlayedHosts):
    gpus = drill.gpus()
    gpus.require()
    assert gpus.problems() == []
    record = Record()
    scheduling.test_gpu_pods_land_on_the_wanted_role_only(gpus, drill, record)
    seen = record.observations[0]
    assert (seen.observed, seen.data["roles"], seen.data["roles_without"]) == (
        100.0, ["ai-core", "production"], ["mcp-hub"],
    )  # fmt: skip
    scheduling.test_asking_for_more_than_there_is_waits_with_that_reason(gpus, drill, record)
    assert "Insufficient nvidia.com/gpu" in str(record.observations[1].data["message"])
    drill.remove("too-many")
    offer(api, "node2", "9")  # there are more than the check was told of: what it asks for is placed
    with pytest.raises(AssertionError, match=r"asks for 3 GPUs is on node2"):
        scheduling.test_asking_for_more_than_there_is_waits_with_that_reason(gpus, drill, Record())
    offer(api, "node2", "2")


@_marked
def test_a_pod_sees_its_gpu_and_one_that_does_not_is_red(drill: GpuDrill, api: PlayedHosts):
    record = Record()
    scheduling.test_a_pod_gets_a_gpu_and_sees_it(drill.gpus(), drill, record)
    assert record.observations[0].observed == 100.0
    drill.remove("asks", "asks-not")
    api.blind = True
    with pytest.raises(AssertionError, match="it sees 0 devices"):
        scheduling.test_a_pod_gets_a_gpu_and_sees_it(drill.gpus(), drill, Record())


@_marked
def test_two_pods_on_one_gpu_are_red_where_nothing_is_shared(drill: GpuDrill, api: PlayedHosts):
    sharing.test_pods_share_a_gpu_as_far_as_it_is_said(drill.gpus(), drill, Record())
    drill.remove("one-0", "one-1")
    api.uuids.update({"one-0": "GPU-a", "one-1": "GPU-a"})
    with pytest.raises(AssertionError, match="shares a GPU by 1, yet"):
        sharing.test_pods_share_a_gpu_as_far_as_it_is_said(drill.gpus(), drill, Record())
    api.uuids.clear()


@_marked
def test_affinity_is_honoured_and_an_ignored_one_is_red(drill: GpuDrill, monkeypatch: pytest.MonkeyPatch):
    record = Record()
    affinity.test_pods_land_on_the_role_that_they_demand(drill, record)
    assert record.observations[0].data["roles"] == ["ai-core", "mcp-hub", "production"]
    drill.remove("role-ai-core", "role-mcp-hub", "role-production", "nobody")
    put = drill.put
    monkeypatch.setattr(drill, "put", lambda name, **_: put(name))
    with pytest.raises(AssertionError, match="a pod for a role that nobody has is on node"):
        affinity.test_pods_land_on_the_role_that_they_demand(drill, Record())


def test_seen_twice_is_seen_once():
    assert Seen(("GPU-a",), ("/dev/nvidia0",), ()).lacking(2) == "it sees 1 devices (GPU-a), not 2"


@_marked
def test_the_manifests_of_the_part_and_of_hosts_pass_the_api_server_s_strict_check(api: PlayedHosts):
    from provisioners.nvidia import plugin_objects
    from provisioners.parts.gpu import runtime_class
    from tests.test_gpu_part import bodies

    made = [runtime_class("runc"), *plugin_objects(), *bodies()]
    names = {body["metadata"].get("namespace") for body in made} - {None}
    for name in names:
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        api.apply(f"/api/v1/namespaces/{name}", space)
    checked = 0
    for body in made:
        if body["kind"] == "ServiceMonitor":  # the operator's kind, which this server does not know
            continue
        meta = body["metadata"]
        path = api.resource(body["apiVersion"], body["kind"]).path(meta.get("namespace"), meta["name"])
        api.apply(path, body, dry_run=True)
        checked += 1
    assert checked >= 9
    broken = plugin_objects()[2]
    broken["spec"]["template"]["spec"]["runtimeClass"] = "nvidia"  # a word that the API does not know
    path = api.resource("apps/v1", "DaemonSet").path("nvidia-device-plugin", "nvidia-device-plugin")
    with pytest.raises(KubeError, match="runtimeClass"):
        api.apply(path, broken, dry_run=True)
