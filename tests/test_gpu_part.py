"""The part `gpu`: what each host pretends to have, labels, manifests, and the order in which it is made."""

from __future__ import annotations

import json
import string
from dataclasses import replace
from typing import Any

import pytest
import yaml

from provisioners.base import Cluster, Node
from provisioners.errors import InputError, NotReady
from provisioners.kube import Resource
from provisioners.parts import gpu, part, parts
from provisioners.parts.base import MANIFESTS, PartContext
from provisioners.shell import Ssh
from tests.security_kube import Kube

ROLES = ("production", "ai-core", "mcp-hub")


def nodes(*counts: int) -> tuple[Node, ...]:
    rows = zip(ROLES, counts or (0, 0, 0), strict=True)
    return tuple(
        Node(
            f"node{at + 1}", Ssh(f"node{at + 1}", f"192.0.2.{at}"), labels={"instance-role": role}, gpus=count
        )
        for at, (role, count) in enumerate(rows)
    )


class Api(Kube):
    """Offers what the plugin would, once the plugin's DaemonSet is there."""

    def __init__(self, offered: dict[str, str] | None = None) -> None:
        super().__init__()
        self.offered = offered or {"node1": "1", "node2": "2"}

    def resource(self, api_version: str, kind: str) -> Resource:
        cluster_wide = kind in {"Namespace", "RuntimeClass"}
        return Resource(api_version, kind, kind.lower() + "s", not cluster_wide)

    def patch(self, path: str, body: Any) -> Any:
        self.sent.append(("patch", path, body))
        return body

    def get(self, path: str, query: Any = None) -> Any:
        name = path.rpartition("/")[2]
        if path.startswith("/api/v1/nodes/"):
            there = any("daemonsets" in one for _, one, _ in self.sent)
            return {
                "status": {"allocatable": {"nvidia.com/gpu": self.offered.get(name, "0")} if there else {}}
            }
        if "/apis/apps/" in path:
            whole = {"observedGeneration": 1, "desiredNumberScheduled": 1, "numberReady": 1}
            whole |= {"updatedNumberScheduled": 1, "readyReplicas": 1, "updatedReplicas": 1}
            return {"metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": whole}
        return super().get(path, query)


def applied(api: Api, monkeypatch: pytest.MonkeyPatch, *counts: int) -> dict[str, str]:
    facts: dict[str, str] = {}
    monkeypatch.setattr(gpu, "add_facts", facts.update)
    monkeypatch.setattr(gpu, "_OFFERED_BOUND_S", 0.2)
    door: Any = api
    cluster = Cluster(kind="lab", level="lab-upstream", nodes=nodes(*counts))
    context = PartContext(cluster, door, {"gpu": "g:1"})
    gpu.apply(context, lambda _: None)
    return facts


def bodies(hosts: Any = None) -> list[dict[str, Any]]:
    values = gpu.values_of("g:1", "sophia-mcp", nodes(), hosts or gpu.hosts_of(nodes()))
    texts = [
        string.Template((MANIFESTS / name).read_text()).substitute(values)
        for name in ("gpu.yaml", "gpu-exporter.yaml")
    ]
    return [body for text in texts for body in yaml.safe_load_all(text) if body]


def test_it_is_a_part_that_says_that_it_is_a_stand_in():
    assert part("gpu") is gpu.PART
    assert [one.name for one in parts(["gpu"])] == ["monitoring", "gpu"]
    assert "simulated" in gpu.PART.stand_in
    assert (gpu.GPU_MODULE.folder / "go.mod").is_file()


def test_the_inventory_says_how_many_a_host_has():
    hosts = gpu.hosts_of(nodes(0, 0, 3))
    assert {name: host.count for name, host in hosts.items()} == {"node3": 3}
    assert {name: host.count for name, host in gpu.hosts_of(nodes()).items()} == {"node1": 1, "node2": 2}


def test_every_value_says_simulated_and_is_a_label():
    for host in gpu.hosts_of(nodes()).values():
        for one in (
            host,
            replace(host, replicas=4),
            replace(host, model="Simulated " + "X" * 90, replicas=2),
        ):
            labels = gpu.labels_of(one)
            assert str(labels["nvidia.com/gpu.product"]).startswith("SIMULATED-")
            assert all(value and len(value) <= 63 and " " not in value for value in labels.values())
            assert str(labels["nvidia.com/gpu.product"]).endswith("-SHARED") is (one.replicas > 1)
    assert set(gpu.labels_of(None).values()) == {None}


def test_replicas_that_make_no_sense_are_refused():
    one = nodes(1, 0, 0)[0]
    for text in ("0", "many", "65"):
        labels = {**one.labels, "nvidia.com/gpu.replicas": text}
        with pytest.raises(InputError, match=r"nvidia.com/gpu.replicas"):
            gpu.hosts_of((replace(one, labels=labels),))
    shared = replace(one, labels={**one.labels, "nvidia.com/gpu.replicas": "4"})
    assert gpu.hosts_of((shared,))["node1"].offered == 4


def test_the_manifests_hold_the_hosts_and_mark_every_workload():
    found = {(body["kind"], body["metadata"]["name"]): body for body in bodies()}
    hosts = json.loads(found["ConfigMap", "gpu-hosts"]["data"]["hosts.json"])
    assert hosts["node2"] == {
        "model": "Simulated NVIDIA GH200 480GB", "memory_mib": 97_871, "count": 2, "replicas": 1,
    }  # fmt: skip
    for kind, name in (
        ("DaemonSet", "nvidia-device-plugin"),
        ("DaemonSet", "dcgm-exporter"),
        ("Deployment", "ai-memory-gpu"),
    ):
        template = found[kind, name]["spec"]["template"]
        assert template["metadata"]["labels"]["gonogo.dev/simulated"] == "true"
        assert template["spec"]["nodeSelector"]["nvidia.com/gpu.present"] == "true"
    resources = found["Deployment", "ai-memory-gpu"]["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == 1
    assert found["ServiceMonitor", "dcgm-exporter"]["spec"]["endpoints"][0]["honorLabels"] is True


def test_hosts_are_labelled_first_and_waited_for(monkeypatch: pytest.MonkeyPatch):
    api = Api()
    facts = applied(api, monkeypatch)
    assert facts == {"part.gpu.image": "g:1"}
    assert [verb for verb, _, _ in api.sent][:3] == ["patch"] * 3
    labels = {
        path.rpartition("/")[2]: body["metadata"]["labels"]
        for verb, path, body in api.sent
        if verb == "patch"
    }
    assert labels["node2"]["nvidia.com/gpu.count"] == "2"
    assert labels["node3"]["nvidia.com/gpu.present"] is None
    assert api.objects["/apis/node.k8s.io/v1/runtimeclasss/nvidia"]["handler"] == "runc"


def test_a_host_that_offers_too_few_is_named(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(NotReady, match="node2 1 of 2"):
        applied(Api({"node1": "1", "node2": "1"}), monkeypatch)


def test_a_runtime_class_of_k3s_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    api = Api()
    api.objects["/apis/node.k8s.io/v1/runtimeclasses/nvidia"] = {"handler": "nvidia"}
    applied(api, monkeypatch)
    made = {path: body for verb, path, body in api.sent if verb == "apply" and "runtimeclass" in path}
    assert [body["metadata"]["name"] for body in made.values()] == ["nvidia-simulated"]
