"""What is read of Kubernetes objects, from recorded ones."""

import copy

import pytest

from provisioners.kube_objects import parse_entry, parse_node, parse_pod, parse_quantity, parse_workload
from provisioners.kube_target import parse_config_digests
from tests.kube_rows import RECORDED, pod_row


def test_a_recorded_pod_is_read():
    found = parse_pod(pod_row())
    assert found.ready
    assert found.address.startswith("10.42.")
    assert found.containers[0].image_id.startswith("sha256:")
    assert len(found.containers[0].id) == 64
    assert found.startup_budget_s > 0


@pytest.mark.parametrize(
    ("group", "kind", "name"),
    [
        ("deployments", "Deployment", "asana-v2"),
        ("statefulsets", "StatefulSet", "redis"),
        ("daemonsets", "DaemonSet", "net-probe"),
    ],
)
def test_recorded_workloads_are_ready_and_own_their_pods(group, kind, name):
    workload = parse_workload(RECORDED[group][0], kind)
    assert workload.is_ready
    assert workload.owns(parse_pod(pod_row(name)))
    assert len(workload.current([parse_pod(row) for row in RECORDED["pods"]])) == workload.desired


def test_a_workload_is_not_ready_before_its_controller_saw_the_change():
    row = copy.deepcopy(RECORDED["deployments"][0])
    row["metadata"]["generation"] += 1
    workload = parse_workload(row, "Deployment")
    assert not workload.is_ready
    assert workload.current([parse_pod(pod_row())]) == []


def test_a_workload_scaled_to_nothing_is_never_ready():
    row = copy.deepcopy(RECORDED["deployments"][0])
    row["spec"]["replicas"] = 0
    row["status"] = {"observedGeneration": row["metadata"]["generation"]}
    assert not parse_workload(row, "Deployment").is_ready


def test_a_workload_with_old_replicas_left_is_not_ready():
    row = copy.deepcopy(RECORDED["deployments"][0])
    row["status"]["replicas"] += 1
    assert not parse_workload(row, "Deployment").is_ready


def test_pods_of_an_older_template_are_not_current():
    old, new = pod_row(), pod_row()
    old["metadata"]["labels"]["pod-template-hash"] = "old"
    old["metadata"] |= {"name": "old", "creationTimestamp": "2000-01-01T00:00:00Z"}
    workload = parse_workload(RECORDED["deployments"][0], "Deployment")
    assert [one.name for one in workload.current([parse_pod(old), parse_pod(new)])] == [
        new["metadata"]["name"]
    ]


def test_a_recorded_service_object_is_read():
    entry = next(parse_entry(row) for row in RECORDED["services"] if row["metadata"]["name"] == "asana-v2")
    assert entry.local
    assert entry.ports[0].node_port
    assert entry.selects(parse_pod(pod_row()).labels)
    assert parse_entry({"metadata": {"name": "x"}, "spec": {"clusterIP": "None"}}).cluster_ip is None


def test_a_service_without_selector_selects_nothing():
    assert not parse_entry({"metadata": {"name": "x"}, "spec": {}}).selects({"a": "b"})


def test_a_recorded_node_is_ready_and_a_cordoned_or_silent_one_is_not():
    row = RECORDED["nodes"][0]
    assert parse_node(row).state == "ready"
    assert parse_node({**row, "spec": {"unschedulable": True}}).state == "cordoned"
    silent = {"conditions": [{"type": "Ready", "status": "Unknown"}]}
    assert parse_node({**row, "status": silent}).state == "not ready"


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", 0.5), ("64Mi", 64 * 2**20), ("1G", 1e9), ("2", 2.0), ("1e3", 1000.0), (1, 1.0)],
)
def test_quantities(text, value):
    assert parse_quantity(text) == value


def test_config_digests_are_found_by_manifest_digest():
    listing = "REF TYPE DIGEST SIZE\ndocker.io/x:1 t sha256:m1 1 MiB\nsha256:c1 t sha256:m1 1 MiB -\n\n"
    assert parse_config_digests(listing) == {"sha256:m1": "sha256:c1"}
